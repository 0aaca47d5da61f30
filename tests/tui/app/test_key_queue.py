"""Keys that come at once, as over a slow line: each goes to where the one before has led."""

from __future__ import annotations

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from tests.support.still_app import opened
from tests.support.still_app import still as still
from tui.app.screens.help import HelpScreen
from tui.app.screens.report import ReportScreen


def send(app: App[None], *keys: str) -> None:
    """All of them without a pause."""
    names = {"/": "slash", "+": "plus", "?": "question_mark"}
    for key in keys:
        app.post_message(events.Key(names.get(key, key), key if len(key) == 1 else None))


async def settled(pilot: Pilot[None]) -> None:
    for _ in range(5):
        await pilot.pause()


@pytest.mark.parametrize("typed", ["zombie", "kill", "complete", "U2", "hjq"])
async def test_what_is_typed_right_behind_the_slash_is_typed_into_the_filter(typed: str) -> None:
    async with opened() as (app, view, pilot):
        send(app, "/", *typed)
        await settled(pilot)
        assert app.query_one("#filter", Input).value == typed
        assert view.view.query == typed
        assert not view.marks
        assert len(app.screen_stack) == 1


async def test_what_comes_right_behind_the_filters_enter_is_the_rolls() -> None:
    async with opened() as (app, view, pilot):
        send(app, "/", *"zombie", "enter", "+")
        await settled(pilot)
        assert app.query_one("#filter", Input).value == "zombie"
        assert len(view.marks) == 2
        assert app.focused is view


async def test_a_key_behind_one_that_opens_a_screen_is_that_screens() -> None:
    async with opened() as (app, _, pilot):
        send(app, "?", "?")
        await settled(pilot)
        assert not isinstance(app.screen, HelpScreen)
        send(app, "?", "escape", "?", "escape", "?")
        await settled(pilot)
        assert isinstance(app.screen, ReportScreen)


async def test_an_interrupt_does_not_wait_for_the_keys_before_it() -> None:
    async with opened() as (app, _, pilot):
        acted_on = []
        app.exit = lambda *given: acted_on.append(app.query_one("#filter", Input).value)  # type: ignore[method-assign]
        send(app, "/", *"x" * 800, "ctrl+c")
        while not acted_on:
            await pilot.pause()
        assert len(acted_on[0]) < 800
        await settled(pilot)
        assert app.query_one("#filter", Input).value == acted_on[0]


async def test_many_keys_all_arrive_in_their_order() -> None:
    async with opened() as (app, _, pilot):
        typed = "the quick brown fox jumps over the lazy dog"
        send(app, "/", *typed)
        while app.query_one("#filter", Input).value != typed:
            await pilot.pause()
            assert typed.startswith(app.query_one("#filter", Input).value)
