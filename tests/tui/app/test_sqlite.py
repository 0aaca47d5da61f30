"""On the screen: a workspace whose tasks are in a database."""

from __future__ import annotations

from dataclasses import replace

from textual.widgets import Static

from registry.schema import Phase
from registry.sources import SqliteTask
from registry.sources.database_state import DatabaseCache
from tests.support.still_app import SEARCH, SPEED, WORKSPACE, call, opened
from tui.app.widgets.header import Summary
from tui.model.roll import RollCall, TaskRoll

DATABASE = WORKSPACE / "registry" / "state.sqlite3"
PHASES = {0: Phase("plan", "APPROVED"), 1: Phase("build", "ACTIVE"), 2: Phase("ship", "PENDING")}


def _in_database(task: TaskRoll) -> TaskRoll:
    """The task as it is in a database, with phases, and its first agent a reviewer."""
    state = task.state
    assert state.record is not None
    record = replace(state.record, phase=1, phases=PHASES)
    source = SqliteTask(DATABASE, task.task_id, DatabaseCache(DATABASE))
    first, *others = task.agents
    first = replace(first, record=replace(first.record, is_reviewer=True))
    return replace(
        task, state=replace(state, record=record, source=source), agents=(first, *others)
    )


def in_database(roll: RollCall, *, first_only: bool = False) -> RollCall:
    """A roll call as it is where a database lists the tasks."""
    (workspace,) = roll.workspaces
    tasks = [
        task if first_only and number else _in_database(task)
        for number, task in enumerate(workspace.tasks)
    ]
    return replace(roll, workspaces=(replace(workspace, tasks=tuple(tasks)),))


def text(widget: Static) -> str:
    return " ".join(str(widget.render()).split())


async def test_the_storage_is_named_once_where_the_workspace_stands() -> None:
    async with opened(in_database(call(SEARCH, SPEED)), size=(160, 30)) as (app, view, _pilot):
        assert f"{WORKSPACE} (SQLite)" in text(app.screen.query_one(Summary))
        lines = [view.render_line(number).text for number in range(view.size.height)]
        assert not any("SQLite" in line for line in lines)
        assert sum("phase 2 of 3" in line for line in lines) == 2
        assert sum("[reviewer]" in line for line in lines) == 2


async def test_a_mixed_workspace_names_both() -> None:
    roll = in_database(call(SEARCH, SPEED), first_only=True)
    async with opened(roll, size=(160, 30)) as (app, _view, _pilot):
        assert "(JSON and SQLite)" in text(app.screen.query_one(Summary))


async def test_json_alone_is_not_named() -> None:
    async with opened(call(SEARCH, SPEED), size=(160, 30)) as (app, _view, _pilot):
        assert "JSON" not in text(app.screen.query_one(Summary))
