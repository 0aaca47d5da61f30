"""Peers in processes of their own that change agents while a monitor looks on."""

from __future__ import annotations

import fcntl
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from registry.storage.codec import decode, encode
from tests.benchmarks.crews import Crew, agent_id
from tests.benchmarks.crowds import FORKING
from tests.support.peers import careful_update


class Peer:
    """Changes one agent, or many, when it is told to, as the orchestrator would."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def change(self, path: Path, numbers: range, word: str) -> float:
        """Gives agents of a registry another `type`, which the roll shows beside the id.

        Returns:
            When it was written; seconds of the monotonic clock.
        """
        self._pipe.send((path, numbers, word))
        written_at: float = self._pipe.recv()
        return written_at


@contextmanager
def peer() -> Iterator[Peer]:
    """A peer for the length of a block."""
    ours, theirs = FORKING.Pipe()
    process = FORKING.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Peer(ours)
    finally:
        ours.send(None)
        process.join()


def _serve(pipe: Connection) -> None:
    while (told := pipe.recv()) is not None:
        path, numbers, word = told

        def change(registry: dict[str, Any], numbers: range = numbers, word: str = word) -> None:
            for number in numbers:
                registry["agents"][number]["type"] = word

        careful_update(str(path), change)
        pipe.send(time.monotonic())


class Storm:
    """What a storm came to.

    Attributes:
        rate: Changes a second.
        last: The last `type` that each agent was given.
    """

    rate = 0.0
    last: dict[str, str]


@contextmanager
def storm(
    made: Crew, a_second: float, tasks: range, numbers: range | None = None
) -> Iterator[Storm]:
    """Random agents of some tasks change for the length of a block; of all numbers or some."""
    ours, theirs = FORKING.Pipe()
    process = FORKING.Process(
        target=_rage,
        args=(made, a_second, tasks, numbers or range(made.per_file), theirs),
        daemon=True,
    )
    process.start()
    came_to = Storm()
    try:
        yield came_to
    finally:
        ours.send(None)
        came_to.rate, came_to.last = ours.recv()
        process.join()


def _rage(made: Crew, a_second: float, tasks: range, numbers: range, pipe: Connection) -> None:
    dice = random.Random(1)
    last: dict[str, str] = {}
    began = time.monotonic()
    step = 0
    while not pipe.poll(max(0.0, began + step / a_second - time.monotonic())):
        task, number = dice.choice(tasks), dice.choice(numbers)
        step += 1
        word = f"storm-{step:06}"
        _quick_update(made.registry(task), number, word)
        last[agent_id(task, number)] = word
    pipe.send((step / (time.monotonic() - began), last))


def _quick_update(path: Path, number: int, word: str) -> None:
    """As a careful peer does it, but with less CPU: there are two cores for all of this."""
    with open(path, "r+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        registry = decode(file.read(), path)
        registry["agents"][number]["type"] = word
        file.seek(0)
        file.write(encode(registry, path))
        file.truncate()
        file.flush()
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
