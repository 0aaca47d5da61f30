"""Finding agents in the monitor: sorting, filters, counters, marks, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.support.still_app import (
    ALIVE,
    SEARCH,
    SPEED,
    WORKSPACE,
    SnapCompare,
    StillApp,
    agent,
    call,
    current_row,
    drawn_whole,
    ids_in,
    opened,
    pressing,
    shown,
    task_of,
)
from tests.support.still_app import still as still
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.report import ReportScreen
from tui.app.screens.roll import RollScreen
from tui.app.widgets.header import Summary
from tui.app.widgets.roll_box import Heading, RollPane, Shown
from tui.app.widgets.roll_list import RollView
from tui.host.process.usage import Load, Meter
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.evidence import Evidence
from tui.model.roll import AgentKey, RollCall, Verdict
from tui.model.verdicts import VERDICTS
from tui.view.outline import Key
from tui.view.view import Sort, View

COSTS = {
    "architect-1": Load(3.0, 180 << 20, 4),
    "writer-3": Load(97.0, 1210 << 20, 9),
    "porter-5": Load(None, 64 << 20, 2),
    "reader-7": Load(0.0, 21 << 20, 1),
    "agent_stranger-8": Load(12.0, 33 << 20, 1),
}


class Measured:
    """What was measured, instead of processes."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def measure(
        self, sessions: Mapping[Key, Session], _: TmuxSnapshot, roots: Mapping[Key, object]
    ) -> dict[Key, Load]:
        assert not roots
        self.asked.append([each.name for each in sessions.values()])
        return {
            key: COSTS[name]
            for key, session in sessions.items()
            for name in (session.name, session.name.removeprefix("agent_"))
            if name in COSTS
        }


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    made = Measured()
    monkeypatch.setattr(Meter, "measure", lambda _, *given: made.measure(*given))
    return made


async def measured_once(pilot: Pilot[None]) -> None:
    """Waits until what sessions cost is on the screen."""
    view = pilot.app.query_one(RollView)
    while not view._loads:
        await pilot.pause(0.02)
    await pilot.pause()


def rows(view: RollView) -> list[str]:
    """Agents and orphans in the order of their lines."""
    return [
        line.key.id if isinstance(line.key, AgentKey) else "orphan"
        for line in view.lines
        if line.item is not None and not hasattr(line.item, "agents")
    ]


def marked(view: RollView) -> set[str]:
    return {key.id if isinstance(key, AgentKey) else "orphan" for key in view.marks}


EVERYBODY = {
    "architect-1",
    "designer-2",
    "writer-3",
    "tester-4",
    "porter-5",
    "cacher-6",
    "reader-7",
    "orphan",
}


# Sorting


async def test_t_shows_the_most_urgent_first_and_leads_back_to_the_tree() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("end", "t")
        await pilot.pause()
        assert rows(view)[:4] == ["tester-4", "cacher-6", "porter-5", "reader-7"]
        assert current_row(view) == "tester-4"
        assert "by urgency" in shown(app)
        await pilot.press("t")
        await pilot.pause()
        # Back in the tree the cursor is still on what was found.
        assert current_row(view) == "tester-4"
        assert ids_in(view)[0] == "architect-1"
        assert not app.query_one(Shown).has_class("shown")


async def test_s_and_capital_s_step_through_all_sort_orders() -> None:
    async with opened(size=(80, 24)) as (app, view, pilot):
        seen = []
        for _ in Sort:
            await pilot.press("s")
            await pilot.pause()
            seen.append(view.view.sort)
            if view.view.sort is not Sort.HIERARCHY:
                assert f"by {view.view.sort}" in shown(app)
        assert set(seen) == set(Sort) and seen[-1] is Sort.HIERARCHY
        seen.clear()
        for key in ("S", "s"):
            await pilot.press(key)
            seen.append(view.view.sort)
        assert seen == [Sort.STATUS, Sort.HIERARCHY]


