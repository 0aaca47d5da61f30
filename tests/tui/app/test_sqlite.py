"""On the screen: a workspace whose tasks are in a database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Static

from registry.schema import Phase
from registry.sources import SqliteTask
from registry.sources.database_state import DatabaseCache
from tests.support.still_app import SEARCH, SPEED, WORKSPACE, call, opened
from tui.app.widgets.header import Summary
from tui.cli.format_roll import roll_table
from tui.model.roll import RollCall, TaskRoll
from tui.model.warnings import storage_note
from tui.view.filter import parse
from tui.view.subset import select

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


def _long(roll: RollCall) -> RollCall:
    """The roll with the ids and the path of a real workspace."""
    (workspace,) = roll.workspaces
    tasks = []
    for number, task in enumerate(workspace.tasks):
        assert task.state.record is not None
        record = replace(task.state.record, task_id=f"TASK-20251018-21311{number}-d9cfa244")
        agents = [
            replace(
                row,
                record=replace(row.record, id=f"quality_reviewer-1200{at:02}-8c90c7", type="qual"),
            )
            for at, row in enumerate(task.agents)
        ]
        state = replace(task.state, record=record)
        tasks.append(replace(task, state=state, agents=tuple(agents)))
    path = Path("/home/somebody/projects/customers/a-very-long-name-of-a-project/.agent-workspace")
    return replace(roll, workspaces=(replace(workspace, path=path, tasks=tuple(tasks)),))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_phase_reviewer_and_storage_are_shown_in_usual_terminals(
    size: tuple[int, int],
) -> None:
    async with opened(_long(in_database(call(SEARCH, SPEED))), size=size) as (app, view, _pilot):
        shown = text(app.screen.query_one(Summary))
        assert "(SQLite)" in shown and "/home/somebody" in shown
        lines = [view.render_line(number).text for number in range(view.size.height)]
        phase = "phase 2 of 3" if size[0] > 80 else "phase 2/3"
        assert sum(phase in line for line in lines) == 2
        assert sum("[reviewer]" in line for line in lines) == 2
        reviewers = [line for line in lines if "[reviewer]" in line]
        assert all("qual" in line for line in reviewers), reviewers
        assert size[0] > 80 or all("0c7 [rev" in line for line in reviewers), reviewers


def test_a_filter_does_not_change_the_storage_of_a_workspace() -> None:
    roll = in_database(call(SEARCH, SPEED), first_only=True)
    assert storage_note(roll.workspaces[0]) == " (JSON and SQLite)"
    for task in roll.tasks():
        part = select(roll, parse(f"task:{task.task_id}"))
        assert [each.task_id for each in part.tasks()] == [task.task_id]
        assert storage_note(part.workspaces[0]) == " (JSON and SQLite)"


def test_list_names_the_storage_beside_a_long_path() -> None:
    roll = _long(in_database(call(SEARCH, SPEED)))
    lines = list(roll_table(roll, roll.evidence.snapshot.asked_at, 80))
    assert sum("(SQLite)" in line for line in lines) == 1
    assert sum("phase 2 of 3" in line for line in lines) == 2
    assert sum("[reviewer]" in line for line in lines) == 2
    assert all(len(line) <= 80 for line in lines)
