"""A logging handler that shows log records as toasts."""

from __future__ import annotations

import logging

from textual.app import App

from tui.text.sanitize import harmless

RECOVERY = "registry.storage.recovery"
"""The name of the logger that reports recoveries of interrupted commits.

The module with this name is not imported here, because the first screen does not need it.
"""


class ToastHandler(logging.Handler):
    """Shows errors and recoveries as toasts; a log on standard error would disturb the screen."""

    def __init__(self, app: App[None]) -> None:
        super().__init__(logging.WARNING)
        self._app = app
        self.addFilter(lambda record: record.levelno >= logging.ERROR or record.name == RECOVERY)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one log record."""
        text = harmless(record.getMessage(), 400)
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {harmless(repr(record.exc_info[1]), 400)}"
        if record.levelno >= logging.ERROR:
            self._app.notify(text, title="Error", severity="error", markup=False)
        else:
            self._app.notify(text, title="Recovered", severity="warning", markup=False)
