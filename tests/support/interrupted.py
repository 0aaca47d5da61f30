"""A process that works on a registry while alarms interrupt it at random moments.

The process prints "ready", and waits for a line. At its end, it prints which operations were
acknowledged:

    python -m tests.support.interrupted TASK GLOBAL NAME OPERATIONS
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType

from registry import LockedRegistryFile, read_registry, report_progress
from registry.agent_output.files import AgentFile
from registry.agent_output.lines import PROGRESS
from registry.audit import log
from tests.support.registries import rewrite

_SOONEST, _LATEST = 0.001, 0.005


class Alarm(TimeoutError):  # noqa: N818
    """The error that the signal handler raises."""


def _arm() -> None:
    signal.setitimer(signal.ITIMER_REAL, random.uniform(_SOONEST, _LATEST))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Alarm


def _work(task: Path, global_: Path, name: str, number: int) -> None:
    with LockedRegistryFile(task, timeout=30) as (registry, file):
        registry[name].append(number)
        rewrite(file, registry)


def _look(task: Path, global_: Path, name: str, number: int) -> None:
    if number % 4 == 0:
        read_registry(task)
    elif number % 4 == 1:
        report_progress(task, global_, "busy", progress=number % 100, timeout=30)
    elif number % 4 == 2:
        log.append(log.log_of(task), b'{"a": 1}\n')
    else:
        with AgentFile(task.parent, "busy", PROGRESS) as reports:
            reports.last(3)


def _descriptors() -> list[str]:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(link) for link in links if os.path.lexists(link))


class Run:
    """The remaining operations, and the acknowledged ones."""

    def __init__(self, operations: int) -> None:
        self.left = iter(range(operations))
        self.acknowledged: list[int] = []
        self.interrupted = 0

    def go_on(self, task: Path, global_: Path, name: str) -> None:
        """Works until no operation remains, or an alarm interrupts this call."""
        for number in self.left:
            # Sets one alarm for each operation, so that no alarm comes outside the `try` block.
            _arm()
            _work(task, global_, name, number)
            self.acknowledged.append(number)
            _look(task, global_, name, number)


def main(task: Path, global_: Path, name: str, operations: int) -> None:
    """Carries out the given number of operations."""
    logging.disable(logging.CRITICAL)
    printed = 0

    def count(_: object) -> None:
        nonlocal printed
        printed += 1

    sys.unraisablehook = count
    for number in range(4):
        # Late imports may leave files open.
        _look(task, global_, name, number)
    print("ready", flush=True)
    sys.stdin.readline()
    before = _descriptors()
    run = Run(operations)
    signal.signal(signal.SIGALRM, _interrupt)
    while True:
        try:
            run.go_on(task, global_, name)
            signal.setitimer(signal.ITIMER_REAL, 0)
            break
        except Alarm:
            run.interrupted += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    told = {
        "acknowledged": run.acknowledged,
        "interrupted": run.interrupted,
        "printed": printed,
        "left open": [each for each in _descriptors() if each not in before],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
