"""What a user of vi or k9s types without a thought does no harm, on any screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from textual.pilot import Pilot
from textual.screen import Screen

from tests.support.real_app import RealApp, crew_of, real_app
from tests.support.real_tmux import RealTmux
from tests.support.workspaces import Files
from tui.app.keymap import PLACES
from tui.app.palette import Palette
from tui.app.screens.body import Body
from tui.app.screens.choice import ChoiceScreen
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.doctor import DoctorScreen
from tui.app.screens.help import HelpScreen
from tui.app.screens.metrics import MetricsScreen
from tui.app.screens.report import OutcomeScreen, ReportScreen
from tui.app.screens.roll import RollScreen
from tui.model.roll import Verdict

REFLEXES = {
    "vi": ("j", "j", "j", "k", "k", "k", "enter", "escape", "q"),
    "k9s": ("enter", "d", "l", "colon", "ctrl+c"),
}

RARER = {
    "vi quits": ("escape", "colon", "q", "enter", "Z", "Z"),
    "less": ("space", "b", "G", "g", "slash", "j", "enter", "n", "q"),
}

ON_AGENT = ("home", "down")

WAYS: dict[str, tuple[type[Screen[Any]], tuple[str, ...]]] = {
    "the roll": (RollScreen, ()),
    "an agent": (RollScreen, ON_AGENT),
    "marks": (RollScreen, (*ON_AGENT, "v", "down", "down")),
    "one verdict": (RollScreen, ("3",)),
    "triage": (RollScreen, ("t",)),
    "the filter": (RollScreen, ("slash",)),
    "the panel": (RollScreen, (*ON_AGENT, "tab")),
    "the large panel": (RollScreen, (*ON_AGENT, "enter")),
    "a search in the panel": (RollScreen, (*ON_AGENT, "tab", "slash")),
    "a kill": (ConfirmScreen, (*ON_AGENT, "x")),
    "a kill with a reason": (ConfirmScreen, (*ON_AGENT, "x", "s", "o")),
    "a kill of a tree": (ConfirmScreen, (*ON_AGENT, "X")),
    "a kill of a task": (ConfirmScreen, ("home", "x")),
    "a completion": (ConfirmScreen, (*ON_AGENT, "c")),
    "a completion of all zombies": (ConfirmScreen, ("C",)),
    "the outcome of a completion": (OutcomeScreen, ("C", "y")),
    "an undo": (ConfirmScreen, ("C", "y", "U")),
    "the doctor": (DoctorScreen, ("d",)),
    "a repair": (ConfirmScreen, ("d", "f")),
    "the audit log": (ReportScreen, ("l",)),
    "the metrics": (MetricsScreen, ("m",)),
    "the help": (HelpScreen, ("question_mark",)),
    "the palette": (Palette, ("ctrl+p",)),
    "a choice": (ChoiceScreen, ("8", "o")),
}


@pytest.fixture
def files(tmp_path: Path, server: RealTmux) -> Files:
    made = Files(tmp_path, {"TASK-1": []})
    crew_of(made, server)
    return made


@pytest.fixture(autouse=True)
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the delay for a first key: a reflex may come at any time."""
    monkeypatch.setattr("tui.app.screens.confirm.HASTE", 0.0)
    monkeypatch.setattr("tui.app.screens.confirm.READ_FIRST", -1.0)


@pytest.fixture(autouse=True)
def attached(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sessions that got, or would have got, the keyboard; programs that would have run."""
    seen: list[object] = []

    def attach(*given: object) -> None:
        seen.append(given)

    monkeypatch.setattr(Body, "_go_there", attach)
    return seen


async def go(app: RealApp, pilot: Pilot[None], way: str) -> None:
    """Opens a screen."""
    screen, keys = WAYS[way]
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)
    await app.until(pilot, lambda: type(app.screen) is screen, f"{screen.__name__} for {way}")


async def settle(app: RealApp, pilot: Pilot[None]) -> None:
    """Waits until what the keys started has ended, or asks the operator."""
    for _ in range(3):
        await pilot.pause()
        asking = isinstance(app.screen, ChoiceScreen) if app.is_running else True
        if not asking:
            await app.workers.wait_for_complete()


def test_the_reflexes_are_typed_on_every_screen() -> None:
    screens = {screen for screen, _ in WAYS.values()}
    in_keymap = {node for place in PLACES for node in place.nodes if issubclass(node, Screen)}
    assert screens >= in_keymap


def marked(number: int, way: str, reflex: str) -> ParameterSet:
    """Returns parameters; some of the harmless screens get each reflex only in the torture."""
    asks = WAYS[way][0] is ConfirmScreen and reflex in REFLEXES
    always = asks or reflex == list(REFLEXES)[number % len(REFLEXES)]
    return pytest.param(way, reflex, marks=() if always else pytest.mark.torture)


@pytest.mark.parametrize(
    ("way", "reflex"),
    [marked(number, way, word) for number, way in enumerate(WAYS) for word in REFLEXES | RARER],
)
async def test_a_reflex_does_no_harm(
    files: Files, server: RealTmux, attached: list[object], way: str, reflex: str
) -> None:
    async with real_app(files, server, counts={Verdict.ZOMBIE: 2}) as (app, pilot):
        await go(app, pilot, way)
        before, sessions = files.bytes(), server.names()
        for key in (REFLEXES | RARER)[reflex]:
            if app.is_running:
                await pilot.press(key)
                await settle(app, pilot)
        assert files.bytes() == before
        assert server.names() == sessions
        assert attached == []
