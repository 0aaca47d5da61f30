"""Log records as toasts, and toasts while a dialog is open."""

from __future__ import annotations

from textual.widgets._toast import Toast

from registry.storage import recovery
from tests.support.files_app import FilesApp, press
from tests.support.files_app import files as files
from tests.support.workspaces import Files
from tui.app.widgets.toasts import RECOVERY


def test_recoveries_are_known_by_the_name_of_their_logger() -> None:
    assert recovery.__name__ == RECOVERY


async def test_a_toast_waits_until_the_dialog_is_closed(files: Files) -> None:
    app = FilesApp(files)
    async with app.run_test(notifications=True) as pilot:
        await pilot.pause()
        await press(app, pilot, "question_mark")
        app.notify("meanwhile", markup=False)
        await pilot.pause()
        assert not app._notifications and not app.screen.query(Toast)
        await press(app, pilot, "escape")
        assert [each.message for each in app._notifications] == ["meanwhile"]
        assert app.screen.query(Toast)


async def test_an_earlier_toast_does_not_cover_a_dialog(files: Files) -> None:
    app = FilesApp(files)
    async with app.run_test(notifications=True) as pilot:
        await pilot.pause()
        app.notify("before", markup=False)
        await pilot.pause()
        assert app.screen.query(Toast)
        await press(app, pilot, "question_mark")
        assert not app.screen.query(Toast)
