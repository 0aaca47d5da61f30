"""The reports of the demo's agents: in output files, and in registries or the database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tui.demo import registries
from tui.demo.stage import OUTPUT, Member, Stage, stamp
from tui.demo.story import Ending, Role, Step


def books_of(member: Member) -> ModuleType:
    """Returns the module that keeps the agents of a member's task.

    These are `registries` and `database`, which have the functions `enlist`, `enlist_child`,
    `report` and `is_over`.
    """
    if not member.in_database:
        return registries
    # Imported late, because most demos have no database.
    from tui.demo import database

    return database


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
    """Reports a step in the agent's output files, then in the registries or the database.

    Raises:
        RegistryError: A registry cannot be changed; the task's registry may be changed already.
        OSError: The agent's output files no longer exist.
    """
    note(stage, member, step, status, moment)
    books_of(member).report(stage, member, step, status, stamp(moment))


def report_now(stage: Stage, member: Member, step: Step, status: str) -> None:
    """Reports a step with the present time.

    Raises:
        RegistryError: A registry cannot be changed, or does not contain the agent.
        OSError: The agent's output files no longer exist.
    """
    if member.in_database:
        report(stage, member, step, status, time.time())
        return
    note(stage, member, step, status, time.time(), without="progress")
    registries.report_now(stage, member, step, status)


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
    for folder, line in _lines(member, step, status, stamp(moment)):
        if folder == without:
            continue
        path = stage.workspace / member.task_id / folder / f"{member.id}_{OUTPUT[folder]}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _lines(
    member: Member, step: Step, status: str, when: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    own = {"timestamp": when, "agent_id": member.id}
    content: list[dict[str, Any]] = [{"type": "text", "text": step.message}]
    if step.runs:
        content.append({"type": "tool_use", "name": "Bash", "input": {"command": step.runs}})
    yield (
        "logs",
        {
            "type": "assistant",
            "timestamp": when,
            "message": {"role": "assistant", "content": content},
        },
    )
    if step.finding is not None:
        kind, severity, message = step.finding
        finding = {"finding_type": kind, "severity": severity, "message": message, "data": {}}
        yield "findings", own | finding
    progress = {"status": status, "message": step.message, "progress": step.progress}
    yield "progress", own | progress
