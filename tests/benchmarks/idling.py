"""The cost of an idle monitor: CPU, wake-ups, output and memory."""

from __future__ import annotations

import select
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks.crews import agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import (
    Program,
    memory,
    minimal_app,
    muster,
    on_terminal,
    used,
    wake_ups,
)

_MINIMAL = "minimal app"

Key = tuple[str, int]
Command = tuple[Sequence[str], bytes]


@dataclass(frozen=True)
class Idle:
    """The use of resources by one program.

    Attributes:
        cpu: Percent of a core, with the children that ended.
        wakes: Wake-ups per second.
        count: Bytes to the terminal per minute.
        memory: Megabytes.
    """

    cpu: float
    wakes: float
    count: float
    memory: float


def _look(program: Program) -> Idle:
    """Returns the totals of CPU (milliseconds), wake-ups and bytes, and the present memory."""
    cpu = sum(used(program.pid))
    return Idle(cpu, wake_ups(program.pid), program.count, memory(program.pid))


def idle_of(commands: Mapping[Key, Command], seconds: float) -> dict[Key, Idle]:
    """Measures some programs while nothing happens.

    Runs all programs at the same time, so that the machine treats all of them equally.
    """
    with ExitStack() as stack:
        programs: dict[Key, Program] = {}
        for key, (command, text) in commands.items():
            programs[key] = stack.enter_context(on_terminal(command))
            programs[key].wait_for(text)
        # Waits for the first queries, the confirmation of deaths and the footprints to end.
        _watch(programs.values(), min(30.0, 2 * seconds))
        before = {key: _look(program) for key, program in programs.items()}
        _watch(programs.values(), seconds)
        after = {key: _look(program) for key, program in programs.items()}
    return {
        key: Idle(
            (after[key].cpu - was.cpu) / (10 * seconds),
            (after[key].wakes - was.wakes) / seconds,
            (after[key].count - was.count) * 60 / seconds,
            after[key].memory,
        )
        for key, was in before.items()
    }


def _watch(programs: Collection[Program], seconds: float) -> None:
    until = time.monotonic() + seconds
    by_fd = {program.fd: program for program in programs}
    while (left := until - time.monotonic()) > 0:
        for fd in select.select(list(by_fd), [], [], left)[0]:
            by_fd[fd].read(0)


def measure(quick: bool) -> list[Figure]:
    """Measures the monitor, the minimal app and htop at once, for each number of agents."""
    seconds, runs = (2.0, 1) if quick else (60.0, 3)
    sizes = (100,) if quick else (0, 100, 1_000, 10_000)
    seen: dict[Key, list[Idle]] = {}
    with ExitStack() as stack:
        commands: dict[Key, Command] = {}
        for size in sizes:
            made = stack.enter_context(crew(size, max(1, min(100, size // 10))))
            command = muster(made.server.socket, made.files.path)
            commands["muster", size] = command, _text(size)
            text = b"row-00000" if size else b"\x1b["
            commands[_MINIMAL, size] = minimal_app(size), text
        if shutil.which("htop"):
            commands["htop", sizes[-1]] = ("htop",), b"Command"
        for _ in range(runs):
            for key, idle in idle_of(commands, seconds).items():
                seen.setdefault(key, []).append(idle)
    found: list[Figure] = []
    for (name, size), idles in seen.items():
        what = f"{name}, {size:,} agents" if name != "htop" else name
        found += _figures(what, idles, seen[_MINIMAL, size], size if name == "muster" else -1)
    if not quick:
        few, many = seen["muster", 100], seen["muster", 10_000]
        more = [b.memory - a.memory for a, b in zip(few, many, strict=True)]
        found.append(
            figure(
                "memory of 10,000 agents minus memory of 100 agents", "MB", more, aim=Aim(p50=30)
            )
        )
    return found


def _text(size: int) -> bytes:
    return agent_id(0, 0).encode() if size else b"muster"


def _figures(what: str, idles: list[Idle], minimal: list[Idle], size: int) -> list[Figure]:
    def one(name: str, unit: str, field: str, aim: Aim | None, at: Sequence[int]) -> Figure:
        values = [getattr(each, field) for each in idles]
        others = [getattr(each, field) for each in minimal]
        aimed = aim if size in at else None
        if idles is minimal:
            return figure(f"{what}, {name}", unit, values)
        return figure(f"{what}, {name}", unit, values, _MINIMAL, others, aimed)

    return [
        one("CPU", "% of a core", "cpu", Aim(p50=0.5), (0, 100, 1_000)),
        one("wake-ups", "/s", "wakes", None, ()),
        one("terminal", "bytes/min", "count", Aim(p50=0), (0, 100, 1_000)),
        one("memory", "MB", "memory", Aim(ratio=1.3), (100,)),
    ]
