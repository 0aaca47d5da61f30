"""The registries of the demo's tasks in JSON files.

The demo and its agents use the public operations of `registry`, like any orchestrator in Python.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from registry import (
    RegistryError,
    atomic_add_agent,
    atomic_update_agent_status,
    report_progress,
)
from registry.operations import register_agent
from registry.schema import ORCHESTRATOR, is_terminal
from registry.snapshots import read_task
from tui.demo.stage import OUTPUT, Member, Stage, depth_of, stamp
from tui.demo.story import Step, Task

PROMPT_LENGTH = 200
"""The number of characters of a prompt that orchestrators keep."""


def create_tasks(stage: Stage, tasks: dict[str, Task], now: float) -> None:
    """Creates the workspace and its tasks, without agents.

    Args:
        stage: The demo.
        tasks: The tasks by task id.
        now: The present time, seconds since the epoch.
    """
    stage.global_registry.parent.mkdir(parents=True)
    for task_id, task in tasks.items():
        directory = stage.workspace / task_id
        for folder in OUTPUT:
            (directory / folder).mkdir(parents=True)
        _dump(stage.task_registry(task_id), _empty_task(stage, task_id, task, now))
    _dump(stage.global_registry, _empty_global(tasks, now))


def _empty_task(stage: Stage, task_id: str, task: Task, now: float) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "task_description": task.description,
        "created_at": stamp(now - task.ago),
        "workspace": str(stage.workspace / task_id),
        "workspace_base": str(stage.workspace),
        "client_cwd": str(stage.project),
        "status": "INITIALIZED",
        "priority": task.priority,
        "agents": [],
        "agent_hierarchy": {ORCHESTRATOR: []},
        "max_agents": 45,
        "max_depth": 5,
        "max_concurrent": 20,
        "total_spawned": 0,
        "active_count": 0,
        "completed_count": 0,
        "orchestration_guidance": {
            "min_specialization_depth": 2,
            "recommended_child_agents_per_parent": 3,
            "specialization_domains": [],
            "complexity_score": 8,
        },
        "spiral_checks": {"enabled": True, "last_check": stamp(now - task.ago), "violations": 0},
    }


def _empty_global(tasks: dict[str, Task], now: float) -> dict[str, Any]:
    return {
        "created_at": stamp(now - max(task.ago for task in tasks.values())),
        "total_tasks": len(tasks),
        "active_tasks": len(tasks),
        "total_agents_spawned": 0,
        "active_agents": 0,
        "max_concurrent_agents": 20,
        "tasks": {
            task_id: {
                "description": task.description,
                "created_at": stamp(now - task.ago),
                "status": "INITIALIZED",
            }
            for task_id, task in tasks.items()
        },
        "agents": {},
    }


def _dump(path: Path, registry: dict[str, Any]) -> None:
    path.write_text(json.dumps(registry, indent=2), encoding="utf-8")


def enlist(stage: Stage, member: Member, started: float) -> None:
    """Writes a new agent into its task's registry, then into the global registry."""
    entry = {
        "id": member.id,
        "type": member.role.type,
        "tmux_session": member.session,
        "parent": member.parent,
        "depth": depth_of(member.role),
        "status": "running",
        "started_at": stamp(started),
        "progress": 0,
        "last_update": stamp(started),
        "prompt": member.role.prompt[:PROMPT_LENGTH],
    }
    atomic_add_agent(stage.task_registry(member.task_id), entry, member.parent)
    listed = {
        "id": member.id,
        "task_id": member.task_id,
        "type": member.role.type,
        "parent": member.parent,
        "started_at": stamp(started),
        "tmux_session": member.session,
    }
    atomic_add_agent(stage.global_registry, listed, member.parent)


def report(stage: Stage, member: Member, step: Step, status: str, when: str) -> None:
    """Writes a step into the task's registry, and then into the global registry.

    Raises:
        RegistryError: A registry cannot be changed; the task's registry may be changed already.
    """
    ended = {"completed": {"completed_at": when}, "failed": {"completed_at": when}}
    fields = {"last_update": when, **ended.get(status, {})}
    atomic_update_agent_status(
        stage.task_registry(member.task_id), member.id, status, progress=step.progress, **fields
    )
    atomic_update_agent_status(stage.global_registry, member.id, status, **fields)


def report_now(stage: Stage, member: Member, step: Step, status: str) -> None:
    """Reports a step with the present time, through the library or `muster report`.

    This writes the agent's progress file, too.

    Raises:
        RegistryError: A registry cannot be changed, or does not contain the agent.
        OSError: The agent's output files no longer exist.
    """
    task = stage.task_registry(member.task_id)
    if not member.role.script:
        report_progress(
            task,
            stage.global_registry,
            member.id,
            status=status,
            progress=step.progress,
            message=step.message,
        )
        return
    program = (sys.executable, "-P", "-m", "tui", "report", "-w", str(stage.workspace))
    words = ("--task", member.task_id, "--status", status, f"--progress={step.progress}")
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [*program, *words, "--", member.id, step.message],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode and not task.exists():
        raise FileNotFoundError(task)
    if done.returncode:
        raise RegistryError(done.stderr.strip())


def is_over(stage: Stage, member: Member) -> bool:
    """Whether an agent has a terminal status in its task's registry."""
    snapshot = read_task(stage.task_registry(member.task_id))
    return any(
        agent.id == member.id and is_terminal(agent.meaning) for agent in snapshot.record.agents
    )


def enlist_child(stage: Stage, child: Member) -> None:
    """Registers an agent that another agent of the demo has started."""
    register_agent(
        stage.task_registry(child.task_id),
        stage.global_registry,
        child.role.type,
        agent_id=child.id,
        parent=child.parent,
        prompt=child.role.prompt,
    )
