"""Finds sessions whose first process has ended, though tmux keeps its pane.

With ``remain-on-exit``, a session outlives its processes. Other panes that somebody opened in the
session later do not keep its first process alive either. Linux only, like `tui.host.procfs`.
"""

from __future__ import annotations

import os

from tui.host import procfs
from tui.host.tmux_types import DeadPane, Session

# A pane that began this many seconds after its session, or later, is not the session's first
# one. The first one begins at once, but tmux reports whole seconds.
_LATER = 5.0


def is_certain(pane: DeadPane) -> bool:
    """Returns whether tmux itself knows that the process of a dead pane has ended."""
    return pane.status is not None or bool(pane.signal)


def ended_pane(session: Session, server: int) -> DeadPane | None:
    """Returns the dead pane of a session's first process; None if this process may run.

    Args:
        session: The session. Its pids belong to this PID namespace.
        server: The pid of its tmux server.
    """
    # A server numbers its panes in the order in which they were created.
    first = min(session.dead, key=lambda pane: _number(pane.pane), default=None)
    if first is None or first.pane != min(session.panes, key=_number):
        return None
    if not all(is_certain(pane) or _is_gone(pane.pid, server) for pane in session.dead):
        return None
    # The dead pane may have been moved here from another session.
    began = map(_began, session.pids)
    later = all(time is not None and time > session.created + _LATER for time in began)
    return first if later else None


def _number(pane: str) -> int:
    digits = pane[1:]
    return int(digits) if digits.isdecimal() else 0


def _began(pid: int) -> float | None:
    stat = procfs.stat_of(pid)
    return None if stat is None else procfs.begun_at(stat)


def _is_gone(pid: int, server: int) -> bool:
    """Returns whether the process of a pane has certainly ended."""
    stat = procfs.stat_of(pid)
    if stat is not None:
        # tmux sometimes does not reap a process, so it does not report a status.
        return stat.is_ended and stat.parent == server
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # The process may be hidden here.
        return False
    return False