async def test_sorted_by_cpu_all_sessions_are_measured_and_the_lines_follow(
    measured: Measured,
) -> None:
    async with opened(size=(80, 24)) as (app, view, pilot):
        await measured_once(pilot)
        await pilot.press("s", "s", "s", "s")
        assert view.view.sort is Sort.CPU
        assert {name.removeprefix("agent_") for name in measured.asked[0]} == set(ALIVE)
        assert rows(view)[:4] == ["writer-3", "orphan", "architect-1", "reader-7"]
        assert "97%" in shown(app) and "1.2G" in shown(app)
        assert current_row(view) == "writer-3"
        await pilot.press("s")
        await pilot.pause()
        assert rows(view)[:3] == ["writer-3", "architect-1", "porter-5"]


async def test_only_visible_sessions_are_measured_unless_sorted_by_load(
    measured: Measured,
) -> None:
    many = task_of("TASK-a", *(agent(f"new-{n}", "working") for n in range(60)))
    roll = call(many, alive=tuple(f"new-{n}" for n in range(60)))
    async with opened(roll, (160, 24)) as (_, view, pilot):
        view.query_ancestor("RollPane")._measure()  # type: ignore[attr-defined]
        while not measured.asked:
            await pilot.pause(0.02)
        assert 5 < len(measured.asked[0]) <= view.size.height


