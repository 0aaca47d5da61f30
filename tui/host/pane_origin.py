"""What panes' processes say of where they were made, and which are in another session now.

tmux moves panes and windows from one session to another (``join-pane``, ``swap-pane``,
``move-window``), and of that it tells nothing afterwards. But a pane's first process still
has in its environment which session it was started in. Linux only, as
`tui.host.process_tree` is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from tui.host import procfs
from tui.host.procfs import PaneEnvironment
from tui.host.tmux_types import Session


class PaneOrigin(NamedTuple):
    """Where a pane was made.

    Attributes:
        pane: Its id, for example ``%5``.
        session: The id of the session, for example ``$3``.
    """

    pane: str
    session: str


class PaneOrigins:
    """Reads where panes were made; each is read once. Not for several threads at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], PaneOrigin | None] = {}

    def moved(self, sessions: Iterable[Session]) -> Mapping[int, PaneOrigin]:
        """The panes that are in none of the sessions that they were made in.

        Args:
            sessions: All that there are.

        Returns:
            By the panes' first processes. A pane of which that cannot be read is not
            among them.
        """
        known: dict[tuple[str, int], PaneOrigin | None] = {}
        shown: dict[int, PaneOrigin] = {}
        at_home: set[int] = set()
        for session in sessions:
            for pid in session.pids:
                key = session.id, pid
                birth = self._known[key] if key in self._known else pane_origin(pid)
                known[key] = birth
                if birth is None or birth.session == session.id:
                    at_home.add(pid)
                else:
                    shown[pid] = birth
        self._known = known
        return {pid: birth for pid, birth in shown.items() if pid not in at_home}


def pane_origin(pid: int) -> PaneOrigin | None:
    """Where a pane was made, by its first process; None if that is not to be read, or none."""
    said = procfs.pane_said_by(pid)
    stat = procfs.stat_of(pid)
    # A server is the parent of its panes; what was set by hand tells of no session.
    if stat is None or said is None or not said.pane or said.server_pid != stat.parent:
        return None
    return PaneOrigin(said.pane, said.session)


def is_of_another_pane(
    said: PaneEnvironment | None, server_pid: int, panes: Collection[str]
) -> bool:
    """Whether a child of a tmux server says that it was made in none of some panes.

    A pane's pid alone names no process: it may have been given to another pane's. Who
    says nothing, or something of another server, may have changed what it was told.

    Args:
        said: What the process says.
        server_pid: The server, which is its parent.
        panes: The ids of the panes whose process it would be.
    """
    return (
        said is not None
        and said.server_pid == server_pid
        and bool(said.pane)
        and said.pane not in panes
    )
