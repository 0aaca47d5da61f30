"""Process trees, and ending them: the one door to psutil.

A process is known by its pid *and* its start time (psutil compares both), and
signalled through a pidfd: a pid that was given to another process meanwhile is
never touched. Linux only: pidfd_open(2), /proc.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from registry.text import shown_name
from tui.host import procfs
from tui.host.claims import ROOT, Claim, Facts, believed
from tui.host.pane_origin import Said, is_of_another_pane, said_by
from tui.host.tmux_types import SERVER_NAME

TERM_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

_KILL_PATIENCE = 3.0
_ROUNDS = 50

_NAMED = 3
"""Processes that are named where the same is said of more."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment.

    Attributes:
        handle: Its identity; equal only to a handle of the same pid and start time.
        name: The name of its program.
        memory: Resident memory in bytes.
        users: Whose it must still be when it is signalled, by the users' numbers; None for
            anybody's.
    """

    pid: int
    handle: psutil.Process
    name: str
    memory: int
    users: frozenset[int] | None = None


def processes_with_argument(argument: str) -> tuple[Process, ...]:
    """This user's processes that were started with exactly this argument.

    Not this process and its ancestors; nor those of other users, who may give theirs any
    argument.
    """
    own = own_line()
    found = []
    for process in psutil.process_iter():
        try:
            # Of another user's process the argument proves nothing.
            if process.pid in own or process.uids().real != os.getuid():
                continue
            if os.fsencode(argument) in procfs.read(process.pid, "cmdline").split(b"\0")[1:]:
                found.append(_described(process.pid))
        except (psutil.Error, OSError):
            continue
    return tuple(each for each in found if each is not None)


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
    """
    now = look()
    held = {}
    for key, origin in origins.items():
        if origin.claim is None:
            found = now.came_from(now.roots(origin), [origin])
            held[key] = Held(described_all(found), now.servers_from(found, origin))
        else:
            found, doubts = now.proven(origin, origin.claim)
            left = described_all(found, origin.claim.users)
            servers = now.servers_from(found, origin)
            held[key] = Held(left, servers, tuple(_doubted(doubts)))
    return held


def _doubted(doubts: Mapping[int, str]) -> Iterable[str]:
    names: dict[str, list[str]] = {}
    for pid, why in sorted(doubts.items()):
        process = _described(pid)
        if process is not None:
            names.setdefault(why, []).append(f"{shown_name(process.name)} ({pid})")
    for why, each in names.items():
        more = len(each) - _NAMED
        yield ", ".join(each[:_NAMED]) + (f" and {more} more" if more > 0 else "") + f", {why}"


def _since(seen: Iterable[Process], origins: Collection[Origin]) -> tuple[Process, ...]:
    """Those that came from some processes or from some sessions since they were looked for."""
    now = look()
    found: dict[int, Process] = {}
    claimed: set[int] = set()
    for origin in origins:
        if origin.claim is not None:
            claimed |= now.saying(origin)
            proven = now.proven(origin, origin.claim)[0]
            found |= {each.pid: each for each in described_all(proven, origin.claim.users)}
    # What descends from one that a log told of must prove it as well.
    roots = {process.pid for process in survivors(seen)} - claimed
    plain = [each for each in origins if each.claim is None]
    found |= {each.pid: each for each in described_all(now.came_from(roots, plain))}
    return tuple(found.values())


def directories_of(pid: int) -> frozenset[Path] | None:
    """Where a process works and where it was started, as far as it says so.

    Returns:
        Nothing for a process that has ended; None if we may not know.
    """
    try:
        found = {psutil.Process(pid).cwd(), procfs.environment(pid).get("PWD", "")}
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return frozenset()
    except (psutil.Error, OSError):
        return None
    return frozenset(Path(each) for each in found if each.startswith("/"))


def families(groups: Mapping[Key, Collection[int]]) -> dict[Key, frozenset[int]]:
    """The processes of each of some groups with all that descend from them, with one look."""
    parents: dict[int, int] = {}
    for process in psutil.process_iter():
        try:
            parents[process.pid] = process.ppid()
        except psutil.Error:
            continue
    children = _children(parents)
    return {
        key: frozenset(_with_descendants({each for each in pids if each in parents}, children))
        for key, pids in groups.items()
    }


def begun(pid: int) -> float | None:
    """When a process began, in seconds since the epoch; None if it is not to be seen."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def owner_of(path: Path) -> int | None:
    """Whose a file is, by the user's number; None if that cannot be told."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def holds_us(pane_pids: Collection[int]) -> bool:
    """Whether this process runs inside one of the panes."""
    return not own_line().isdisjoint(pane_pids)


