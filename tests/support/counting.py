"""Processes that count in one registry, and processes that watch the registry, many at once.

Every update adds 1 to one agent's `progress`, and to the registry's `total_spawned`. If a reader
sees another sum, it has read a mix of two states. Each process prints "ready", and waits for a
line before it begins.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path
from typing import Any

from registry import BusyRegistryError, LockedRegistryFile
from registry.snapshots import read_task
from tests.support.registries import agent, rewrite, task_registry

_GLANCE = 0.02


def blank(agents: list[str], **fields: Any) -> dict[str, Any]:
    """Returns a registry for counting, in which all counts are 0."""
    return task_registry(
        *(agent(each, progress=0) for each in agents), **({"total_spawned": 0} | fields)
    )


def _add_one(path: str, agent_id: str) -> None:
    with LockedRegistryFile(path, timeout=60) as (registry, file):
        registry["total_spawned"] += 1
        (entry,) = (each for each in registry["agents"] if each["id"] == agent_id)
        entry["progress"] += 1
        rewrite(file, registry)


def count(path: str, agent_id: str, updates: str) -> None:
    """Makes this number of updates; prints the times of the start and the end."""
    began = time.monotonic()
    for _ in range(int(updates)):
        _add_one(path, agent_id)
    print(json.dumps([began, time.monotonic()]))


def hammer(path: str, agent_id: str) -> None:
    """Makes updates without a pause until a line arrives; prints the number of updates."""
    done = 0
    while not _told():
        _add_one(path, agent_id)
        done += 1
    print(json.dumps(done))


def watch(path: str) -> None:
    """Reads until a line arrives; prints the number of reads, and of reads of mixed states."""
    seen = torn = 0
    while not _told():
        try:
            record = read_task(Path(path)).record
        except BusyRegistryError:
            pass  # A read that is refused because of writers is not a torn read.
        else:
            seen += 1
            torn += record.total_spawned != sum(each.progress or 0 for each in record.agents)
        time.sleep(_GLANCE)
    print(json.dumps([seen, torn]))


def _told() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main(arguments: list[str]) -> None:
    """Runs the role that the first argument names."""
    role, *rest = arguments
    print("ready", flush=True)
    sys.stdin.readline()
    {each.__name__: each for each in (count, hammer, watch)}[role](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
