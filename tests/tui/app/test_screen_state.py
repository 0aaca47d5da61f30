"""Tests of what the monitor keeps from one run to the next."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.layout import Workspace
from tests.support.still_app import SEARCH, SPEED, WORKSPACE, call
from tests.support.still_live import StillLive
from tui.app.app import MusterApp
from tui.app.screen_state import Keeper, ScreenState, state_from
from tui.app.screens.body import Body
from tui.app.screens.split import Split
from tui.app.widgets.roll_list import RollView
from tui.cli.commands.monitor import view_of
from tui.cli.main import main, parser_of
from tui.cli.parser import parse
from tui.config.settings import THEMES, Settings, settings_from
from tui.config.state_file import StateFile
from tui.model.roll import Verdict
from tui.text.sanitize import harmless
from tui.view.view import Sort, View

_SIZES = st.integers(-1000, 1000)
STATES = st.builds(
    ScreenState,
    st.sampled_from(THEMES),
    st.builds(
        View,
        st.text('ab :"-,ü', max_size=40),
        st.sampled_from(Sort),
        st.none() | st.sampled_from(Verdict),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(Split, st.none() | st.booleans(), _SIZES, _SIZES),
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_NAMES = tuple(ScreenState().values())


@given(STATES)
def test_each_state_survives_the_file(state: ScreenState) -> None:
    assert state_from(json.loads(json.dumps(state.values()))) == state


@given(st.dictionaries(st.sampled_from(_NAMES), _ANY))
def test_any_value_in_the_file_gives_a_state(values: dict[str, Any]) -> None:
    state = state_from(values)
    assert state_from(state.values()) == state
    assert harmless(state.view.query, 1000) == state.view.query
    for size in ((80, 24), (160, 50), (10, 5)):
        assert state.split.columns(size[0]) >= 0 and state.split.lines(size[1]) >= 0


@pytest.mark.parametrize("query", ["a\x1b[2Jb", "x\n", "\u202ea", "x" * 1001, "\ud800", 7, None])
def test_a_filter_that_could_not_be_typed_is_dropped(query: object) -> None:
    assert state_from({"filter": query}) == ScreenState()


def app_of(file: StateFile | None, view: View | None = None, **settings: Any) -> MusterApp:
    live = StillLive(call(SEARCH, SPEED))
    keeper = Keeper(file)
    return MusterApp((Workspace(WORKSPACE),), live, Settings(**settings), view=view, keeper=keeper)


async def test_what_one_sets_is_there_at_the_next_start(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "muster" / "state.json")
    app = app_of(file)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.pause()
        await pilot.press("h", "s", "s", "R", "vertical_line", "less_than_sign")
        await pilot.press("slash", *"tester", "enter")
        app.theme = "nord"
        await pilot.pause()
        left = app.query_one(RollView).view, app.query_one(Body).split
    assert left[0] == View("tester", Sort.AGE, hide_finished=True, reverse=True)
    assert left[1].beside and left[1].wider
    app = app_of(file)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.pause()
        assert (app.query_one(RollView).view, app.query_one(Body).split) == left
        assert app.theme == "nord" and app.query_one(Body).has_class("beside")
        await pilot.press("escape")
        await pilot.pause()
    assert Keeper(file).kept.view == View("", Sort.AGE, hide_finished=True, reverse=True)


async def test_a_change_is_saved_before_muster_quits(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "muster" / "state.json")
    app = app_of(file)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        assert not app._note_state()
        await pilot.press("h")
        app._keep_state()
        await app.workers.wait_for_complete()
        assert Keeper(file).kept.view == View(hide_finished=True)
        assert not app._note_state()


async def test_without_a_change_nothing_is_written(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "muster" / "state.json")
    app = app_of(file, View("zombie"), theme="dracula", theme_is_set=True)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
    assert os.listdir(tmp_path) == []


async def test_options_and_settings_win_and_replace_nothing(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "muster" / "state.json")
    kept = ScreenState("nord", View("tester", Sort.AGE))
    file.save(kept.values())
    settings, _ = settings_from({"theme": "dracula"})
    assert settings.theme_is_set
    app = app_of(file, View("zombie"), theme=settings.theme, theme_is_set=True)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        assert app.theme == "dracula" and app.query_one(RollView).view == View("zombie")
        await pilot.press("h")
        await pilot.pause()
    assert Keeper(file).kept == ScreenState("nord", View("tester", Sort.AGE, hide_finished=True))


def test_the_options_of_the_command_line_win_over_what_was_kept() -> None:
    kept = View("tester", Sort.AGE, Verdict.ZOMBIE, hide_finished=True, reverse=True)

    def view(*words: str) -> View:
        return view_of(parse(parser_of(""), words), kept)

    assert view() == kept
    # The filter of the command line shows all that match it.
    assert view("--where", "x") == View("x", Sort.AGE, reverse=True)
    assert view("--sort", "tree") == View("tester", only=Verdict.ZOMBIE, hide_finished=True)
    assert view("--where", "x", "--sort", "age") == View("x", Sort.AGE)


@pytest.mark.parametrize("fresh", [False, True])
def test_fresh_neither_reads_nor_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    given: dict[str, Any] = {}

    def run_monitor(*_: object, **options: Any) -> int:
        given.update(options)
        return 0

    monkeypatch.setattr("tui.app.run.run_monitor", run_monitor)
    monkeypatch.setattr("tui.cli.commands.monitor.need_screen", lambda *_: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / ".agent-workspace").mkdir()
    StateFile(tmp_path / "state" / "muster" / "state.json").save({"filter": "tester"})
    assert main([*(["--fresh"] if fresh else []), str(tmp_path)]) == 0
    assert given["view"] == View("" if fresh else "tester")
    assert given["keeper"].can_keep is not fresh
