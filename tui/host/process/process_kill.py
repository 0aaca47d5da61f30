"""Kills processes. A process that reuses the pid of another process is not killed by mistake.

Each signal is sent through a pidfd, and only if the process has the start time that was recorded.
Linux only: pidfd_open(2), /proc.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Sequence

from tui.host.process import procfs
from tui.host.process.process_tree import Origin, Process, look

TERM_GRACE = 2.0
"""The seconds between SIGTERM and SIGKILL."""

_KILL_PATIENCE = 3.0
_ROUNDS = 50


def survivors(known: Iterable[Process]) -> tuple[Process, ...]:
    """Returns the given processes that have not certainly ended."""
    return tuple(process for process in known if _is_same(process) or _is_unreadable(process))


def end(
    known: Sequence[Process], origins: Collection[Origin], grace: float | None = None
) -> tuple[Process, ...]:
    """Kills processes, and all processes that these processes start during the kill.

    1. Sends SIGTERM to all processes, and waits for their end, at most for the grace period.
    2. Sends SIGSTOP to all processes, looks for new processes, and repeats this step until it
       finds no new process.
    3. Sends SIGKILL to all processes.

    Args:
        known: The result of `processes_of` before the sessions were killed.
        origins: The origins of the sessions, to find processes that started after that call.
        grace: The grace period in seconds; None for `TERM_GRACE`.

    Returns:
        The processes that still run.
    """
    for process in known:
        _send(process, signal.SIGTERM)
        # A stopped process handles SIGTERM only when it continues.
        _send(process, signal.SIGCONT)
    deadline = time.monotonic() + (TERM_GRACE if grace is None else grace)
    while (left := survivors(known)) and time.monotonic() < deadline:
        _wait_for_one(left, deadline - time.monotonic())
    seen = {process.identity: process for process in known}
    try:
        for _ in range(_ROUNDS):
            # A stopped process cannot fork. So if a round finds no new process, all processes are
            # stopped. Only a process that forks and ends faster than each scan can escape.
            for process in seen.values():
                _send(process, signal.SIGSTOP)
            new = [each for each in _since(seen.values(), origins) if each.identity not in seen]
            if not new:
                break
            seen |= {process.identity: process for process in new}
    finally:
        # Without this, an interruption of the scan would leave processes stopped forever.
        for process in seen.values():
            _send(process, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_PATIENCE
    while (left := survivors(seen.values())) and time.monotonic() < deadline:
        _wait_for_one(left, deadline - time.monotonic())
    return left


def _since(seen: Iterable[Process], origins: Collection[Origin]) -> tuple[Process, ...]:
    """Returns the running processes that come from given processes or from sessions."""
    now = look()
    current: dict[int, Process] = {}
    claimed: set[int] = set()
    for origin in origins:
        if origin.claim is not None:
            claimed |= now.said_to_be_of(origin)
            proven = now.proven(origin, origin.claim)[0]
            current |= {
                process.pid: process for process in now.described(proven, origin.claim.users)
            }
    # A descendant of a process from a log must prove the claim itself.
    left = {process.pid for process in seen if now.runs(process)}
    listed = [origin for origin in origins if origin.claim is None]
    came = now.came_from(left - claimed, listed)
    current |= {process.pid: process for process in now.described(came)}
    return tuple(current.values())


def _is_same(process: Process) -> bool:
    stat = procfs.stat_of(process.pid)
    return stat is not None and stat.identity == process.identity and not stat.is_ended


def _is_unreadable(process: Process) -> bool:
    return procfs.stat_of(process.pid) is None and procfs.may_exist(process.pid)


def _is_still_of(process: Process) -> bool:
    if process.users is None:
        return True
    users = procfs.users_of(process.pid)
    return users is not None and process.users.issuperset(users)


def _send(process: Process, number: signal.Signals) -> None:
    """Sends a signal to a process. Does nothing if the process has ended."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        # Check the process after opening: the pidfd stays with the process that it was opened for.
        if _is_same(process) and _is_still_of(process):
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        os.close(pidfd)


def _wait_for_one(processes: Sequence[Process], timeout: float) -> None:
    """Waits for the end of the first process, at most 0.2 s and at most for the timeout."""
    try:
        pidfd = os.pidfd_open(processes[0].pid)
    except OSError:
        return
    try:
        # poll(), because select() fails with more than 1024 open descriptors.
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, min(timeout, 0.2)) * 1000)
    finally:
        os.close(pidfd)