async def test_what_stays_the_same_is_measured_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(size=(160, 50)) as (app, view, _):
        pane, key = app.query_one(RollPane), view.lines[1].key
        pauses: list[float] = []
        monkeypatch.setattr(pane, "_measure_soon", pauses.append)
        fresh_for = []
        for cpu in (None, 1.0, 1.0, 1.0, 1.0, 2.0):
            pane._measured({key: Load(cpu, 1 << 20, 1)}, 0.0)
            fresh_for.append(pane._fresh_for)
        # CPU is known from the second look on, which comes sooner.
        assert fresh_for == [1.0, 3.0, 6.0, 12.0, 12.0, 3.0]
        assert pauses == [1.0, 3.0, 3.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize("why", ["another screen", "no focus"])
async def test_nothing_is_measured_without_the_focus(measured: Measured, why: str) -> None:
    async with opened(size=(160, 50)) as (app, view, pilot):
        pane: Any = view.parent
        await measured_once(pilot)
        view.show_loads({})
        measured.asked.clear()
        if why == "no focus":
            app.app_focus = False
        else:
            await pilot.press("question_mark")
        await pilot.pause()
        pane._measure()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert measured.asked == []
        if why == "no focus":
            app.app_focus = True
        else:
            await pilot.press("escape")
        await pilot.pause()
        pane._measure()
        await measured_once(pilot)


async def test_a_change_of_what_one_session_costs_draws_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(size=(160, 50)) as (_, view, pilot):
        await measured_once(pilot)
        view.show_loads({})
        await pilot.pause()
        drawn: list[int] = []
        key = next(line.key for line in view.lines if "writer-3" in str(line.key))
        monkeypatch.setattr(view, "refresh_line", drawn.append)
        view.show_loads({key: Load(31.0, 1 << 30, 3)})
        assert drawn == [3]
        await pilot.pause()
        drawn.clear()
        # So little changes nothing that is shown.
        view._shown.clear()
        for y in range(view.size.height):
            view.render_line(y)
        view.show_loads({key: Load(31.2, (1 << 30) + 9999, 3)})
        assert drawn == []


# Narrowing


async def test_h_hides_finished_agents_and_shows_them_again() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("h")
        await pilot.pause()
        assert "designer-2" not in rows(view)
        assert set(rows(view)) == EVERYBODY - {"designer-2"}
        assert "7 of 8" in shown(app) and "finished hidden" in shown(app)
        await pilot.press("h")
        await pilot.pause()
        assert set(rows(view)) == EVERYBODY


async def test_with_all_agents_finished_and_hidden_a_message_is_shown() -> None:
    over = task_of("TASK-over", agent("done-1", "completed"))
    async with opened(call(over, alive=())) as (app, view, pilot):
        await pilot.press("h")
        await pilot.pause()
        assert view.lines == ()
        assert "All agents are finished; h shows them." in shown(app)


@pytest.mark.parametrize("verdict", VERDICTS)
async def test_a_number_key_shows_the_agents_of_a_counter_and_again_all(verdict: Verdict) -> None:
    key = VERDICTS[verdict].key
    async with opened() as (app, view, pilot):
        assert app.roll_screen.roll is not None
        await pilot.press(key)
        await pilot.pause()
        glyph = VERDICTS[verdict].glyph
        assert view.view.only is verdict
        assert f"only {glyph} {verdict.value}" in shown(app)
        if app.roll_screen.roll.counts[verdict] == 0:
            assert view.lines == ()
            assert "Nothing matches the filter" in shown(app)
        assert f"{app.roll_screen.roll.counts[verdict]} of 8" in shown(app)
        await pilot.press(key)
        await pilot.pause()
        assert view.view == View()
        assert set(rows(view)) == EVERYBODY


async def test_a_click_on_a_counter_shows_only_its_agents_and_another_click_all() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("down", "down")
        summary = app.query_one(Summary)
        at = next(start for start, _, each in summary._counters if each is Verdict.ZOMBIE)
        await pilot.click(Summary, offset=(at, 2))
        await pilot.pause()
        assert view.view.only is Verdict.ZOMBIE
        assert {"tester-4", "cacher-6"} <= set(rows(view))
        await pilot.click(Summary, offset=(at, 0))
        assert view.view.only is Verdict.ZOMBIE, "that is no counter"
        await pilot.click(Summary, offset=(at, 2))
        await pilot.pause()
        assert view.view.only is None


async def test_a_session_that_was_renamed_is_counted_once() -> None:
    async with opened() as (app, _, pilot):
        roll = call(SEARCH, SPEED)
        renamed = replace(next(iter(roll.answer.sessions.values())), name="agent_new")
        sessions = {"agent_old": renamed, renamed.name: renamed}
        app.query_one(Summary).show(
            replace(roll, evidence=Evidence(replace(roll.answer, sessions=sessions)))
        )
        await pilot.pause()
        assert ", 1 session on" in shown(app)


async def test_escape_clears_a_filter_that_was_kept_unfinished() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("slash", *"status:", "enter")
        await pilot.pause()
        assert "filter status:" in shown(app) and "Escape clears" in shown(app)
        await pilot.press("escape")
        await pilot.pause()
        assert view.view.query == "" and "filter status:" not in shown(app)


async def test_escape_clears_a_counter_too_and_leaves_the_order() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("t", "h", "3", "slash", *"tester", "enter")
        await pilot.pause()
        assert rows(view) == ["tester-4"]
        assert "filter tester" in shown(app)
        await pilot.press("escape")
        await pilot.pause()
        assert view.view == View(sort=Sort.URGENCY, hide_finished=True)
        assert "escape" not in app.active_bindings or not app.active_bindings["escape"].enabled


async def test_a_kept_filter_is_labelled_and_can_be_typed_on() -> None:
    async with opened(size=(80, 24)) as (app, view, pilot):
        await pilot.press("slash", *"status:working", "enter")
        await pilot.pause()
        field = app.query_one("#filter", Input)
        assert not field.has_class("shown") and app.focused is view
        assert "filter status:working  3 of 8  Escape clears" in shown(app)
        assert "agent architect-1" in " ".join(shown(app).split())
        await pilot.press("slash", *" 4")
        await pilot.pause()
        assert field.value == "status:working 4"
        assert rows(view) == ["architect-1", "writer-3", "tester-4"]


@pytest.mark.parametrize("keys", [("3",), ("slash", *"verdict:zom", "enter")])
async def test_the_cursor_goes_to_the_first_match_not_to_its_parent(
    keys: tuple[str, ...],
) -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("down", *keys)
        await pilot.pause()
        assert current_row(view) == "tester-4"
        await pilot.press("escape")
        await pilot.pause()
        assert current_row(view) == "tester-4"


async def test_what_the_filter_found_is_highlighted() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("slash", *"port")
        await pilot.pause()
        (line,) = [n for n, each in enumerate(view.lines) if "porter-5" in str(each.key)]
        lit = [
            segment.text
            for segment in view.render_line(line)
            if segment.style is not None and segment.style.underline
        ]
        assert lit == ["port"]


async def test_a_filter_is_shown_harmless() -> None:
    async with opened() as (app, _, pilot):
        app.query_one("#filter", Input).value = "[b]x\x1b]52\u202e"
        await pilot.pause()
        assert "filter [b]x\\e]52\\u202e" in shown(app)


# Marks


async def test_v_marks_a_range_as_the_cursor_goes_and_back() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("down", "v", "down", "down")
        assert marked(view) == {"architect-1", "designer-2", "writer-3"}
        await pilot.press("up")
        assert marked(view) == {"architect-1", "designer-2"}
        await pilot.press("v", "down", "down")
        assert marked(view) == {"architect-1", "designer-2"}
        await pilot.press("v", "up", "escape", "home")
        assert marked(view) == {"architect-1", "designer-2", "tester-4", "writer-3"}
        assert "4 marked" in shown(app)


async def test_a_range_goes_over_tasks_and_marks_none_of_them() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("v", "end")
        assert marked(view) == EVERYBODY


async def test_a_range_whose_start_goes_ends_and_its_marks_stay() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("down", "down", "v", "down")
        less = [each for each in SEARCH["agents"] if each["id"] != "designer-2"]
        app.roll_screen.post_message(RollScreen.Rolled(call(task_of("TASK-search", *less), SPEED)))
        await pilot.pause()
        await pilot.press("down", "down")
        assert marked(view) == {"writer-3"}


async def test_shift_and_arrows_mark_line_by_line() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("down", "shift+down", "shift+down")
        assert marked(view) == {"architect-1", "designer-2", "writer-3"}
        await pilot.press("end", "shift+up")
        assert marked(view) == {"architect-1", "designer-2", "writer-3", "orphan"}


async def test_plus_marks_all_that_the_filter_finds_and_not_what_leads_there() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("slash", *"verdict:zombie", "enter", "plus")
        assert marked(view) == {"tester-4", "cacher-6"}
        await pilot.press("escape", "asterisk")
        assert marked(view) == EVERYBODY - {"tester-4", "cacher-6"}
        await pilot.press("u", "plus")
        assert marked(view) == EVERYBODY
        assert "8 marked" in shown(app)


async def test_inverting_keeps_the_marks_of_agents_that_do_not_match() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("down", "space", "3", "asterisk")
        assert marked(view) == {"architect-1", "tester-4", "cacher-6"}


async def test_marks_without_a_line_are_counted_and_acted_on() -> None:
    async with opened(size=(80, 24)) as (app, _, pilot):
        await pilot.press("z", "down", "space", "slash", *"cacher", "enter")
        await pilot.pause()
        assert "3 marked, 2 not shown" in shown(app)
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)
        assert "Mark 3 agents as completed" in str(app.screen.query_one("Vertical").border_title)


