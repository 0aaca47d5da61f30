"""The features by which the processes of a tmux session are recognized."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from pathlib import Path

from registry.dataclass import dataclass
from tui.host.process.claims import Claim
from tui.host.tmux_types import DeadPane, Session, TmuxSnapshot

Identity = tuple[int, int]
"""The pid and the start time of a process, which together identify the process."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The features by which a process of a session is recognized.

    Attributes:
        pids: The pids of the panes' first processes.
        panes: The ids of the panes; None for all present and former panes of the server.
        socket: The socket of the tmux server, as in ``$TMUX``.
        server_pid: The pid of the tmux server; None for any server of this socket.
        claim: The conditions for each process, if the features come from a log. None if the
            features come from tmux.
        server_began: When the server's process started, in clock ticks since the boot. None if the
            process with the server's pid is not certainly this server.
        session: The id of the session, for example ``$3``; None if only the panes are known.
        dead: The dead panes; see `DeadPane`.
        shared: The pids in `pids` that tmux also listed for another session.
        is_listed: Whether tmux listed the session together with all other sessions of the server.
            If so, all panes of the server that are not in `panes` belong to other sessions.
        spared: The processes of other agents that run without a session. A kill of this session
            does not end them, although the session may have started them.
    """

    pids: tuple[int, ...]
    panes: tuple[str, ...] | None
    socket: Path
    server_pid: int | None
    claim: Claim | None = None
    server_began: int | None = None
    session: str | None = None
    dead: tuple[DeadPane, ...] = ()
    shared: frozenset[int] = frozenset()
    is_listed: bool = False
    spared: frozenset[Identity] = frozenset()


def origin_of(session: Session, answer: TmuxSnapshot) -> Origin:
    """Returns the features of a session that tmux listed."""
    if answer.foreign_pids:
        # In muster's PID namespace, the pids in the session mean other processes.
        return Origin((), (), answer.socket, None)
    others = (other.pids for other in answer.sessions.values() if other.id != session.id)
    return Origin(
        session.pids,
        session.panes,
        answer.socket,
        answer.server_pid,
        server_began=answer.server_began,
        session=session.id,
        dead=session.dead,
        shared=frozenset(session.pids).intersection(itertools.chain.from_iterable(others)),
        is_listed=True,
    )


def sparing(spared: Collection[Identity]) -> Origin:
    """Returns features that no process has, with processes to spare; see `Origin.spared`."""
    return Origin((), (), Path(), None, spared=frozenset(spared))


def owner_of(path: Path) -> int | None:
    """Returns the user id of a file's owner; None if the file cannot be examined."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None
