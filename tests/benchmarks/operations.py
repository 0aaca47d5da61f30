"""Counts the file operations of the library's operations, and measures many processes at once.

python -m tests.benchmarks.operations [--quick] [--json FILE]

A full run takes about two minutes, `--quick` a quarter of this time.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Literal

from registry import (
    SessionEnd,
    clean_up_task,
    clean_up_workspace,
    create_task_registry,
    durable_commits,
    terminate_agents,
)
from tests.benchmarks.crowds import FORKING
from tests.benchmarks.spawning import AFTER, BEFORE, OURS, Operation, Place, Way
from tests.support.io_counts import Call, is_journal, is_registry, watching
from tests.support.registries import load as load_registry
from tests.support.seclusion import seclude

_AGENTS = 40
_PROCESSES = 10

What = Literal["register", "report"]


@dataclass(frozen=True)
class Io:
    """The file operations of one operation of the library.

    Attributes:
        operation: The name of the operation and the way.
        registries, journals, others: The number of calls by kind, and the numbers of bytes that
            were read and written.
    """

    operation: str
    registries: dict[str, int]
    journals: dict[str, int]
    others: dict[str, int]


_FIGURES = ("open", "read", "write", "flush", "bytes read", "bytes written")


def _sum_up(name: str, last_activity: Iterable[Call]) -> Io:
    io = Io(name, *(dict.fromkeys(_FIGURES, 0) for _ in range(3)))
    for call in last_activity:
        if is_registry(call.path):
            into = io.registries
        elif is_journal(call.path):
            into = io.journals
        else:
            into = io.others
        into[call.kind] += 1
        into["bytes read"] += call.got
        into["bytes written"] += call.size if call.kind == "write" else 0
    return io


def count_io() -> list[Io]:
    """Counts the file operations of each operation, in a workspace that is in use already."""
    found = []
    for name, act in _operations().items():
        with tempfile.TemporaryDirectory(prefix="muster-benchmark-") as directory:
            place = Place.lay_out(Path(directory) / ".agent-workspace", _AGENTS)
            # The first calls create modules and journals, which the measured call uses.
            OURS.register(place, "first")
            OURS.report(place, "agent-1")
            with watching() as last_activity:
                act(place)
        found.append(_sum_up(name, last_activity))
    return found


def _operations() -> dict[str, Callable[[Place], object]]:
    # The first four agents have no session.
    live = ["agent_first", *(f"agent_agent-{number}" for number in range(4, _AGENTS))]

    def durable(place: Place) -> None:
        with durable_commits():
            OURS.register(place, "new")

    return {
        "register: seed, before": lambda place: BEFORE.register(place, "new"),
        "register: seed, after": lambda place: AFTER.register(place, "new"),
        "register: ours": lambda place: OURS.register(place, "new"),
        "register: ours, durable": durable,
        "report: seed, before": lambda place: BEFORE.report(place, "agent-1"),
        "report: seed, after": lambda place: AFTER.report(place, "agent-1"),
        "report: ours": lambda place: OURS.report(place, "agent-1"),
        "terminate 4": lambda place: terminate_agents(
            place.task,
            place.global_,
            {f"agent-{number}": SessionEnd.ENDED for number in range(4)},
            reason="stopped",
        ),
        "clean up a task, 4 dead": lambda place: clean_up_task(
            place.task, place.global_, live, grace=0
        ),
        "clean up a workspace, 4 dead": lambda place: clean_up_workspace(
            place.global_.parents[1], live, grace=0
        ),
        "clean up, nobody dead": lambda place: clean_up_workspace(
            place.global_.parents[1], [*live, *(f"agent_agent-{number}" for number in range(4))]
        ),
        "create a task": lambda place: create_task_registry(
            place.global_.parents[1], "TASK-2", "another task"
        ),
    }


def io_table(found: Iterable[Io]) -> str:
    """Returns a table in Markdown with the numbers of opens, reads, writes and flushes."""
    lines = [
        "| operation | registries: opens | reads | writes | flushes | KB read | KB written "
        "| journals: opens, reads, writes, flushes | KB written | other opens, writes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        kinds = ("open", "read", "write", "flush")
        of_registries = " | ".join(str(each.registries[kind]) for kind in kinds)
        of_journals = ", ".join(str(each.journals[kind]) for kind in kinds)
        lines.append(
            f"| {each.operation} | {of_registries} | {_kb(each.registries['bytes read'])} "
            f"| {_kb(each.registries['bytes written'])} | {of_journals} "
            f"| {_kb(each.journals['bytes written'])} "
            f"| {each.others['open']}, {each.others['write']} |"
        )
    return "\n".join(lines)


def _kb(count: int) -> str:
    return f"{count / 1000:.1f}"


@dataclass(frozen=True)
class Load:
    """The operations of a crowd of processes.

    Attributes:
        what: The operation.
        each: The number of operations of each process.
        pause: The mean seconds between two operations of a process; 0 for no pause.
    """

    what: What
    each: int
    pause: float


@dataclass(frozen=True)
class Seen:
    """The result of a run.

    Attributes:
        throughput: The operations per second of all processes together.
        p50, p99, longest: Seconds of one operation.
        failed: The operations that timed out.
        lost: The acknowledged registrations that are missing or not counted.
    """

    throughput: float
    p50: float
    p99: float
    longest: float
    failed: int
    lost: int


def _work(
    act: Operation, place: Place, load: Load, number: int, start: Barrier, report: Connection
) -> None:
    dice = random.Random(number)
    took: list[float] = []
    failed = 0
    start.wait()
    began = time.monotonic()
    for step in range(load.each):
        if load.pause:
            time.sleep(dice.expovariate(1 / load.pause))
        agent_id = f"agent-{number}" if load.what == "report" else f"new-{number}-{step}"
        at = time.monotonic()
        try:
            act(place, agent_id)
        except TimeoutError:
            failed += 1
        took.append(time.monotonic() - at)
    report.send((began, time.monotonic(), took, failed))


def run(way: Way, load: Load) -> Seen:
    """Runs ten processes on a new workspace."""
    act = {"register": way.register, "report": way.report}[load.what]
    with tempfile.TemporaryDirectory(prefix="muster-benchmark-") as directory:
        place = Place.lay_out(Path(directory) / ".agent-workspace", _AGENTS)
        # Late imports and new files are not measured.
        act(place, "agent-0" if load.what == "report" else "first")
        start = FORKING.Barrier(_PROCESSES)
        crowd = []
        for number in range(_PROCESSES):
            ours, theirs = FORKING.Pipe(duplex=False)
            arguments = (act, place, load, number, start, theirs)
            process = FORKING.Process(target=_work, args=arguments)
            process.start()
            theirs.close()
            crowd.append((process, ours))
        reports = [pipe.recv() for _, pipe in crowd]
        for process, _ in crowd:
            process.join()
        failed = sum(each[3] for each in reports)
        there = 0 if load.what == "report" else 1 + _PROCESSES * load.each - failed
        lost = _miscounted(place, _AGENTS + there)
    took = sorted(each for report in reports for each in report[2])
    seconds = max(each[1] for each in reports) - min(each[0] for each in reports)
    return Seen(
        (len(took) - failed) / seconds,
        statistics.median(took),
        took[min(len(took) - 1, int(0.99 * len(took)))],
        took[-1],
        failed,
        lost,
    )


def _miscounted(place: Place, right: int) -> int:
    """Returns the largest error of the registries' lists and counters, in agents."""
    task, global_ = load_registry(place.task), load_registry(place.global_)
    counted: list[int] = [len(task["agents"]), task["total_spawned"], task["active_count"]]
    counted += [len(global_["agents"]), global_["total_agents_spawned"], global_["active_agents"]]
    return max(abs(right - each) for each in counted)


