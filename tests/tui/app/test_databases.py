"""On the screen: a workspace whose agents are in a database that muster does not read."""

from __future__ import annotations

from dataclasses import replace
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
        assert sum("in a database" in line for line in lines) == 2


def test_snapshot_of_a_workspace_with_a_database(snap_compare: SnapCompare) -> None:
    app: Any = StillApp(beside_database(call(SEARCH, SPEED)))
    assert snap_compare(app, run_before=drawn_whole, terminal_size=(100, 30))
