"""Looks for missing sessions on the other tmux servers of this host.

If tmux answers "no server", the user may have named the wrong socket. So before an agent is called
dead, muster looks in /proc for other tmux servers of muster's user, and queries these servers. If
such a server has the agent's session, or cannot be queried, the agent is not called dead. Linux
only, like `tui.host.process.process_tree`.

muster never queries a server of another user, because a server can make its client write files.
Processes of other users can only make a verdict *unknown*; see `tui.host.server_proof`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from pathlib import Path

from registry.dataclass import dataclass, replace
from registry.schema import spellings
from registry.storage import Writers, writers_of
from registry.text import shown_name
from tui.host.process import descriptors, pane_environment, procfs
from tui.host.process.procfs import INIT, Stat
from tui.host.process.server_processes import is_named_server, is_of_same_user, proves_server
from tui.host.server_obstacles import said_to_have_none, why_unasked, why_unseen
from tui.host.server_proof import doubt_about, is_named_so
from tui.host.server_token import token_of
from tui.host.tmux import Tmux
from tui.host.tmux_advice import socket_option
from tui.host.tmux_types import (
    CONSIDER_ALL,
    SERVER_NAME,
    Elsewhere,
    Session,
    SetAside,
    TmuxSnapshot,
    TmuxState,
)

_ASK_TIMEOUT = 2.0
_ALL_TIMEOUT = 4.0

# A server begins to listen within this many seconds after its start.
_STARTING = 0.05

IN_CONTAINER = (
    "muster runs in a container (with its own PID namespace), and cannot see agents outside; "
    "run muster on the host, or try -S SOCKET"
)


HIDDEN = (
    "/proc hides the processes of other users (hidepid), and {} may run this agent; run muster as "
    "root. If you know that the agent has ended, complete this agent alone"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A running tmux server of this host.

    Attributes:
        pid: The process id of the server.
        uid: The user id of the server's process.
        socket: The path at which the server listens. None for a server of another user, or if
            muster is not allowed to read the path.
        command: The name of the server's process.
        sure: Whether the process counts as a tmux server even if the process does not answer.
    """

    pid: int
    uid: int
    socket: Path | None
    command: str = SERVER_NAME
    sure: bool = True


def owners_of(
    registries: Iterable[Path], workspaces: Iterable[Path] = ()
) -> Container[int] | None:
    """Returns the users whose tmux servers may run the agents of registries.

    These are root, muster's user, and all users who may write at least one of the registries.

    Args:
        registries: The files of the registries.
        workspaces: Directories in which users may create further registries.

    Returns:
        The users' ids. None for all users, if muster runs as root: an orchestrator of root may run
        its agents as any user.
    """
    return None if os.getuid() == 0 else writers_of(registries, workspaces)


def servers_of(owners: Container[int] | None) -> Iterator[Server]:
    """Yields the tmux servers of users. Servers without a child process are left out.

    The processes that are certainly servers come before the processes that may be servers.

    Args:
        owners: The user ids; None for all users.
    """
    stats = procfs.all_stats()
    proven = {stat.parent for stat in stats.values() if _proves_server_of_pane(stat, stats)}
    # A server without a process in a pane has no live agent.
    parents = {stat.parent for stat in stats.values()}
    parents = {pid for pid in parents if pid in stats and not stats[pid].is_ended}
    named = {pid for pid in parents if is_named_so(stats[pid].name)}
    guessed: list[Server] = []
    for pid in sorted(parents & (proven | named)):
        users = procfs.users_of(pid)
        if users is None:
            continue
        uid = users.real
        if owners is not None and uid not in owners:
            continue
        command = stats[pid].name
        socket = descriptors.listening_path(pid) if uid == os.getuid() else None
        if pid in proven or is_named_server(stats[pid]):
            yield Server(pid, uid, socket, command)
        elif socket is not None or uid != os.getuid() or not descriptors.may_see_files(pid):
            guessed.append(Server(pid, uid, socket, command, command.startswith("tmux")))
    yield from (server for server in guessed if server.socket is not None or server.sure)


def _proves_server_of_pane(stat: Stat, stats: Mapping[int, Stat]) -> bool:
    """Returns whether a process runs in a pane, and so proves that its parent is a tmux server.

    The process must run as the user of its parent. Otherwise any user's process could make muster
    connect to any program.
    """
    parent = stats.get(stat.parent)
    # This check is cheap: a pane's first process leads a session with a terminal.
    if parent is None or not stat.leads_terminal or stat.parent == INIT:
        return False
    environment = pane_environment.pane_said_by(stat.pid)
    if environment is None or not environment.pane:
        return False
    proves = proves_server(stat, environment, parent)
    return proves and is_of_same_user(procfs.users_of(stat.pid), procfs.users_of(parent.pid))


