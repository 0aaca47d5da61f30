"""Using the monitor: keys, help, palette, themes, ASCII, read-only, notes, long work."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from textual.command import Command, CommandList
from textual.notifications import Notification
from textual.pilot import Pilot
from textual.widgets import Input

from registry.schema.layout import Workspace
from tests.support.still_app import (
    ALIVE,
    SEARCH,
    SOCKET,
    SPEED,
    WORKSPACE,
    SnapCompare,
    StillApp,
    agent,
    call,
    drawn,
    drawn_whole,
    opened,
    pressing,
    shown,
    task_of,
)
from tests.support.still_app import quick_hands as quick_hands
from tests.support.still_app import still as still
from tests.support.still_live import StillLive
from tests.support.terminal import until
from tui.actions.execute import Outcome
from tui.actions.plan import Verb
from tui.app import notifier
from tui.app.app import MusterApp
from tui.app.palette import Palette
from tui.app.run import _run, run_monitor
from tui.app.screens.body import Body
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.doctor import DoctorScreen
from tui.app.screens.help import HelpScreen
from tui.app.screens.metrics import MetricsScreen
from tui.app.screens.report import ReportScreen
from tui.app.screens.roll import RollScreen
from tui.app.widgets.footer import Footer
from tui.app.widgets.progress_line import ProgressLine
from tui.app.widgets.text_view import TextView
from tui.config.settings import THEMES, Notify, Settings
from tui.model.policy import Policy
from tui.model.roll import RollCall, Verdict

READ_ONLY = Settings(read_only=True)
ASCII = Settings(ascii=True)

WIDE = task_of(
    "TASK-日本語",
    agent("architect-1", "working"),
    {
        **agent("naïve-2", "working"),
        "type": "👍🏽 tester",
        "prompt": "日本 ✌️ e\u0301\u0302\u0303",
    },
    {**agent("c-3", "completed", "architect-1"), "status": "✅ done", "id": "مرحبا-3"},
)


def footer(app: MusterApp) -> set[str]:
    """What the footer in front offers."""
    (there,) = app.screen.query(Footer)
    return {hint.text for hint in there.hints}


# Help


async def _help(pilot: Pilot[None], key: str) -> str:
    await pilot.press(key)
    await drawn_whole(pilot)
    assert isinstance(pilot.app.screen, HelpScreen)
    assert isinstance(pilot.app, MusterApp)
    return shown(pilot.app)


async def test_the_help_lists_the_keys_of_the_roll_and_closes_by_its_key() -> None:
    async with opened(size=(100, 110)) as (app, _, pilot):
        for key in ("question_mark", "f1"):
            text = await _help(pilot, key)
            for said in (
                "Here",
                "Mark all zombies",
                "Fold, or go",
                "Everywhere",
                "Undo the last",
                "^p",
            ):
                assert said in text
            assert "Verdicts" in text
            await pilot.press(key)
            assert len(app.screen_stack) == 1


async def test_the_help_of_the_panel_has_its_keys_and_none_of_the_roll() -> None:
    async with opened(size=(100, 60)) as (app, _, pilot):
        app.query_one(TextView).focus()
        await pilot.pause()
        text = await _help(pilot, "question_mark")
        assert "Next match" in text and "Kill" in text
        assert "Mark all zombies" not in text


@pytest.mark.parametrize(
    ("opens", "screen", "says", "key"),
    [
        ("x", ConfirmScreen, "Change nothing", "f1"),
        ("d", DoctorScreen, "Look again", "question_mark"),
        ("m", MetricsScreen, "Close", "question_mark"),
    ],
)
async def test_the_help_of_a_screen_has_its_keys_and_none_that_lie_beneath(
    opens: str, screen: type, says: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *_: None)
    async with opened(size=(100, 60)) as (app, _, pilot):
        await pilot.press("down", opens)
        await pilot.pause()
        assert isinstance(app.screen, screen)
        text = await _help(pilot, key)
        assert says in text and "^p" in text
        assert "Mark all zombies" not in text and "Undo the last" not in text
        await pilot.press("f1")
        assert isinstance(app.screen, screen)


async def test_a_question_mark_is_typed_where_one_types() -> None:
    async with opened() as (app, _, pilot):
        await pilot.press("slash", "question_mark")
        assert app.query_one("#filter", Input).value == "?"
        await _help(pilot, "f1")


# Keys of one's own


async def test_keys_can_be_set_and_the_footer_and_the_help_follow() -> None:
    keys = {"kill": "f5", "help": "h,!", "confirm.cancel": "ctrl+g"}
    async with opened(settings=Settings(keys=keys), size=(100, 110)) as (app, _, pilot):
        await drawn_whole(pilot)
        assert "f5 Kill" in footer(app) and "x Kill" not in footer(app)
        await pilot.press("down", "x")
        assert len(app.screen_stack) == 1
        await pilot.press("f5")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)
        await drawn_whole(pilot)
        assert "^g Change nothing" in footer(app)
        await pilot.press("ctrl+g")
        assert len(app.screen_stack) == 1
        text = await _help(pilot, "exclamation_mark")
        assert "h, !" in text
        await pilot.press("escape", "question_mark")
        assert len(app.screen_stack) == 1


@pytest.mark.hasty
async def test_another_key_for_going_ahead_is_guarded_against_haste_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.app.screens.confirm.READ_FIRST", 1000.0)
    async with opened(settings=Settings(keys={"confirm.accept": "f5"})) as (app, _, pilot):
        screen = app.roll_screen
        monkeypatch.setattr(screen, "_carry_out", lambda *_: pytest.fail("nobody meant it"))
        await pilot.press("down", "x")
        await drawn_whole(pilot)
        await pilot.press("enter", "f5")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)
        assert "too soon" in str(app.screen.query_one("Vertical").border_subtitle)


# The palette


async def drawn_still(pilot: Pilot[None]) -> None:
    """Waits until half a dozen looks in a row show the same."""
    same, before = 0, drawn(pilot.app)
    while same < 6:
        await pilot.pause(0.02)
        now = drawn(pilot.app)
        same, before = (same + 1 if now == before else 0), now


async def _palette(pilot: Pilot[None], words: str) -> str:
    await pilot.press("ctrl+p")
    await pilot.pause()
    assert isinstance(pilot.app.screen, Palette)
    await pilot.press(*words)
    await drawn_still(pilot)
    commands = pilot.app.screen.query_one(CommandList)
    return "\n".join(str(each.hit.text) for each in commands.options if isinstance(each, Command))


async def test_the_palette_has_every_action_and_does_it() -> None:
    async with opened(size=(100, 80)) as (app, view, pilot):
        text = await _palette(pilot, "")
        for said in ("Kill", "Kill, with all", "Complete", "Undo the last", "Mark all zombies"):
            assert said in text
        await pilot.press(*"mark all zom")
        await drawn_still(pilot)
        await pilot.press("enter")
        await pilot.pause()
        await pilot.pause()
        assert len(view.marks) == 2
        assert len(app.screen_stack) == 1


async def test_an_action_from_the_palette_asks_as_its_key_does() -> None:
    async with opened(size=(100, 40)) as (app, _, pilot):
        await pilot.press("down")
        await _palette(pilot, "complete")
        await pilot.press("enter")
        await pilot.pause()
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)


async def test_the_palette_over_a_screen_has_that_screens_actions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *_: None)
    async with opened(size=(100, 60)) as (app, _, pilot):
        await pilot.press("d")
        await pilot.pause()
        text = await _palette(pilot, "")
        assert "Look again" in text and "Kill" not in text
        await pilot.press("ctrl+p", "escape")
        await pilot.pause()
        assert isinstance(app.screen, DoctorScreen)


async def test_every_theme_of_the_settings_can_be_shown() -> None:
    async with opened() as (app, _, pilot):
        for theme in THEMES:
            app.theme = theme
            await pilot.pause()
            assert app.theme == theme and "muster" in shown(app)


async def test_lines_are_drawn_in_the_styles_of_a_new_theme() -> None:
    async with opened(settings=Settings(theme="muster")) as (app, view, pilot):
        before = view.render_line(1)
        app.theme = "muster-light"
        await pilot.pause()
        drawn = view.render_line(1)
        assert drawn.text == before.text and drawn != before
        words = {word for piece in view._pieces(1, view._drawing()) for word in piece[1].split()}
        assert words
        for word in words:
            style = view.get_component_rich_style(f"roll--{word}", partial=True)
            assert view._style(word) == style


@pytest.mark.parametrize("theme", (THEMES[0], THEMES[-1]))
async def test_a_theme_is_chosen_in_the_settings_and_in_the_palette(theme: str) -> None:
    async with opened(settings=Settings(theme=theme), size=(100, 40)) as (app, _, pilot):
        assert app.theme == theme
        await _palette(pilot, "theme: muster-l")
        await pilot.press("enter")
        await pilot.pause()
        assert app.theme == "muster-light"


# ASCII


async def _every_screen(app: MusterApp, pilot: Pilot[None]) -> list[str]:
    """What every screen looks like, one after another."""
    seen = []
    for keys in (("down", "z"), ("x",), ("escape", "question_mark"), ("escape", "m"),
                 ("escape", "d"), ("escape", "slash", "a"), ("escape", "ctrl+p")):  # fmt: skip
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        app.notify("… it is “done” → ✓", markup=False)
        await pilot.pause(0.05)
        strips = app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {app.size.width}
        seen.append("\n".join(strip.text for strip in strips))
    return seen


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_nothing_beyond_ascii_is_drawn_anywhere_in_ascii_mode(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *_: None)
    roll = call(SEARCH, SPEED, WIDE, error="… ✗")
    async with opened(roll, size, ASCII) as (app, _, pilot):
        for screen in await _every_screen(app, pilot):
            assert screen.isascii(), [c for c in screen if not c.isascii()]


async def test_columns_are_as_straight_in_ascii_as_without() -> None:
    columns = []
    for settings in (ASCII, Settings(ascii=False)):
        async with opened(call(SEARCH, WIDE), (160, 50), settings) as (_, view, pilot):
            await drawn_whole(pilot)
            lines = [view.render_line(y) for y in range(len(view.lines))]
            assert {line.cell_length for line in lines} == {view.scrollable_content_region.width}
            columns.append([line.cell_length for line in lines])
    assert columns[0] == columns[1]


def test_snapshot_in_ascii(snap_compare: SnapCompare) -> None:
    app = StillApp(call(SEARCH, WIDE), ASCII)
    assert snap_compare(app, run_before=pressing("down", "space"), terminal_size=(80, 24))


# Read-only


async def test_read_only_has_no_keys_that_change_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *_: None)
    async with opened(size=(120, 60), settings=READ_ONLY) as (app, _, pilot):
        await drawn_whole(pilot)
        assert "read-only" in shown(app)
        assert not {word for each in footer(app) for word in each.split()} & {
            "Kill", "Complete", "Undo",
        }  # fmt: skip
        for key in ("down", "x", "X", "c", "U"):
            await pilot.press(key)
            await pilot.pause()
            assert len(app.screen_stack) == 1
        text = await _help(pilot, "question_mark")
        for said in ("Kill, with", "Complete", "Undo the last"):
            assert said not in text
        await pilot.press("escape")
        text = await _palette(pilot, "")
        assert "Kill" not in text and "Complete" not in text and "Undo the last" not in text
        await pilot.press("escape", "d")
        await drawn_whole(pilot)
        assert isinstance(app.screen, DoctorScreen)
        assert "f Fix" not in footer(app)
        await pilot.press("f")
        assert isinstance(app.screen, DoctorScreen)


async def test_read_only_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tui.live.publish_metrics.publish_quietly", lambda _: pytest.fail("it writes")
    )
    app = StillApp(call(SEARCH), READ_ONLY)
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        app.roll_screen._tick()
        await pilot.pause()


@pytest.mark.parametrize(("settings", "recovers"), [(READ_ONLY, False), (Settings(), True)])
def test_read_only_finishes_no_commit(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, recovers: bool
) -> None:
    made: list[bool] = []

    class Live(StillLive):
        def __init__(self, *_: Any, recover: bool) -> None:
            super().__init__()
            made.append(recover)

        def start(self) -> None: ...

        def stop(self) -> None: ...

    monkeypatch.setattr("tui.app.run.LiveRoll", Live)
    monkeypatch.setattr("tui.app.run._run", lambda app, _: 0)
    assert run_monitor((Workspace(WORKSPACE),), SOCKET, Policy(), settings) == 0
    assert made == [recovers]


def test_an_unexpected_end_has_a_nonzero_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Panicking(StillApp):
        def on_ready(self) -> None:
            self.panic("the keyboard is gone")

    app = Panicking(call(SEARCH))
    monkeypatch.setattr(app, "run", partial(app.run, headless=True))
    assert _run(app, lambda: None) == 1


@pytest.mark.parametrize(("settings", "looks"), [(READ_ONLY, True), (Settings(), False)])
async def test_read_only_goes_into_a_session_only_to_look(
    settings: Settings, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[Any] = []
    monkeypatch.setattr(Body, "_go_there", lambda _, *given: went.append(given[-1]))
    async with opened(settings=settings) as (app, _, pilot):
        app.query_one(Body).use(object())  # type: ignore[arg-type]
        await pilot.press("down")
        await pilot.press("a")
        await pilot.pause()
        assert went == [looks]


async def test_keys_that_change_something_say_that_this_is_read_only() -> None:
    keys = {"kill": "f5"}
    async with opened(settings=Settings(read_only=True, keys=keys)) as (app, _, pilot):
        for key in ("f5", "X", "c", "U"):
            app.clear_notifications()
            await pilot.press(key)
            await pilot.pause()
            (said,) = [each.message for each in app._notifications]
            assert said.startswith("Read-only")
        app.clear_notifications()
        await pilot.press("x", "down", "slash", "c")
        await pilot.pause()
        assert not app._notifications
        assert len(app.screen_stack) == 1


def test_snapshot_of_read_only(snap_compare: SnapCompare) -> None:
    app = StillApp(call(SEARCH, SPEED), READ_ONLY)
    assert snap_compare(app, run_before=pressing("question_mark"), terminal_size=(100, 44))


# Notes


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "GATHER", 0.01)
    monkeypatch.setattr(notifier, "SETTLE", 0.01)


def _notes(app: MusterApp) -> list[Notification]:
    return list(app._notifications)


async def _told(app: StillApp, pilot: Pilot[None], *rolls: RollCall) -> None:
    for roll in rolls:
        app.roll_screen.post_message(RollScreen.Rolled(roll))
        await pilot.pause()
    await pilot.pause(0.1)
    await app.workers.wait_for_complete()
    await pilot.pause()


DEAD = call(SEARCH, SPEED, alive=("architect-1", "reader-7", "stranger-8"))


@pytest.mark.usefixtures("at_once")
async def test_many_deaths_are_one_notification_and_earlier_deaths_none() -> None:
    async with opened() as (app, _, pilot):
        await _told(app, pilot, call(SEARCH, SPEED))
        assert not _notes(app)
        await _told(app, pilot, call(SEARCH, SPEED, alive=("reader-7",)))
        (note,) = _notes(app)
        assert note.title == "Zombie"
        assert note.message == "3 agents became zombies: architect-1, writer-3, porter-5"


@pytest.mark.usefixtures("at_once")
async def test_a_notification_of_a_failed_agent_is_text_and_not_markup() -> None:
    bad = {**agent("[bold]x[/]-9", "working")}
    roll = call(task_of("TASK-x", bad), alive=("[bold]x[/]-9",))
    failed = call(task_of("TASK-x", {**bad, "status": "failed"}), alive=())
    async with opened(roll) as (app, _, pilot):
        await _told(app, pilot, failed)
        (note,) = _notes(app)
        assert (note.message, note.markup) == ("[bold]x[/]-9 failed", False)


@pytest.mark.usefixtures("at_once")
async def test_an_agent_that_muster_ended_is_not_reported() -> None:
    gone = call(task_of("TASK-search", {**agent("porter-5", "terminated")}), alive=())
    async with opened(call(task_of("TASK-search", agent("porter-5", "working")))) as (
        app, _, pilot,
    ):  # fmt: skip
        with app.roll_screen._acting:
            await _told(app, pilot, call(task_of("TASK-search", agent("porter-5", "working")),
                                         alive=()))  # fmt: skip
        await _told(app, pilot, gone)
        assert not _notes(app)


@pytest.mark.usefixtures("at_once")
async def test_an_agent_that_is_a_zombie_for_a_moment_is_not_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[Callable[[], object]] = []
    async with opened(call(SEARCH, SPEED)) as (app, _, pilot):
        set_timer = app.set_timer

        def held(delay: float, callback: Callable[[], object], **named: Any) -> Any:
            if delay == notifier.SETTLE:
                return waits.append(callback)
            return set_timer(delay, callback, **named)

        monkeypatch.setattr(notifier, "SETTLE", 1234.5)
        monkeypatch.setattr(app, "set_timer", held)

        async def settled_after(*rolls: RollCall) -> list[str]:
            await _told(app, pilot, *rolls)
            waiting, waits[:] = list(waits), []
            for settle in waiting:
                settle()
            await _told(app, pilot)
            return [note.message for note in _notes(app)]

        # The orchestrator killed the agents: it ended the sessions first.
        assert await settled_after(DEAD, call(SEARCH, SPEED)) == []
        assert waits == []
        # Of an agent that became unknown, muster still may have to notify the operator.
        assert await settled_after(DEAD, _unknown(DEAD)) == []
        assert len(waits) == 1
        assert len(await settled_after(DEAD)) == 1


def _unknown(roll: RollCall) -> RollCall:
    """Returns a roll call whose zombies are unknown."""
    (workspace,) = roll.workspaces
    tasks = tuple(
        replace(
            task,
            agents=tuple(
                replace(row, verdict=Verdict.UNKNOWN) if row.verdict is Verdict.ZOMBIE else row
                for row in task.agents
            ),
        )
        for task in workspace.tasks
    )
    return replace(roll, workspaces=(replace(workspace, tasks=tasks),))


@pytest.mark.usefixtures("at_once")
async def test_bell_and_note_of_the_terminal_and_a_command_with_values_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run: list[Any] = []
    sent: list[str] = []
    monkeypatch.setattr(notifier, "run_hook", lambda *given: run.append(given))
    monkeypatch.setattr(notifier.Notifier, "_send", lambda _, sequence: sent.append(sequence))
    monkeypatch.setattr(MusterApp, "bell", lambda _: sent.append("bell"))
    monkeypatch.delenv("TMUX", raising=False)
    hook = ("note", "--", "{id} died", "{task}", "{workspace}", "{kind}", "{count}", "{host}")
    notify = Notify(
        {"zombie": ("bell", "osc9"), "stalled": (), "failed": ()},
        {"zombie": hook, "stalled": (), "failed": ()},
        hook_timeout=3.0,
    )
    async with opened(settings=Settings(notify=notify)) as (app, _, pilot):
        await _told(app, pilot, call(SEARCH, SPEED, alive=ALIVE[:2]))
        assert not _notes(app)
        assert sent == ["bell", "\x1b]9;muster: porter-5 became a zombie\x07"]
        assert run == [(
            ["note", "--", "porter-5 died", "TASK-search", "/srv/lantern/.agent-workspace",
             "zombie", "1", "lighthouse"],
            3.0,
        )]  # fmt: skip


def test_inside_tmux_the_note_is_wrapped_up() -> None:
    wrapped = notifier.osc9("x", inside_tmux=True)
    assert wrapped == "\x1bPtmux;\x1b\x1b]9;x\x07\x1b\\"


@pytest.mark.usefixtures("at_once")
async def test_a_failing_command_is_reported_once() -> None:
    hooks = {"zombie": ("/nonexistent",), "stalled": (), "failed": ()}
    notify = Notify(dict.fromkeys(("zombie", "stalled", "failed"), ()), hooks, pause=0.01)
    async with opened(settings=Settings(notify=notify)) as (app, _, pilot):
        for _ in range(3):
            await _told(app, pilot, DEAD)
            await _told(app, pilot, call(SEARCH, SPEED))
        (note,) = _notes(app)
        assert "cannot run /nonexistent" in note.message
        assert "[notify]" in note.message


# Long work, resizes


async def test_long_work_has_a_bar_and_short_work_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(
        "tui.app.widgets.progress_line.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    async with opened(size=(80, 24)) as (app, _, pilot):
        working = app.query_one(ProgressLine)

        async def tell(done: int, after: float) -> str:
            clock[0] += after
            app.roll_screen._progress("Reading registries", done, 500)
            await pilot.pause()
            return shown(app) if working.display else ""

        assert await tell(0, 0.0) == ""
        assert await tell(10, 0.5) == ""
        assert "Reading registries: 60 of 500 ━" in await tell(60, 0.5)
        # Not drawn anew for every step.
        assert "60 of 500" in await tell(61, 0.1)
        assert "200 of 500" in await tell(200, 1.0)
        assert await tell(500, 1.0) == ""


async def test_the_end_of_the_planning_leaves_the_bar_of_an_action(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.app.widgets.progress_line.LONG", 0.0)
    monkeypatch.setattr("tui.app.widgets.progress_line.MOMENT", 0.01)
    async with opened() as (app, _, pilot):
        bar = app.screen.query_one(ProgressLine)
        bar.wait_for("Planning the kill")
        bar.tell("Ending sessions", 1, 9)
        await pilot.pause(0.05)
        assert bar.has_class("shown")
        bar.tell("Ending sessions", 9, 9)
        assert not bar.has_class("shown")


async def test_an_action_that_is_done_takes_its_bar_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.app.widgets.progress_line.LONG", 0.0)
    seen: list[bool] = []

    def carry_out(plan: Any, tmux: Any, reason: str, progress: Any) -> Outcome:
        progress("Ending sessions", 0, 9)
        progress("Ending sessions", 1, 9)
        bar = app.screen_stack[0].query_one(ProgressLine)
        until(lambda: bar.has_class("shown"), "the bar is shown")
        seen.append(True)
        return Outcome(Verb.KILL, (), (), ())

    monkeypatch.setattr("tui.actions.execute.carry_out", carry_out)
    async with opened() as (app, _, pilot):
        app.roll_screen._tmux = object()  # type: ignore[assignment]
        await pilot.press("down", "x", "y")
        # The worker may begin later, and no worker is complete as well.
        while not isinstance(app.screen, ReportScreen):
            await pilot.pause(0.02)
        await pilot.pause()
        assert seen == [True]
        assert not app.screen_stack[0].query_one(ProgressLine).has_class("shown")


@pytest.mark.parametrize(
    ("keys", "resizes"),
    [
        (("", "x"), 6),
        pytest.param(
            ("", "x", "question_mark", "ctrl+p", "d", "m"), 25, marks=pytest.mark.torture
        ),
    ],
    ids=["short", "long"],
)
async def test_a_storm_of_resizes_leaves_every_screen_as_it_was(
    monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], resizes: int
) -> None:
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *_: None)
    order = random.Random(7)
    async with opened(call(SEARCH, SPEED, WIDE), (100, 30)) as (app, _, pilot):
        await pilot.press("down")
        await drawn_whole(pilot)
        before = shown(app)
        for key in keys:
            if key:
                await pilot.press(key)
                await pilot.pause()
            for _ in range(resizes):
                await pilot.resize_terminal(order.randint(20, 200), order.randint(5, 60))
            await pilot.resize_terminal(20, 5)
            await drawn_still(pilot)
            strips = app.screen._compositor.render_strips()
            assert {strip.cell_length for strip in strips} == {20} and len(strips) == 5
            await pilot.resize_terminal(100, 30)
            if key:
                await pilot.press("escape")
            await drawn_whole(pilot)
            assert shown(app) == before


async def test_one_that_cannot_be_read_never_takes_the_screen_away() -> None:
    async with opened() as (app, view, pilot):
        app.roll_screen.post_message(
            RollScreen.Rolled(call(SEARCH, SPEED, error="Permission denied: chmod it"))
        )
        await pilot.pause()
        assert "Permission denied: chmod it" in shown(app)
        assert len(app.screen_stack) == 1 and view.lines
