"""Forked processes that update one document at once, and what they saw."""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from registry.storage import codec
from tests.benchmarks.schemes import Scheme
from tests.support.peers import PATIENCE
from tests.support.registries import agent, task_registry

# Forked and not spawned: 64 interpreters that start would take longer than their work.
FORKING = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Load:
    """What a crowd does.

    Attributes:
        size: Bytes of the registry, about.
        processes: How many work at once.
        updates: How many each of them makes.
        pause: Mean seconds between two updates of one process; 0 for back to back.
        agents: How many agents there are at least; as many as processes anyway.
    """

    size: int
    processes: int
    updates: int
    pause: float
    agents: int = 0


@dataclass(frozen=True)
class Seen:
    """What came of one run.

    Attributes:
        throughput: Updates a second, all processes together, until the last is done.
        waits: Seconds of each wait for the lock, in order of length.
        timeouts: Updates that were given up.
        lost: Updates that were acknowledged and are not there.
    """

    throughput: float
    waits: Sequence[float]
    timeouts: int
    lost: int

    def wait(self, share: float) -> float:
        """The wait that this share of all waits did not exceed."""
        return self.waits[min(len(self.waits) - 1, int(share * len(self.waits)))]


@dataclass(frozen=True)
class _Report:
    began: float
    ended: float
    waits: list[float]
    timeouts: int
    lost: int
    last: str


def registry_text(size: int, workers: int) -> bytes:
    """A registry with an agent for each worker, and with more until it is so large."""
    prompt = "Investigate why the registry loses updates when many agents write at once. " * 3
    agents: list[dict[str, Any]] = []
    length = 0
    while len(agents) < workers or length < size:
        agents.append(
            agent(
                f"agent-{len(agents)}",
                "step 0",
                parent="orchestrator",
                depth=1,
                started_at="2025-10-17T21:35:12.210818",
                progress=0,
                last_update="2025-10-17T21:35:12.210818",
                # As many workers as there are, the size stays what it was.
                prompt=prompt[: max(0, min(200, size // max(1, workers) - 400))],
            )
        )
        length += len(json.dumps(agents[-1], indent=2)) + 100
    return json.dumps(task_registry(*agents), indent=2).encode("ascii")


def _work(
    scheme: Scheme, path: Path, load: Load, number: int, start: Barrier, report: Connection
) -> None:
    update = scheme.connect(path)
    dice = random.Random(number)
    agent_id = f"agent-{number}"
    waits: list[float] = []
    timeouts = lost = 0
    last = "step 0"
    start.wait()
    began = time.monotonic()
    for step in range(1, load.updates + 1):
        if load.pause:
            # Also before the first: nobody starts many processes at one instant.
            time.sleep(dice.expovariate(1 / load.pause))
        try:
            previous, waited = update(agent_id, f"step {step}")
        except TimeoutError:
            timeouts += 1
            waits.append(PATIENCE)
            continue
        # Nobody else touches this agent: what it was before is what we made it.
        lost += previous != last
        last = f"step {step}"
        waits.append(waited)
    report.send(_Report(began, time.monotonic(), waits, timeouts, lost, last))


def run(
    scheme: Scheme,
    load: Load,
    beside: Callable[[Path], AbstractContextManager[object]] = nullcontext,
) -> Seen:
    """Lets a crowd loose on a fresh registry, and counts; `beside` lasts as long as it works."""
    with tempfile.TemporaryDirectory(prefix="muster-benchmark-") as directory:
        path = Path(directory) / "AGENT_REGISTRY.json"
        scheme.prepare(path, registry_text(load.size, max(load.processes, load.agents)))
        with beside(path):
            reports = _let_loose(scheme, path, load)
        statuses = {each["id"]: each["status"] for each in scheme.read(path)["agents"]}
    return _sum_up(reports, statuses)


def _let_loose(scheme: Scheme, path: Path, load: Load) -> list[_Report]:
    # What is imported on first use is no part of it.
    codec.prepare()
    start = FORKING.Barrier(load.processes)
    crowd = []
    for number in range(load.processes):
        ours, theirs = FORKING.Pipe(duplex=False)
        process = FORKING.Process(target=_work, args=(scheme, path, load, number, start, theirs))
        process.start()
        theirs.close()
        crowd.append((process, ours))
    reports: list[_Report] = [pipe.recv() for _, pipe in crowd]
    for process, _ in crowd:
        process.join()
    return reports


def _sum_up(reports: Sequence[_Report], statuses: dict[str, Any]) -> Seen:
    done = sum(len(each.waits) - each.timeouts for each in reports)
    took = max(each.ended for each in reports) - min(each.began for each in reports)
    forgotten = sum(
        statuses[f"agent-{number}"] != each.last for number, each in enumerate(reports)
    )
    return Seen(
        throughput=done / took,
        waits=sorted(wait for each in reports for wait in each.waits),
        timeouts=sum(each.timeouts for each in reports),
        lost=sum(each.lost for each in reports) + forgotten,
    )
