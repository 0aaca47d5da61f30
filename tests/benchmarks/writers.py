"""Peers in separate processes that change agents while a monitor runs."""

from __future__ import annotations

import fcntl
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from registry.schema.layout import DATABASE
from registry.storage.codec import decode, encode
from tests.benchmarks.crews import Crew, agent_id
from tests.benchmarks.crowds import FORKING
from tests.support.peers import careful_update


class Peer:
    """Changes agents on request, as an orchestrator would."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def change(self, path: Path, numbers: range, word: str) -> float:
        """Gives agents of a registry another `type`, which the roll shows beside the id.

        A registry may be a database, whose agents are those of the first task.

        Returns:
            The time of the write, in seconds of the monotonic clock.
        """
        self._pipe.send((path, numbers, word))
        written_at: float = self._pipe.recv()
        return written_at


@contextmanager
def peer() -> Iterator[Peer]:
    """Runs a peer until the block ends."""
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
        if path.name == DATABASE:
            _update_rows(path, numbers, word)
            pipe.send(time.monotonic())
            continue

        def change(registry: dict[str, Any], numbers: range = numbers, word: str = word) -> None:
            for number in numbers:
                registry["agents"][number]["type"] = word

        careful_update(str(path), change)
        pipe.send(time.monotonic())


def _update_rows(path: Path, numbers: range, word: str) -> None:
    """Changes agents of a database as an orchestrator does: in a connection of its own."""
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "UPDATE agents SET type = ? WHERE agent_id = ?",
            [(word, agent_id(0, number)) for number in numbers],
        )
        database.execute("COMMIT")


class Storm:
    """The result of a storm, which is a fast series of changes.

    Attributes:
        rate: The changes per second.
        last: Maps each changed agent to its last `type`.
    """

    rate = 0.0
    last: dict[str, str]


@contextmanager
def storm(
    made: Crew, a_second: float, tasks: range, numbers: range | None = None
) -> Iterator[Storm]:
    """Changes random agents of some tasks until the block ends."""
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
    """Changes an agent like a careful peer, but with less CPU."""
    with open(path, "r+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        registry = decode(file.read(), path)
        registry["agents"][number]["type"] = word
        file.seek(0)
        file.write(encode(registry, path))
        file.truncate()
        file.flush()
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
