"""Which processes belong to a session of tmux, and which are tmux servers: the one rule.

A kill, its plan, `show` and the columns of the roll ask it here. A process is known by its
pid *and* its start time. Linux only: /proc.
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
"""Processes that are named where the same is said of more."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment.

    Attributes:
        started: In ticks since the host was booted; with the pid it names the process.
        name: The name of its program.
        memory: Resident memory in bytes.
        users: Whose it must still be when it is signalled, by the users' numbers; None for
            anybody's.
    """

    pid: int
    started: int
    name: str
    memory: int
    users: frozenset[int] | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """Tells it from a later process of the same pid."""
        return self.pid, self.started


def processes_with_argument(argument: str) -> tuple[Process, ...]:
    """This user's processes that were started with exactly this argument.

    Not this process and its ancestors; nor those of other users, who may give theirs any
    argument.
    """
    if not procfs.numbers_are_ours():
        return ()
    stats = procfs.all_stats()
    own = line_of(os.getpid(), stats)
    found = []
    for pid in stats.keys() - own:
        users = procfs.users_of(pid)
        # Of another user's process the argument proves nothing.
        if users is None or users.real != os.getuid():
            continue
        try:
            if os.fsencode(argument) in procfs.arguments(pid)[1:]:
                found.append(pid)
        except OSError:
            continue
    return _described(found, stats)


@dataclass(frozen=True, slots=True)
class Origin:
    """What tells that a process came from a session.

    Attributes:
        pids: The panes' first processes.
        panes: The panes' ids; None for all panes that there are or were.
        socket: The server's socket, as in ``$TMUX``.
        server_pid: The server's process; None for any server of this socket.
        claim: What each process must prove, if all this was read from a log; None if tmux
            said it.
    """

    pids: tuple[int, ...]
    panes: tuple[str, ...] | None
    socket: Path
    server_pid: int | None
    claim: Claim | None = None


def origin_of(session: Session, answer: TmuxSnapshot) -> Origin:
    """What tells that a process came from a session that tmux listed."""
    return Origin(session.pids, session.panes, answer.socket, answer.server_pid)


@dataclass(frozen=True, slots=True)
class Held:
    """What belongs to a session.

    Attributes:
        processes: All processes that belong to it.
        servers: The tmux servers that were started from it: they, and what runs on them,
            do not.
        doubts: Processes that say they belong to it and do not prove it, in words.
    """

    processes: tuple[Process, ...]
    servers: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()


def session_processes(origin: Origin) -> tuple[Process, ...]:
    """All processes that belong to a session; see `processes_of`."""
    return processes_of({None: origin})[None].processes


def processes_of(origins: Mapping[Key, Origin]) -> dict[Key, Held]:
    """All processes that belong to each of some sessions, with one look at all processes.

    The panes' first processes, their process sessions and descendants, and every
    process whose environment carries one of the panes' ``TMUX_PANE`` of this server:
    those that did setsid, nohup or a double fork still have it. Never this process,
    its ancestors, init, any tmux server, or what runs on another tmux server.

    Of a session that is known from a log (`Origin.claim`) only the latter are, and only
    those that prove it: see `tui.host.claims.believed`.

    Args:
        origins: The sessions, by whatever tells them apart.

    Raises:
        OSError: The processes cannot be listed.
    """
    now = look()
    held = {}
    for key, origin in origins.items():
        if origin.claim is None:
            found = now.belonging(origin)
            held[key] = Held(now.described(found), now.servers_from(found, origin))
        else:
            found, doubts = now.proven(origin, origin.claim)
            left = now.described(found, origin.claim.users)
            servers = now.servers_from(found, origin)
            held[key] = Held(left, servers, tuple(_doubted(doubts, now)))
    return held


def _doubted(doubts: Mapping[int, str], now: Look) -> Iterable[str]:
    names: dict[str, list[str]] = {}
    for pid, why in sorted(doubts.items()):
        for process in now.described({pid}):
            names.setdefault(why, []).append(f"{shown_name(process.name)} ({pid})")
    for why, each in names.items():
        more = len(each) - _NAMED
        yield ", ".join(each[:_NAMED]) + (f" and {more} more" if more > 0 else "") + f", {why}"


def families(groups: Mapping[Key, Collection[int]]) -> dict[Key, frozenset[int]]:
    """The processes of each of some groups with all that descend from them, with one look."""
    stats = procfs.all_stats()
    children = _children(stats)
    return {
        key: frozenset(_with_descendants({pid for pid in pids if pid in stats}, children))
        for key, pids in groups.items()
    }


def begun(pid: int) -> float | None:
    """When a process began, in seconds since the epoch; None if it is not to be seen."""
    stat = procfs.stat_of(pid)
    return None if stat is None else procfs.begun_at(stat)


def owner_of(path: Path) -> int | None:
    """Whose a file is, by the user's number; None if that cannot be told."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def holds_us(pane_pids: Collection[int]) -> bool:
    """Whether this process runs inside one of the panes."""
    stats: dict[int, Stat] = {}
    pid = os.getpid()
    while pid not in stats and (stat := procfs.stat_of(pid)) is not None:
        stats[pid] = stat
        pid = stat.parent
    return not line_of(os.getpid(), stats).isdisjoint(pane_pids)