async def test_a_folded_agent_counts_as_not_shown() -> None:
    async with opened() as (app, _, pilot):
        await pilot.press("down", "down", "space", "home", "left")
        await pilot.pause()
        assert "1 marked, 1 not shown" in shown(app)


async def test_only_a_range_offers_to_end_it() -> None:
    async with opened() as (_, view, pilot):
        assert view.check_action("leave_range", ()) is False
        await pilot.press("v")
        assert view.check_action("leave_range", ()) is True


async def test_the_help_lists_all_of_these_keys() -> None:
    async with opened(size=(120, 60)) as (app, _, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, ReportScreen)
        said = str(app.screen.query_one("VerticalScroll Static").render())
        for what in (
            "Sort by urgency, or go back to the tree",
            "Sort by urgency",
            "Hide or show finished",
            "Only live, stalled, zombie",
            "Mark a range",
            "Mark all agents that the filter matches",
            "Invert the marks",
        ):
            assert what in said


# Many


def crowd(count: int) -> RollCall:
    tasks = []
    for number in range(count // 100):
        names = [f"worker-{number}-{n}" for n in range(100)]
        tasks.append(
            task_of(
                f"TASK-{number}",
                *(
                    agent(name, ("running", "completed", "blocked")[n % 3], progress=n)
                    for n, name in enumerate(names)
                ),
            )
        )
    return call(*tasks, alive=())


async def test_ten_thousand_are_sorted_narrowed_and_marked() -> None:
    roll = crowd(10_000)
    async with opened(roll, (80, 24)) as (app, view, pilot):
        await pilot.press("t")
        await pilot.pause()
        assert len(view.lines) == 10_000
        assert view.lines[0].item.verdict is Verdict.ZOMBIE  # type: ignore[union-attr]
        await pilot.press("slash", *"status:blocked", "enter", "plus")
        await pilot.pause()
        assert len(view.marks) == len(view.lines) == 3300
        assert "3300 marked" in shown(app)


# Workspaces


async def test_several_workspaces_are_branches_that_can_be_narrowed() -> None:
    roll = call(SEARCH, SPEED)
    one, two = roll.workspaces[0].tasks
    other = Path("/srv/other/.agent-workspace")
    two = replace(two, state=replace(two.state, workspace=other))
    workspaces = (
        replace(roll.workspaces[0], tasks=(one,)),
        replace(roll.workspaces[0], path=other, tasks=(two,)),
    )
    async with opened(replace(roll, workspaces=workspaces)) as (app, view, pilot):
        assert str(WORKSPACE) in shown(app) and str(other) in shown(app)
        assert current_row(view) == "WorkspaceKey"
        await pilot.press("slash", *"workspace:other", "enter")
        await pilot.pause()
        assert ids_in(view) == ["cacher-6", "reader-7"]
        await pilot.press("t")
        await pilot.pause()
        assert rows(view) == ["cacher-6", "reader-7"]


# How it looks


def looking(*keys: str) -> Any:
    """Presses keys, and waits until what sessions cost is shown, if there is room."""

    async def look(pilot: Pilot[None]) -> None:
        await drawn_whole(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        view = pilot.app.query_one(RollView)
        sessions, roots, _ = view.to_measure()
        if sessions or roots:
            view.parent._measure()  # type: ignore[union-attr]
            await measured_once(pilot)
        await drawn_whole(pilot)

    return look


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize(
    "keys",
    [
        ("t",),
        ("s", "s", "s", "s", "h"),
        ("slash", *"ter-", "enter", "plus", "down"),
        ("3", "space"),
    ],
    ids=["urgency", "cpu", "filter", "zombies"],
)
def test_snapshot_of_finding(
    snap_compare: SnapCompare, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    app = StillApp(call(SEARCH, SPEED))
    assert snap_compare(app, run_before=looking(*keys), terminal_size=size)


def test_snapshot_of_typing_a_filter(snap_compare: SnapCompare) -> None:
    app = StillApp(call(SEARCH, SPEED))
    press = pressing("slash", *"status:wor te")
    assert snap_compare(app, run_before=press, terminal_size=(80, 24))


async def test_the_columns_follow_the_order() -> None:
    async with opened(size=(130, 40)) as (app, _, pilot):
        heading = app.query_one(Heading)
        assert "SESSION" not in str(heading.render())
        await pilot.press("t")
        await pilot.pause()
        assert "PROGRESS" in str(heading.render())
        await pilot.press("s", "s", "s")
        await pilot.pause()
        assert "CPU" in str(heading.render()) and "MEM" in str(heading.render())
