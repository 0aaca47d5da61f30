"""The keys at the bottom: shown as they count, clicked, hovered over, scrolled."""

from __future__ import annotations

import pytest
from textual import events

from tests.support.still_app import StillApp, drawn_whole, opened
from tests.support.still_app import quick_hands as quick_hands
from tests.support.still_app import still as still
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.help import HelpScreen
from tui.app.screens.roll import RollScreen
from tui.app.widgets.footer import Footer, Hint
from tui.app.widgets.text_view import TextView


def footer(app: StillApp) -> Footer:
    return app.screen.query_one(Footer)


def drawn(app: StillApp) -> str:
    return footer(app).render_line(0).text


def column(app: StillApp, text: str) -> int:
    return drawn(app).index(text)


async def test_a_click_on_a_key_presses_it_and_one_between_two_does_nothing() -> None:
    async with opened() as (app, _, pilot):
        await drawn_whole(pilot)
        await pilot.press("down")
        await pilot.click(Footer, offset=(column(app, "x Kill") - 1, 0))
        await pilot.click(Footer, offset=(99, 0))
        await pilot.pause()
        assert isinstance(app.screen, RollScreen)
        await pilot.click(Footer, offset=(column(app, "x Kill") + 5, 0))
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)


async def test_the_keys_are_those_of_what_has_the_focus_and_again_after_a_dialog() -> None:
    async with opened() as (app, _, pilot):
        await drawn_whole(pilot)
        of_the_roll = drawn(app)
        await pilot.press("question_mark")
        await drawn_whole(pilot)
        assert isinstance(app.screen, HelpScreen)
        assert drawn(app).startswith("esc Close") and "Kill" not in drawn(app)
        # What lies beneath looks as it did.
        assert app.roll_screen.query_one(Footer).render_line(0).text == of_the_roll
        await pilot.press("escape")
        await pilot.pause()
        assert drawn(app) == of_the_roll
        app.roll_screen.query_one(TextView).focus()
        await pilot.pause()
        assert drawn(app) != of_the_roll


async def test_a_key_under_the_mouse_is_lit_and_says_more() -> None:
    async with opened() as (app, _, pilot):
        await drawn_whole(pilot)
        at = column(app, "U Undo")
        before = list(footer(app).render_line(0))
        await pilot.hover(Footer, offset=(at + 2, 0))
        await pilot.pause()
        assert footer(app).tooltip == "Undo the last change of registries"
        assert list(footer(app).render_line(0)) != before
        await pilot.hover(Footer, offset=(at - 1, 0))
        await pilot.pause()
        assert footer(app).tooltip is None
        assert list(footer(app).render_line(0)) == before
        await pilot.hover(Footer, offset=(at + 2, 0))
        await pilot.hover(TextView)
        await pilot.pause()
        assert list(footer(app).render_line(0)) == before


async def test_on_a_narrow_terminal_the_wheel_brings_the_other_keys() -> None:
    async with opened(size=(40, 12)) as (app, _, pilot):
        await drawn_whole(pilot)
        assert "Quit" not in drawn(app) and len(drawn(app)) == 40
        at = footer(app).region.offset
        for _ in range(30):
            app.screen._forward_event(
                events.MouseScrollDown(None, at.x, at.y, 0, 1, 0, False, False, False)
            )
            await pilot.pause()
        assert drawn(app).rstrip().endswith("q Quit")
        await pilot.click(Footer, offset=(column(app, "? Help"), 0))
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        await pilot.resize_terminal(120, 30)
        await drawn_whole(pilot)
        assert "Quit" in drawn(app) and drawn(app).startswith("t Triage")


async def test_a_key_that_does_nothing_now_rings_the_bell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rings: list[str] = []
    async with opened() as (app, _, pilot):
        await drawn_whole(pilot)
        monkeypatch.setattr(app, "bell", lambda: rings.append("bell"))
        footer(app).hints = (Hint("question_mark", "?", "Help", "", enabled=False),)
        line = list(footer(app).render_line(0))
        assert line[0].style is not None and line[0].style.dim
        await pilot.click(Footer, offset=(0, 0))
        await pilot.pause()
        assert rings == ["bell"] and isinstance(app.screen, RollScreen)


async def test_words_of_several_cells_leave_the_keys_where_they_are_clicked() -> None:
    async with opened(size=(60, 20)) as (app, _, pilot):
        await drawn_whole(pilot)
        wide = Hint("j", "j", "日本語", "", enabled=True)
        help_ = Hint("question_mark", "?", "Help", "", enabled=True)
        footer(app).hints = (wide, help_)
        line = footer(app).render_line(0)
        assert line.cell_length == 60
        assert line.text.startswith("j 日本語 ? Help ")
        await pilot.click(Footer, offset=(2 + 6, 0))
        await pilot.pause()
        assert isinstance(app.screen, RollScreen)
        await pilot.click(Footer, offset=(2 + 6 + 1, 0))
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
