"""The usual work of an operator takes few keys; each key is typed on a real roll."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.support.real_app import RealApp, crew_of, real_app
from tests.support.real_tmux import RealTmux
from tests.support.still_app import quick_hands as quick_hands
from tests.support.workspaces import Files
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.report import OutcomeScreen
from tui.app.widgets.roll_list import RollView
from tui.model.roll import AgentKey

SIZES = [(80, 24), (120, 40), (160, 50)]


@pytest.fixture
def files(tmp_path: Path, server: RealTmux) -> Files:
    made = Files(tmp_path, {"TASK-1": []})
    crew_of(made, server)
    return made


class Hand:
    """Presses keys, and counts the pressed keys."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self._pilot = pilot
        self.pressed = 0

    async def press(self, key: str) -> None:
        self.pressed += 1
        await self._pilot.press(key)


def under_cursor(app: RealApp) -> str:
    line = app.query_one(RollView).current
    assert line is not None and isinstance(line.key, AgentKey)
    return line.key.id


def statuses(files: Files, *agents: str) -> set[str]:
    return {files.agent(agent)["status"] for agent in agents}


@pytest.mark.parametrize("size", SIZES)
async def test_the_stalled_agent_is_found_and_says_why(
    files: Files, server: RealTmux, size: tuple[int, int]
) -> None:
    async with real_app(files, server, size) as (app, pilot):
        hand = Hand(pilot)
        await hand.press("2")
        await app.shows(pilot, "only ◐ stalled", "stalled: no report and no output")
        assert under_cursor(app) == "quiet"
        await hand.press("enter")
        await app.shows(pilot, "says quiet")
        assert hand.pressed <= 3


@pytest.mark.parametrize("size", SIZES)
async def test_the_failed_agent_is_found_with_its_last_error(
    files: Files, server: RealTmux, size: tuple[int, int]
) -> None:
    async with real_app(files, server, size) as (app, pilot):
        hand = Hand(pilot)
        await hand.press("8")
        await app.shows(pilot, "only ■ failed")
        assert under_cursor(app) == "broken"
        await hand.press("enter")
        await app.shows(pilot, "boom: the disk is full")
        assert hand.pressed <= 3


async def test_a_subtree_is_killed(files: Files, server: RealTmux) -> None:
    async with real_app(files, server) as (app, pilot):
        view, hand = app.query_one(RollView), Hand(pilot)
        view.go_to(next(line.key for line in view.lines if is_of(line.key, "boss")))
        await hand.press("X")
        await app.until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the plan")
        await hand.press("y")
        await app.shows(pilot, "3 done")
        assert hand.pressed <= 2
        assert server.names() == {"agent_waits", "agent_quiet"}
        assert statuses(files, "boss", "left", "right") == {"terminated"}


def is_of(key: object, agent_id: str) -> bool:
    return isinstance(key, AgentKey) and key.id == agent_id


async def test_all_zombies_are_completed_and_this_is_undone(
    files: Files, server: RealTmux
) -> None:
    async with real_app(files, server) as (app, pilot):
        before = files.bytes()
        hand = Hand(pilot)
        await hand.press("C")
        await app.until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the plan")
        await hand.press("y")
        await app.until(pilot, lambda: isinstance(app.screen, OutcomeScreen), "the outcome")
        assert "2 done" in app.text()
        assert statuses(files, "gone-1", "gone-2") == {"completed"}
        assert statuses(files, "boss", "quiet") == {"running"}
        await hand.press("U")
        await app.until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the undo's plan")
        await hand.press("y")
        await app.until(pilot, lambda: isinstance(app.screen, OutcomeScreen), "the undo")
        assert hand.pressed <= 4
        assert files.bytes() == before


@pytest.mark.parametrize("back", ["enter", "escape"])
async def test_one_looks_into_an_agent_and_comes_back(
    files: Files, server: RealTmux, back: str
) -> None:
    async with real_app(files, server) as (app, pilot):
        view, hand = app.query_one(RollView), Hand(pilot)
        view.go_to(next(line.key for line in view.lines if is_of(line.key, "left")))
        before = view.size
        await hand.press("enter")
        await app.shows(pilot, "says left")
        await hand.press(back)
        await app.until(pilot, lambda: view.has_focus and view.size == before, "the roll")
        assert hand.pressed <= 2