@dataclass(frozen=True, slots=True)
class Look:
    """All processes at one moment.

    Attributes:
        parents: Every process's parent.
        panes: The pane that a process says it runs in, where it says so.
        users: The real, effective and saved users of those that do.
        servers: The tmux servers.
        runs_on: The tmux server that a process runs on, for those that run on one.
    """

    parents: Mapping[int, int]
    panes: Mapping[int, Said]
    users: Mapping[int, frozenset[int]]
    servers: frozenset[int]
    runs_on: Mapping[int, int]

    def roots(self, origin: Origin) -> set[int]:
        """The panes' first processes that still are."""
        return {pid for pid in origin.pids if self._is_root(pid, origin)}

    def _is_root(self, pid: int, origin: Origin) -> bool:
        server = origin.server_pid
        if pid not in self.parents or server is None:
            return pid in self.parents
        # A server's panes are its children. A pid that is not may have been given to
        # another process since, or be that of another PID namespace.
        if self.parents[pid] != server:
            return False
        panes = origin.panes
        return panes is None or not is_of_another_pane(self.panes.get(pid), server, panes)

    def server_above(self, pid: int) -> int | None:
        """The tmux server that a process descends from."""
        return _server_above(pid, self.parents, self.servers)

    def _believed(self, origin: Origin) -> set[int]:
        """Those of `saying` that are of the server's user, or root's.

        Of another user's process that it says so proves nothing.
        """
        users = _users_of(origin.server_pid) if origin.server_pid in self.servers else None
        if users is None:
            owner = owner_of(origin.socket)
            users = frozenset({os.getuid() if owner is None else owner, os.getuid()})
        return {pid for pid in self.saying(origin) if self.users[pid] <= users | {ROOT}}

    def came_from(self, roots: set[int], origins: Collection[Origin]) -> set[int]:
        """Some processes, and all that came from them or from the panes of some sessions.

        Never init, this process and its ancestors, and tmux servers, nor what came from
        them alone or runs on a server that has none of the sessions.
        """
        servers = {each.server_pid for each in origins if each.server_pid is not None}
        said = set[int]().union(*map(self._believed, origins))
        own = servers | roots | {self.runs_on.get(pid) for pid in roots}
        # Where a server is not named it is known by its socket alone.
        own |= {self.panes[pid].server_pid for pid in said}
        others = {pid for pid, server in self.runs_on.items() if server not in own}
        # A server is ended only where it was asked for itself.
        spared = own_line() | {0, 1} | servers | others | (self.servers - roots)
        # Who was handed to init and wiped its environment is still in its process session.
        found = roots | {pid for pid in self.parents if _process_session(pid) in roots}
        return _with_descendants((found | said) - spared, _children(self.parents), spared)

    def saying(self, origin: Origin) -> set[int]:
        """The processes whose environment says that they came from a session."""
        return {pid for pid, pane in self.panes.items() if _is_of(pane, origin)}

    def proven(self, origin: Origin, claim: Claim) -> tuple[set[int], dict[int, str]]:
        """The processes that came from a session a log told of, and why others did not."""
        others = {pid for pid, server in self.runs_on.items() if server != origin.server_pid}
        spared = own_line() | {0, 1} | self.servers | others
        facts = {}
        for pid in self.saying(origin) - spared:
            started = begun(pid)
            if started is not None:
                facts[pid] = Facts(self.parents[pid], self.users[pid], started)
        return believed(claim, facts)

    def servers_from(self, found: Collection[int], origin: Origin) -> tuple[int, ...]:
        """The tmux servers that a session, whose processes were found, started."""
        said = self._believed(origin)
        started = {pid for pid in self.servers if pid in said or self.parents[pid] in found}
        return tuple(sorted(started - {origin.server_pid} - set(found)))


def _children(parents: Mapping[int, int]) -> Mapping[int, Sequence[int]]:
    found: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        found.setdefault(parent, []).append(pid)
    return found


def _with_descendants(
    roots: set[int], children: Mapping[int, Sequence[int]], spared: Collection[int] = ()
) -> set[int]:
    found = set(roots)
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found and child not in spared:
                found.add(child)
                todo.append(child)
    return found


def look() -> Look:
    """Looks at all processes."""
    parents: dict[int, int] = {}
    panes: dict[int, Said] = {}
    users: dict[int, frozenset[int]] = {}
    servers: set[int] = set()
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                parents[process.pid] = parent = process.ppid()
                ended = process.status() == psutil.STATUS_ZOMBIE
                if process.name() == SERVER_NAME and not ended:
                    servers.add(process.pid)
            pane = said_by(process.pid)
        except (psutil.Error, OSError):
            continue
        if pane is not None and (own := _users_of(process.pid)) is not None:
            panes[process.pid], users[process.pid] = pane, own
            # Whatever its program is called, a server is the parent of its panes. But init
            # is the parent of any user's process that lost its own.
            if pane.server_pid == parent != 1:
                servers.add(parent)
    servers &= parents.keys()
    runs_on = {
        pid: server
        for pid in parents
        if (server := _server_of(pid, parents, panes, servers)) is not None
    }
    return Look(parents, panes, users, frozenset(servers), runs_on)


