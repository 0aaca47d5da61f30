"""Ways to register an agent in a task's and the global registry, and to report for the agent.

The seed's two ways are written as its plan shows them. "Before": three loads and one write of the
task's registry, and one load and one write of the global one, without a lock. "After": one load as
a check, then one locked load and write of each registry, with polls of the lock every 0.1 s.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from registry import register_agent, report_progress
from tests.support.peers import PATIENCE, careful_update
from tests.support.registries import Json, agent, entry_of, global_registry, task_registry, write


@dataclass(frozen=True)
class Place:
    """A task's registry, and the global registry of its workspace."""

    task: Path
    global_: Path

    @classmethod
    def lay_out(cls, root: Path, agents: int) -> Place:
        """Creates a workspace with one task and this number of active agents."""
        there = [
            agent(
                f"agent-{number}",
                parent="orchestrator",
                depth=1,
                started_at="2025-10-17T21:35:12.210818",
                last_update="2025-10-17T21:35:12.210818",
                progress=0,
                prompt="Investigate why the registry loses updates. " * 4,
            )
            for number in range(agents)
        ]
        listed = [agent(each["id"], None, parent="orchestrator") for each in there]
        return cls(
            write(
                root / "TASK-1" / "AGENT_REGISTRY.json",
                task_registry(*there, max_agents=10**6, max_concurrent=10**6, max_depth=5),
            ),
            write(root / "registry" / "GLOBAL_REGISTRY.json", global_registry(*listed)),
        )


Operation = Callable[[Place, str], object]
"""Registers an agent with this id, or reports for it."""


@dataclass(frozen=True)
class Way:
    """One way to register and to report.

    Attributes:
        name: The name in the tables.
        register: Registers an agent.
        report: Reports for an agent.
    """

    name: str
    register: Operation
    report: Operation


def _entry(agent_id: str) -> Json:
    now = datetime.now().isoformat()
    return agent(
        agent_id,
        parent="orchestrator",
        depth=1,
        started_at=now,
        progress=0,
        last_update=now,
        prompt="Investigate why the registry loses updates. " * 4,
    )


def _add_to_task(registry: Json, agent_id: str) -> None:
    registry["agents"].append(_entry(agent_id))
    registry["total_spawned"] += 1
    registry["active_count"] += 1
    registry["agent_hierarchy"].setdefault("orchestrator", []).append(agent_id)


def _add_to_global(registry: Json, agent_id: str) -> None:
    listed = {"task_id": "TASK-1", "type": "tester", "parent": "orchestrator"}
    registry["agents"][agent_id] = listed | {"started_at": datetime.now().isoformat()}
    registry["total_agents_spawned"] += 1
    registry["active_agents"] += 1


def _update(registry: Json, agent_id: str) -> None:
    entry = entry_of(registry, agent_id)
    entry["status"] = "working"
    entry["last_update"] = datetime.now().isoformat()


def _load(path: Path) -> Json:
    with open(path, encoding="utf-8") as file:
        decoded: Json = json.load(file)
    return decoded


def _dump(path: Path, registry: Json) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(registry, file, indent=2)


def _append(place: Place, agent_id: str) -> None:
    file_name = place.task.parent / "progress" / f"{agent_id}_progress.jsonl"
    file_name.parent.mkdir(exist_ok=True)
    with open(file_name, "a", encoding="utf-8") as file:
        file.write(json.dumps({"agent_id": agent_id, "status": "working", "progress": 1}) + "\n")


def _register_before(place: Place, agent_id: str) -> None:
    for _ in range(3):
        registry = _load(place.task)
    _add_to_task(registry, agent_id)
    _dump(place.task, registry)
    in_global = _load(place.global_)
    _add_to_global(in_global, agent_id)
    _dump(place.global_, in_global)


def _report_before(place: Place, agent_id: str) -> None:
    for path in (place.task, place.global_):
        registry = _load(path)
        _update(registry, agent_id)
        _dump(path, registry)
    _append(place, agent_id)


def _locked(path: Path, change: Callable[[Json, str], None], agent_id: str) -> None:
    def update(registry: dict[str, Any]) -> None:
        change(registry, agent_id)

    careful_update(str(path), update)


def _register_after(place: Place, agent_id: str) -> None:
    # The check of the limits reads without a lock. The seed fails if another process writes at
    # this moment.
    with contextlib.suppress(json.JSONDecodeError):
        _load(place.task)
    _locked(place.task, _add_to_task, agent_id)
    _locked(place.global_, _add_to_global, agent_id)


def _report_after(place: Place, agent_id: str) -> None:
    for path in (place.task, place.global_):
        _locked(path, _update, agent_id)
    _append(place, agent_id)


def _register(place: Place, agent_id: str) -> None:
    found = register_agent(
        place.task,
        place.global_,
        "tester",
        agent_id=agent_id,
        prompt="Investigate why the registry loses updates. " * 4,
        timeout=PATIENCE,
    )
    assert not found.problems, found.problems


def _report(place: Place, agent_id: str) -> None:
    said = report_progress(
        place.task, place.global_, agent_id, status="working", progress=1, timeout=PATIENCE
    )
    assert not said.problems, said.problems


BEFORE = Way("seed, before", _register_before, _report_before)
AFTER = Way("seed, after", _register_after, _report_after)
OURS = Way("ours", _register, _report)
