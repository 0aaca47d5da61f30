"""Ending processes for good.

A process is signalled through a pidfd, and only if its start time is still the one that it
was found with: a pid that was given to another process meanwhile is never touched.
Linux only: pidfd_open(2), /proc.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Sequence

from tui.host import procfs
from tui.host.process_tree import Origin, Process, look

TERM_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

_KILL_PATIENCE = 3.0
_ROUNDS = 50


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
    seen = {process.identity: process for process in known}
    for _ in range(_ROUNDS):
        # Stopped, a process can neither fork nor be missed; when a look finds
        # nobody new, all are stopped and can be killed at once.
        for process in seen.values():
            _send(process, signal.SIGSTOP)
        new = [each for each in _since(seen.values(), origins) if each.identity not in seen]
        if not new:
            break
        seen |= {each.identity: each for each in new}
    for process in seen.values():
        _send(process, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_PATIENCE
    while (left := survivors(seen.values())) and time.monotonic() < deadline:
        _wait_for_one(left, deadline - time.monotonic())
    return left


def _since(seen: Iterable[Process], origins: Collection[Origin]) -> tuple[Process, ...]:
    """Those that came from some processes or from some sessions since they were looked for."""
    now = look()
    found: dict[int, Process] = {}
    claimed: set[int] = set()
    for origin in origins:
        if origin.claim is not None:
            claimed |= now.said_to_be_of(origin)
            proven = now.proven(origin, origin.claim)[0]
            found |= {each.pid: each for each in now.described(proven, origin.claim.users)}
    # What descends from one that a log told of must prove it as well.
    left = {each.pid for each in seen if now.runs(each)}
    plain = [each for each in origins if each.claim is None]
    came = now.came_from(left - claimed, plain)
    found |= {each.pid: each for each in now.described(came)}
    return tuple(found.values())


def _is_same(process: Process) -> bool:
    stat = procfs.stat_of(process.pid)
    return stat is not None and stat.identity == process.identity and not stat.is_ended


def _is_still_of(process: Process) -> bool:
    if process.users is None:
        return True
    users = procfs.users_of(process.pid)
    return users is not None and process.users.issuperset(users)


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
