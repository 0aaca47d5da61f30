"""Decides which processes belong to a tmux session, and which are tmux servers.

This is the only such rule: kills, their plans, `show` and the columns of the roll use it.
A process is identified by its pid *and* its start time. Linux only: /proc.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from registry.text import shown_name
from tui.host import procfs
from tui.host.claims import ROOT, Claim, Facts, believed
from tui.host.pane_origin import is_of_another_pane
from tui.host.procfs import INIT, PaneEnvironment, Stat, Users
from tui.host.tmux_types import SERVER_NAME, Session, TmuxSnapshot

_NAMED = 3
"""The number of processes that one message names; more are only counted."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment.

    Attributes:
        pid: Its process id.
        started: Its start time in clock ticks since the boot; with the pid it is an identity.
        name: The name of its program.
        memory: Its resident memory in bytes.
        users: It may be signalled only while it runs as one of these users, given by their
            ids. None allows any user.
    """

    pid: int
    started: int
    name: str
    memory: int
    users: frozenset[int] | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """The pid and the start time; differs from a later process with the same pid."""
        return self.pid, self.started


def processes_with_argument(argument: str) -> tuple[Process, ...]:
    """Returns this user's processes that were started with exactly this argument.

    This process and its ancestors are left out. Other users' processes are left out too,
    because another user can start a process with any argument.
    """
    if not procfs.numbers_are_ours():
        return ()
    stats = procfs.all_stats()
    own = line_of(os.getpid(), stats)
    pids = []
    for pid in stats.keys() - own:
        users = procfs.users_of(pid)
        # The argument of another user's process proves nothing.
        if users is None or users.real != os.getuid():
            continue
        try:
            if os.fsencode(argument) in procfs.arguments(pid)[1:]:
                pids.append(pid)
        except OSError:
            continue
    return _described(pids, stats)


@dataclass(frozen=True, slots=True)
class Origin:
    """The features by which a process of a session is recognized.

    Attributes:
        pids: The first processes of the panes.
        panes: The ids of the panes; None for all present and former panes.
        socket: The socket of the tmux server, as in ``$TMUX``.
        server_pid: The pid of the tmux server; None for any server of this socket.
        claim: The conditions for each process if these features come from a log; None if
            they come from tmux.
    """

    pids: tuple[int, ...]
    panes: tuple[str, ...] | None
    socket: Path
    server_pid: int | None
    claim: Claim | None = None


def origin_of(session: Session, answer: TmuxSnapshot) -> Origin:
    """Returns the origin of a session that tmux listed."""
    return Origin(session.pids, session.panes, answer.socket, answer.server_pid)


@dataclass(frozen=True, slots=True)
class Held:
    """The processes of a session, and what else was found.

    Attributes:
        processes: All processes that belong to the session.
        servers: The pids of tmux servers that were started in the session. These servers
            and their panes do not belong to it.
        doubts: Messages on processes that name the session but do not prove the claim.
    """

    processes: tuple[Process, ...]
    servers: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()


def session_processes(origin: Origin) -> tuple[Process, ...]:
    """Returns all processes that belong to a session; see `processes_of`."""
    return processes_of({None: origin})[None].processes


def processes_of(origins: Mapping[Key, Origin]) -> dict[Key, Held]:
    """Returns all processes that belong to each session, with one scan of all processes.

    These processes belong to a session that tmux listed:

    - the first processes of its panes, their process sessions and their descendants
    - every process whose environment names one of the panes and this server, because
      processes keep ``TMUX_PANE`` after setsid, nohup or a double fork

    Of a session from a log (`Origin.claim`) only the second kind belongs to it, and only
    processes that prove the claim; see `tui.host.claims.believed`.

    These never belong to a session: this process, its ancestors, init, tmux servers, and
    processes in panes of another tmux server.

    Args:
        origins: The sessions by any key.

    Raises:
        OSError: The processes cannot be listed.
    """
    now = look()
    held = {}
    for key, origin in origins.items():
        if origin.claim is None:
            pids = now.belonging(origin)
            held[key] = Held(now.described(pids), now.servers_from(pids, origin))
        else:
            pids, doubts = now.proven(origin, origin.claim)
            left = now.described(pids, origin.claim.users)
            servers = now.servers_from(pids, origin)
            held[key] = Held(left, servers, tuple(_doubted(doubts, now)))
    return held


def _doubted(doubts: Mapping[int, str], now: Look) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for pid, why in sorted(doubts.items()):
        for process in now.described({pid}):
            by_reason.setdefault(why, []).append(f"{shown_name(process.name)} ({pid})")
    for why, names in by_reason.items():
        more = len(names) - _NAMED
        yield ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "") + f", {why}"


def families(groups: Mapping[Key, Collection[int]]) -> dict[Key, frozenset[int]]:
    """Returns the processes of each group and their descendants, with one scan."""
    stats = procfs.all_stats()
    children = _children(stats)
    return {
        key: frozenset(_with_descendants({pid for pid in pids if pid in stats}, children))
        for key, pids in groups.items()
    }


def begun(pid: int) -> float | None:
    """Returns a process's start time, seconds since the epoch; None if it is not visible."""
    stat = procfs.stat_of(pid)
    return None if stat is None else procfs.begun_at(stat)


