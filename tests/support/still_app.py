"""Runs the screen on a roll call that does not change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.strip import Strip

from registry.schema.layout import Workspace
from registry.schema.records import task_record
from registry.sources import JsonTask
from tests.support.panels import PromptFollower
from tests.support.still_live import StillLive
from tui.actions.plan import Footprint
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.app.app import MusterApp
from tui.app.screens.roll import RollScreen
from tui.app.widgets.footer import Footer
from tui.app.widgets.roll_list import RollView
from tui.config.settings import Settings
from tui.details.sources import Fields
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.call import call_task
from tui.model.evidence import Evidence
from tui.model.orphans import find_orphans
from tui.model.policy import Policy
from tui.model.roll import AgentKey, RollCall, TaskState, Verdict, WorkspaceRoll

NOW = 1_760_000_000.0


WORKSPACE = Path("/srv/lantern/.agent-workspace")


SOCKET = Path("/tmp/tmux-1000/default")


def agent(name: str, status: str, parent: str = "orchestrator", progress: int = 40) -> Any:
    return {
        "id": name,
        "type": name.split("-")[0],
        "tmux_session": f"agent_{name}",
        "parent": parent,
        "status": status,
        "progress": progress,
        "prompt": "Do it well.",
    }


def task_of(task_id: str, *agents: Any) -> Any:
    return {"task_id": task_id, "task_description": f"All of {task_id}", "agents": list(agents)}


SEARCH = task_of(
    "TASK-search",
    agent("architect-1", "working"),
    agent("designer-2", "completed", "architect-1", 100),
    agent("writer-3", "running", "architect-1"),
    agent("tester-4", "working", "writer-3"),
    agent("porter-5", "blocked"),
)


SPEED = task_of(
    "TASK-speed",
    agent("cacher-6", "working"),
    agent("reader-7", "completed", progress=100),
)


ALIVE = ("architect-1", "writer-3", "porter-5", "reader-7", "stranger-8")


def _state(registry: Any) -> TaskState:
    path = WORKSPACE / registry["task_id"] / "AGENT_REGISTRY.json"
    global_ = WORKSPACE / "registry" / "GLOBAL_REGISTRY.json"
    return TaskState(WORKSPACE, JsonTask(path, global_), task_record(registry), NOW, None)


def call(*registries: Any, error: str | None = None, alive: tuple[str, ...] = ALIVE) -> RollCall:
    """Returns a roll call in which only the agents in `alive` have a session."""
    sessions = {
        f"agent_{name}": Session(
            f"${n}", f"agent_{name}", int(NOW) - 60, int(NOW) - 5, 0, (f"%{n}",), (900_000 + n,)
        )
        for n, name in enumerate(alive)
    }
    answer = TmuxSnapshot(TmuxState.ANSWERED, "server 4711", SOCKET, sessions, 100.0, 4711, 1)
    states = [_state(each) for each in registries]
    if error is not None:
        states[0] = replace(states[0], error=error)
    missing = (f"agent_{a.id}" for s in states if s.record for a in s.record.agents)
    evidence = Evidence(answer, dict.fromkeys(missing, 0.0))
    tasks = tuple(call_task(state, evidence, Policy(), NOW) for state in states)
    orphans = find_orphans(states, (), answer, Policy(), NOW) or ()
    counts = dict.fromkeys(Verdict, 0)
    for task in tasks:
        for verdict, count in task.counts.items():
            counts[verdict] += count
    counts[Verdict.ORPHAN] = len(orphans)
    workspaces = (WorkspaceRoll(WORKSPACE, tasks, None),)
    return RollCall("lighthouse", evidence, workspaces, orphans, counts)


class StillApp(MusterApp):
    """The app without a collector; it shows the given roll call."""

    def __init__(self, roll: RollCall, settings: Settings | None = None) -> None:
        super().__init__((Workspace(WORKSPACE),), StillLive(roll), settings)


def plan_kill_of(screen: RollScreen, roll: RollCall, rows: Any, orphans: Any, whole: bool) -> None:
    """Makes a plan and asks the question, without examining processes."""
    plan = plan_kill(roll, rows, orphans, whole=whole)
    held = Footprint(3, 250 << 20)
    steps = [replace(s, footprint=held) if s in plan.ending else s for s in plan.steps]
    screen._ask(replace(plan, steps=tuple(steps)))


def plan_complete_of(screen: RollScreen, roll: RollCall, rows: Any, by_verdict: bool) -> None:
    """Makes a plan and asks the question, without examining processes."""
    screen._ask(plan_complete(roll, rows, by_verdict=by_verdict))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in ("roll_list", "details_panel"):
        monkeypatch.setattr(f"tui.app.widgets.{module}.time.time", lambda: NOW)
    monkeypatch.setattr("tui.app.widgets.details_panel.Follower", PromptFollower)
    monkeypatch.setattr("tui.app.widgets.roll_box.Follower", PromptFollower)
    # When the first measurement ends depends on the machine.
    monkeypatch.setattr("tui.details.load_history.LoadHistory.of", lambda *_: ())
    monkeypatch.setattr(RollScreen, "_plan_kill", plan_kill_of)
    monkeypatch.setattr(RollScreen, "_plan_complete", plan_complete_of)
    known = Fields({"prompt": "Do it well.", "tracked_files": {"a.py": 3}})
    monkeypatch.setattr("tui.app.widgets.details_panel.FieldsSource.read", lambda _: known)
    with monkeypatch.context() as zone:
        # The app shows times in the local time zone.
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def quick_hands(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the delay for a first Enter, because the pilot presses Enter at once."""
    if "hasty" not in request.keywords:
        monkeypatch.setattr("tui.app.screens.confirm.HASTE", 0.0)
        monkeypatch.setattr("tui.app.screens.confirm.READ_FIRST", -1.0)


@asynccontextmanager
async def opened(
    roll: RollCall | None = None,
    size: tuple[int, int] = (100, 30),
    settings: Settings | None = None,
) -> AsyncIterator[tuple[StillApp, RollView, Pilot[None]]]:
    app = StillApp(roll or call(SEARCH, SPEED), settings)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.pause()
        yield app, app.query_one(RollView), pilot


def ids_in(view: RollView) -> list[str]:
    return [line.key.id for line in view.lines if isinstance(line.key, AgentKey)]


def current_row(view: RollView) -> str:
    assert view.current is not None
    key = view.current.key
    return key.id if isinstance(key, AgentKey) else type(key).__name__


def shown(app: MusterApp) -> str:
    """Returns the text of the screen as one line."""
    strips = app.screen._compositor.render_strips()
    return " ".join("".join(segment.text for segment in strip).strip() for strip in strips)


SnapCompare = Callable[..., bool]


def drawn(app: App[None]) -> list[Strip]:
    """Returns the lines of the front screen with their colours, to compare them."""
    return app.screen._compositor.render_strips()


async def drawn_whole(pilot: Pilot[None]) -> None:
    """Waits until the front screen has its key hints, and a pause no longer changes the screen."""
    before = None
    while before != (before := drawn(pilot.app)) or not any(
        footer.hints for footer in pilot.app.screen.query(Footer)
    ):
        await pilot.pause()


def pressing(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Returns a function that presses keys; it waits for a complete screen before and after."""

    async def press(pilot: Pilot[None]) -> None:
        await drawn_whole(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await drawn_whole(pilot)

    return press
