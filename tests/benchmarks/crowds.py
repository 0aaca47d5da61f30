"""Runs forked processes that update one document at the same time."""

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

# Forked, because the start of 64 interpreters would take longer than their work.
FORKING = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Load:
    """The work of a crowd of processes.

    Attributes:
        size: The approximate size of the registry in bytes.
        processes: The number of processes.
        updates: The number of updates of each process.
        pause: The mean seconds between two updates of a process; 0 for no pause.
        agents: The least number of agents; there is at least one agent for each process.
    """

    size: int
    processes: int
    updates: int
    pause: float
    agents: int = 0


@dataclass(frozen=True)
class Seen:
    """The result of a run.

    Attributes:
        throughput: The updates per second of all processes together.
        waits: The seconds of each wait for the lock, sorted.
        timeouts: The number of updates that timed out.
        lost: The number of acknowledged updates that are missing.
    """

    throughput: float
    waits: Sequence[float]
    timeouts: int
    lost: int

    def wait(self, share: float) -> float:
        """Returns the wait that is not exceeded by the given share of all waits."""
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
    """Returns a registry of at least this size, with at least one agent for each worker."""
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
                # The size does not grow with the number of workers.
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
            # Pauses also before the first update, so that the processes do not start at one
            # instant.
            time.sleep(dice.expovariate(1 / load.pause))
        try:
            previous, waited = update(agent_id, f"step {step}")
        except TimeoutError:
            timeouts += 1
            waits.append(PATIENCE)
            continue
        # No other process changes this agent, so its status must be the last one of this process.
        lost += previous != last
        last = f"step {step}"
        waits.append(waited)
    report.send(_Report(began, time.monotonic(), waits, timeouts, lost, last))


def run(
    scheme: Scheme,
    load: Load,
    beside: Callable[[Path], AbstractContextManager[object]] = nullcontext,
) -> Seen:
    """Runs a crowd on a new registry; `beside` is open as long as the crowd works."""
    with tempfile.TemporaryDirectory(prefix="muster-benchmark-") as directory:
        path = Path(directory) / "AGENT_REGISTRY.json"
        scheme.prepare(path, registry_text(load.size, max(load.processes, load.agents)))
        with beside(path):
            reports = _let_loose(scheme, path, load)
        statuses = {each["id"]: each["status"] for each in scheme.read(path)["agents"]}
    return _sum_up(reports, statuses)


def _let_loose(scheme: Scheme, path: Path, load: Load) -> list[_Report]:
    # Late imports are not measured.
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
