"""Process trees, and ending them: the one door to psutil.

A process is known by its pid *and* its start time (psutil compares both), and
signalled through a pidfd: a pid that was given to another process meanwhile is
never touched. Linux only: pidfd_open(2), /proc.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

TERM_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

# Left to files, watches, children and the screen when sessions are many.
_OTHER_DESCRIPTORS = 256

_KILL_PATIENCE = 3.0
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment.

    Attributes:
        handle: Its identity; equal only to a handle of the same pid and start time.
        name: The name of its program.
        memory: Resident memory in bytes.
    """

    pid: int
    handle: psutil.Process
    name: str
    memory: int


def host_name() -> str:
    """This host's name, without its domain."""
    return os.uname().nodename.split(".")[0]


def processes_with_argument(argument: str) -> tuple[Process, ...]:
    """All processes that were started with exactly this argument, but us and our ancestors."""
    own = _own_line()
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in own and argument in process.cmdline()[1:]:
                found.append(_described(process.pid))
        except psutil.Error:
            continue
    return tuple(each for each in found if each is not None)


def session_processes(
    pane_pids: Collection[int],
    pane_ids: Collection[str] | None,
    socket: Path,
    server_pid: int | None,
) -> tuple[Process, ...]:
    """All processes that belong to a session, with those that left its tree.

    The panes' first processes and their descendants, and every process whose
    environment carries one of the panes' ``TMUX_PANE`` of this server: those that
    did setsid, nohup or a double fork still have it. Never this process, its
    ancestors, the tmux server or init.

    Args:
        pane_pids: The panes' first processes.
        pane_ids: The panes' ids; None for all panes that there are or were.
        socket: The server's socket, as in ``$TMUX``.
        server_pid: The server's process; None for any server of this socket.
    """
    listed = _listed()
    wanted = _descendants(set(pane_pids) & listed.keys(), listed)
    if pane_ids is None or pane_ids:
        wanted |= {
            pid
            for pid in listed
            if pid not in wanted and _runs_in_pane(pid, pane_ids, socket, server_pid)
        }
        wanted = _descendants(wanted, listed)
    wanted -= _untouchable(server_pid)
    return tuple(found for pid in sorted(wanted) if (found := _described(pid)) is not None)


def holds_us(pane_pids: Collection[int]) -> bool:
    """Whether this process runs inside one of the panes."""
    return not _own_line().isdisjoint(pane_pids)


def _listed() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for process in psutil.process_iter():
        try:
            found[process.pid] = process.ppid()
        except psutil.Error:
            continue
    return found


def _descendants(roots: set[int], parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = set(roots)
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def _runs_in_pane(
    pid: int, pane_ids: Collection[str] | None, socket: Path, server_pid: int | None
) -> bool:
    try:
        environment = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return False
    if pane_ids is not None and environment.get("TMUX_PANE") not in pane_ids:
        return False
    # TMUX is "socket,server pid,session number": a pane id alone could be that
    # of another server. The same socket may have been reached by another path.
    path, _, rest = environment.get("TMUX", "").partition(",")
    same_socket = os.path.realpath(path) == os.path.realpath(socket)
    return same_socket and (server_pid is None or rest.partition(",")[0] == str(server_pid))


def _own_line() -> set[int]:
    return {os.getpid(), *(process.pid for process in psutil.Process().parents())}


def _untouchable(server_pid: int | None) -> set[int]:
    return _own_line() | {0, 1} | ({server_pid} if server_pid else set())


def _described(pid: int) -> Process | None:
    try:
        handle = psutil.Process(pid)
        if handle.status() == psutil.STATUS_ZOMBIE:
            return None
        return Process(pid, handle, handle.name(), handle.memory_info().rss)
    except psutil.Error:
        return None


def _is_same(process: Process) -> bool:
    try:
        return process.handle.is_running() and process.handle.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: Process, number: signal.Signals) -> None:
    """Signals exactly this process, if it is still there."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        # The pidfd pins whoever has the pid now; only then is it known to be ours.
        if _is_same(process):
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        os.close(pidfd)


def survivors(known: Iterable[Process]) -> tuple[Process, ...]:
    """Those of the processes that still run."""
    return tuple(process for process in known if _is_same(process))


def end(
    known: Sequence[Process],
    pane_ids: Collection[str] | None,
    socket: Path,
    server_pid: int | None,
    grace: float = TERM_GRACE,
) -> tuple[Process, ...]:
    """Ends processes for good: SIGTERM, a grace, then stop, look again, SIGKILL.

    Args:
        known: What `session_processes` found before the session was ended.
        pane_ids: The panes' ids, to find what was forked since; None for all panes.
        socket: The server's socket.
        server_pid: The server's process; None for any server of this socket.
        grace: Seconds that a process has to end by itself.

    Returns:
        Those that are still there; empty when all is done.
    """
    for process in known:
        _send(process, signal.SIGTERM)
        # A stopped process acts on SIGTERM only once it goes on.
        _send(process, signal.SIGCONT)
    deadline = time.monotonic() + grace
    while (left := survivors(known)) and time.monotonic() < deadline:
        _wait_for_one(left, deadline - time.monotonic())
    seen = {process.handle: process for process in known}
    for _ in range(_ROUNDS):
        # Stopped, a process can neither fork nor be missed; when a look finds
        # nobody new, all are stopped and can be killed at once.
        for process in seen.values():
            _send(process, signal.SIGSTOP)
        pids = [process.pid for process in survivors(seen.values())]
        found = session_processes(pids, pane_ids, socket, server_pid)
        new = [each for each in found if each.handle not in seen]
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


def _room_for(descriptors: int) -> int:
    """Raises the limit on open files if need be; how many of so many there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = descriptors + _OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return descriptors
    new = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
        soft = new
    return max(0, soft - _OTHER_DESCRIPTORS)


class DeathWatch:
    """Tells at once when one of a set of processes ends, without polling.

    Holds a pidfd for each (Linux 5.3, pidfd_open(2)), and raises this process's limit
    on open files where it must; processes that cannot be watched are left to the sweep.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._fds: dict[int, int] = {}
        self._ended: set[int] = set()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_read, select.POLLIN)

    def watch(self, pids: Iterable[int]) -> frozenset[int]:
        """Watches exactly these processes from now on.

        Returns:
            Those that have ended already, and are not told of again.
        """
        wanted = set(pids)
        # One that its parent never reaps would be told of for ever.
        self._ended &= wanted
        for pid in self._fds.keys() - wanted:
            self._drop(pid)
        room = _room_for(len(wanted))
        for pid in wanted - self._fds.keys() - self._ended:
            if len(self._fds) >= room:
                break
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                self._ended.add(pid)
                continue
            except OSError:
                continue
            self._fds[pid] = fd
            self._poll.register(fd, select.POLLIN)
        return frozenset(self._ended)

    def _drop(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        self._poll.unregister(fd)
        os.close(fd)

    def wait(self, timeout: float) -> bool:
        """Waits for an end or for `wake`; returns whether there was one of them."""
        events = self._poll.poll(max(0.0, timeout) * 1000)
        ready = {fd for fd, _ in events}
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        for pid in [pid for pid, fd in self._fds.items() if fd in ready]:
            self._drop(pid)
            self._ended.add(pid)
        return bool(events)

    def wake(self) -> None:
        """Ends a `wait` in another thread."""
        try:
            os.write(self._wake_write, b"\0")
        except OSError:
            return

    def close(self) -> None:
        """Lets go of all descriptors."""
        self.watch(())
        os.close(self._wake_read)
        os.close(self._wake_write)
