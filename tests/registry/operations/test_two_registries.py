"""What an operation over a task's registry and the global one takes for which, and leaves out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry import (
    LinkedRegistryError,
    NotARegularFileError,
    SessionEnd,
    WrongShapeError,
    create_global_registry,
    create_task_registry,
    register_agent,
    registering,
    report_progress,
    terminate_agents,
    withdraw_agent,
)
from registry.storage.journal import journal_path
from tests.support.registries import (
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    load,
    write,
)


@pytest.fixture
def twice(global_: Path) -> Path:
    """A global registry that lists an agent of the same id for another task, too."""
    registry = global_registry(agent("busy", None), agent("done", "completed"))
    listed = [{"id": id_, **entry} for id_, entry in registry["agents"].items()]
    other = {"id": "busy", "task_id": "TASK-2", "type": "tester"}
    registry |= {"agents": [*listed, other], "active_agents": 2, "total_agents_spawned": 3}
    return write(global_, registry)


def _statuses(global_: Path) -> dict[str, object]:
    return {
        each["task_id"]: each.get("status")
        for each in load(global_)["agents"]
        if each["id"] == "busy"
    }


def test_a_report_changes_nobody_of_another_task(task: Path, twice: Path) -> None:
    assert not report_progress(task, twice, "busy", status="completed").problems
    assert _statuses(twice) == {"TASK-1": "completed", "TASK-2": None}
    assert load(twice)["active_agents"] == 1


def test_a_withdrawal_takes_out_nobody_of_another_task(task: Path, twice: Path) -> None:
    assert withdraw_agent(task, twice, "busy").was_there
    assert _statuses(twice) == {"TASK-2": None}
    assert load(twice)["active_agents"] == 1


@pytest.mark.parametrize("planted", ["directory", "FIFO", "symlink"])
def test_a_global_registry_that_cannot_be_committed_to_is_left_out_and_named(
    task: Path, global_: Path, tmp_path: Path, planted: str
) -> None:
    place = journal_path(global_)
    if planted == "directory":
        place.mkdir()
    elif planted == "FIFO":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / "elsewhere")
    before = global_.read_bytes()
    found = register_agent(task, global_, "fixer")
    report = report_progress(task, global_, "busy", progress=50)
    ended = terminate_agents(task, global_, {"busy": SessionEnd.ENDED}, reason="over")
    for problems in (found.problems, report.problems, ended.problems):
        assert str(place) in " ".join(problems)
    assert global_.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()
    assert entry_of(load(task), "busy")["status"] == "terminated"
    assert_counters_match(load(task))


def test_a_child_that_ends_in_the_block_withdraws_nobody(task: Path, global_: Path) -> None:
    child = os.fork()
    if not child:
        # The whole of it in a child: what is forked in it must not go on with the tests.
        try:
            with registering(task, global_, "fixer"):
                grandchild = os.fork()
                if not grandchild:
                    raise SystemExit
                os.waitpid(grandchild, 0)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    (found,) = (each for each in load(task)["agents"] if each["type"] == "fixer")
    assert found["status"] == "running"
    assert found["id"] in load(global_)["agents"]


def test_a_tasks_directory_that_leads_out_of_the_workspace_is_refused(tmp_path: Path) -> None:
    workspace, elsewhere = tmp_path / ".agent-workspace", tmp_path / "elsewhere"
    create_global_registry(workspace)
    elsewhere.mkdir()
    (workspace / "TASK-4").symlink_to(elsewhere)
    with pytest.raises(LinkedRegistryError, match="TASK-4 is a symlink"):
        create_task_registry(workspace, "TASK-4", "what for")
    assert not list(elsewhere.iterdir())


def test_what_stands_in_a_registrys_place_is_not_taken_for_one(tmp_path: Path) -> None:
    workspace = tmp_path / ".agent-workspace"
    (workspace / "TASK-1" / "AGENT_REGISTRY.json").mkdir(parents=True)
    with pytest.raises(NotARegularFileError):
        create_task_registry(workspace, "TASK-1", "what for")
    assert load(create_global_registry(workspace).path)["tasks"] == {}


@pytest.mark.parametrize("limit", ["max_agents", "max_depth", "max_concurrent"])
@pytest.mark.parametrize("odd", ["3", 3.0, True, -1, None])
def test_a_task_is_not_made_with_a_limit_that_is_none(
    tmp_path: Path, limit: str, odd: object
) -> None:
    with pytest.raises(WrongShapeError, match=limit):
        create_task_registry(tmp_path / "ws", "TASK-1", "what for", **{limit: odd})  # type: ignore[arg-type]
    assert not (tmp_path / "ws").exists()
