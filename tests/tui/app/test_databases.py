"""On the screen: a workspace whose agents are in a database that muster does not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.widgets import Static

from registry.schema.unread_database import UnreadDatabase
from tests.support.still_app import (
    SEARCH,
    SPEED,
    WORKSPACE,
    SnapCompare,
    StillApp,
    call,
    drawn_whole,
    opened,
)
from tui.app.widgets.header import Notices, Summary
from tui.model.roll import RollCall, Verdict

DATABASE = UnreadDatabase(WORKSPACE / "registry" / "state.sqlite3", "is empty")


def beside_database(roll: RollCall) -> RollCall:
    """A roll call as it is where its workspace has a database."""
    workspaces = tuple(replace(each, database=DATABASE) for each in roll.workspaces)
    counts = {**roll.counts, Verdict.ORPHAN: 0}
    return replace(roll, workspaces=workspaces, orphans=(), counts=counts, orphans_known=False)


def text(widget: Static) -> str:
    return " ".join(str(widget.render()).split())


async def test_above_the_roll_a_message_tells_of_unread_agents() -> None:
    async with opened(beside_database(call(SEARCH, SPEED))) as (app, view, _pilot):
        notices = app.screen.query_one(Notices)
        assert notices.display
        assert str(DATABASE) in text(notices)
        assert "? orphan" in text(app.screen.query_one(Summary))
        assert not any("stranger" in str(line.item) for line in view.lines)


async def test_with_several_workspaces_the_line_of_each_shows_it() -> None:
    roll = beside_database(call(SEARCH, SPEED))
    roll = replace(roll, workspaces=(*roll.workspaces, replace(roll.workspaces[0], tasks=())))
    async with opened(roll, size=(200, 30)) as (_, view, _pilot):
        lines = [view.render_line(number).text for number in range(view.size.height)]
        assert sum("agents unknown: state.sqlite3: is empty" in line for line in lines) == 2


async def test_three_unread_databases_are_named_or_counted() -> None:
    roll = call(SEARCH, SPEED)
    (workspace,) = roll.workspaces
    names = ("one", "two", "three")
    places = [Path("/home/somebody/projects") / name / ".agent-workspace" for name in names]
    databases = [
        UnreadDatabase(place / "registry" / "state.sqlite3", "is a FIFO, not a regular file")
        for place in places
    ]
    unread = tuple(
        replace(workspace, path=place, tasks=(), database=database)
        for place, database in zip(places, databases, strict=True)
    )
    counts = dict.fromkeys(Verdict, 0)
    roll = replace(roll, workspaces=unread, counts=counts, orphans=(), orphans_known=False)
    async with opened(roll, size=(80, 24)) as (app, _, pilot):
        notices = app.screen.query_one(Notices)
        assert text(notices).count("agents may be in a database") == 1
        assert "2 further warnings: muster list prints all" in text(notices)
        assert "agents unknown" in text(app.screen.query_one(Summary))
        await pilot.resize_terminal(200, 24)
        await pilot.pause()
        assert text(notices).count("agents may be in a database") == 3
        assert "further" not in text(notices)


async def test_a_task_whose_agents_are_unknown_does_not_look_empty() -> None:
    roll = call(SEARCH, SPEED)
    (workspace,) = roll.workspaces
    state = replace(workspace.tasks[0].state, database=DATABASE)
    empty = replace(workspace.tasks[0], state=state, agents=(), completed=0, progress=None)
    roll = replace(roll, workspaces=(replace(workspace, tasks=(empty,)),), orphans=())
    async with opened(roll, size=(120, 30)) as (_, view, _pilot):
        (line,) = [
            view.render_line(number).text
            for number in range(view.size.height)
            if "agents unknown" in view.render_line(number).text
        ]
        # Neither the status that is left from the creation of the task, nor a number of agents.
        assert line.count("?") == 2 and "0/" not in line


def test_snapshot_of_a_workspace_with_a_database(snap_compare: SnapCompare) -> None:
    app: Any = StillApp(beside_database(call(SEARCH, SPEED)))
    assert snap_compare(app, run_before=drawn_whole, terminal_size=(100, 30))
