"""The cost by the number of agents: CPU of the monitor, and bytes to the terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.crews import Crew, agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import PYTHON, Program, muster, on_terminal, used
from tests.benchmarks.writers import Peer, peer

# The number of agents per file is constant, so that only the number of agents differs.
_PER_FILE = 100
_BASE = 100
LOAD = """\
import pathlib, sys, time
from registry.schema.layout import Workspace
from tui.host.tmux_types import TmuxSnapshot, TmuxState
from tui.live.builder import RollBuilder
from tui.model.evidence import Evidence
from tui.view.outline import outline
from tui.live.registry_cache import Registries
from tui.model.policy import Policy
began = time.perf_counter()
registries = Registries([Workspace(pathlib.Path(sys.argv[1]).resolve())])
registries.rescan()
answer = TmuxSnapshot(TmuxState.UNKNOWN, "", pathlib.Path("/none"), {}, 0.0)
lines = outline(RollBuilder(Policy()).call(registries, Evidence(answer), time.time()), ())
print(1000 * (time.perf_counter() - began))
"""
_JSON = """\
import json, pathlib, sys, time
began = time.perf_counter()
for path in pathlib.Path(sys.argv[1]).rglob("*_REGISTRY.json"):
    json.loads(path.read_bytes())
print(1000 * (time.perf_counter() - began))
"""


@dataclass(frozen=True)
class Cost:
    """The CPU milliseconds and the bytes of one run."""

    cpu: float
    count: int


def _cost(program: Program, do: Callable[[], object]) -> Cost:
    program.settle(0.2)
    before, count = used(program.pid)[0], program.count
    do()
    program.settle(0.4)
    return Cost(used(program.pid)[0] - before, program.count - count)


def timed(code: str, made: Crew) -> float:
    """Runs code for a workspace in a new process; returns the milliseconds that it prints."""
    command = (*PYTHON, "-c", code, str(made.files.path))
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return float(done.stdout)


def _loads(made: Crew, runs: int) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(runs):
        for code, into in ((LOAD, ours), (_JSON, bare)):
            into.append(timed(code, made))
    return ours, bare


def _operations(program: Program, made: Crew, writer: Peer) -> dict[str, Callable[[int], object]]:
    def change_one(run: int) -> None:
        writer.change(made.registry(0), range(1), f"one-{run:04}")
        program.wait_until_shown(f"one-{run:04}")

    def change_a_tenth(run: int) -> None:
        # All agents of every tenth file; with a single file, every tenth agent.
        numbers = range(made.per_file if made.tasks >= 10 else made.per_file // 10)
        for task in range(0, made.tasks, 10):
            writer.change(made.registry(task), numbers, f"tenth-{run:04}")
        program.wait_until_shown(f"tenth-{run:04}")

    def page(_: int) -> None:
        program.press(b"\x1b[6~")
        program.press(b"\x1b[5~")

    return {
        "change of one agent": change_one,
        "change of a tenth of all agents": change_a_tenth,
        "scroll a page down and back": page,
        "sort by urgency and back": lambda run: program.press(b"tt"),
        "mark or unmark all agents": lambda run: program.press(b"u" if run % 2 else b"+"),
        # The last operation, because the typed text stays in the filter.
        "type a letter in the filter": lambda run: program.press(b"\x7f" if run % 2 else b"b"),
    }


def measure(quick: bool) -> list[Figure]:
    """Measures every operation at every size; the ratio compares with the smallest size."""
    sizes = (100,) if quick else (100, 1_000, 10_000, 50_000)
    runs = 1 if quick else 11
    found: list[Figure] = []
    base: dict[str, list[Cost]] = {}
    for size in sizes:
        with crew(size, size // _PER_FILE, live=50) as made, peer() as writer:
            ours, bare = _loads(made, 1 if quick else 5)
            aim = Aim(p50=1000) if size == 10_000 else None
            found.append(figure(f"load {size:,}", "ms", ours, "json.loads of all", bare, aim))
            with on_terminal(muster(made.server.socket, made.files.path)) as program:
                program.wait_for(agent_id(0, 0).encode())
                program.watch(2.0)
                program.forget()
                for name, do in _operations(program, made, writer).items():
                    if "filter" in name:
                        program.press(b"/")
                        program.watch(1.0)
                    costs = [_cost(program, lambda run=run: do(run)) for run in range(runs)]  # type: ignore[misc] # noqa: B023
                    base.setdefault(name, costs)
                    found += _figures(f"{name}, {size:,}", costs, base[name], name, size)
    return sorted(found, key=lambda each: each.what.rpartition(", ")[0])


def _figures(what: str, costs: list[Cost], base: list[Cost], name: str, size: int) -> list[Figure]:
    aim = Aim(ratio=1.5) if name == "change of one agent" and size == 10_000 else None
    beside = f"{_BASE} agents"
    return [
        figure(
            f"{what}, CPU",
            "ms",
            [each.cpu for each in costs],
            beside,
            [each.cpu for each in base],
            aim,
        ),
        figure(
            f"{what}, terminal",
            "bytes",
            [each.count for each in costs],
            beside,
            [each.count for each in base],
            aim,
        ),
    ]
