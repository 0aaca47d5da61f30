"""Finds the session in which a pane was created.

tmux moves panes and windows between sessions (``join-pane``, ``swap-pane``, ``move-window``) and
does not report this later. But the environment of a pane's first process still names the session
in which the process was started. Linux only, like `tui.host.process.process_tree`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from tui.host.process import procfs
from tui.host.process.procfs import PaneEnvironment
from tui.host.tmux_types import Session


class PaneOrigin(NamedTuple):
    """The session in which a pane was created.

    Attributes:
        pane: The id of the pane, for example ``%5``.
        session: The id of the session, for example ``$3``.
    """

    pane: str
    session: str


class PaneOrigins:
    """Reads the origins of panes, each only once. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], PaneOrigin | None] = {}

    def read(self, sessions: Iterable[Session]) -> Mapping[int, PaneOrigin]:
        """Returns the origins of all panes, by the pids of the panes' first processes.

        Args:
            sessions: All sessions of the server.

        Returns:
            Maps the pids of the panes' first processes to the origins. Panes with an unreadable
            origin are left out.
        """
        known: dict[tuple[str, int], PaneOrigin | None] = {}
        for session in sessions:
            for pid in session.pids:
                key = session.id, pid
                origin = self._known[key] if key in self._known else pane_origin(pid)
                # A pane keeps its id. A process whose environment names another id has changed its
                # environment.
                is_known = origin is not None and origin.pane in session.panes
                known[key] = origin if is_known else None
        self._known = known
        return {pid: origin for (_, pid), origin in known.items() if origin is not None}

    def moved(self, sessions: Iterable[Session]) -> Mapping[int, PaneOrigin]:
        """Returns the origins of the panes that `moved_among` finds in these sessions."""
        sessions = tuple(sessions)
        return moved_among(self.read(sessions), sessions)


def moved_among(
    origins: Mapping[int, PaneOrigin], sessions: Iterable[Session]
) -> Mapping[int, PaneOrigin]:
    """Returns the panes that are not in the session in which they were created. Pure.

    Args:
        origins: The result of `PaneOrigins.read` for these sessions.
        sessions: All sessions of the server.
    """
    at_home = {
        pid
        for session in sessions
        for pid in session.pids
        if pid in origins and origins[pid].session == session.id
    }
    return {pid: origin for pid, origin in origins.items() if pid not in at_home}


def pane_origin(pid: int) -> PaneOrigin | None:
    """Returns the origin of the pane with this first process; None if it cannot be read."""
    environment = procfs.pane_said_by(pid)
    stat = procfs.stat_of(pid)
    # A pane's parent is its server. Any other value was set by hand.
    if stat is None or environment is None:
        return None
    if not environment.pane or environment.server_pid != stat.parent:
        return None
    return PaneOrigin(environment.pane, environment.session)


def is_of_another_pane(
    environment: PaneEnvironment | None, server_pid: int, panes: Collection[str]
) -> bool:
    """Returns whether the environment of a server's child names a pane that is not in `panes`.

    A pid does not identify a pane's process, because the pid may have been reused for another
    pane.
    The result is False if the environment names no pane, or another server: the process may
    have changed its environment.

    Args:
        environment: The environment of the process.
        server_pid: The pid of the server, which is the parent of the process.
        panes: The ids of the panes.
    """
    return (
        environment is not None
        and environment.server_pid == server_pid
        and bool(environment.pane)
        and environment.pane not in panes
    )
