"""The screens on low terminals."""

from __future__ import annotations

import pytest

from tests.support.selection import in_torture
from tests.support.still_app import drawn_whole, opened
from tests.support.still_app import quick_hands as quick_hands
from tests.support.still_app import still as still
from tui.app.palette import Palette
from tui.app.screens.choice import ChoiceScreen
from tui.app.screens.confirm import ConfirmScreen, ReasonInput


@pytest.mark.parametrize(
    "size", [(40, 12), (80, 8), (100, 30), *in_torture((80, 15), (80, 17), (80, 18))]
)
async def test_the_field_for_the_reason_is_on_the_screen(size: tuple[int, int]) -> None:
    async with opened(size=size) as (app, _, pilot):
        await pilot.press("x")
        await drawn_whole(pilot)
        assert isinstance(app.screen, ConfirmScreen)
        field = app.screen.query_one(ReasonInput)
        plan = app.screen.query_one("VerticalScroll")
        keys = app.screen.query_one("Footer")
        for each in (field, plan, keys):
            assert each.region.height >= 1
            assert app.screen.region.contains_region(each.region)
        assert plan.region.bottom <= field.region.y < keys.region.y
        assert app.screen.get_widget_at(*field.region.offset)[0] is field
        before = plan.scroll_y
        await pilot.press("pagedown")
        await pilot.pause()
        assert plan.scroll_y > before or plan.max_scroll_y == 0


@pytest.mark.parametrize("size", [(80, 2), (2, 24), *in_torture((80, 4), (80, 3), (3, 24))])
async def test_a_list_without_a_line_on_the_screen_has_no_pages(size: tuple[int, int]) -> None:
    async with opened(size=size) as (app, _, pilot):
        for key in ("pagedown", "pageup"):
            for screen in (Palette(), ChoiceScreen("files", ("one", "two"))):
                await app.push_screen(screen)
                await pilot.pause()
                await pilot.press(key, key, "end", key)
                await pilot.pause()
                assert app.screen is screen
                app.pop_screen()