def owner_of(path: Path) -> int | None:
    """Returns the user id of a file's owner; None if it cannot be read."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def holds_us(pane_pids: Collection[int]) -> bool:
    """Returns whether this process runs in one of the panes."""
    stats: dict[int, Stat] = {}
    pid = os.getpid()
    while pid not in stats and (stat := procfs.stat_of(pid)) is not None:
        stats[pid] = stat
        pid = stat.parent
    return not line_of(os.getpid(), stats).isdisjoint(pane_pids)


def proves_server(stat: Stat, environment: PaneEnvironment | None) -> bool:
    """Returns whether a process proves that its parent is a tmux server.

    A tmux server is the parent of its panes, whatever its program is called. Init is excluded,
    because it becomes the parent of every process whose parent has ended.
    """
    return environment is not None and environment.server_pid == stat.parent != INIT


def is_named_server(stat: Stat) -> bool:
    """Returns whether a process runs and has the name of a tmux server."""
    return stat.name == SERVER_NAME and not stat.is_ended


@dataclass(frozen=True, slots=True)
class Look:
    """All processes at one moment.

    Attributes:
        stats: The data of every process, by pid.
        panes: The pane that each process's environment names, if it names one.
        servers: The pids of the tmux servers.
        runs_on: The tmux server of each process that runs in a pane.
        ourselves: This process and its ancestors.
        users_of: Returns a process's real, effective and saved user; None if it is not
            visible. It is called only when needed.
        children: The children of each process.
        led: The members of each process session.
        saying: The processes that name a server and pane in their environment.
    """

    stats: Mapping[int, Stat]
    panes: Mapping[int, PaneEnvironment]
    servers: frozenset[int]
    runs_on: Mapping[int, int]
    ourselves: frozenset[int]
    users_of: Callable[[int], Users | None]
    children: Mapping[int, Sequence[int]]
    led: Mapping[int, Sequence[int]]
    saying: Mapping[tuple[int, str], Sequence[int]]

    def runs(self, process: Process) -> bool:
        """Returns whether a process still runs, and is not a later one with the same pid."""
        stat = self.stats.get(process.pid)
        return stat is not None and stat.identity == process.identity and not stat.is_ended

    def belonging(self, origin: Origin) -> set[int]:
        """Returns all processes of a session that tmux listed, including ended ones."""
        return self.came_from(self._roots(origin), [origin])

    def _roots(self, origin: Origin) -> set[int]:
        """Returns the first processes of the panes that still exist."""
        return {pid for pid in origin.pids if self._is_root(pid, origin)}

    def _is_root(self, pid: int, origin: Origin) -> bool:
        server = origin.server_pid
        if pid not in self.stats or server is None:
            return pid in self.stats
        # A pane's process is a child of the server. Any other pid was reused, or belongs to
        # another PID namespace.
        if self.stats[pid].parent != server:
            return False
        panes = origin.panes
        return panes is None or not is_of_another_pane(self.panes.get(pid), server, panes)

    def _believed(self, origin: Origin, known: Collection[int] = ()) -> set[int]:
        """Returns the processes of `said_to_be_of` that run as the server's user or as root.

        The environment of another user's process proves nothing.

        Args:
            origin: The session.
            known: Processes that are left out, because they need no proof.
        """
        named_by = self.said_to_be_of(origin).difference(known)
        if not named_by:
            return named_by
        server = origin.server_pid
        users = self.users_of(server) if server is not None and server in self.servers else None
        if users is not None:
            trusted = {ROOT, *users}
        else:
            owner = owner_of(origin.socket)
            trusted = {ROOT, os.getuid(), os.getuid() if owner is None else owner}
        return {
            pid
            for pid in named_by
            if (own := self.users_of(pid)) is not None and trusted.issuperset(own)
        }

    def came_from(self, roots: set[int], origins: Collection[Origin]) -> set[int]:
        """Returns some processes, and all that come from them or from the panes of sessions.

        These are left out:

        - init, this process and its ancestors
        - the servers of the sessions, and tmux servers that are not among the roots
        - processes on a tmux server that has none of the sessions
        - processes that come only from processes that are left out

        Args:
            roots: The pids to start from.
            origins: The sessions.
        """
        servers = {origin.server_pid for origin in origins if origin.server_pid is not None}
        with_server = [origin for origin in origins if origin.server_pid is not None]
        without_server = [origin for origin in origins if origin.server_pid is None]
        believed_pids = set[int]().union(*map(self._believed, without_server))
        own = servers | roots | {self.runs_on.get(pid) for pid in roots}
        # A session without a server's pid is recognized by the socket alone.
        own |= {self.panes[pid].server_pid for pid in believed_pids}

        def is_spared(pid: int) -> bool:
            if pid <= INIT or pid in self.ourselves or pid in servers:
                return True
            # A server is ended only if it is itself a root.
            if pid in self.servers and pid not in roots:
                return True
            server = self.runs_on.get(pid)
            return server is not None and server not in own

        # A process that init adopted and that cleared its environment keeps its process session.
        led = {pid for root in roots for pid in self.led.get(root, ())}
        pids = _with_descendants(roots | led | believed_pids, self.children, is_spared)
        for origin in with_server:
            more = self._believed(origin, pids)
            pids |= _with_descendants(more, self.children, is_spared)
        return pids

    def said_to_be_of(self, origin: Origin) -> set[int]:
        """Returns the processes whose environment names a session's panes."""
        if origin.server_pid is None or origin.panes is None:
            candidates: Iterable[int] = self.panes
        else:
            keys = ((origin.server_pid, pane) for pane in origin.panes)
            candidates = (pid for key in keys for pid in self.saying.get(key, ()))
        return {pid for pid in candidates if _is_of(self.panes[pid], origin)}

    def proven(self, origin: Origin, claim: Claim) -> tuple[set[int], dict[int, str]]:
        """Returns the processes that prove a claim, and the reason for each other process."""
        spared = self.ourselves | {0, INIT} | self.servers
        facts = {}
        for pid in self.said_to_be_of(origin) - spared:
            users = self.users_of(pid)
            if users is not None and self.runs_on.get(pid) in (None, origin.server_pid):
                stat = self.stats[pid]
                facts[pid] = Facts(stat.parent, frozenset(users), procfs.begun_at(stat))
        return believed(claim, facts)

    def servers_from(self, pids: Collection[int], origin: Origin) -> tuple[int, ...]:
        """Returns the tmux servers that a session started.

        Args:
            pids: The processes of the session.
            origin: The session.
        """
        named_by = self._believed(origin)
        started = {p for p in self.servers if p in named_by or self.stats[p].parent in pids}
        return tuple(sorted(started - {origin.server_pid} - set(pids)))

    def described(
        self, pids: Iterable[int], users: frozenset[int] | None = None
    ) -> tuple[Process, ...]:
        """Returns the processes that had not ended, sorted by pid.

        Args:
            pids: The pids.
            users: The users for each `Process`.
        """
        return _described(pids, self.stats, users)


