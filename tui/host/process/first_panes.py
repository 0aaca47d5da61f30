"""Finds sessions in which the process of the first pane has ended. Usually this is the agent.

With ``remain-on-exit``, tmux keeps a pane after the process of the pane has ended. Such a pane is
called dead. Without this option, the session remains if a user opened other panes in the session.
Linux only, like `tui.host.process.procfs`.
"""

from __future__ import annotations

import os

from tui.host.process import procfs
from tui.host.tmux_types import DeadPane, Session

# If the start times of a server from tmux and from /proc differ by more than this many seconds,
# the clock was set.
_SAME = 2.0

# A pane that began more than this many seconds after its session was created is not the first
# pane. tmux reports the creation of a session in whole seconds.
_LATER = 5.0


def is_certain(pane: DeadPane) -> bool:
    """Returns whether tmux reports how the process of a dead pane ended.

    If tmux does not report this, it is only certain that the terminal of the pane was closed.
    """
    return pane.status is not None or bool(pane.signal)


def ended_pane(session: Session, server: int) -> DeadPane | None:
    """Returns the first pane of a session if the process of this pane has certainly ended.

    Args:
        session: The session, with pids of muster's PID namespace.
        server: The pid of the session's tmux server.

    Returns:
        The pane. None if the process of the first pane may still run, or if another pane is not
        dead and may be as old as the session.
    """
    # A server numbers its panes in the order of their creation.
    first = min(session.dead, key=lambda pane: _number(pane.pane), default=None)
    if first is None or first.pane != min(session.panes, key=_number):
        return None
    if not all(is_certain(pane) or _is_gone(pane.pid, server) for pane in session.dead):
        return None
    # If another pane began with the session, the dead pane may come from another session.
    began = map(_began, session.pids)
    later = all(time is not None and time > session.created + _LATER for time in began)
    return first if later else None


def later_start(session: Session) -> float | None:
    """Returns when the oldest process of the panes started, if this was after the session began.

    In this case, the first pane is gone, or the process of the first pane was started again.

    Args:
        session: The session, with pids of muster's PID namespace.

    Returns:
        The time in seconds since the epoch. None if a process of a pane may be as old as the
        session.
    """
    began = [_began(pid) for pid in session.pids]
    known = [time for time in began if time is not None]
    if session.dead or not known or len(known) < len(began):
        return None
    oldest = min(known)
    return oldest if oldest > session.created + _LATER else None


def is_clock_unset(server: int, started: int) -> bool:
    """Returns whether the system clock was never set after a tmux server started.

    If the clock was set, the times of sessions cannot be compared with the times of processes.

    Args:
        server: The pid of the server.
        started: The start time that the server reports, in seconds since the epoch.
    """
    began = _began(server)
    return began is not None and abs(began - started) <= _SAME


def _number(pane: str) -> int:
    digits = pane[1:]
    return int(digits) if digits.isdecimal() else 0


def _began(pid: int) -> float | None:
    stat = procfs.stat_of(pid)
    return None if stat is None else procfs.begun_at(stat)


def _is_gone(pid: int, server: int) -> bool:
    """Returns whether the first process of a pane has certainly ended."""
    stat = procfs.stat_of(pid)
    if stat is not None:
        # Sometimes tmux does not reap a process, and so reports no status.
        return stat.is_ended and stat.parent == server
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # The process runs, but /proc hides it.
        return False
    return False
