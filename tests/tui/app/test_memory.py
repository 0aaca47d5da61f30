"""What was closed, and what is drawn anew, is not kept."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Iterator

import pytest
from textual._styles_cache import StylesCache
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget

from tests.support.selection import in_torture
from tests.support.still_app import SEARCH, SPEED, call, drawn_whole, opened
from tests.support.still_app import quick_hands as quick_hands
from tests.support.still_app import still as still
from tui.actions.execute import Outcome
from tui.actions.plan import Verb
from tui.app import garbage
from tui.app.garbage import forget_sizes
from tui.app.screens.choice import ChoiceScreen
from tui.app.screens.help import HelpScreen
from tui.app.screens.report import outcome_report
from tui.app.screens.roll import RollScreen

ROUNDS = 12

# Textual holds the widget that had the focus last, and with it the screen closed last; a
# worker that is ending may hold one more.
HELD = 4

# What these have drawn: one for each widget of a screen.
DRAWN = 10 * HELD


def alive() -> Counter[str]:
    """Widgets that something holds, and what they have drawn, by their kind."""
    gc.collect()
    kinds = (Widget, StylesCache)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


def kept(before: Counter[str]) -> dict[str, int]:
    """Of which kinds there are more than before, by more than what is held for a while."""
    return {
        kind: count
        for kind, count in (alive() - before).items()
        if count > (DRAWN if kind == StylesCache.__name__ else HELD)
    }


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


@pytest.mark.parametrize(
    "keys", [("tab",), *in_torture(("s",), ("t",), ("h",), ("slash", "a", "escape", "escape"))]
)
async def test_no_widget_is_kept_of_what_a_key_changes(keys: tuple[str, ...]) -> None:
    async with opened() as (_, _view, pilot):
        await drawn_whole(pilot)
        await press(pilot, *keys)
        before = alive()
        for _ in range(ROUNDS):
            await press(pilot, *keys)
        assert kept(before) == {}


@pytest.mark.parametrize(
    "opens", ["x", *in_torture("question_mark", "l", "m", "d", "c", "ctrl+p")]
)
async def test_no_widget_is_kept_of_a_closed_screen(
    opens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *_: None)
    # The event loop keeps a timer that was cancelled, and its screen, until its time comes.
    monkeypatch.setattr("tui.app.screens.metrics.REFRESH_EVERY", 0.05)
    async with opened() as (app, _, pilot):
        await press(pilot, "down")
        before = alive()
        for _ in range(ROUNDS):
            await press(pilot, opens)
            await app.workers.wait_for_complete()
            await pilot.pause()
            assert app.screen is not app.roll_screen
            await press(pilot, "escape")
            assert app.screen is app.roll_screen
        assert kept(before) == {}


@pytest.mark.torture
async def test_no_widget_is_kept_of_reports_choices_toasts_sizes_and_rolls() -> None:
    async with opened() as (app, _, pilot):
        await drawn_whole(pilot)
        before = alive()
        for round_ in range(ROUNDS):
            app.push_screen(outcome_report(Outcome(Verb.KILL, (), (), ())))
            await pilot.pause()
            await press(pilot, "escape")
            app.push_screen(ChoiceScreen("Which?", ["this", "that"]))
            await pilot.pause()
            await press(pilot, "escape")
            app.notify("said", markup=False)
            await pilot.pause()
            app.clear_notifications()
            await pilot.resize_terminal(40 + 10 * round_, 8 + 3 * round_)
            await pilot.pause()
            app.roll_screen.post_message(RollScreen.Rolled(call(SEARCH, SPEED)))
            await pilot.pause()
        assert kept(before) == {}


def sizes_cached() -> int:
    methods = [Region.intersection, Region.union, Region.grow, Region.shrink]
    caches = [method.cache_info() for method in methods]
    return sum(cache.currsize for cache in caches)


async def test_what_was_computed_for_former_sizes_of_the_screen_is_not_kept() -> None:
    async with opened() as (_, _view, pilot):
        await drawn_whole(pilot)
        forget_sizes()
        kept = []
        for size in range(40, 40 + ROUNDS):
            await pilot.resize_terminal(2 * size, size)
            await pilot.pause()
            kept.append(sizes_cached())
        assert 0 < kept[-1] < 2 * kept[1]


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python collects nothing by itself, as if nothing was made for it to think of that."""
    before = gc.get_threshold()
    garbage.hold()
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "enable", lambda: None)
    monkeypatch.setattr(garbage, "QUIET", 0.05)
    monkeypatch.setattr("tui.app.app._SHOWN_BY", 0.01)
    yield
    gc.set_threshold(*before)
    monkeypatch.undo()
    gc.enable()


async def test_a_closed_screen_is_given_back_once_nothing_is_pressed(held_back: None) -> None:
    async with opened() as (app, _, pilot):
        await app.workers.wait_for_complete()
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        gone = asyncio.Event()
        screen = weakref.ref(app.screen, lambda _: gone.set())
        await press(pilot, "escape", "down", "tab", "tab")
        await asyncio.wait_for(gone.wait(), 30)
        assert screen() is None
