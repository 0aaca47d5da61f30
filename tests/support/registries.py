"""Registries for tests, and checks of their counters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

Json = dict[str, Any]

ACTIVE = ("running", "working", "blocked")
TERMINAL = ("completed", "error", "failed", "terminated")


def is_counted(status: object) -> bool:
    """Returns whether the counter of active agents includes an agent with this status."""
    ended = (*TERMINAL, "phase_completed", "killed")
    return isinstance(status, str) and bool(status) and status not in ended


def agent(agent_id: str, status: str | None = "running", **fields: Any) -> Json:
    """Returns an agent's entry; without a status if `status` is None."""
    entry: Json = {"id": agent_id, "type": "tester", "tmux_session": f"agent_{agent_id}"}
    if status is not None:
        entry["status"] = status
    return entry | fields


def task_registry(*agents: Json, **fields: Any) -> Json:
    """Returns a task's registry with correct counters."""
    statuses = [each.get("status") for each in agents]
    return {
        "task_id": "TASK-1",
        "task_description": "a task",
        "status": "INITIALIZED",
        "agents": list(agents),
        "agent_hierarchy": {"orchestrator": [each["id"] for each in agents]},
        "max_agents": 45,
        "total_spawned": len(agents),
        "active_count": sum(map(is_counted, statuses)),
        "completed_count": statuses.count("completed"),
    } | fields


def global_registry(*agents: Json, **fields: Any) -> Json:
    """Returns a global registry with correct counters."""
    entries = {}
    for each in agents:
        entry = {"task_id": "TASK-1", **each}
        entries[entry.pop("id")] = entry
    return {
        "created_at": "2025-10-17T21:35:12.210818",
        "total_tasks": 1,
        "active_tasks": 1,
        "total_agents_spawned": len(agents),
        "active_agents": sum(is_counted(each.get("status", "running")) for each in agents),
        "max_concurrent_agents": 20,
        "tasks": {"TASK-1": {"description": "a task", "status": "INITIALIZED"}},
        "agents": entries,
    } | fields


def write(path: Path, registry: Any) -> Path:
    """Writes a registry in the orchestrator's format; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(registry, indent=2), encoding="utf-8")
    return path


def rewrite(file: TextIO, registry: Json) -> None:
    """Replaces the text of an open file, as the orchestrator's writers do."""
    file.seek(0)
    file.write(json.dumps(registry, indent=2))
    file.truncate()


def load(path: Path) -> Json:
    """Returns the content of a registry, as the standard library reads it."""
    decoded = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(decoded, dict)
    return decoded


def entry_of(registry: Json, agent_id: str) -> Json:
    """Returns an agent's entry in a task's or a global registry."""
    agents = registry["agents"]
    if isinstance(agents, dict):
        found = agents[agent_id]
    else:
        (found,) = (each for each in agents if each["id"] == agent_id)
    assert isinstance(found, dict)
    return found


def assert_counters_match(registry: Json) -> None:
    """Checks the counters of a task's or a global registry."""
    agents = registry["agents"]
    entries = list(agents.values()) if isinstance(agents, dict) else agents
    statuses = [entry.get("status") for entry in entries]
    if "tasks" in registry:
        # An entry that was never updated has no status, and stands for an active agent.
        active = sum(status is None or is_counted(status) for status in statuses)
        counted = {"active_agents": active, "total_agents_spawned": len(entries)}
    else:
        active = sum(map(is_counted, statuses))
        counted = {"active_count": active, "total_spawned": len(entries)}
        # Some writers count a failed agent as completed, and others do not.
        least = statuses.count("completed")
        perhaps = sum(
            entry.get("status") in ("failed", "error")
            or (
                entry.get("status") == "terminated"
                and entry.get("terminated_at") in (None, entry.get("last_update"))
            )
            for entry in entries
        )
        assert least <= registry["completed_count"] <= least + perhaps
    assert {name: registry.get(name) for name in counted} == counted


def assert_agree(global_: Json, *tasks: Json) -> None:
    """Checks that the global registry lists exactly the tasks' agents, with equal status.

    An entry of the global registry without a status stands for an active agent.
    """
    here = {
        each["id"]: (task["task_id"], each["status"]) for task in tasks for each in task["agents"]
    }
    listed = {
        id_: (each["task_id"], each.get("status")) for id_, each in global_["agents"].items()
    }
    assert listed.keys() == here.keys()
    for id_, (task_id, status) in listed.items():
        in_task = here[id_]
        assert task_id == in_task[0], id_
        assert status == in_task[1] or (status is None and in_task[1] in ACTIVE), id_