@dataclass(frozen=True)
class Row:
    """Medians of one way under one load. `ratio` compares with the seed's way, run by run."""

    way: str
    throughput: float
    ratio: float
    p50: float
    p99: float
    longest: float
    failed: int
    lost: int


def measure(load: Load, rounds: int) -> list[Row]:
    """Runs both ways in turns, so that other work of the machine affects both."""
    seen: dict[str, list[Seen]] = {way.name: [] for way in (AFTER, OURS)}
    for _ in range(rounds):
        for way in (AFTER, OURS):
            seen[way.name].append(run(way, load))
    seeds = seen[AFTER.name]
    return [
        Row(
            name,
            statistics.median(each.throughput for each in runs),
            statistics.median(
                ours.throughput / seed.throughput for ours, seed in zip(runs, seeds, strict=True)
            ),
            statistics.median(each.p50 for each in runs),
            statistics.median(each.p99 for each in runs),
            statistics.median(each.longest for each in runs),
            sum(each.failed for each in runs),
            sum(each.lost for each in runs),
        )
        for name, runs in seen.items()
    ]


def throughput_table(rows: Iterable[Row]) -> str:
    """Returns a table in Markdown, with the milliseconds of an operation."""
    lines = [
        "| way | operations/s | to the seed's | p50 | p99 | max | timeouts | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        took = " | ".join(f"{1000 * each:.1f}" for each in (row.p50, row.p99, row.longest))
        lines.append(
            f"| {row.way} | {row.throughput:.0f} | {row.ratio:.2f} | {took} "
            f"| {row.failed} | {row.lost} |"
        )
    return "\n".join(lines)


def _loads(quick: bool) -> Iterable[Load]:
    for what in ("register", "report"):
        for each in (1, 5) if quick else (1, 5, 25):
            yield Load(what, each, 0)
        # One operation every 10 ms for all processes together.
        yield Load(what, 5 if quick else 25, 0.01 * _PROCESSES)


def main(arguments: Sequence[str]) -> int:
    """Counts, measures and prints; returns 1 if something acknowledged is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="fewer loads, fewer runs")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    rounds = 3 if options.quick else 5
    found = count_io()
    print(f"## Calls of one operation, {_AGENTS} agents\n\n{io_table(found)}", flush=True)
    print(
        f"\n## {_PROCESSES} processes, Python {platform.python_version()}, {os.cpu_count()} "
        f"cores, medians of {rounds} runs, ms"
    )
    loads = []
    lost = 0
    for load in _loads(options.quick):
        rows = measure(load, rounds)
        pace = "back to back"
        if load.pause:
            pace = f"pauses of {1000 * load.pause:g} ms, which set the rate"
        print(
            f"\n### {load.what}, {load.each} each, {pace}\n\n{throughput_table(rows)}", flush=True
        )
        loads.append(asdict(load) | {"rows": [asdict(row) for row in rows]})
        lost += sum(row.lost for row in rows)
    if options.json:
        figures = {"io": [asdict(each) for each in found], "loads": loads}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if lost else 0


if __name__ == "__main__":
    seclude()
    sys.exit(main(sys.argv[1:]))