def _described(
    pids: Iterable[int], stats: Mapping[int, Stat], users: frozenset[int] | None = None
) -> tuple[Process, ...]:
    return tuple(
        Process(pid, stat.started, procfs.program_name(stat), stat.memory, users)
        for pid in sorted(pids)
        if not (stat := stats[pid]).is_ended
    )


def _children(stats: Mapping[int, Stat]) -> Mapping[int, Sequence[int]]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    return children


def _with_descendants(
    roots: Iterable[int],
    children: Mapping[int, Sequence[int]],
    is_spared: Callable[[int], bool] = lambda _: False,
) -> set[int]:
    pids = {pid for pid in roots if not is_spared(pid)}
    todo = list(pids)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in pids and not is_spared(child):
                pids.add(child)
                todo.append(child)
    return pids


class Looker:
    """Scans all processes repeatedly.

    It reads a process's environment once for each program that the process runs. If a process
    overwrites its environment in place, the old environment counts. Not thread-safe.
    """

    def __init__(self) -> None:
        self._environments: dict[object, PaneEnvironment | None] = {}

    def look(self) -> Look:
        """Scans all processes.

        Raises:
            OSError: The processes cannot be listed.
        """
        stats = procfs.all_stats()
        before, self._environments = self._environments, {}
        panes: dict[int, PaneEnvironment] = {}
        for pid, stat in stats.items():
            program = pid, stat.started, stat.name, stat.environment
            pane = before[program] if program in before else procfs.pane_said_by(pid)
            self._environments[program] = pane
            if pane is not None:
                panes[pid] = pane
        return look_at(stats, panes, functools.cache(procfs.users_of))


