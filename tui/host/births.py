"""Panes that are in another session than the one they were made in.

tmux moves panes and windows from one session to another (``join-pane``, ``swap-pane``,
``move-window``), and of that it tells nothing afterwards. But a pane's first process still
has in its environment which session it was started in. Linux only, as
`tui.host.processes` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tui.host import procfs
from tui.host.sessions import Session

_PANE = re.compile(rb"%[0-9]+")


class Birth(NamedTuple):
    """Where a pane was made.

    Attributes:
        pane: Its id, for example ``%5``.
        session: The id of the session, for example ``$3``.
    """

    pane: str
    session: str


class Births:
    """Reads where panes were made; each is read once. Not for several threads at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Birth | None] = {}

    def moved(self, sessions: Iterable[Session]) -> Mapping[int, Birth]:
        """The panes that are in none of the sessions that they were made in.

        Args:
            sessions: All that there are.

        Returns:
            By the panes' first processes. A pane of which that cannot be read is not
            among them.
        """
        known: dict[tuple[str, int], Birth | None] = {}
        shown: dict[int, Birth] = {}
        at_home: set[int] = set()
        for session in sessions:
            for pid in session.pids:
                key = session.id, pid
                birth = self._known[key] if key in self._known else birth_of(pid)
                known[key] = birth
                if birth is None or birth.session == session.id:
                    at_home.add(pid)
                else:
                    shown[pid] = birth
        self._known = known
        return {pid: birth for pid, birth in shown.items() if pid not in at_home}


def birth_of(pid: int) -> Birth | None:
    """Where a pane was made, by its first process; None if that is not to be read, or none."""
    try:
        text = procfs.read(pid, "environ")
        says = dict(each.partition(b"=")[::2] for each in filter(None, text.split(b"\0")))
        with open(f"/proc/{pid}/stat", "rb") as file:
            parent = file.read().rpartition(b")")[2].split()[1]
    except (OSError, IndexError):
        return None
    # TMUX is "socket,server pid,session number"; a path may have commas in it.
    _, *words = says.get(b"TMUX", b"").rsplit(b",", 2)
    pane = says.get(b"TMUX_PANE", b"")
    # A server is the parent of its panes; what was set by hand tells of no session.
    if len(words) != 2 or words[0] != parent or not words[1].isdigit():
        return None
    return Birth(pane.decode(), f"${int(words[1])}") if _PANE.fullmatch(pane) else None
