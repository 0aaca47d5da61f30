"""Tests of the named views: filters with a name, a key, and an entry in help and palette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandPalette
from textual.widgets import Input

from registry.schema.layout import Workspace
from tests.support.commands import run_muster
from tests.support.still_app import SEARCH, SPEED, WORKSPACE, call
from tests.support.still_live import StillLive
from tui.app.app import MusterApp
from tui.app.keymap import effective_keys, key_problems, view_problems
from tui.app.screens.help import HelpScreen
from tui.app.widgets.roll_list import RollView
from tui.config.named_views import NamedView, view_keys
from tui.config.settings import Settings, settings_from
from tui.view.view import Sort, View


def views_of(**table: Any) -> tuple[NamedView, ...]:
    settings, problems = settings_from({"views": table})
    assert problems == ()
    return settings.views


MINE = views_of(
    mine="status:working",
    top={"where": "-verdict:finished", "sort": "urgency", "key": "M"},
    old={"sort": "age"},
)


def app_of(views: tuple[NamedView, ...] = MINE) -> MusterApp:
    settings = Settings(keys=effective_keys({}, views), views=views)
    return MusterApp((Workspace(WORKSPACE),), StillLive(call(SEARCH, SPEED)), settings)


def test_a_view_is_a_filter_or_a_table() -> None:
    assert (
        NamedView("mine", "status:working"),
        NamedView("top", "-verdict:finished", "urgency", "M"),
        NamedView("old", "", "age"),
    ) == MINE


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (3, "must be a filter, or a table"),
        ({}, "must be a filter, or a table"),
        ({"where": 3}, "where must be a text"),
        ("", "where must be a text"),
        ("x" * 1001, "where must be a text"),
        ("a\x1b[2J", "control characters"),
        ({"filter": "x"}, "unknown field 'filter'; use where, sort, key"),
    ],
)
def test_an_invalid_view_is_named(entry: object, says: str) -> None:
    settings, (problem,) = settings_from({"views": {"mine": entry}})
    assert settings.views == () and problem.startswith("views.mine: ") and says in problem


def test_an_invalid_name_and_an_invalid_table() -> None:
    for table in ({"a\x1b": "x"}, {"x" * 33: "x"}, {"": "x"}):
        (problem,) = settings_from({"views": table})[1]
        assert "the name must be plain text" in problem and problem.isprintable()
    assert "must be a table, [views]" in settings_from({"views": "x"})[1][0]


def test_filters_and_orders_are_checked() -> None:
    views = views_of(a="state:x", b="status:", c={"sort": "fast"}, d="status:blocked")
    first, second, third = view_problems(views)
    assert first.startswith("views.a: ") and "did you mean status:" in first
    assert second.startswith("views.b: ") and "the value is missing" in second
    assert third.startswith("views.c: sort must be one of tree, urgency, age")


def test_each_view_gets_a_key_that_nothing_else_has() -> None:
    assert view_keys(MINE, {}) == {"view.mine": "f2", "view.top": "M", "view.old": "f3"}
    keys = view_keys(MINE, {"kill": "f2,x", "view.old": "f9", "view.gone": "f4"})
    assert keys == {"view.mine": "f3", "view.top": "M", "view.old": "f9"}
    many = tuple(NamedView(str(number), "x") for number in range(20))
    assert [*view_keys(many, {}).values()] == [f"f{number}" for number in range(2, 13)]


def test_the_key_of_a_view_replaces_a_default_but_no_other_setting() -> None:
    assert key_problems({}, MINE) == ()
    effective = effective_keys({}, views_of(a={"where": "x", "key": "k"}))
    assert effective == {"view.a": "k", "roll.up": "up", "panel.up": "up"}
    (problem,) = key_problems({}, views_of(a={"where": "x", "key": "t"}))
    assert problem.startswith("views.a.key: 't' is also the key of roll.triage in the roll; ")
    assert key_problems({"roll.triage": "T"}, views_of(a={"where": "x", "key": "t"})) == ()
    twice = views_of(a={"where": "x", "key": "f5"}, b={"where": "y", "key": "f5"})
    (problem,) = key_problems({}, twice)
    assert "'f5' is also the key of" in problem and problem.startswith("views.")
    (problem, *_) = key_problems({}, views_of(a={"where": "x", "key": "shift+x"}))
    assert problem.startswith("views.a.key: ") and 'write "X"' in problem


async def test_a_key_shows_the_view_and_again_all() -> None:
    async with app_of().run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        roll = pilot.app.query_one(RollView)
        await pilot.press("h", "f3", "R")
        await pilot.pause()
        assert roll.view == View(sort=Sort.AGE, reverse=True)
        await pilot.press("f2")
        await pilot.pause()
        assert roll.view == View("status:working", Sort.AGE, reverse=True)
        assert pilot.app.query_one("#filter", Input).value == "status:working"
        await pilot.press("f2")
        await pilot.pause()
        assert roll.view == View(sort=Sort.AGE, reverse=True)
        await pilot.press("f2", "M")
        await pilot.pause()
        assert roll.view == View("-verdict:finished", Sort.URGENCY)
        await pilot.press("escape")
        await pilot.pause()
        assert roll.view == View(sort=Sort.URGENCY)


async def test_the_help_and_the_palette_list_the_views() -> None:
    views = (*MINE, *(NamedView(f"more-{number}", "x") for number in range(12)))
    async with app_of(views).run_test(size=(120, 60)) as pilot:
        await pilot.pause()
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(pilot.app.screen, HelpScreen)
        text = str(pilot.app.screen.query_one("VerticalScroll Static").render())
        assert "View mine: status:working" in text and "View old: by age" in text
        await pilot.press("escape", "ctrl+p")
        await pilot.pause()
        assert isinstance(pilot.app.screen, CommandPalette)
        # This view has no key, because there are no more function keys.
        await pilot.press(*"View more-11")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        await pilot.press("down", "enter")
        await pilot.pause()
        assert pilot.app.query_one(RollView).view == View("x")


def test_config_reports_problems_of_views(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[views]\nmine = "state:x"\nother = {key = "hyper"}\nbad = 3\n')
    done = run_muster("config", "--check", path)
    assert done.returncode == 2
    for problem in ("views.bad: must be a filter", "views.mine: ", "views.other.key: 'hyper'"):
        assert problem in done.stderr
    path.write_text('[views]\nmine = "status:blocked"\n')
    assert run_muster("config", "--check", path).returncode == 0