def proves_server(stat: Stat, said: PaneEnvironment | None) -> bool:
    """Whether a process proves that its parent is a tmux server.

    Whatever its program is called, a server is the parent of its panes. But init is the
    parent of any user's process that lost its own.
    """
    return said is not None and said.server_pid == stat.parent != INIT


def is_named_server(stat: Stat) -> bool:
    """Whether a process has the name of a tmux server, and runs."""
    return stat.name == SERVER_NAME and not stat.is_ended


@dataclass(frozen=True, slots=True)
class Look:
    """All processes at one moment.

    Attributes:
        stats: Every process.
        panes: The pane that a process says it runs in, where it says so.
        servers: The tmux servers.
        runs_on: The tmux server that a process runs on, for those that run on one.
        ourselves: This process and its ancestors.
        users_of: Tells a process's real, effective and saved users, or None if it is not to
            be seen; asked where it matters.
        children: Of each process that has any.
        led: The members of each process session.
        saying: The processes that say of themselves that they are in a server's pane.
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
        """Whether a process is there, and not another one of its pid."""
        stat = self.stats.get(process.pid)
        return stat is not None and stat.identity == process.identity and not stat.is_ended

    def belonging(self, origin: Origin) -> set[int]:
        """All processes that belong to a session that tmux listed, ended ones included."""
        return self.came_from(self._roots(origin), [origin])

    def _roots(self, origin: Origin) -> set[int]:
        """The panes' first processes that still are."""
        return {pid for pid in origin.pids if self._is_root(pid, origin)}

    def _is_root(self, pid: int, origin: Origin) -> bool:
        server = origin.server_pid
        if pid not in self.stats or server is None:
            return pid in self.stats
        # A server's panes are its children. A pid that is not may have been given to
        # another process since, or be that of another PID namespace.
        if self.stats[pid].parent != server:
            return False
        panes = origin.panes
        return panes is None or not is_of_another_pane(self.panes.get(pid), server, panes)

    def _believed(self, origin: Origin, known: Collection[int] = ()) -> set[int]:
        """Those of `said_to_be_of` that are of the server's user, or root's.

        Of another user's process that it says so proves nothing.

        Args:
            origin: The session.
            known: Processes that need not be believed, and are left out.
        """
        said = self.said_to_be_of(origin).difference(known)
        if not said:
            return said
        server = origin.server_pid
        users = self.users_of(server) if server is not None and server in self.servers else None
        if users is not None:
            trusted = {ROOT, *users}
        else:
            owner = owner_of(origin.socket)
            trusted = {ROOT, os.getuid(), os.getuid() if owner is None else owner}
        return {
            pid
            for pid in said
            if (own := self.users_of(pid)) is not None and trusted.issuperset(own)
        }

    def came_from(self, roots: set[int], origins: Collection[Origin]) -> set[int]:
        """Some processes, and all that came from them or from the panes of some sessions.

        Never init, this process and its ancestors, and tmux servers, nor what came from
        them alone or runs on a server that has none of the sessions.
        """
        servers = {each.server_pid for each in origins if each.server_pid is not None}
        named = [each for each in origins if each.server_pid is not None]
        unnamed = [each for each in origins if each.server_pid is None]
        said = set[int]().union(*map(self._believed, unnamed))
        own = servers | roots | {self.runs_on.get(pid) for pid in roots}
        # Where a server is not named it is known by its socket alone.
        own |= {self.panes[pid].server_pid for pid in said}

        def is_spared(pid: int) -> bool:
            if pid <= INIT or pid in self.ourselves or pid in servers:
                return True
            # A server is ended only where it was asked for itself.
            if pid in self.servers and pid not in roots:
                return True
            server = self.runs_on.get(pid)
            return server is not None and server not in own

        # Who was handed to init and wiped its environment is still in its process session.
        led = {pid for root in roots for pid in self.led.get(root, ())}
        found = _with_descendants(roots | led | said, self.children, is_spared)
        for each in named:
            more = self._believed(each, found)
            found |= _with_descendants(more, self.children, is_spared)
        return found

    def said_to_be_of(self, origin: Origin) -> set[int]:
        """The processes whose environment says that they came from a session."""
        if origin.server_pid is None or origin.panes is None:
            candidates: Iterable[int] = self.panes
        else:
            keys = ((origin.server_pid, pane) for pane in origin.panes)
            candidates = (pid for key in keys for pid in self.saying.get(key, ()))
        return {pid for pid in candidates if _is_of(self.panes[pid], origin)}

    def proven(self, origin: Origin, claim: Claim) -> tuple[set[int], dict[int, str]]:
        """The processes that came from a session a log told of, and why others did not."""
        spared = self.ourselves | {0, INIT} | self.servers
        facts = {}
        for pid in self.said_to_be_of(origin) - spared:
            users = self.users_of(pid)
            if users is not None and self.runs_on.get(pid) in (None, origin.server_pid):
                stat = self.stats[pid]
                facts[pid] = Facts(stat.parent, frozenset(users), procfs.begun_at(stat))
        return believed(claim, facts)

    def servers_from(self, found: Collection[int], origin: Origin) -> tuple[int, ...]:
        """The tmux servers that a session, whose processes were found, started."""
        said = self._believed(origin)
        started = {p for p in self.servers if p in said or self.stats[p].parent in found}
        return tuple(sorted(started - {origin.server_pid} - set(found)))

    def described(
        self, pids: Iterable[int], users: frozenset[int] | None = None
    ) -> tuple[Process, ...]:
        """Those of some processes that ran, by their pids.

        Args:
            pids: Which.
            users: See `Process`.
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
    found: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        found.setdefault(stat.parent, []).append(pid)
    return found


def _with_descendants(
    roots: Iterable[int],
    children: Mapping[int, Sequence[int]],
    is_spared: Callable[[int], bool] = lambda _: False,
) -> set[int]:
    found = {pid for pid in roots if not is_spared(pid)}
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found and not is_spared(child):
                found.add(child)
                todo.append(child)
    return found


class Looker:
    """Looks at all processes again and again.

    What a process says of itself is read once for each program that it runs: one that
    overwrites its own environment in place says what it said before.
    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._said: dict[object, PaneEnvironment | None] = {}

    def look(self) -> Look:
        """Looks at all processes.

        Raises:
            OSError: They cannot be listed.
        """
        stats = procfs.all_stats()
        before, self._said = self._said, {}
        panes: dict[int, PaneEnvironment] = {}
        for pid, stat in stats.items():
            program = pid, stat.started, stat.name, stat.environment
            said = before[program] if program in before else procfs.pane_said_by(pid)
            self._said[program] = said
            if said is not None:
                panes[pid] = said
        return look_at(stats, panes, functools.cache(procfs.users_of))


