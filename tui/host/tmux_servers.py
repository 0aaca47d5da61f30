"""Whether sessions that one tmux server does not have are on another one.

A clean "no server runs at this socket" is true of every wrong socket. So before an
agent is called dead, the other tmux servers of its user are looked for in /proc, and
asked: one that has its session, or that cannot be asked, keeps it from being proven
dead. Linux only, as `tui.host.process_tree` is.

A server of another user is never asked: it could have its client write files. Whatever a
process of another user is called, or says of itself, leads to *unknown* at most.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.text import command_line, shown_name
from tui.host import process_tree, procfs
from tui.host.procfs import INIT, Stat
from tui.host.tmux import Tmux
from tui.host.tmux_advice import OTHER_SOCKET, as_user, socket_option, user_name
from tui.host.tmux_types import SERVER_NAME, Session, TmuxSnapshot, TmuxState

_ASK_TIMEOUT = 2.0
_ALL_TIMEOUT = 4.0

# Seconds in which a server that has just started listens.
_STARTING = 0.05

# PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h: the host's own PID namespace.
_INITIAL_NAMESPACE = 0xEFFFFFFC

IN_CONTAINER = (
    "muster runs in a container (a PID namespace of its own), and agents outside of it "
    "cannot be seen: run it on the host, or try -S SOCKET"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A tmux server that runs on this host.

    Attributes:
        socket: Where it listens; None when we may not know, and for one of another user.
        command: What its process is called.
        sure: Whether it is one even if it does not answer.
    """

    pid: int
    uid: int
    socket: Path | None
    command: str = SERVER_NAME
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What other tmux servers say of sessions that are missing from one.

    Attributes:
        whys: By the session's name why it is not proven gone, and what to try.
        sessions: All sessions of those that could be asked, with their servers' sockets.
    """

    whys: Mapping[str, str] = field(default_factory=dict)
    sessions: tuple[tuple[Path, Session], ...] = ()


def owners_of(paths: Iterable[Path]) -> frozenset[int] | None:
    """Whose tmux servers may have the agents of these files: the owners', and ours.

    Returns:
        The users' numbers; None for everybody: root's orchestrators may run as anybody.
    """
    if os.getuid() == 0:
        return None
    found = {os.getuid()}
    for path in paths:
        with suppress(OSError):
            found.add(os.stat(path).st_uid)
    return frozenset(found)


def servers_of(owners: Collection[int] | None) -> Iterator[Server]:
    """All tmux servers of some users that have a process running in a pane.

    First those that surely are, then those that only may be.

    Args:
        owners: The users, by their numbers; None for all.
    """
    stats = procfs.all_stats()
    proven = {each.parent for each in stats.values() if _proves_server_of_pane(each)}
    # Without a process in a pane it has no agent that could be alive.
    parents = {each.parent for each in stats.values()}
    parents = {pid for pid in parents if pid in stats and not stats[pid].is_ended}
    named = {pid for pid in parents if _is_named_so(stats[pid].name)}
    guessed: list[Server] = []
    for pid in sorted(parents & (proven | named)):
        users = procfs.users_of(pid)
        if users is None:
            continue
        uid = users.real
        if owners is not None and uid not in owners:
            continue
        command = stats[pid].name
        socket = procfs.listening_path(pid) if uid == os.getuid() else None
        if pid in proven or process_tree.is_named_server(stats[pid]):
            yield Server(pid, uid, socket, command)
        elif socket is not None or uid != os.getuid() or not procfs.may_see_files(pid):
            guessed.append(Server(pid, uid, socket, command, command.startswith("tmux")))
    yield from (each for each in guessed if each.socket is not None or each.sure)


def _proves_server_of_pane(stat: Stat) -> bool:
    """Whether a process proves that its parent is a tmux server with a pane that it runs in."""
    # Most need not be asked: what leads no terminal is no pane's first process.
    if not stat.leads_terminal or stat.parent == INIT:
        return False
    said = procfs.pane_said_by(stat.pid)
    return said is not None and bool(said.pane) and process_tree.proves_server(stat, said)


def _is_named_so(command: str) -> bool:
    """Whether a tmux server may have this name.

    It calls itself "PROGRAM: server (SOCKET)", of which the kernel keeps so much as fits:
    "tmux: server", "mux: server", "tmux-next:", "tmux-3.4-static".
    """
    cut = len(os.fsencode(command)) == procfs.NAME_AT_MOST and command.startswith("tmux")
    return cut or command.endswith((": server", ":"))


def look_elsewhere(
    names: Collection[str], answer: TmuxSnapshot, owners: Collection[int] | None
) -> Elsewhere:
    """Which of the sessions that are missing from an answer may be on another server.

    Blocks, at most for a few seconds. A server that has ended meanwhile counts for none.

    Args:
        names: The sessions that are missing.
        answer: What the server that was asked said.
        owners: Whose servers count, by the users' numbers; None for everybody's.
    """
    found: dict[str, str] = {}
    sessions: list[tuple[Path, Session]] = []
    give_up_at = time.monotonic() + _ALL_TIMEOUT
    for server in servers_of(owners):
        if not names or server.pid in (answer.server_process, answer.listener):
            continue
        if server.socket is None and server.uid == os.getuid():
            server = _looked_at_again(server)
        if server.socket is None and not _still_runs(server):
            continue
        if server.socket is None:
            why = (
                f"a tmux server of {user_name(server.uid)} runs, {server.pid}, and may have its "
                f"session: ask as that user, with {as_user(server.uid)}"
            )
            found |= {name: why for name in names if name not in found}
            continue
        timeout = min(_ASK_TIMEOUT, give_up_at - time.monotonic())
        # With no time left nobody can tell either.
        there = Tmux(server.socket, timeout).ask() if timeout > 0 else None
        if there is not None and server.pid in (there.server_process, there.listener):
            why = f"another tmux server has its session: try {socket_option(server.socket)}"
            found |= {name: why for name in names if name in there.sessions}
            sessions += ((server.socket, each) for each in there.sessions.values())
        elif server.sure and _still_runs(server):
            found |= {name: _unasked(server, there) for name in names if name not in found}
    if answer.state is TmuxState.NO_SERVER and not sees_the_host():
        # That no server is seen is no news where most of them cannot be.
        found |= {name: IN_CONTAINER for name in names if name not in found}
    return Elsewhere(found, tuple(sessions))


def described_server(pid: int) -> str:
    """A tmux server in words: where it listens, and how many sessions it has. Blocks.

    Of one of another user only that it is there.
    """
    users = procfs.users_of(pid)
    ours = users is not None and users.real == os.getuid()
    socket = procfs.listening_path(pid) if ours else None
    if socket is None:
        return f"the tmux server {pid}"
    there = Tmux(socket, _ASK_TIMEOUT).ask()
    count = len(there.sessions)
    said = f"the tmux server {pid} on {shown_name(socket)}"
    sessions = f"{count} session{'' if count == 1 else 's'}"
    known = pid in (there.server_process, there.listener)
    return f"{said} ({sessions})" if known else said


def sees_the_host() -> bool:
    """Whether all processes of this host can be seen: not from within a container."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_NAMESPACE
    except OSError:
        return False


def _looked_at_again(server: Server) -> Server:
    """A server of ours without a socket: it was just starting, or ending."""
    time.sleep(_STARTING)
    return replace(server, socket=procfs.listening_path(server.pid))


def _unasked(server: Server, answer: TmuxSnapshot | None) -> str:
    """Why a server cannot be asked, and what to do about it."""
    if answer is not None and answer.state is not TmuxState.UNKNOWN:
        lost = f"{shown_name(server.socket)} does not lead to it"
        if not procfs.numbers_are_ours():
            return (
                f"a tmux server outside of this container (PID namespace) runs but {lost}: "
                "run muster out there"
            )
        makes = command_line("kill", "-USR1", str(server.pid))
        return f"tmux server {server.pid} runs but {lost}: {makes} makes its socket again"
    why = "there was no time to ask it" if answer is None else answer.detail
    hint = OTHER_SOCKET
    if server.socket is not None:
        hint = f"try {socket_option(server.socket)}"
    return f"another tmux server, {server.pid}, cannot be asked ({why}): {hint}"


def _still_runs(server: Server) -> bool:
    stat = procfs.stat_of(server.pid)
    return stat is not None and stat.name == server.command and not stat.is_ended
