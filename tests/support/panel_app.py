"""Runs the screen with its details panel on files that change. Tests ask for each roll call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from tests.support.panels import PromptFollower
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.still_app import drawn
from tests.support.still_live import StillLive
from tests.support.workspaces import Files, take
from tui.app.app import MusterApp
from tui.app.screens.roll import RollScreen
from tui.app.widgets.text_view import TextView
from tui.config.settings import Settings
from tui.host.tmux_types import PaneCapture, Session, TmuxSnapshot

LIVE = made_now("agent_a")


class PaneTmux(ScriptedTmux):
    """A tmux that returns `shows` as the content of each pane."""

    def __init__(self, *answers: TmuxSnapshot) -> None:
        super().__init__(*answers)
        self.shows: list[str] | OSError = ["\x1b[31mred alert", "", "$ "]
        self.captures = 0

    def capture(self, session: Session, answer: TmuxSnapshot, pane: str) -> PaneCapture:
        self.captures += 1
        if isinstance(self.shows, OSError):
            raise self.shows
        return PaneCapture(tuple(self.shows), 80, 24, 1)


class PanelApp(MusterApp):
    """The app on a workspace on disk, without a collector. A test asks for each roll call."""

    def __init__(self, files: Files, tmux: PaneTmux, read_only: bool) -> None:
        live = StillLive(take(files, tmux), tmux)
        super().__init__(files.workspaces(), live, Settings(read_only=read_only))
        self.files, self.tmux = files, tmux

    def call_the_roll(self) -> None:
        self.roll_screen.post_message(RollScreen.Rolled(take(self.files, self.tmux)))

    @property
    def said(self) -> list[str]:
        return [each.message for each in self._notifications]


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.app.widgets.details_panel.Follower", PromptFollower)
    monkeypatch.setattr("tui.app.widgets.roll_box.Follower", PromptFollower)


async def calm(pilot: Pilot[None]) -> None:
    """Waits until a pause no longer changes the screen."""
    before = None
    while before != (before := drawn(pilot.app)):
        await pilot.pause()
        await pilot.pause()


@asynccontextmanager
async def opened(
    files: Files,
    tmux: PaneTmux | None = None,
    size: tuple[int, int] = (130, 36),
    read_only: bool = False,
) -> AsyncIterator[tuple[PanelApp, TextView, Pilot[None]]]:
    app = PanelApp(files, tmux or PaneTmux(answered(LIVE)), read_only)
    async with app.run_test(size=size) as pilot:
        await calm(pilot)
        await pilot.press("down")
        await calm(pilot)
        yield app, app.query_one(TextView), pilot
