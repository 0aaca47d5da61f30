"""The screens, driven by Textual's pilot on a roll call that stands still."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from tests.support.still_app import (
    NOW,
    SEARCH,
    SOCKET,
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
from tests.support.still_app import quick_hands as quick_hands
from tests.support.still_app import still as still
from tui.actions.execute import Outcome, Result, StepOutcome
from tui.actions.plan import Verb
from tui.app.screens.confirm import HASTE, READ_FIRST, ConfirmScreen, ReasonInput
from tui.app.screens.report import ReportScreen, outcome_report
from tui.app.screens.roll import RollScreen
from tui.app.widgets.roll_list import RollView
from tui.app.widgets.text_view import TextView
from tui.config.settings import Settings
from tui.host.tmux_types import TmuxState
from tui.model.evidence import Evidence
from tui.model.roll import AgentKey, MassDeath, RollCall, Verdict


async def test_the_tree_shows_tasks_agents_and_children_and_orphans() -> None:
    async with opened() as (_, view, _pilot):
        assert ids_in(view)[:5] == [
            "architect-1",
            "designer-2",
            "writer-3",
            "tester-4",
            "porter-5",
        ]
        levels = {line.key.id: line.level for line in view.lines if isinstance(line.key, AgentKey)}
        assert levels["tester-4"] == levels["writer-3"] + 1 == levels["architect-1"] + 2
        assert current_row(view) == "TaskKey"


async def test_arrows_j_pages_home_and_end_move_the_cursor() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("down", "j")
        assert current_row(view) == "designer-2"
        await pilot.press("up")
        assert current_row(view) == "architect-1"
        await pilot.press("end")
        assert current_row(view) == "OrphanKey"
        await pilot.press("home")
        assert current_row(view) == "TaskKey"
        await pilot.press("pagedown")
        assert current_row(view) == "OrphanKey"


async def test_left_folds_and_goes_to_the_parent_right_unfolds_and_goes_inside() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("down", "down", "down", "down")
        assert current_row(view) == "tester-4"
        await pilot.press("left")
        assert current_row(view) == "writer-3"
        await pilot.press("left")
        assert "tester-4" not in ids_in(view)
        await pilot.press("right")
        assert "tester-4" in ids_in(view)
        await pilot.press("right")
        assert current_row(view) == "tester-4"


async def test_the_cursor_stays_on_its_agent_whatever_moves() -> None:
    async with opened() as (app, view, pilot):
        view.go_to(next(line.key for line in view.lines if "porter-5" in str(line.key)))
        more = task_of("TASK-a", *(agent(f"new-{n}", "completed") for n in range(40)))
        app.roll_screen.post_message(RollScreen.Rolled(call(more, SEARCH, SPEED)))
        await pilot.pause()
        assert current_row(view) == "porter-5"
        app.roll_screen.post_message(RollScreen.Rolled(call(SEARCH)))
        await pilot.pause()
        assert current_row(view) == "porter-5"


async def test_when_its_agent_goes_the_cursor_stays_near() -> None:
    async with opened() as (app, view, pilot):
        view.go_to(next(line.key for line in view.lines if "tester-4" in str(line.key)))
        less = task_of("TASK-search", *(a for a in SEARCH["agents"] if a["id"] != "tester-4"))
        app.roll_screen.post_message(RollScreen.Rolled(call(less, SPEED)))
        await pilot.pause()
        assert current_row(view) == "writer-3"


async def test_marks_are_set_counted_taken_away_and_die_with_their_row() -> None:
    async with opened() as (app, view, pilot):
        await pilot.press("space")
        assert not view.marks
        await pilot.press("down", "space", "space")
        assert len(view.marks) == 2
        await pilot.press("z")
        assert len(view.marks) == 4
        app.roll_screen.post_message(RollScreen.Rolled(call(SPEED)))
        await pilot.pause()
        assert {key.id for key in view.marks if isinstance(key, AgentKey)} == {"cacher-6"}
        await pilot.press("u")
        assert not view.marks


async def test_the_filter_narrows_as_one_types_and_escape_clears_it() -> None:
    async with opened() as (app, view, pilot):
        everybody = ids_in(view)
        await pilot.press("slash", *"zombie")
        assert ids_in(view) == ["architect-1", "writer-3", "tester-4", "cacher-6"]
        await pilot.press("enter")
        assert app.focused is view
        await pilot.press("escape")
        assert ids_in(view) == everybody
        assert not app.query_one("#filter", Input).has_class("shown")


async def test_a_click_selects_and_a_click_on_the_arrow_folds() -> None:
    async with opened() as (_, view, pilot):
        await pilot.click(RollView, offset=(20, 3))
        assert current_row(view) == "writer-3"
        await pilot.click(RollView, offset=(3, 0))
        assert "writer-3" not in ids_in(view)


async def test_details_follow_the_cursor() -> None:
    async with opened() as (app, _, pilot):
        await pilot.press("down")
        await pilot.pause()
        shown = app.query_one(TextView).text
        assert "architect-1" in shown
        assert "tracked_files" in shown


@pytest.mark.parametrize(("key", "question"), [("x", "Kill 2 agents"), ("c", "Mark 2 agents")])
async def test_an_action_shows_its_plan_and_escape_changes_nothing(
    key: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    monkeypatch.setattr("tui.actions.execute.carry_out", lambda *given: done.append(given))
    async with opened() as (app, view, pilot):
        await pilot.press("z", key)
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)
        assert question in str(app.screen.query_one("Vertical").border_title)
        await pilot.press("x", "q", "escape")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmScreen)
        assert not done
        assert len(view.marks) == 2


async def test_enter_carries_the_plan_out_with_the_reason_and_reports_each_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []

    def carry_out(plan: Any, tmux: Any, reason: str, progress: Any) -> Outcome:
        given.append((plan.verb, [step.label for step in plan.steps], reason))
        steps = (
            StepOutcome("tester-4", Result.DONE, "working -> terminated"),
            StepOutcome("cacher-6", Result.LEFT, "its session exists again"),
        )
        return Outcome(Verb.KILL, steps, (), ())

    monkeypatch.setattr("tui.actions.execute.carry_out", carry_out)
    async with opened() as (app, view, pilot):
        app.roll_screen._tmux = object()  # type: ignore[assignment]
        await pilot.press("z", "x")
        await pilot.press(*"stuck", "enter", "y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert given == [(Verb.KILL, ["tester-4", "cacher-6"], "stuck")]
        assert isinstance(app.screen, ReportScreen)
        shown = str(app.screen.query_one("VerticalScroll Static").render())
        assert "its session exists again" in shown
        assert not view.marks
        await pilot.press("escape")
        assert not isinstance(app.screen, ReportScreen)


async def test_the_reason_has_all_that_was_typed_before_it_however_fast() -> None:
    async with opened() as (app, _, pilot):
        await pilot.press("z", "c")
        await pilot.pause()
        answers: list[str | None] = []
        assert isinstance(app.screen, ConfirmScreen)
        app.screen.dismiss = answers.append  # type: ignore[assignment]
        for key in (*"why typed in a hurry".replace(" ", "_"), "enter", "y"):
            character = None if key == "enter" else key
            app.post_message(events.Key("underscore" if key == "_" else key, character))
        while not answers:
            await pilot.pause()
        assert answers == ["why_typed_in_a_hurry"]


ADVISED = replace(
    call(SEARCH).answer,
    state=TmuxState.UNKNOWN,
    detail=f"error connecting to {SOCKET} (Permission denied)",
    advice="it is lena's: ask with sudo -u lena, or choose another socket with -L NAME or -S PATH",
    sessions={},
)


@pytest.mark.parametrize("keys", [("q",), ("ctrl+c",), ("question_mark", "ctrl+c")])
async def test_one_leaves_by_a_key_from_anywhere(keys: tuple[str, ...]) -> None:
    async with opened() as (app, _, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        assert app._exit and app.return_code == 0


async def test_a_low_terminal_shows_the_message_too() -> None:
    async with opened(replace(call(SEARCH), evidence=Evidence(ADVISED)), (60, 12)) as (
        app,
        _,
        pilot,
    ):
        assert ADVISED.detail in shown(app)
        await pilot.press("right_square_bracket", "p")
        await pilot.pause()
        said = [each.message for each in app._notifications]
        assert said == ["No room for the panel; make the terminal higher."] * 2


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_why_tmux_cannot_tell_and_what_to_try_is_on_the_screen_in_full(
    size: tuple[int, int],
) -> None:
    async with opened(replace(call(SEARCH), evidence=Evidence(ADVISED)), size) as (app, _, pilot):
        text = shown(app)
        assert ADVISED.detail in text and ADVISED.advice in text and str(SOCKET) in text
        app.roll_screen.post_message(RollScreen.Rolled(call(SEARCH)))
        await pilot.pause()
        assert "lena" not in shown(app)


async def test_the_details_show_whose_session_has_an_agents_name_now() -> None:
    started = datetime.fromtimestamp(NOW - 7200).isoformat()
    taken = task_of("TASK-search", {**agent("architect-1", "working"), "started_at": started})
    async with opened(call(taken), (200, 40)) as (app, _, pilot):
        await pilot.press("down")
        await pilot.pause()
        text = shown(app)
        assert "? unknown" in text and "another session got" in text
        assert "Another session has this name now" in text


def mass_death() -> RollCall:
    roll = call(SEARCH, SPEED, alive=())
    keys = frozenset(row.key for row in roll.agents() if row.verdict is Verdict.ZOMBIE)
    return replace(roll, mass_death=MassDeath(len(keys), len(keys), keys))


async def test_a_mass_death_has_a_banner_and_is_asked_about_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(mass_death(), (80, 24)) as (app, _, pilot):
        assert "Probably this is the wrong socket" in shown(app)
        given: list[Any] = []
        monkeypatch.setattr(app.roll_screen, "_carry_out", lambda *each: given.append(each))
        for key in ("y", "escape"):
            await pilot.press("z", "c", "w", "enter", "y")
            await pilot.pause()
            assert isinstance(app.screen, ConfirmScreen) and not given
            assert "Second confirmation" in str(app.screen.query_one("Vertical").border_title)
            text = shown(app)
            assert "Is this the right socket" in text and str(SOCKET) in text
            await pilot.press(key)
            await pilot.pause()
            assert not isinstance(app.screen, ConfirmScreen)
            assert [reason for _, reason in given] == (["w"] if key == "y" else [])
            given.clear()


async def test_one_death_of_many_is_asked_about_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(mass_death()) as (app, _, pilot):
        given: list[Any] = []
        monkeypatch.setattr(app.roll_screen, "_carry_out", lambda *each: given.append(each))
        await pilot.press("down", "c", "y")
        await pilot.pause()
        assert len(given) == 1


def _key(name: str, at: float) -> events.Key:
    key = events.Key(name, None if len(name) > 1 else name)
    key.time = at
    return key


async def asked(pilot: Pilot[None], keys: tuple[str, ...]) -> ConfirmScreen:
    """Opens the question of a kill, and presses keys."""
    await pilot.press("down", "x")
    await drawn_whole(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, ConfirmScreen)
    await pilot.press(*keys)
    await drawn_whole(pilot)
    return screen


@pytest.mark.parametrize(
    ("accept", "keys", "reason"),
    [
        ("y", ("y",), ""),
        ("y", ("enter",), None),
        ("y", ("enter", "enter"), None),
        ("y", ("enter", "y"), ""),
        ("y", ("n", "y"), None),
        ("y", ("n", "enter", "y"), "n"),
        ("y", ("n", "enter", "o", "y"), None),
        ("y", ("n", "enter", "o", "y", "enter", "y"), "noy"),
        ("y", ("n", "backspace", "y"), ""),
        ("enter", ("n", "enter"), "n"),
        ("enter", ("y", "enter"), "y"),
        ("y,enter", ("n", "enter"), "n"),
        ("g", ("y", "enter", "g"), "y"),
        ("ctrl+y", ("y", "ctrl+y"), "y"),
    ],
)
async def test_a_plan_is_confirmed_by_its_key_after_the_end_of_the_reason(
    monkeypatch: pytest.MonkeyPatch, accept: str, keys: tuple[str, ...], reason: str | None
) -> None:
    settings = Settings(keys={"confirm.accept": accept} if accept != "y" else {})
    async with opened(settings=settings) as (app, _, pilot):
        answers: list[Any] = []
        monkeypatch.setattr(app.roll_screen, "_carry_out", lambda *given: answers.append(given[1]))
        await asked(pilot, keys)
        assert answers == ([] if reason is None else [reason])
        assert isinstance(app.screen, ConfirmScreen) is (reason is None)


async def test_the_question_says_which_key_confirms() -> None:
    async with opened() as (app, _, pilot):
        screen = await asked(pilot, ())
        assert "y Go ahead" in shown(app)
        await pilot.press("n")
        await drawn_whole(pilot)
        assert "y Go ahead" not in shown(app)
        subtitle = screen.query_one("Vertical")
        assert "Enter ends the reason; then y goes ahead" in str(subtitle.border_subtitle)
        await pilot.press("enter")
        await drawn_whole(pilot)
        assert "y Go ahead" in shown(app)
        assert str(subtitle.border_subtitle) == "y goes ahead, Escape changes nothing"


@pytest.mark.hasty
async def test_a_key_that_was_typed_ahead_or_pasted_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as (app, _, pilot):
        answers: list[Any] = []
        monkeypatch.setattr(app.roll_screen, "_carry_out", lambda *given: answers.append(given))
        await pilot.press("down", "x")
        await drawn_whole(pilot)
        shown = app.screen.query_one(Input)
        assert isinstance(shown, ReasonInput)
        shown_at = shown.shown_at
        for key in (
            _key("y", shown_at + READ_FIRST / 2),
            _key("x", shown_at + 10),
            _key("enter", shown_at + 11),
            _key("y", shown_at + 11 + HASTE / 2),
        ):
            app.post_message(key)
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)
        assert "press it again" in str(app.screen.query_one("Vertical").border_subtitle)
        assert answers == []
        app.post_message(_key("y", shown_at + 12))
        while not answers:
            await pilot.pause()
        assert answers[0][1] == "x"


@pytest.mark.hasty
async def test_escape_with_another_key_right_behind_it_cancels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as (app, _, pilot):
        screen = app.roll_screen
        monkeypatch.setattr(screen, "_carry_out", lambda *_: pytest.fail("nobody confirmed"))
        await pilot.press("down", "x")
        await drawn_whole(pilot)
        app.post_message(_key("alt+j", 1e9))
        while isinstance(app.screen, ConfirmScreen):
            await pilot.pause()
        assert app.screen.query(RollView)


async def test_without_an_agent_to_act_on_a_message_is_shown() -> None:
    async with opened(call(alive=())) as (app, _, pilot):
        await pilot.press("x", "X", "c")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmScreen)
        said = [each.message.split(";")[0] for each in app._notifications]
        assert set(said) == {"No agent to kill", "No agent to complete"}


async def asked_by(pilot: Pilot[None], *keys: str) -> str:
    """What the plan says that comes after some keys."""
    await pilot.press(*keys)
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ConfirmScreen)
    title = str(screen.query_one("Vertical").border_title)
    return f"{title}\n{screen.query_one('VerticalScroll Static').render()}"


async def test_kill_on_a_tasks_line_is_about_all_its_agents() -> None:
    async with opened() as (_, view, pilot):
        assert current_row(view) == "TaskKey"
        said = await asked_by(pilot, "x")
        assert "Kill 4 agents?" in said
        assert "Not touched" not in said
        order = [said.index(each) for each in ("tester-4", "writer-3", "architect-1", "porter-5")]
        assert order[1] < order[2]


async def test_kill_on_the_line_of_the_orphans_is_about_all_of_them() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("end", "up")
        assert current_row(view) == "OrphansKey"
        said = await asked_by(pilot, "x")
        assert "Kill 1 orphaned session?" in said
        assert "agent_stranger-8 (3 processes, 250 MB)" in said


async def test_a_capital_k_kills_all_beneath_as_well() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("down")
        assert current_row(view) == "architect-1"
        said = await asked_by(pilot, "X")
        assert "Kill 3 agents?" in said
        assert "designer-2" not in said, "who is through needs no killing"
        assert "Ends 2 sessions and 6 processes" in said
        assert "frees about 500 MB" in said


async def test_a_capital_k_is_about_the_trees_of_the_marked_ones() -> None:
    async with opened() as (_, view, pilot):
        view.go_to(next(line.key for line in view.lines if "writer-3" in str(line.key)))
        await pilot.press("space", "down", "space", "home")
        said = await asked_by(pilot, "X")
        assert "Kill 3 agents?" in said
        assert "writer-3" in said and "tester-4" in said and "architect-1" not in said


async def test_finished_agents_are_refused_with_the_reason() -> None:
    async with opened() as (app, _, pilot):
        await pilot.press("down", "down", "x")
        await pilot.pause()
        assert any("is finished" in each.message for each in app._notifications)


async def test_where_all_of_many_are_refused_only_some_are_named() -> None:
    many = task_of("TASK-over", *(agent(f"done-{n}", "completed") for n in range(40)))
    async with opened(call(many, alive=())) as (app, _, pilot):
        await pilot.press("x")
        await pilot.pause()
        (said,) = [each.message for each in app._notifications]
        assert said.startswith("done-0 is finished")
        assert said.endswith("; and 37 more")


async def test_keys_without_use_are_not_offered_while_a_question_is_open() -> None:
    async with opened() as (app, _, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, ReportScreen)
        shown = str(app.screen.query_one("VerticalScroll Static").render())
        assert "Mark all zombies" in shown
        assert "proven twice" in shown
        assert not {"x", "c", "z"} & app.screen.active_bindings.keys()


async def test_nothing_is_drawn_when_a_roll_call_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as (app, view, pilot):
        drawn: list[int] = []
        monkeypatch.setattr(view, "refresh_line", drawn.append)
        app.roll_screen.post_message(RollScreen.Rolled(call(SEARCH, SPEED)))
        await pilot.pause()
        assert drawn == []
        changed = task_of("TASK-speed", agent("cacher-6", "working", progress=90))
        app.roll_screen.post_message(RollScreen.Rolled(call(SEARCH, changed)))
        await pilot.pause()
        assert 7 in drawn
        assert not {1, 2, 3} & set(drawn)


def test_snapshot_80x24(snap_compare: SnapCompare) -> None:
    assert snap_compare(
        StillApp(call(SEARCH, SPEED)), run_before=pressing("down"), terminal_size=(80, 24)
    )


def test_snapshot_160x50(snap_compare: SnapCompare) -> None:
    app = StillApp(call(SEARCH, SPEED, error="Expecting value at line 3 column 9"))
    assert snap_compare(app, run_before=pressing("z", "down", "down"), terminal_size=(160, 50))


def test_snapshot_of_the_plan_of_a_kill(snap_compare: SnapCompare) -> None:
    app = StillApp(call(SEARCH, SPEED))
    keys = ["down", "space", "space", "z", "x"]
    assert snap_compare(app, run_before=pressing(*keys), terminal_size=(100, 30))


def test_snapshot_of_the_help(snap_compare: SnapCompare) -> None:
    app = StillApp(call(SEARCH, SPEED))
    assert snap_compare(app, run_before=pressing("question_mark"), terminal_size=(100, 40))


def test_snapshot_of_an_outcome(snap_compare: SnapCompare) -> None:
    steps = (
        StepOutcome("tester-4", Result.DONE, "working -> terminated"),
        StepOutcome("cacher-6", Result.FAILED, "still running: python (4711)"),
    )
    written = (WORKSPACE / "TASK-search" / "AGENT_REGISTRY.json",)

    async def show(pilot: Pilot[None]) -> None:
        await drawn_whole(pilot)
        await pilot.app.push_screen(outcome_report(Outcome(Verb.KILL, steps, written, ())))
        await drawn_whole(pilot)

    app = StillApp(call(SEARCH, SPEED))
    assert snap_compare(app, run_before=show, terminal_size=(100, 30))


async def test_a_filter_without_matches_shows_a_message() -> None:
    async with opened() as (_, view, pilot):
        await pilot.press("slash", *"xyzzy")
        await pilot.pause()
        assert view.lines == ()
        shown = "".join(segment.text for segment in view.render_line(0))
        assert "Nothing matches the filter" in shown
        await pilot.press("escape")
        await pilot.pause()
        assert len(view.lines) > 3


async def test_a_filter_by_a_key_narrows_and_an_unknown_key_is_reported() -> None:
    async with opened() as (app, view, pilot):
        everybody = ids_in(view)
        field = app.query_one("#filter", Input)
        await pilot.press("slash", *"verdict:")
        assert ids_in(view) == everybody
        await pilot.press(*"zombie")
        assert "writer-3" in ids_in(view) and ids_in(view) != everybody
        field.value = "verdikt:zombie"
        await pilot.pause()
        assert ids_in(view) == everybody and field.has_class("mistaken")
        await pilot.press("enter")
        await pilot.pause()
        (said,) = app._notifications
        assert "did you mean verdict:?" in said.message
