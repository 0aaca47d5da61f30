"""What is logged, shown as toasts: on standard error it would spoil the screen."""

from __future__ import annotations

import logging

from textual.app import App

from registry.storage import recover_registry
from tui.text.sanitize import harmless

_RECOVERY = recover_registry.__module__


class ToastHandler(logging.Handler):
    """Shows errors that are logged, and recoveries; on standard error they would spoil it."""

    def __init__(self, app: App[None]) -> None:
        super().__init__(logging.WARNING)
        self._app = app
        self.addFilter(lambda record: record.levelno >= logging.ERROR or record.name == _RECOVERY)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one record."""
        said = harmless(record.getMessage(), 400)
        if record.exc_info and record.exc_info[1] is not None:
            said += f": {harmless(repr(record.exc_info[1]), 400)}"
        if record.levelno >= logging.ERROR:
            self._app.notify(said, title="Error", severity="error", markup=False)
        else:
            self._app.notify(said, title="Recovered", severity="warning", markup=False)
