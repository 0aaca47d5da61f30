"""The waits of a peer that polls a lock every 0.1 s, while other writers never pause."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from tests.benchmarks.crowds import FORKING, Load, Seen, run
from tests.benchmarks.schemes import OURS, SEED, Scheme

_HOT = 4
_PAUSE = 0.02


@dataclass(frozen=True)
class Poller:
    """Medians of interleaved runs; waits in seconds.

    Attributes:
        beside: The name of the other writers' scheme.
        p50: The median of the peer's waits.
        p99: The 99th percentile of the peer's waits.
        longest: The peer's longest wait.
        timeouts: The number of the peer's timeouts.
        writers: The updates per second of all other writers together.
    """

    beside: str
    p50: float
    p99: float
    longest: float
    timeouts: int
    writers: float


def _hammer(scheme: Scheme, path: Path, number: int, stop: Connection) -> None:
    update = scheme.connect(path)
    done = 0
    began = time.monotonic()
    while not stop.poll(0):
        try:
            update(f"agent-{number}", f"step {done}")
        except TimeoutError:
            continue
        done += 1
    stop.send(done / (time.monotonic() - began))


@contextmanager
def _hot_writers(scheme: Scheme, rates: list[float], path: Path) -> Iterator[None]:
    crowd = []
    for number in range(1, _HOT + 1):
        ours, theirs = FORKING.Pipe()
        process = FORKING.Process(target=_hammer, args=(scheme, path, number, theirs))
        process.start()
        theirs.close()
        crowd.append((process, ours))
    yield
    for _, pipe in crowd:
        pipe.send(None)
    rates.append(sum(pipe.recv() for _, pipe in crowd))
    for process, _ in crowd:
        process.join()


def compare(rounds: int, updates: int) -> list[Poller]:
    """Runs a peer beside writers of this library, then shorter beside writers like itself."""
    seen: dict[str, list[Seen]] = {OURS.name: [], SEED.name: []}
    rates: dict[str, list[float]] = {OURS.name: [], SEED.name: []}
    # Among writers of its own kind, the peer waits up to 10 s each time.
    counts = {OURS.name: updates, SEED.name: max(1, updates // 20)}
    for _ in range(rounds):
        for scheme in (OURS, SEED):
            load = Load(20_000, 1, counts[scheme.name], _PAUSE, agents=_HOT + 1)
            hot = partial(_hot_writers, scheme, rates[scheme.name])
            seen[scheme.name].append(run(SEED, load, beside=hot))
    return [
        Poller(
            beside=name,
            p50=statistics.median(each.wait(0.5) for each in runs),
            p99=statistics.median(each.wait(0.99) for each in runs),
            longest=max(each.waits[-1] for each in runs),
            timeouts=sum(each.timeouts for each in runs),
            writers=statistics.median(rates[name]),
        )
        for name, runs in seen.items()
    ]
