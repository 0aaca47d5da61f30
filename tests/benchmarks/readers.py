"""The cost of readers for writers: the same writers with and without readers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from registry import BusyRegistryError
from registry.snapshots import read_task
from tests.benchmarks.crowds import FORKING, Load, run
from tests.benchmarks.schemes import OURS

_READERS = 3
_EVERY = 0.05


@dataclass(frozen=True)
class Beside:
    """Medians of interleaved runs.

    Attributes:
        writers: The number of writers.
        pace: The pause of the writers, in words.
        alone: The updates per second without readers.
        beside: The updates per second with readers.
        ratio: The median of `beside` divided by `alone`, for each pair of runs.
        reads: The number of reads.
        torn: The number of reads that returned a state that never existed.
    """

    writers: int
    pace: str
    alone: float
    beside: float
    ratio: float
    reads: int
    torn: int


def _watch(path: Path, stop: Connection) -> None:
    reads = torn = 0
    last: list[int] = []
    while not stop.poll(_EVERY):
        try:
            record = read_task(path).record
        except BusyRegistryError:
            # The read was refused, because a writer was always active.
            continue
        steps = [int(each.status.removeprefix("step ")) for each in record.agents]
        # An agent's step never decreases, and no agent is added.
        fell = any(now < before for now, before in zip(steps, last, strict=False))
        torn += fell or len(steps) != record.total_spawned
        reads += 1
        last = steps
    stop.send((reads, torn))


@contextmanager
def _readers(counted: list[tuple[int, int]], path: Path) -> Iterator[None]:
    crowd = []
    for _ in range(_READERS):
        ours, theirs = FORKING.Pipe()
        process = FORKING.Process(target=_watch, args=(path, theirs))
        process.start()
        theirs.close()
        crowd.append((process, ours))
    yield
    for process, pipe in crowd:
        pipe.send(None)
        counted.append(pipe.recv())
        process.join()


def compare(rounds: int, updates: int) -> list[Beside]:
    """Runs writers with and without readers in turns."""
    found = []
    for load in (Load(20_000, 4, updates, 0), Load(20_000, 4, updates // 2, 0.02)):
        counted: list[tuple[int, int]] = []
        pairs = [
            (run(OURS, load), run(OURS, load, beside=partial(_readers, counted)))
            for _ in range(rounds)
        ]
        found.append(
            Beside(
                writers=load.processes,
                pace="pauses of 20 ms" if load.pause else "back to back",
                alone=statistics.median(alone.throughput for alone, _ in pairs),
                beside=statistics.median(beside.throughput for _, beside in pairs),
                ratio=statistics.median(b.throughput / a.throughput for a, b in pairs),
                reads=sum(reads for reads, _ in counted),
                torn=sum(torn for _, torn in counted),
            )
        )
    return found
