"""The files of the demo, and the functions that create the files and write reports into them.

The demo and its agents use the public operations of `registry`, like any orchestrator in Python.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from registry import (
    RegistryError,
    atomic_add_agent,
    atomic_update_agent_status,
    report_progress,
)
from registry.dataclass import dataclass
from registry.schema import (
    GLOBAL_FOLDER,
    GLOBAL_REGISTRY,
    ORCHESTRATOR,
    SESSION_PREFIX,
    TASK_REGISTRY,
    WORKSPACE_NAME,
)
from tui.demo.cast import PROJECT, ROLES
from tui.demo.story import Ending, Role, Step, Task

ROOT_PREFIX = "muster-demo-"
_PROMPT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Stage:
    """The directories of one demo, and its speed.

    Attributes:
        root: A private directory that only this demo uses.
        speed: How many seconds of the story pass in one real second.
    """

    root: Path
    speed: float = 1.0

    @property
    def socket(self) -> Path:
        """The socket of the private tmux server."""
        return self.root / "tmux"

    @property
    def lifeline(self) -> Path:
        """A FIFO that the demo process holds open. When the demo process ends, all agents end."""
        return self.root / "lifeline"

    @property
    def curtain(self) -> Path:
        """A file that the demo creates after all agents are registered. Agents wait for it."""
        return self.root / "curtain"

    @property
    def project(self) -> Path:
        """The working directory of the agents."""
        return self.root / PROJECT

    @property
    def workspace(self) -> Path:
        """The workspace of the agents."""
        return self.project / WORKSPACE_NAME

    @property
    def global_registry(self) -> Path:
        """The global registry of the workspace."""
        return self.workspace / GLOBAL_FOLDER / GLOBAL_REGISTRY

    def task_registry(self, task_id: str) -> Path:
        """Returns the path of a task's registry."""
        return self.workspace / task_id / TASK_REGISTRY

    def command(self, member: Member, *, helper: bool = False) -> tuple[str, ...]:
        """Returns the command that runs in an agent's session, or as an agent's helper process."""
        # -P: the working directory may contain a module with the same name as one of muster's.
        program = (sys.executable, "-P", "-m", "tui.demo.agent")
        options = ("--helper",) if helper else ()
        where = (str(self.root), f"{self.speed:g}", member.task_id, member.id)
        return (*program, *options, *where)


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of the demo.

    Attributes:
        id: The id in the registries.
        role: The role that the agent plays.
        task_id: The id of the agent's task.
        parent: The id of another member, or "orchestrator".
    """

    id: str
    role: Role
    task_id: str
    parent: str = ORCHESTRATOR

    @property
    def session(self) -> str:
        """The name of the agent's tmux session."""
        return SESSION_PREFIX + self.id


def member_of(role: Role, task_id: str, parent: str, started: float) -> Member:
    """Returns an agent with a new id in the format that orchestrators use."""
    agent_id = f"{role.type}-{datetime.fromtimestamp(started):%H%M%S}-{secrets.token_hex(3)}"
    return Member(agent_id, role, task_id, parent)


def task_id_of(made: float) -> str:
    """Returns a new id for a task, in the format that orchestrators use."""
    return f"TASK-{datetime.fromtimestamp(made):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def depth_of(role: Role) -> int:
    """Returns the depth of an agent; 1 if the orchestrator started it."""
    return 1 if role.parent is None else 1 + depth_of(ROLES[role.parent])


def stamp(moment: float) -> str:
    """Returns a time in the format of the registries: local, without a time zone."""
    return datetime.fromtimestamp(moment).isoformat(timespec="microseconds")


def build(stage: Stage, tasks: dict[str, Task], now: float) -> None:
    """Creates the workspace and its tasks, without agents.

    Args:
        stage: The demo.
        tasks: The tasks by task id.
        now: The present time, seconds since the epoch.
    """
    stage.global_registry.parent.mkdir(parents=True)
    for task_id, task in tasks.items():
        directory = stage.workspace / task_id
        for folder in ("progress", "findings", "logs"):
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
        "prompt": member.role.prompt[:_PROMPT_LENGTH],
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


def tell_past(stage: Stage, member: Member, started: float, now: float) -> None:
    """Writes the reports of the steps that an agent did before the demo started."""
    past = member.role.steps[: member.role.past]
    # If a session is newer than the agent's last report, the session may be another agent's. So
    # the last report of a working agent has the present time.
    silent = member.role.silent if member.role.is_finished else 0.0
    *earlier, last = _moments(started, now - silent, len(past)) or [started]
    for step, moment in zip(past, earlier, strict=False):
        note(stage, member, step, step.status, moment)
    if past:
        report(stage, member, past[-1], status_after(member.role, len(past) - 1), last)


def _moments(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * (index + 1) / count for index in range(count)]


def status_after(role: Role, index: int) -> str:
    """Returns the status that an agent with a role reports with the step at `index`."""
    if index == len(role.steps) - 1:
        if role.ending in (Ending.COMPLETES, Ending.LEAKS):
            return "completed"
        if role.ending is Ending.FAILS:
            return "failed"
    return role.steps[index].status


def report(stage: Stage, member: Member, step: Step, status: str, moment: float) -> None:
    """Reports a step in the agent's output files, then in both registries.

    Raises:
        RegistryError: A registry cannot be changed; the task's registry may be changed already.
        OSError: The agent's output files no longer exist.
    """
    note(stage, member, step, status, moment)
    when = stamp(moment)
    ended = {"completed": {"completed_at": when}, "failed": {"completed_at": when}}
    fields = {"last_update": when, **ended.get(status, {})}
    atomic_update_agent_status(
        stage.task_registry(member.task_id), member.id, status, progress=step.progress, **fields
    )
    atomic_update_agent_status(stage.global_registry, member.id, status, **fields)


def report_now(stage: Stage, member: Member, step: Step, status: str) -> None:
    """Reports a step with the present time, through the library or `muster report`.

    Raises:
        RegistryError: A registry cannot be changed, or does not contain the agent.
        OSError: The agent's output files no longer exist.
    """
    note(stage, member, step, status, time.time(), without="progress")
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


def note(
    stage: Stage, member: Member, step: Step, status: str, moment: float, without: str = ""
) -> None:
    """Appends a step to the agent's output files.

    Args:
        stage: The demo.
        member: The agent.
        step: The step.
        status: The status of the agent after the step.
        moment: The time of the step, seconds since the epoch.
        without: The folder of the file that is not written: `progress`, `findings` or `logs`;
            empty to write all files.

    Raises:
        OSError: The folders no longer exist.
    """
    for folder, name, line in _lines(member, step, status, stamp(moment)):
        if folder == without:
            continue
        path = stage.workspace / member.task_id / folder / f"{member.id}_{name}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _lines(
    member: Member, step: Step, status: str, when: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    own = {"timestamp": when, "agent_id": member.id}
    content: list[dict[str, Any]] = [{"type": "text", "text": step.message}]
    if step.runs:
        content.append({"type": "tool_use", "name": "Bash", "input": {"command": step.runs}})
    yield (
        "logs",
        "stream",
        {
            "type": "assistant",
            "timestamp": when,
            "message": {"role": "assistant", "content": content},
        },
    )
    if step.finding is not None:
        kind, severity, message = step.finding
        finding = {"finding_type": kind, "severity": severity, "message": message, "data": {}}
        yield "findings", "findings", own | finding
    progress = {"status": status, "message": step.message, "progress": step.progress}
    yield "progress", "progress", own | progress
