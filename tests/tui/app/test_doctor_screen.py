"""The doctor on the screen: what is wrong, and setting it right, on a workspace on disk."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
from textual.containers import Vertical
from textual.pilot import Pilot

from registry.checks.issue import Issue, IssueKind
from registry.sources import Job, JsonTask
from tests.support.databases import Database, agent_row, stamp_ago
from tests.support.files_app import NOBODY, opened, press, text_of
from tests.support.files_app import files as files
from tests.support.files_app import quick_hands as quick_hands
from tests.support.still_app import (
    SEARCH,
    SPEED,
    WORKSPACE,
    SnapCompare,
    StillApp,
    call,
    drawn_whole,
)
from tests.support.workspaces import Files, entry, read, write
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.doctor import DoctorScreen
from tui.app.screens.report import ReportScreen
from tui.doctor.examine import Examination, examine


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes here: one look is as good as two."""
    monkeypatch.setattr("tui.doctor.examine.examine", lambda *given: examine(*given, settled=0.0))


def drift(files: Files) -> None:
    """A counter that is off; and two zombies are there anyway."""
    whole = read(files.global_registry)
    write(files.global_registry, whole | {"total_tasks": 9})


async def test_d_shows_problems_and_f_repairs_them_after_a_confirmation(files: Files) -> None:
    drift(files)
    async with opened(files) as (app, pilot):
        app.roll_screen._tmux = NOBODY
        await press(app, pilot, "d")
        assert isinstance(app.screen, DoctorScreen)
        shown = text_of(app)
        assert str(files.global_registry) in shown
        assert "total_tasks: is 9, but should be 1" in shown
        assert shown.count("zombie") == 2
        await press(app, pilot, "f")
        assert isinstance(app.screen, ConfirmScreen)
        assert "write total_tasks 1" in text_of(app)
        await press(app, pilot, "n", "o", "enter", "y")
        assert isinstance(app.screen, ReportScreen)
        assert "total_tasks 9 -> 1" in text_of(app)
        assert files.agent("a")["termination_reason"] == "session_not_found"
        assert read(files.global_registry)["total_tasks"] == 1
        files.assert_counters_match()
        app.call_the_roll()
        await press(app, pilot, "escape")
        assert isinstance(app.screen, DoctorScreen)
        assert "Healthy" in text_of(app)
        await press(app, pilot, "d")
        assert len(app.screen_stack) == 1


async def test_findings_in_a_database_are_shown_and_repaired(files: Files) -> None:
    files.write_task("TASK-1", entry("a", "completed"))
    files.write_global({"TASK-1": [entry("a", "completed")]})
    database = Database(files.path)
    database.task("TASK-9")
    database.agent("gone", "TASK-9", started_at=stamp_ago(3600), last_update=stamp_ago(600))
    database.agent("odd", "TASK-9", status="dreaming", parent="nobody", tmux_session="")
    async with opened(files) as (app, pilot):
        app.roll_screen._tmux = NOBODY
        await press(app, pilot, "d")
        shown = text_of(app)
        assert str(database.path) in shown
        assert "gone, agents.status: is running, but its session is gone" in shown
        assert "parent_missing  odd, agents.parent: names a parent" in shown
        assert "unknown_status  agents.status: is dreaming for odd" in shown
        await press(app, pilot, "f")
        assert str(database.path) in text_of(app)
        await press(app, pilot, "y")
        assert isinstance(app.screen, ReportScreen)
        assert agent_row(database, "agents", "gone")["status"] == "terminated"


async def test_escape_repairs_nothing(files: Files) -> None:
    drift(files)
    before = files.bytes()
    async with opened(files) as (app, pilot):
        app.roll_screen._tmux = NOBODY
        await press(app, pilot, "d", "f", "escape")
        assert isinstance(app.screen, DoctorScreen)
        await press(app, pilot, "escape")
        assert len(app.screen_stack) == 1
    assert files.bytes() == before


async def test_closing_during_the_examination_is_harmless(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift(files)
    looking, go_on = threading.Event(), threading.Event()

    def slow(*given: Any) -> Examination:
        looking.set()
        assert go_on.wait(20)
        return examine(*given, settled=0.0)

    monkeypatch.setattr("tui.doctor.examine.examine", slow)
    async with opened(files) as (app, pilot):
        await pilot.press("d")
        screen = app.screen
        assert isinstance(screen, DoctorScreen)
        await asyncio.to_thread(looking.wait, 20)
        await pilot.press("f", "escape")
        assert len(app.screen_stack) == 1
        go_on.set()
        while any(worker.is_running for worker in app.workers):
            await pilot.pause()
        assert app.roll_screen.roll is not None
        screen._show(await asyncio.to_thread(examine, (), app.roll_screen.roll, settled=0.0))
        assert screen._examination is None


async def test_findings_that_cannot_be_repaired_are_not_asked_about(files: Files) -> None:
    files.registry().write_text("{")
    async with opened(files) as (app, pilot):
        await press(app, pilot, "d", "f")
        assert isinstance(app.screen, DoctorScreen)
        assert "cannot be read" in text_of(app)
        box = app.screen.query_one(Vertical)
        assert "cannot repair any" in str(box.border_subtitle)


async def test_names_from_registries_are_text_and_harmless(files: Files) -> None:
    task = read(files.registry())
    task["agents"][0]["parent"] = "[/x] \x1b]52;c;QQ==\x07"
    write(files.registry(), task)
    async with opened(files) as (app, pilot):
        await press(app, pilot, "d")
        shown = text_of(app)
        assert "parent_missing" in shown
        assert not set("\x1b\x07") & set(shown)


def test_snapshot_of_the_doctor(
    snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll = call(SEARCH, SPEED)
    task = WORKSPACE / "TASK-search" / "AGENT_REGISTRY.json"
    global_ = WORKSPACE / "registry" / "GLOBAL_REGISTRY.json"
    counter = Issue(IssueKind.COUNTER, task, None, "active_count", 7, "counts 4, and says 7", 4)
    loop = Issue(
        IssueKind.LOOP, task, "writer-3", "parent", ["writer-3", "tester-4"],
        "is its own ancestor: writer-3 → tester-4 → writer-3",
        advice="nobody can tell which of them came first: set the parent of one right by hand",
    )  # fmt: skip
    status = Issue(
        IssueKind.STATUS, global_, "designer-2", "status", "running",
        'is "running" here, and "completed" in its task\'s registry', "completed",
    )  # fmt: skip
    monkeypatch.setattr(
        "tui.doctor.examine.examine", lambda *_: still_examination(roll, counter, loop, status)
    )
    # Its workspace does not exist.
    monkeypatch.setattr("tui.actions.evidence.collect.find_leftovers", lambda *_: {})
    monkeypatch.setattr("tui.actions.evidence.collect.claims_on", lambda *_: {})

    async def show(pilot: Pilot[None]) -> None:
        await drawn_whole(pilot)
        await pilot.press("d")
        await pilot.app.workers.wait_for_complete()
        await drawn_whole(pilot)

    assert snap_compare(StillApp(roll), run_before=show, terminal_size=(100, 40))


def still_examination(roll: Any, *findings: Issue) -> Examination:
    found = examine((), roll, settled=0.0)
    job = Job(JsonTask(findings[0].file or WORKSPACE), findings)
    return replace(found, files=(), tasks=(job,), globals_=(), unsure=())