def _server_above(pid: int, parents: Mapping[int, int], servers: Collection[int]) -> int | None:
    passed = {pid}
    above = parents.get(pid)
    while above is not None and above not in passed:
        if above in servers:
            return above
        passed.add(above)
        above = parents.get(above)
    return None


def _server_of(
    pid: int, parents: Mapping[int, int], panes: Mapping[int, Said], servers: Collection[int]
) -> int | None:
    """The tmux server that a process runs on, as its parents tell, or else it itself."""
    above = _server_above(pid, parents, servers)
    if above is not None:
        return above
    # Who was handed to init still says where it came from.
    said = panes[pid].server_pid if pid in panes else None
    return said if said in servers else None


def _is_of(said: Said, origin: Origin) -> bool:
    """Whether a process says that it was started in a pane of a session."""
    # A pane id alone could be that of another server.
    if origin.server_pid not in (None, said.server_pid):
        return False
    if origin.panes is not None and said.pane not in origin.panes:
        return False
    # The same socket may have been reached by another path.
    return os.path.realpath(said.socket) == os.path.realpath(origin.socket)


def _process_session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def own_line() -> set[int]:
    """This process and its ancestors."""
    return {os.getpid(), *(process.pid for process in psutil.Process().parents())}


def described_all(pids: Iterable[int], users: frozenset[int] | None = None) -> tuple[Process, ...]:
    """Those of some processes that run, by their pids.

    Args:
        pids: Which.
        users: See `Process`.
    """
    return tuple(found for pid in sorted(pids) if (found := _described(pid, users)) is not None)


def _users_of(pid: int) -> frozenset[int] | None:
    """Its real, effective and saved user; None if it is not to be seen."""
    try:
        return frozenset(psutil.Process(pid).uids())
    except psutil.Error:
        return None


def _described(pid: int, users: frozenset[int] | None = None) -> Process | None:
    try:
        handle = psutil.Process(pid)
        if handle.status() == psutil.STATUS_ZOMBIE:
            return None
        return Process(pid, handle, handle.name(), handle.memory_info().rss, users)
    except psutil.Error:
        return None


def _is_same(process: Process) -> bool:
    try:
        return process.handle.is_running() and process.handle.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_still_of(process: Process) -> bool:
    if process.users is None:
        return True
    users = _users_of(process.pid)
    return users is not None and users <= process.users


def _send(process: Process, number: signal.Signals) -> None:
    """Signals exactly this process, if it is still there."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        # The pidfd pins whoever has the pid now; only then is it known to be ours.
        if _is_same(process) and _is_still_of(process):
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        os.close(pidfd)


def survivors(known: Iterable[Process]) -> tuple[Process, ...]:
    """Those of the processes that still run."""
    return tuple(process for process in known if _is_same(process))


def end(
    known: Sequence[Process], origins: Collection[Origin], grace: float | None = None
) -> tuple[Process, ...]:
    """Ends processes for good: SIGTERM, a grace, then stop, look again, SIGKILL.

    Args:
        known: What `processes_of` found before their sessions were ended.
        origins: These sessions, to find what was forked since.
        grace: Seconds that a process has to end by itself; None for `TERM_GRACE`.

    Returns:
        Those that are still there; empty when all is done.
    """
    for process in known:
        _send(process, signal.SIGTERM)
        # A stopped process acts on SIGTERM only once it goes on.
        _send(process, signal.SIGCONT)
    deadline = time.monotonic() + (TERM_GRACE if grace is None else grace)
    while (left := survivors(known)) and time.monotonic() < deadline:
        _wait_for_one(left, deadline - time.monotonic())
    seen = {process.handle: process for process in known}
    for _ in range(_ROUNDS):
        # Stopped, a process can neither fork nor be missed; when a look finds
        # nobody new, all are stopped and can be killed at once.
        for process in seen.values():
            _send(process, signal.SIGSTOP)
        new = [each for each in _since(seen.values(), origins) if each.handle not in seen]
        if not new:
            break
        seen |= {each.handle: each for each in new}
    for process in seen.values():
        _send(process, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_PATIENCE
    while (left := survivors(seen.values())) and time.monotonic() < deadline:
        _wait_for_one(left, deadline - time.monotonic())
    return left


def _wait_for_one(processes: Sequence[Process], timeout: float) -> None:
    """Waits until the first of the processes ends."""
    try:
        pidfd = os.pidfd_open(processes[0].pid)
    except OSError:
        return
    try:
        # Not select(): with many processes watched, descriptors exceed its 1024.
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, min(timeout, 0.2)) * 1000)
    finally:
        os.close(pidfd)
