"""Runs the screen on a workspace on disk. Tests ask for each roll call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.support.rolls import no_server
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.still_live import StillLive
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.plan_complete import plan_complete
from tui.app.app import MusterApp
from tui.app.screens.roll import RollScreen

NOBODY = ScriptedTmux(no_server())


class FilesApp(MusterApp):
    """The app on a workspace on disk, without a collector. A test asks for each roll call."""

    def __init__(self, files: Files) -> None:
        super().__init__(files.workspaces(), StillLive(take(files, NOBODY), NOBODY))
        self._files = files

    def call_the_roll(self) -> None:
        self.roll_screen.post_message(RollScreen.Rolled(take(self._files, NOBODY)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b")]})


@pytest.fixture(autouse=True)
def quick_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the delay for a first Enter, because the pilot presses Enter at once."""
    monkeypatch.setattr("tui.app.screens.confirm.HASTE", 0.0)
    monkeypatch.setattr("tui.app.screens.confirm.READ_FIRST", 0.0)


def complete(files: Files, agent_id: str, reason: str) -> None:
    roll = take(files, NOBODY)
    plan = plan_complete(roll, [row_of(roll, agent_id)])
    assert plan.steps and carry_out(plan, NOBODY, reason).complete


@asynccontextmanager
async def opened(files: Files) -> AsyncIterator[tuple[FilesApp, Pilot[None]]]:
    app = FilesApp(files)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        yield app, pilot


async def press(app: FilesApp, pilot: Pilot[None], *keys: str) -> None:
    """Presses keys, and waits until everything that they start has ended."""
    await pilot.press(*keys)
    # An action that a key starts may start another action.
    for _ in range(3):
        await pilot.pause()
        await app.workers.wait_for_complete()
    await pilot.pause()


def text_of(app: FilesApp) -> str:
    return str(app.screen.query_one("VerticalScroll Static").render())
