"""Repairs of the library write what the dead reported, and wait for the orchestrator."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from registry import (
    Repair,
    clean_up_task,
    clean_up_workspace,
    registry_health_check,
    validate_and_repair_registry,
)
from registry.schema import END_DELAY
from tests.support.registries import (
    Json,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    load,
    task_registry,
    write,
)

STARTED = time.time() - 3600
LATE = END_DELAY + 5
END = datetime.fromtimestamp(STARTED + 100).isoformat()


def started(agent_id: str) -> Json:
    return agent(agent_id, started_at=datetime.fromtimestamp(STARTED).isoformat())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / ".agent-workspace"
    agents = [started("told"), started("silent")]
    write(path / "TASK-1" / "AGENT_REGISTRY.json", task_registry(*agents))
    listed = [each | {"task_id": "TASK-1"} for each in agents]
    write(path / "registry" / "GLOBAL_REGISTRY.json", global_registry(*listed))
    return path


def report(
    workspace: Path, status: str, ago: float, folder: str = "progress", agent_id: str = "told"
) -> None:
    """Appends the last line of an agent, which the agent wrote some seconds ago."""
    path = workspace / "TASK-1" / folder / f"{agent_id}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    line = {"timestamp": END, "agent_id": agent_id, "status": status, "message": "did it"}
    path.write_text(json.dumps(line) + "\n")
    os.utime(path, (time.time() - ago,) * 2)


def task_alone(workspace: Path) -> None:
    clean_up_task(_task(workspace), None, ())


def task_and_global(workspace: Path) -> None:
    clean_up_task(_task(workspace), _global(workspace), ())


def whole(workspace: Path) -> None:
    clean_up_workspace(workspace, ())


def repaired(workspace: Path) -> None:
    validate_and_repair_registry(_task(workspace), ())


def global_repaired(workspace: Path) -> None:
    validate_and_repair_registry(_global(workspace), ())


def _task(workspace: Path) -> Path:
    return workspace / "TASK-1" / "AGENT_REGISTRY.json"


def _global(workspace: Path) -> Path:
    return workspace / "registry" / "GLOBAL_REGISTRY.json"


Action = Callable[[Path], None]
EVERY = pytest.mark.parametrize(
    "repair", [task_alone, task_and_global, whole, repaired, global_repaired]
)


def written_by(repair: Action, workspace: Path) -> list[Path]:
    of_global = [_global(workspace)] if repair in (task_and_global, whole, global_repaired) else []
    return of_global if repair is global_repaired else [_task(workspace), *of_global]


@EVERY
@pytest.mark.parametrize("folder", ["progress", "archive"])
@pytest.mark.parametrize("status", ["completed", "failed", "killed", "phase_completed"])
def test_the_dead_get_the_end_that_they_reported(
    workspace: Path, repair: Action, folder: str, status: str
) -> None:
    report(workspace, status, LATE, folder)
    repair(workspace)
    for path in written_by(repair, workspace):
        registry = load(path)
        told, silent = entry_of(registry, "told"), entry_of(registry, "silent")
        assert told["status"] == status
        assert told.get("completion_reason", told.get("termination_reason")) == "did it"
        assert silent["status"] == "terminated"
        assert silent["termination_reason"] == "session_not_found"
        assert_counters_match(registry)


@EVERY
def test_an_agent_that_is_ending_is_left_to_the_orchestrator(
    workspace: Path, repair: Action
) -> None:
    report(workspace, "completed", END_DELAY - 5)
    repair(workspace)
    for path in written_by(repair, workspace):
        registry = load(path)
        told = entry_of(registry, "told")
        assert told.get("status", "running") == "running" and "completed_at" not in told
        assert entry_of(registry, "silent")["status"] == "terminated"
        assert_counters_match(registry)


def test_the_health_check_calls_no_ending_agent_a_zombie(workspace: Path) -> None:
    for ago, zombies in ((END_DELAY - 5, {"silent"}), (LATE, {"told", "silent"})):
        report(workspace, "completed", ago)
        for path in (_task(workspace), _global(workspace)):
            assert set(registry_health_check(path, ()).zombies) == zombies
        assert {repair.agent_id for repair in preview(workspace)} >= zombies


def preview(workspace: Path) -> tuple[Repair, ...]:
    return validate_and_repair_registry(_task(workspace), (), dry_run=True)


def test_a_report_of_an_earlier_deployment_is_no_end(workspace: Path) -> None:
    report(workspace, "completed", time.time() - STARTED + 100)
    task_alone(workspace)
    assert entry_of(load(_task(workspace)), "told")["status"] == "terminated"


def test_of_two_entries_with_different_starts_no_report_counts(workspace: Path) -> None:
    other = started("told") | {"started_at": datetime.fromtimestamp(STARTED - 9).isoformat()}
    write(_task(workspace), task_registry(started("told"), other))
    report(workspace, "completed", LATE)
    task_alone(workspace)
    statuses = [each["status"] for each in load(_task(workspace))["agents"]]
    assert statuses == ["terminated", "terminated"]


def test_a_session_that_exists_keeps_its_agent_whatever_it_reported(workspace: Path) -> None:
    report(workspace, "completed", LATE)
    assert clean_up_task(_task(workspace), None, {"agent_told", "agent_silent"}).count == 0