def look() -> Look:
    """Scans all processes.

    Raises:
        OSError: The processes cannot be listed, or /proc belongs to another PID namespace,
            whose pids mean other processes.
    """
    if not procfs.numbers_are_ours():
        raise OSError("/proc belongs to another PID namespace than muster")
    return Looker().look()


def look_at(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    users_of: Callable[[int], Users | None],
) -> Look:
    """Finds the tmux servers and the processes on them. Pure.

    Args:
        stats: The data of every process.
        panes: The pane that each process's environment names, if it names one.
        users_of: See `Look`.
    """
    servers = {pid for pid, stat in stats.items() if is_named_server(stat)}
    servers |= {
        stats[pid].parent for pid, pane in panes.items() if proves_server(stats[pid], pane)
    }
    servers &= stats.keys()
    runs_on = _servers_above(stats, servers)
    led: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        led.setdefault(stat.session, []).append(pid)
    saying: dict[tuple[int, str], list[int]] = {}
    for pid, pane in panes.items():
        saying.setdefault((pane.server_pid, pane.pane), []).append(pid)
        # A process that init adopted still names its server.
        if pid not in runs_on and pane.server_pid in servers:
            runs_on[pid] = pane.server_pid
    ourselves = frozenset(line_of(os.getpid(), stats))
    return Look(
        stats,
        panes,
        frozenset(servers),
        runs_on,
        ourselves,
        users_of,
        _children(stats),
        led,
        saying,
    )


def _servers_above(stats: Mapping[int, Stat], servers: Collection[int]) -> dict[int, int]:
    """Returns the nearest tmux server above each process that has one among its ancestors."""
    above: dict[int, int | None] = {}
    for pid in stats:
        path = []
        while pid not in above and pid in stats:
            # Mark the pid as visited: pids that were reused during the scan may form a cycle.
            above[pid] = None
            path.append(pid)
            pid = stats[pid].parent
            if pid in servers:
                break
        server = pid if pid in servers and path else above.get(pid)
        above |= dict.fromkeys(path, server)
    return {pid: server for pid, server in above.items() if server is not None}


def _is_of(environment: PaneEnvironment, origin: Origin) -> bool:
    """Returns whether an environment names a pane of a session."""
    # Pane ids are unique only within one server.
    if origin.server_pid not in (None, environment.server_pid):
        return False
    if origin.panes is not None and environment.pane not in origin.panes:
        return False
    # Two paths may lead to the same socket.
    socket = os.fspath(origin.socket)
    named = environment.socket
    return named == socket or os.path.realpath(named) == os.path.realpath(socket)


def line_of(pid: int, stats: Mapping[int, Stat]) -> set[int]:
    """Returns the pids of a process and its ancestors."""
    line = {pid}
    while (stat := stats.get(pid)) is not None and stat.parent not in line:
        pid = stat.parent
        line.add(pid)
    return line