def look() -> Look:
    """Looks at all processes.

    Raises:
        OSError: They cannot be listed, or /proc is of another PID namespace, so that no pid
            in it means a process of ours.
    """
    if not procfs.numbers_are_ours():
        raise OSError("/proc is of another PID namespace than muster")
    return Looker().look()


def look_at(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    users_of: Callable[[int], Users | None],
) -> Look:
    """Tells the servers, and what runs on them, from what processes say. Pure.

    Args:
        stats: Every process.
        panes: What those that say something of a pane say.
        users_of: See `Look`.
    """
    servers = {pid for pid, stat in stats.items() if is_named_server(stat)}
    servers |= {
        stats[pid].parent for pid, said in panes.items() if proves_server(stats[pid], said)
    }
    servers &= stats.keys()
    runs_on = _servers_above(stats, servers)
    led: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        led.setdefault(stat.session, []).append(pid)
    saying: dict[tuple[int, str], list[int]] = {}
    for pid, said in panes.items():
        saying.setdefault((said.server_pid, said.pane), []).append(pid)
        # Who was handed to init still says where it came from.
        if pid not in runs_on and said.server_pid in servers:
            runs_on[pid] = said.server_pid
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
    """The tmux server that each process descends from, for those that descend from one."""
    above: dict[int, int | None] = {}
    for pid in stats:
        path = []
        while pid not in above and pid in stats:
            # What was given the pid of its own ancestor ends the way up.
            above[pid] = None
            path.append(pid)
            pid = stats[pid].parent
            if pid in servers:
                break
        server = pid if pid in servers and path else above.get(pid)
        above |= dict.fromkeys(path, server)
    return {pid: server for pid, server in above.items() if server is not None}


def _is_of(said: PaneEnvironment, origin: Origin) -> bool:
    """Whether a process says that it was started in a pane of a session."""
    # A pane id alone could be that of another server.
    if origin.server_pid not in (None, said.server_pid):
        return False
    if origin.panes is not None and said.pane not in origin.panes:
        return False
    # The same socket may have been reached by another path.
    socket = os.fspath(origin.socket)
    return said.socket == socket or os.path.realpath(said.socket) == os.path.realpath(socket)


def line_of(pid: int, stats: Mapping[int, Stat]) -> set[int]:
    """A process and its ancestors."""
    line = {pid}
    while (stat := stats.get(pid)) is not None and stat.parent not in line:
        pid = stat.parent
        line.add(pid)
    return line
