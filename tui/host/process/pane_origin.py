"""Finds the session in which a pane was created.

Users can move panes and windows between sessions (``join-pane``, ``swap-pane``, ``move-window``),
and tmux does not report the former session. But the environment of a pane's first process names
the session in which this process was started. Linux only, like `tui.host.process.process_tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from tui.host.process import pane_environment, procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.tmux_types import Session

# tmux reports the creation of a session in whole seconds.
_TOGETHER = 2.0


class PaneOrigin(NamedTuple):
    """The session in which a pane was created.

    Attributes:
        pane: The id of the pane, for example ``%5``.
        session: The id of the session, for example ``$3``.
    """

    pane: str
    session: str


class PaneOrigins:
    """Finds the sessions in which panes were created. Reads each pane once. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], PaneOrigin | None] = {}

    def read(self, sessions: Iterable[Session]) -> Mapping[int, PaneOrigin]:
        """Maps the pids of the panes' first processes to the origins of the panes.

        Panes whose origin cannot be read are left out.

        Args:
            sessions: All sessions of the server.
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


def moved_among(
    origins: Mapping[int, PaneOrigin], sessions: Iterable[Session]
) -> Mapping[int, PaneOrigin]:
    """Returns the origins of the panes that were moved to another session. Pure.

    Args:
        origins: The result of `PaneOrigins.read` for these sessions.
        sessions: All sessions of the server.
    """
    not_moved = {
        pid
        for session in sessions
        for pid in session.pids
        if pid in origins and origins[pid].session == session.id
    }
    return {pid: origin for pid, origin in origins.items() if pid not in not_moved}


def unknown_among(
    origins: Mapping[int, PaneOrigin],
    sessions: Iterable[Session],
    begun: Callable[[int], float | None],
) -> Mapping[int, Session]:
    """Returns the panes that may have been moved, because it is not known where they were created.

    The first pane that began together with its session was created in this session.

    Args:
        origins: The result of `PaneOrigins.read` for these sessions.
        sessions: All sessions of the server.
        begun: Returns the start time of a pane's first process, in seconds since the epoch; None
            if the time is not known.

    Returns:
        Maps the pid of each pane's first process to the session that has the pane now.
    """
    unknown: dict[int, Session] = {}
    for session in sessions:
        times = {pid: began for pid in session.pids if (began := begun(pid)) is not None}
        early = {pid for pid, began in times.items() if began <= session.created + _TOGETHER}
        # A session is created with exactly one pane.
        own = min(early, key=lambda pid: (pid not in origins, times[pid]), default=None)
        unknown |= {pid: session for pid in times if pid not in origins and pid != own}
    return unknown


def pane_origin(pid: int) -> PaneOrigin | None:
    """Returns the session in which a pane was created; None if this cannot be known.

    Args:
        pid: The first process of the pane.
    """
    environment = pane_environment.pane_said_by(pid)
    stat = procfs.stat_of(pid)
    # The parent of a pane's first process is the server. Any other value was set by hand.
    if stat is None or environment is None:
        return None
    if not environment.pane or environment.server_pid != stat.parent:
        return None
    return PaneOrigin(environment.pane, environment.session)


def is_of_another_pane(
    environment: PaneEnvironment | None, server_pid: int, panes: Collection[str]
) -> bool:
    """Returns whether a child of a tmux server is the process of a pane that is not in `panes`.

    A pid alone does not identify the first process of a pane, because the pid may have been reused
    for another pane. If the environment names no pane, or another server, the result is False: the
    process may have changed its environment.

    Args:
        environment: The environment of the child.
        server_pid: The pid of the server.
        panes: The ids of the panes.
    """
    return (
        environment is not None
        and environment.server_pid == server_pid
        and bool(environment.pane)
        and environment.pane not in panes
    )
