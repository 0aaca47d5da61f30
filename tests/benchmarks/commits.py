"""Measures commits of this library and of other ways, and prints tables.

python -m tests.benchmarks.commits [--json FILE] [--quick]

A full run takes a quarter of an hour, `--quick` about two minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import pollers, readers
from tests.benchmarks.crowds import Load, Seen, run
from tests.benchmarks.schemes import SCHEMES, SEED
from tests.support.seclusion import seclude

_SMALL, _LARGE = 20_000, 1_000_000
# The mean seconds between two updates of all processes together. The pause of one process grows
# with the number of processes, so that the processes leave each other room.
_PAUSES = (0, 0.01)

# Maps the number of processes to the updates of each process. With many updates in a row, the
# seed's protocol looks better than it is: one process gets the lock many times, while the others
# sleep.
_UPDATES = {
    _SMALL: {1: 200, 2: 100, 10: 25, 64: 8},
    _LARGE: {1: 12, 2: 6, 10: 3, 64: 1},
}
_QUICK_UPDATES = {_SMALL: {1: 100, 2: 50, 10: 25, 64: 4}, _LARGE: {2: 4, 10: 2}}


@dataclass(frozen=True)
class Row:
    """The medians of one scheme under one load. `ratios` compare with the seed's, run by run."""

    scheme: str
    throughput: float
    p50: float
    p99: float
    longest: float
    ratios: dict[str, float]
    timeouts: int
    lost: int


_FIGURES: dict[str, Callable[[Seen], float]] = {
    "throughput": lambda seen: seen.throughput,
    "p50": lambda seen: seen.wait(0.5),
    "p99": lambda seen: seen.wait(0.99),
    "longest": lambda seen: seen.waits[-1],
}


def measure(load: Load, rounds: int) -> list[Row]:
    """Runs all schemes in turns, so that other work of the machine affects all of them."""
    seen: dict[str, list[Seen]] = {scheme.name: [] for scheme in SCHEMES}
    for _ in range(rounds):
        for scheme in SCHEMES:
            seen[scheme.name].append(run(scheme, load))
    return [_row(name, runs, seen[SEED.name]) for name, runs in seen.items()]


def _row(name: str, runs: Sequence[Seen], seeds: Sequence[Seen]) -> Row:
    return Row(
        scheme=name,
        **{key: statistics.median(map(figure, runs)) for key, figure in _FIGURES.items()},
        ratios={
            key: statistics.median(
                figure(ours) / figure(seed) for ours, seed in zip(runs, seeds, strict=True)
            )
            for key, figure in _FIGURES.items()
        },
        timeouts=sum(each.timeouts for each in runs),
        lost=sum(each.lost for each in runs),
    )


def _title(load: Load) -> str:
    size = f"{load.size // 1000} KB" if load.size < 1_000_000 else f"{load.size // 10**6} MB"
    pace = f"pauses of {load.pause * 1000:g} ms" if load.pause else "back to back"
    who = "1 process" if load.processes == 1 else f"{load.processes} processes"
    return f"{size}, {who}, {pace}, {load.updates} updates each"


def table(rows: Iterable[Row]) -> str:
    """Returns a table in Markdown: waits in milliseconds, ratios to the seed's in brackets."""
    lines = [
        "| scheme | updates/s | wait p50 | p99 | max | timeouts | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        waits = " | ".join(
            f"{getattr(row, key) * 1000:.2f} ({row.ratios[key]:.2g})"
            for key in ("p50", "p99", "longest")
        )
        lines.append(
            f"| {row.scheme} | {row.throughput:.0f} ({row.ratios['throughput']:.2f}) "
            f"| {waits} | {row.timeouts} | {row.lost} |"
        )
    return "\n".join(lines)


def _loads(quick: bool) -> Iterable[Load]:
    for size, updates in (_QUICK_UPDATES if quick else _UPDATES).items():
        for processes, each in updates.items():
            for pause in _PAUSES:
                yield Load(size, processes, each, pause * processes)


def _readers_section(quick: bool) -> tuple[str, dict[str, Any]]:
    """Returns a table of the cost of readers for writers, and its figures."""
    found = readers.compare(rounds=3 if quick else 7, updates=50 if quick else 200)
    lines = [
        "| writers | alone | beside 3 readers | ratio | reads | torn |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        lines.append(
            f"| {each.writers} of ours, {each.pace} | {each.alone:.0f}/s | {each.beside:.0f}/s "
            f"| {each.ratio:.2f} | {each.reads} | {each.torn} |"
        )
    return "\n".join(lines), {"readers": [asdict(each) for each in found]}


def _pollers_section(quick: bool) -> tuple[str, dict[str, Any]]:
    """Returns a table of the waits of a peer that polls every 0.1 s, and its figures."""
    found = pollers.compare(rounds=1 if quick else 3, updates=100)
    lines = [
        "| 4 hot writers | the peer's wait p50 | p99 | max | its timeouts | writers' updates/s |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        waits = " | ".join(f"{1000 * wait:.2f}" for wait in (each.p50, each.p99, each.longest))
        lines.append(f"| {each.beside} | {waits} | {each.timeouts} | {each.writers:.0f} |")
    return "\n".join(lines), {"pollers": [asdict(each) for each in found]}


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; returns 1 if an acknowledged update is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="fewer loads, fewer runs")
    options = parser.parse_args(arguments)
    # Timeouts are counted in the tables.
    logging.disable(logging.CRITICAL)
    rounds = 1 if options.quick else 3
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {rounds} runs; "
        "waits in ms; in brackets: ratio to the seed's protocol in the same run"
    )
    figures: dict[str, Any] = {"python": platform.python_version(), "loads": []}
    lost = 0
    for load in _loads(options.quick):
        rows = measure(load, rounds)
        print(f"\n## {_title(load)}\n\n{table(rows)}", flush=True)
        figures["loads"].append(asdict(load) | {"rows": [asdict(row) for row in rows]})
        lost += sum(row.lost for row in rows)
    for title, section in (
        ("Readers beside writers, 20 KB", _readers_section),
        ("A peer that polls every 0.1 s, 20 KB", _pollers_section),
    ):
        text, found = section(options.quick)
        print(f"\n## {title}\n\n{text}", flush=True)
        figures |= found
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if lost else 0


if __name__ == "__main__":
    seclude()
    sys.exit(main(sys.argv[1:]))
