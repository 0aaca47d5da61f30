"""An orchestrator's access to a registry, written only from the lock protocol.

This module must not use `registry`, because it stands for programs of other authors, which must
work together with the library. The program waits for a line on its input, so that many programs
can begin at the same time:

    python -m tests.support.peers careful PATH NAME UPDATES
    python -m tests.support.peers count PATH AGENT UPDATES [PAUSE]
    python -m tests.support.peers restamp PATH ROUNDS
    python -m tests.support.peers careless PATH ROUNDS
"""

from __future__ import annotations

import fcntl
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

POLL = 0.1
PATIENCE = 10.0


def careful_update(path: str, change: Callable[[dict[str, Any]], None]) -> float:
    """Changes a registry under the lock, as an orchestrator's careful writers do.

    Returns:
        The seconds of the wait for the lock.

    Raises:
        TimeoutError: Another process held the lock for 10 seconds.
    """
    with open(path, "r+", encoding="utf-8") as file:
        waited = _wait_for_flock(file.fileno(), path)
        try:
            registry = json.load(file)
            change(registry)
            file.seek(0)
            file.write(json.dumps(registry, indent=2))
            file.truncate()
        finally:
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
    return waited


def _wait_for_flock(fd: int, path: str) -> float:
    began = time.monotonic()
    deadline = began + PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return time.monotonic() - began
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{path} was locked for {PATIENCE} s") from None
            time.sleep(POLL)


def careless_write(path: str, registry: dict[str, Any]) -> None:
    """Truncates and writes a registry without the lock, as careless writers do."""
    with open(path, "w", encoding="utf-8") as file:
        text = json.dumps(registry, indent=2)
        quarter = len(text) // 4 + 1
        for start in range(0, len(text), quarter):
            file.write(text[start : start + quarter])
            file.flush()
            # Other processes can run while the file is incomplete.
            time.sleep(0.0005)


def stamped(generation: int, agents: int = 60) -> dict[str, Any]:
    """Returns a registry of a fixed length in which every part carries the same number.

    A mix of two such states is valid JSON, but shows two numbers.
    """
    return {
        "task_id": f"{generation:08d}",
        "agents": [
            {"id": f"agent-{number:04d}", "status": "running", "type": f"{generation:08d}"}
            for number in range(agents)
        ],
        "status": f"{generation:08d}",
    }


def _careful(path: str, name: str, updates: int) -> None:
    for number in range(updates):

        def change(registry: dict[str, Any], number: int = number) -> None:
            registry["total_spawned"] += 1
            registry.setdefault(f"updates of {name}", []).append(number)

        careful_update(path, change)


def _count(path: str, agent_id: str, updates: int, pause: float) -> None:
    """Increases a counter of an agent and of the registry; after a timeout, tries again.

    Prints the seconds of each successful wait for the lock, and the number of timeouts.

    Args:
        path: The registry.
        agent_id: The agent whose `progress` is increased.
        updates: The number of updates.
        pause: The longest pause between two updates, in seconds.
    """
    waits: list[float] = []
    timeouts = 0

    def change(registry: dict[str, Any]) -> None:
        registry["total_spawned"] += 1
        (entry,) = (each for each in registry["agents"] if each["id"] == agent_id)
        entry["progress"] += 1

    while len(waits) < updates:
        try:
            waits.append(careful_update(path, change))
        except TimeoutError:
            timeouts += 1
            continue
        time.sleep(random.uniform(0, pause))
    print(json.dumps({"waits": waits, "timeouts": timeouts}))


def _restamp(path: str, rounds: int) -> None:
    for generation in range(rounds):

        def change(registry: dict[str, Any], generation: int = generation) -> None:
            registry.update(stamped(generation))

        careful_update(path, change)
        time.sleep(0.001)


def _careless(path: str, rounds: int) -> None:
    for generation in range(rounds):
        careless_write(path, stamped(generation))
        time.sleep(0.004)


def main(arguments: list[str]) -> None:
    """Runs the role that the arguments name."""
    role, path, *rest = arguments
    print("ready", flush=True)
    sys.stdin.readline()
    if role == "careful":
        _careful(path, rest[0], int(rest[1]))
    elif role == "count":
        _count(path, rest[0], int(rest[1]), float(rest[2]) if rest[2:] else 0.0)
    elif role == "restamp":
        _restamp(path, int(rest[0]))
    elif role == "careless":
        _careless(path, int(rest[0]))
    else:
        raise SystemExit(f"no such role: {role}")


if __name__ == "__main__":
    main(sys.argv[1:])
