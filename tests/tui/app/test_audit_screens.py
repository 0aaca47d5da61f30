"""The record on the screen: undo, the log and the metrics, on a workspace on disk."""

from __future__ import annotations

from registry import atomic_update_agent_status
from registry.metrics_file import path_in
from tests.support.files_app import complete, opened, press, text_of
from tests.support.files_app import files as files
from tests.support.files_app import quick_hands as quick_hands
from tests.support.workspaces import Files
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.metrics import MetricsScreen
from tui.app.screens.report import ReportScreen


async def test_undo_shows_its_plan_and_takes_the_last_change_back(files: Files) -> None:
    before = files.bytes()
    complete(files, "a", "it was late")
    async with opened(files) as (app, pilot):
        await press(app, pilot, "U")
        assert isinstance(app.screen, ConfirmScreen)
        shown = text_of(app)
        assert "status completed → running" in shown
        assert "it was late" in shown
        await press(app, pilot, "n", "o", "enter", "y")
        assert isinstance(app.screen, ReportScreen)
        assert "taken back" in text_of(app)
        assert files.bytes() == before
        seen = app._notifier._seen
        assert seen is not None and seen.restored == {"a"}, "the undo is no news"
        await press(app, pilot, "escape", "l")
        log = text_of(app)
        assert log.index("undo: done") < log.index("complete: done, undone later")
        assert "why: no" in log


async def test_escape_leaves_what_would_be_undone(files: Files) -> None:
    complete(files, "a", "")
    before = files.bytes()
    async with opened(files) as (app, pilot):
        await press(app, pilot, "U", "escape")
        assert len(app.screen_stack) == 1
    assert files.bytes() == before


async def test_with_nothing_to_undo_a_message_is_shown(files: Files) -> None:
    async with opened(files) as (app, pilot):
        await press(app, pilot, "U")
        assert len(app.screen_stack) == 1
        assert any("contains no action" in each.message for each in app._notifications)


async def test_what_was_changed_since_is_refused_with_the_reason(files: Files) -> None:
    complete(files, "a", "")
    atomic_update_agent_status(files.registry(), "a", "failed")
    async with opened(files) as (app, pilot):
        await press(app, pilot, "U")
        assert len(app.screen_stack) == 1
        assert any("status was changed again" in each.message for each in app._notifications)


async def test_an_empty_log_shows_a_message_and_markup_in_a_reason_is_text(files: Files) -> None:
    async with opened(files) as (app, pilot):
        await press(app, pilot, "l")
        assert "The audit log is empty" in text_of(app)
        complete(files, "a", "[/x] [@click=app.quit]here[/] \x1b]52;c;QQ==\x07")
        await press(app, pilot, "escape", "l")
        shown = text_of(app)
        assert "[@click=app.quit]here" in shown
        assert not set("\x1b\x07") & set(shown)


async def test_the_panel_shows_the_locks_and_goes_on_by_itself(files: Files) -> None:
    complete(files, "a", "")
    async with opened(files) as (app, pilot):
        await press(app, pilot, "m")
        assert isinstance(app.screen, MetricsScreen)
        # How long a lock is waited for depends on the machine.
        assert "lock waits, p99" in text_of(app)
        assert "✓ timeouts" in text_of(app)
        assert "TASK-1" in text_of(app)
        before = text_of(app)
        atomic_update_agent_status(files.registry(), "b", "blocked")
        app.screen._read()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert text_of(app) != before
        await press(app, pilot, "m")
        assert len(app.screen_stack) == 1


async def test_what_this_monitor_counted_is_on_file_when_it_is_closed(files: Files) -> None:
    complete(files, "a", "")
    place = path_in(files.path.resolve())
    async with opened(files) as (_, pilot):
        await pilot.pause()
    assert "TASK-1/AGENT_REGISTRY.json" in place.read_text()


async def test_a_log_that_cannot_be_read_is_an_error_that_names_it(files: Files) -> None:
    log = files.path / "registry" / "muster_audit.jsonl"
    log.mkdir()
    async with opened(files) as (app, pilot):
        await press(app, pilot, "U")
        assert len(app.screen_stack) == 1
        (notification,) = app._notifications
        assert str(log) in notification.message
        await press(app, pilot, "l")
        assert isinstance(app.screen, ReportScreen)
        assert log.name in text_of(app)
