"""Workspaces on disk, in the format of the orchestrator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from registry.schema.layout import Workspace
from registry.schema.statuses import ACTIVE_STATUSES
from tui.live.once import take_roll
from tui.model.policy import Policy
from tui.model.roll import AgentRow, RollCall, Verdict

Json = dict[str, Any]

QUICK = Policy(death_confirmation=0.1, session_early_limit=3600, leak_grace=0.0)
"""A policy with a short death confirmation time, and leaked agents at once.

The early limit is long, because scripted sessions are made when the test's module is imported.
"""


def stamp(seconds_ago: float = 3600) -> str:
    """Returns a time in the past in the format of registries."""
    return (datetime.now() - timedelta(seconds=seconds_ago)).isoformat()


def entry(agent_id: str, status: str = "running", **fields: Any) -> Json:
    """Returns an agent's entry in a task's registry; a session of the test may be this agent's."""
    return {
        "id": agent_id,
        "type": "tester",
        "tmux_session": f"agent_{agent_id}",
        "parent": "orchestrator",
        "depth": 1,
        "status": status,
        "started_at": stamp(20),
        "progress": 40,
        "last_update": stamp(10),
    } | fields


def write(path: Path, registry: Any) -> Path:
    """Writes a registry in the orchestrator's format; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(registry, indent=2), encoding="utf-8")
    return path


def read(path: Path) -> Json:
    """Returns the content of a registry."""
    decoded = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(decoded, dict)
    return decoded


def is_active(agent: Mapping[str, Any]) -> bool:
    return agent.get("status") in ACTIVE_STATUSES


class Files:
    """A workspace in a temporary directory.

    Attributes:
        path: The ``.agent-workspace``.
        global_registry: The path of the global registry.
    """

    def __init__(self, directory: Path, tasks: Mapping[str, Sequence[Json]]) -> None:
        self.path = directory / ".agent-workspace"
        self.path.mkdir(parents=True, exist_ok=True)
        self.global_registry = self.path / "registry" / "GLOBAL_REGISTRY.json"
        for task_id, agents in tasks.items():
            self.write_task(task_id, *agents)
        self.write_global(tasks)

    def registry(self, task_id: str = "TASK-1") -> Path:
        """Returns the path of a task's registry."""
        return self.path / task_id / "AGENT_REGISTRY.json"

    def write_task(self, task_id: str, *agents: Json) -> Path:
        """Writes a task's registry with correct counters."""
        return write(
            self.registry(task_id),
            {
                "task_id": task_id,
                "task_description": f"what {task_id} is for",
                "status": "INITIALIZED",
                "agents": list(agents),
                "agent_hierarchy": {},
                "total_spawned": len(agents),
                "active_count": sum(map(is_active, agents)),
                "completed_count": sum(each["status"] == "completed" for each in agents),
            },
        )

    def write_global(self, tasks: Mapping[str, Sequence[Json]]) -> Path:
        """Writes the global registry with correct counters; active agents have no status."""
        agents: Json = {}
        for task_id, listed in tasks.items():
            for each in listed:
                agents[each["id"]] = {
                    "task_id": task_id,
                    "type": each["type"],
                    "parent": each["parent"],
                    "started_at": each["started_at"],
                    "tmux_session": each["tmux_session"],
                } | ({} if is_active(each) else {"status": each["status"]})
        return write(
            self.global_registry,
            {
                "total_tasks": len(tasks),
                "active_tasks": len(tasks),
                "total_agents_spawned": len(agents),
                "active_agents": sum(is_active(a) for t in tasks.values() for a in t),
                "tasks": {
                    task_id: {"description": f"listed {task_id}", "status": "INITIALIZED"}
                    for task_id in tasks
                },
                "agents": agents,
            },
        )

    def agent(self, agent_id: str, task_id: str = "TASK-1") -> Json:
        """Returns an agent's present entry in the task's registry."""
        found = [each for each in read(self.registry(task_id))["agents"] if each["id"] == agent_id]
        assert len(found) == 1
        entry_: Json = found[0]
        return entry_

    def listed(self, agent_id: str) -> Json:
        """Returns an agent's present entry in the global registry."""
        entry_: Json = read(self.global_registry)["agents"][agent_id]
        return entry_

    def bytes(self) -> dict[Path, bytes]:
        """Maps the path of each registry to its content."""
        return {path: path.read_bytes() for path in self.path.rglob("*_REGISTRY.json")}

    def workspaces(self) -> tuple[Workspace, ...]:
        """Returns the workspace as a tuple."""
        return (Workspace(self.path.resolve()),)

    def assert_counters_match(self) -> None:
        """Checks that every counter is correct."""
        for path in self.path.glob("*/AGENT_REGISTRY.json"):
            task = read(path)
            assert task["active_count"] == sum(map(is_active, task["agents"])), path
            completed = sum(each["status"] == "completed" for each in task["agents"])
            assert task["completed_count"] == completed, path
        whole = read(self.global_registry)
        active = [a for a in whole["agents"].values() if "status" not in a or is_active(a)]
        assert whole["active_agents"] == len(active)
        assert whole["total_agents_spawned"] == len(whole["agents"])


def take(files: Files, tmux: Any, policy: Policy = QUICK) -> RollCall:
    """Takes the roll call of a workspace once."""
    return take_roll(files.workspaces(), tmux, policy)


def row_of(roll: RollCall, agent_id: str) -> AgentRow:
    """Returns the row of an agent."""
    found = [row for row in roll.agents() if row.key.id == agent_id]
    assert len(found) == 1
    return found[0]


def verdicts(roll: RollCall) -> dict[str, Verdict]:
    """Maps each agent's id to the verdict."""
    return {row.key.id: row.verdict for row in roll.agents()}
