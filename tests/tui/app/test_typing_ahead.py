"""Keys that come while it is still worked out what the one before opens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from tests.support.files_app import complete, opened
from tests.support.files_app import files as files
from tests.support.workspaces import Files
from tui.actions.outcome import Outcome
from tui.actions.plan import Verb
from tui.app.screens.body import Body
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.report import ReportScreen
from tui.app.widgets.progress_line import ProgressLine
from tui.app.widgets.roll_list import RollView

WORKED_OUT_BY = {
    "x": "tui.actions.footprint.weighed_kill",
    "X": "tui.actions.footprint.weighed_kill",
    "U": "tui.actions.undo.plan_undo",
    "l": "registry.audit.read_logs",
}
"""By key what works out what it opens."""


class Held:
    """Lets nothing be worked out until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._go = threading.Event()

    def hold(self, key: str) -> None:
        name = WORKED_OUT_BY[key]
        module, _, function = name.rpartition(".")
        really: Callable[..., Any] = getattr(__import__(module, fromlist=[function]), function)

        def late(*given: Any, **named: Any) -> Any:
            assert self._go.wait(30)
            return really(*given, **named)

        self._monkeypatch.setattr(name, late)

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    made = Held(monkeypatch)
    yield made
    made.let_go()


async def shows(pilot: Pilot[None], screen: type[object]) -> None:
    while not isinstance(pilot.app.screen, screen):
        await pilot.pause()


@pytest.mark.parametrize("key", WORKED_OUT_BY)
async def test_no_key_behind_one_that_opens_something_acts_on_the_roll(
    files: Files, held: Held, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    complete(files, "a", "")
    monkeypatch.setattr(Body, "_go_there", lambda *_: pytest.fail("went into a session"))
    held.hold(key)
    async with opened(files) as (app, pilot):
        view = app.query_one(RollView)
        await pilot.press("end")
        line = view.current
        # All at once, as a paste is.
        for each in (key, "enter", "a", "space", "up", "c", "question_mark", "t"):
            app.post_message(events.Key(each, each if len(each) == 1 else None))
        await pilot.pause()
        await pilot.press("f1", "ctrl+p")
        await pilot.click(RollView, offset=(5, 0))
        assert len(app.screen_stack) == 1
        assert (view.current, view.marks) == (line, frozenset())
        held.let_go()
        await shows(pilot, ReportScreen if key == "l" else ConfirmScreen)
        assert len(app.screen_stack) == 2


@pytest.mark.parametrize("key", WORKED_OUT_BY)
async def test_escape_cancels_a_worker_and_a_late_result_opens_nothing(
    files: Files, held: Held, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    complete(files, "a", "")
    held.hold(key)
    answered = threading.Event()
    async with opened(files) as (app, pilot):
        really = app.call_from_thread

        def answer(*given: Any, **named: Any) -> Any:
            try:
                return really(*given, **named)
            finally:
                answered.set()

        monkeypatch.setattr(app, "call_from_thread", answer)
        await pilot.press(key, "escape")
        # The roll takes keys again.
        await pilot.press("end", "space")
        assert len(app.query_one(RollView).marks) == 1
        held.let_go()
        while not answered.is_set():
            await pilot.pause()
        await pilot.pause()
        assert len(app.screen_stack) == 1
        assert not app._notifications


async def test_what_is_worked_out_is_not_opened_over_something_else(
    files: Files, held: Held
) -> None:
    held.hold("x")
    async with opened(files) as (app, pilot):
        await pilot.press("x")
        app.roll_screen._carried_out(Outcome(Verb.KILL, (), (), ()))
        await shows(pilot, ReportScreen)
        held.let_go()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, ReportScreen)


async def test_longer_work_is_shown_until_its_result_is_there(files: Files, held: Held) -> None:
    held.hold("x")
    async with opened(files) as (app, pilot):
        said = app.query_one(ProgressLine)
        await pilot.press("x")
        assert not said.has_class("shown"), "what takes a moment is not said"
        while not said.has_class("shown"):
            await pilot.pause()
        assert "Planning the kill … Escape cancels" in str(said.render())
        held.let_go()
        await shows(pilot, ConfirmScreen)
        while said.has_class("shown"):
            await pilot.pause()


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_one_can_quit_while_something_is_worked_out(
    files: Files, held: Held, key: str
) -> None:
    held.hold("x")
    async with opened(files) as (app, pilot):
        await pilot.press("x", key)
        held.let_go()
    assert app.return_code == 0


async def test_nothing_is_planned_while_a_session_is_attached(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def attach(*_: object, **__: object) -> str:
        await go.wait()
        return "been there"

    monkeypatch.setattr("tui.app.terminal.attach.attach", attach)
    async with opened(files) as (app, pilot):
        await pilot.press("a", "x", "c", "l", "space")
        assert not app.query_one(RollView).marks
        go.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert len(app.screen_stack) == 1
        assert [each.message for each in app._notifications] == ["been there"]
        await pilot.press("x")
        await shows(pilot, ConfirmScreen)
