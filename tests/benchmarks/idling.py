"""What it costs to leave it open: CPU, wake-ups, bytes and memory while nothing happens."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.crews import agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import memory, minimal_app, muster, on_terminal, used, wake_ups

_MINIMAL = "minimal app"


@dataclass(frozen=True)
class Idle:
    """What a program used in some seconds.

    Attributes:
        cpu: Percent of a core, its children that ended included.
        wakes: Wake-ups a second.
        count: Bytes to the terminal, in a minute.
        memory: Megabytes.
    """

    cpu: float
    wakes: float
    count: float
    memory: float


def _idle(command: Sequence[str], text: bytes, seconds: float) -> Idle:
    with on_terminal(command) as program:
        program.wait_for(text)
        # The first looks, and the proof of who is missing, are no idling.
        program.watch(min(5.0, seconds))
        cpu, wakes, count = sum(used(program.pid)), wake_ups(program.pid), program.count
        program.watch(seconds)
        return Idle(
            (sum(used(program.pid)) - cpu) / (10 * seconds),
            (wake_ups(program.pid) - wakes) / seconds,
            (program.count - count) * 60 / seconds,
            memory(program.pid),
        )


def measure(quick: bool) -> list[Figure]:
    """The minimal app, htop and the monitor in turns."""
    seconds, runs = (3.0, 1) if quick else (60.0, 3)
    found: list[Figure] = []
    small: list[Idle] = []
    for size in (100,) if quick else (0, 100, 1_000, 10_000):
        with crew(size, max(1, min(100, size // 10))) as made:
            commands = {"": (muster(made.server.socket, made.files.path), _text(size))}
            commands[_MINIMAL] = (minimal_app(size), b"row-00000" if size else b"\x1b[")
            if shutil.which("htop") and size == 100:
                commands["htop"] = (("htop",), b"Command")
            seen: dict[str, list[Idle]] = {}
            for _ in range(runs):
                for name, (command, text) in commands.items():
                    seen.setdefault(name, []).append(_idle(command, text, seconds))
        if size == 100:
            small = seen[""]
        for name, idles in seen.items():
            what = f"{name or 'muster'}, {size:,}" if name != "htop" else name
            found += _figures(what, idles, seen[_MINIMAL], size if not name else -1)
    if not quick:
        more = [each.memory - small[0].memory for each in seen[""]]
        found.append(figure("10,000 agents more than 100", "MB", more, aim=Aim(p50=30)))
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