def look_elsewhere(
    names: Collection[str],
    answer: TmuxSnapshot,
    owners: Container[int] | None,
    set_aside: SetAside = CONSIDER_ALL,
) -> Elsewhere:
    """Looks for missing sessions on the other tmux servers.

    Blocks for at most a few seconds. A server that ends during the search is ignored.

    Args:
        names: The names of the missing sessions in the registries.
        answer: The snapshot of the server that was queried.
        owners: The ids of the users whose servers are considered; None for all users.
        set_aside: The servers that are ignored if muster cannot query them.
    """
    if set_aside.all:
        return Elsewhere()
    passed: set[str] = set()
    whys: dict[str, str] = {}
    unasked: set[str] = set()
    sessions: list[tuple[Path, Session]] = []
    give_up_at = time.monotonic() + _ALL_TIMEOUT
    # Servers in `set_aside` come last: a server that hangs uses up the time for the next servers.
    servers = sorted(servers_of(owners), key=lambda server: _is_in(set_aside, server))
    for server in servers:
        if not names or server.pid in (answer.server_process, answer.listener):
            continue
        if server.socket is None and server.uid == os.getuid():
            server = _looked_at_again(server)
        if server.socket is None and not _still_runs(server):
            continue
        if server.socket is None:
            if (token := token_of(server.pid)) in set_aside.tokens:
                passed.add(token)
                continue
            why = why_unseen(server.pid, server.uid) + said_to_have_none(token)
            if server.uid != os.getuid():
                unasked |= {name for name in names if name not in whys}
            whys |= {name: why for name in names if name not in whys}
            continue
        timeout = min(_ASK_TIMEOUT, give_up_at - time.monotonic())
        doubt = doubt_about(server.pid, server.socket)
        # If no time is left, the server is not queried.
        queried = doubt is None and timeout > 0
        other = Tmux(server.socket, timeout).ask() if queried else None
        if other is not None and server.pid in (other.server_process, other.listener):
            why = (
                f"another tmux server has the agent's session; try {socket_option(server.socket)}"
            )
            on_other = {name for name in names if not spellings(name).isdisjoint(other.sessions)}
            whys |= dict.fromkeys(on_other, why)
            unasked -= on_other
            sessions += ((server.socket, session) for session in other.sessions.values())
        elif server.sure and _still_runs(server):
            if (token := token_of(server.pid)) in set_aside.tokens:
                passed.add(token)
                continue
            why = why_unasked(server.pid, server.socket, other, doubt) + said_to_have_none(token)
            whys |= {name: why for name in names if name not in whys}
    who = owners.outsider() if isinstance(owners, Writers) else None
    if procfs.hides_processes() and (who is not None or owners is None):
        hidden = {name for name in names if name not in whys}
        unasked |= hidden
        whys |= dict.fromkeys(hidden, HIDDEN.format(who or "another user"))
    if not procfs.sees_the_host() and (who is not None or answer.state is TmuxState.NO_SERVER):
        # In a container, a server that is not visible may still run on the host.
        whys |= {name: IN_CONTAINER for name in names if name not in whys}
    return Elsewhere(whys, tuple(sessions), frozenset(unasked), frozenset(passed))


def described_server(pid: int) -> str:
    """Describes a tmux server by its pid, socket and number of sessions. Blocks.

    The text has only the pid if the server belongs to another user, or is not certainly a tmux
    server.
    """
    socket, snapshot = _queried(pid)
    text = f"the tmux server {pid}"
    if socket is not None:
        text += f" on {shown_name(socket)}"
    if snapshot is None:
        return text
    count = len(snapshot.sessions)
    return f"{text} ({count} session{'' if count == 1 else 's'})"


def panes_of(pid: int) -> frozenset[str] | None:
    """Returns the ids of the panes of a tmux server. Blocks.

    Sessions in which no process runs are left out.

    Returns:
        The ids; None if the server cannot be queried.
    """
    _, snapshot = _queried(pid)
    if snapshot is None:
        return None
    alive = (session for session in snapshot.sessions.values() if session.pids)
    return frozenset(pane for session in alive for pane in session.panes)


def _queried(pid: int) -> tuple[Path | None, TmuxSnapshot | None]:
    """Queries a tmux server of muster's user.

    Returns:
        The path of the server's socket, and the snapshot. Both are None if the process belongs to
        another user, or may not be a tmux server. Only the snapshot is None if the server did not
        answer.
    """
    users = procfs.users_of(pid)
    ours = users is not None and users.real == os.getuid()
    socket = descriptors.listening_path(pid) if ours else None
    if socket is None or doubt_about(pid, socket) is not None:
        return None, None
    snapshot = Tmux(socket, _ASK_TIMEOUT).ask()
    known = pid in (snapshot.server_process, snapshot.listener)
    return socket, snapshot if known else None


def _is_in(set_aside: SetAside, server: Server) -> bool:
    return bool(set_aside.tokens) and token_of(server.pid) in set_aside.tokens


def _looked_at_again(server: Server) -> Server:
    """Reads the socket of a server again, after a pause: a new server may not listen at once."""
    time.sleep(_STARTING)
    return replace(server, socket=descriptors.listening_path(server.pid))


def _still_runs(server: Server) -> bool:
    stat = procfs.stat_of(server.pid)
    return stat is not None and stat.name == server.command and not stat.is_ended
