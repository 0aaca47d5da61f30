"""A task's registry and the global one are changed together only if they belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import (
    SessionEnd,
    clean_up_task,
    register_agent,
    report_progress,
    terminate_agents,
    withdraw_agent,
)
from tests.support.registries import agent, entry_of, global_registry, load, task_registry, write

Change = Callable[[Path, Path], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda task, global_: terminate_agents(task, global_, {"a": SessionEnd.GONE}, reason=""),
        lambda task, global_: report_progress(task, global_, "a", status="completed"),
        lambda task, global_: clean_up_task(task, global_, set()),
        lambda task, global_: register_agent(task, global_, "fixer"),
        lambda task, global_: withdraw_agent(task, global_, "a"),
    ],
    ids=["terminate", "report", "clean up", "register", "withdraw"],
)
def test_the_id_of_another_task_changes_nothing_globally(tmp_path: Path, change: Change) -> None:
    theirs, ours = agent("a"), agent("a", task_id="TASK-A")
    write(tmp_path / "TASK-A" / "AGENT_REGISTRY.json", task_registry(ours, task_id="TASK-A"))
    task = write(
        tmp_path / "TASK-M" / "AGENT_REGISTRY.json", task_registry(theirs, task_id="TASK-A")
    )
    global_ = write(tmp_path / "registry" / "GLOBAL_REGISTRY.json", global_registry(ours))
    before = global_.read_bytes()

    result = change(task, global_)

    assert global_.read_bytes() == before
    assert "names the task of" in str(result)
    assert load(task)["agents"] != [theirs]
    assert entry_of(load(global_), "a").get("status") != "terminated"
