"""The divider between the roll and the panel, the titles that sort, and the tabs of a task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.panel_app import calm
from tests.support.panel_app import opened as opened_files
from tests.support.panel_app import prompt as prompt
from tests.support.still_app import opened, shown
from tests.support.workspaces import Files, entry
from tui.app.screens.body import Body
from tui.app.screens.split import ROOM_BESIDE, WIDE, Split
from tui.app.widgets.details_panel import Panel
from tui.app.widgets.roll_box import Heading
from tui.app.widgets.roll_list import RollView
from tui.app.widgets.tab_bar import Tab, TabBar
from tui.app.widgets.text_view import TextView
from tui.model.roll import AgentKey
from tui.view.view import Sort


@given(
    st.none() | st.booleans(),
    st.lists(st.integers(-300, 300), max_size=6),
    st.integers(1, 300),
    st.integers(1, 120),
)
def test_the_divider_stays_on_the_screen(
    beside: bool | None, moves: list[int], width: int, height: int
) -> None:
    split = Split(beside)
    for by in moves:
        split = split.moved(by, width, height)
        if split.is_beside(width):
            assert 24 <= split.columns(width) <= width - 48
        elif height >= 18:
            assert 3 <= split.lines(height) <= height - 11
        # What went beyond the edge need not be undone first.
        assert split.moved(0, width, height) == split


async def test_keys_move_the_divider_below_the_roll() -> None:
    async with opened(size=(100, 30)) as (app, _, pilot):
        panel = app.query_one(Panel)
        before = panel.size.height
        await pilot.press("less_than_sign", "less_than_sign")
        await pilot.pause()
        assert panel.size.height == before + 2
        await pilot.press("greater_than_sign", "greater_than_sign", "greater_than_sign")
        await pilot.pause()
        assert panel.size.height == before - 1
        await pilot.press("p")
        await pilot.pause()
        assert panel.size.height > before + 5
        await pilot.press("p")
        await pilot.pause()
        assert panel.size.height == before - 1


async def test_a_key_puts_the_panel_beside_the_roll_and_back() -> None:
    async with opened(size=(120, 30)) as (app, view, pilot):
        panel = app.query_one(Panel)
        assert panel.region.x == 0 and panel.region.y > view.region.y
        await pilot.press("vertical_line")
        await pilot.pause()
        assert panel.region.x > 60 and panel.region.y <= view.region.y
        wide = panel.size.width
        await pilot.press("less_than_sign")
        await pilot.pause()
        assert panel.size.width == wide + 4
        await pilot.press("vertical_line")
        await pilot.pause()
        assert panel.region.x == 0


async def test_without_room_beside_the_roll_the_panel_stays_below() -> None:
    async with opened(size=(ROOM_BESIDE - 1, 30)) as (app, _, pilot):
        await pilot.press("vertical_line")
        await pilot.pause()
        assert app.query_one(Panel).region.x == 0
        assert any(f"{ROOM_BESIDE} columns" in each.message for each in app._notifications)


@pytest.mark.parametrize("wide", [100, WIDE])
async def test_the_mouse_drags_the_divider(wide: int) -> None:
    async with opened(size=(wide, 36)) as (app, _, pilot):
        panel = app.query_one(Panel)
        region = panel.region
        beside = wide == WIDE
        start = (region.x, region.y + 5) if beside else (region.x + 60, region.y)
        end = (start[0] - 7, start[1]) if beside else (start[0], start[1] - 4)
        await pilot.mouse_down(offset=start)
        await pilot.hover(offset=end)
        await pilot.mouse_up(offset=end)
        await pilot.pause()
        now = panel.region
        assert (region.x - now.x, region.y - now.y) == ((7, 0) if beside else (0, 4))
        assert app.query_one(Body).split != Split()
        # A later movement of the mouse moves nothing.
        await pilot.hover(offset=start)
        await pilot.pause()
        assert panel.region == now


async def test_a_click_on_a_title_sorts_and_a_second_click_reverses() -> None:
    async with opened(size=(120, 30)) as (app, view, pilot):
        title = app.query_one(Heading)

        async def click(name: str) -> None:
            at = str(title.render()).index(name)
            await pilot.click(Heading, offset=(at + 1, 0))
            await pilot.pause()

        await click("PROGRESS")
        assert (view.view.sort, view.view.reverse) == (Sort.PROGRESS, False)
        assert "PROGRESS▾" in str(title.render())
        first = [line.key for line in view.lines]
        await click("PROGRESS")
        assert view.view.reverse and "PROGRESS▴" in str(title.render())
        assert [line.key for line in view.lines] != first
        assert "by progress, reversed" in shown(app)
        await click("HEARD")
        assert (view.view.sort, view.view.reverse) == (Sort.HEARD, False)
        await pilot.press("R")
        await pilot.pause()
        assert "HEARD▴" in str(title.render())
        await click("AGENT")
        assert (view.view.sort, view.view.reverse) == (Sort.HIERARCHY, False)
        await click("REPORT")
        assert view.view.sort is Sort.HIERARCHY


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, {"TASK-1": [entry("a"), entry("b", parent="a"), entry("c")]})
    for folder in ("progress", "logs"):
        (made.registry().parent / folder).mkdir()
    return made


def write(files: Files, folder: str, agent_id: str, *lines: object) -> None:
    suffix = {"progress": "progress", "logs": "stream"}[folder]
    path = files.registry().parent / folder / f"{agent_id}_{suffix}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def report(minute: int, message: str) -> dict[str, object]:
    at = f"2026-10-10T10:{minute:02}:00"
    return {"timestamp": at, "status": "working", "progress": minute, "message": message}


async def test_a_task_has_the_timeline_of_all_its_agents(files: Files) -> None:
    write(files, "progress", "a", report(1, "first"), report(3, "third"))
    write(files, "progress", "b", report(2, "second\x1b[31m"))
    async with opened_files(files, size=(120, 40)) as (app, paper, pilot):
        await pilot.press("up", "right_square_bracket")
        await calm(pilot)
        assert app.query_one(Panel).tab is Tab.TIMELINE
        text = paper.text
        assert text.index("third") < text.index("second\\e[31m") < text.index("first")
        assert " b  working" in text
        write(files, "progress", "c", report(4, "fourth"))
        app.query_one(Panel)._follower.wake()
        await calm(pilot)
        assert paper.text.index("fourth") < paper.text.index("third")
        await pilot.press("tab", "enter")
        await calm(pilot)
        line = app.query_one(RollView).current
        assert line is not None and isinstance(line.key, AgentKey) and line.key.id == "c"


async def test_a_task_has_the_log_of_all_its_agents(files: Files) -> None:
    for agent_id, minute in (("a", 1), ("b", 2), ("a", 3)):
        said = {"content": [{"type": "text", "text": f"says {minute}"}]}
        at = f"2026-10-10T10:{minute:02}:00"
        write(files, "logs", agent_id, {"type": "assistant", "message": said, "timestamp": at})
    async with opened_files(files, size=(120, 40)) as (app, paper, pilot):
        await pilot.press("up", "tab", "5")
        await calm(pilot)
        assert app.query_one(Panel).tab is Tab.LOG
        text = paper.text
        assert text.index("a  assistant  says 1") < text.index("b  assistant  says 2")
        assert text.index("says 2") < text.index("a  assistant  says 3")
        assert "following" in str(app.query_one(TabBar).render())


async def test_the_last_report_is_a_column_and_the_first_line_of_the_overview(
    files: Files,
) -> None:
    write(files, "progress", "a", {"status": "working", "message": "reading\nthe schema"})
    async with opened_files(files, size=(100, 30)) as (app, paper, pilot):
        await calm(pilot)
        view = app.query_one(RollView)
        lines = [view.render_line(number).text for number in range(view.size.height)]
        assert any(" a " in line and "reading the schema" in line for line in lines)
        assert paper.text.splitlines()[0].split() == ["report", "reading", "the", "schema"]
        write(files, "progress", "a", {"status": "working", "message": "writing it"})
        app.query_one(Body).query_one("#left")._follower.wake()  # type: ignore[attr-defined]
        app.query_one(Panel)._follower.wake()
        await calm(pilot)
        assert "writing it" in shown(app)
        assert isinstance(paper, TextView) and "writing it" in paper.text
