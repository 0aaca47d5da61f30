"""Tests of `muster --where … --sort …`: the view of the monitor at its start."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from registry.schema.layout import Workspace
from tests.support.still_app import SEARCH, SPEED, WORKSPACE, call
from tests.support.still_app import still as still
from tests.support.still_live import StillLive
from tui.app.app import MusterApp
from tui.app.widgets.roll_list import RollView
from tui.cli.commands.monitor import ORDERS, view_of
from tui.cli.context import filter_of
from tui.cli.main import parser_of
from tui.cli.parser import parse
from tui.errors import UsageError
from tui.view.view import Sort, View


def view(*words: str) -> View:
    return view_of(parse(parser_of(""), words))


@pytest.mark.parametrize("where", [[], ["zombie"], ["-verdict:live", '"a b"']])
def test_the_filters_of_the_command_line_are_one_filter(where: list[str]) -> None:
    words = [word for each in where for word in ("--where", each)]
    assert view(*words).query == " ".join(where)
    assert view(*words).wanted == filter_of(where)


def test_every_order_has_an_option() -> None:
    assert len(ORDERS) == len(Sort)
    assert view().sort is Sort.HIERARCHY is view("--sort", "tree").sort
    for order, sort in zip(ORDERS[1:], [*Sort][1:], strict=True):
        assert view("--sort", order).sort is sort and sort.value.casefold() == order


def test_an_open_quote_hides_no_other_filter() -> None:
    with pytest.raises(UsageError, match="quote without its end"):
        view("--where", '"a', "--where", "b")
    with pytest.raises(UsageError, match="did you mean status:"):
        view("--where", "state:x")


async def test_the_monitor_begins_with_the_view_and_escape_clears_it() -> None:
    first = view("--where", "status:working", "--sort", "progress")
    app = MusterApp((Workspace(WORKSPACE),), StillLive(call(SEARCH, SPEED)), view=first)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        shown = app.query_one(RollView)
        assert shown.view == first and app.focused is shown
        field = app.query_one("#filter", Input)
        assert field.value == "status:working" and not field.has_class("shown")
        screen = "\n".join(shown.render_line(y).text for y in range(shown.size.height))
        assert "tester-4" in screen and "porter-5" not in screen
        await pilot.press("slash", *" 4", "enter")
        await pilot.pause()
        assert shown.view.query == "status:working 4"
        await pilot.press("escape")
        await pilot.pause()
        assert shown.view == View(sort=Sort.PROGRESS)
