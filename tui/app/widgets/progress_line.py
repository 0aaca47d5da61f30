"""A line that shows the progress of long work. Short work does not show the line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from textual.app import App
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker

from tui.progress import bar
from tui.text.sanitize import fit

LONG = 0.7
"""Seconds of work after which the line shows the progress."""

_REDRAW_EVERY = 0.5
"""Seconds between two updates, because each update is sent to the terminal."""

OPENING = frozenset({"plan kill", "plan complete", "plan undo", "log", "attach", "open"})
"""The groups of the workers that prepare a screen, session or file after a key was pressed."""

MOMENT = 0.3
"""If an `OPENING` worker runs longer than this many seconds, the line shows the work."""

_LOOK_EVERY = 0.1


def opening_workers(app: App[Any]) -> Iterator[Worker[Any]]:
    """Yields the running workers that prepare a screen, session or file for an earlier key.

    While such a worker runs, the main screen ignores keys. The operator presses these keys for the
    screen that will open, and on the main screen they could have another effect.
    """
    return (
        worker
        for worker in app.workers
        if worker.group in OPENING and not (worker.is_cancelled or worker.is_finished)
    )


class ProgressLine(Static):
    """Shows the name and the progress of the work that muster is doing."""

    DEFAULT_CSS = """
    ProgressLine { height: 1; background: $panel; color: $foreground; display: none; }
    ProgressLine.shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._since: float | None = None
        self._drawn_at = 0.0
        self._waiting: Timer | None = None

    def on_mount(self) -> None:
        """Makes the line disappear when another program gets the terminal."""
        self.app.app_suspend_signal.subscribe(self, lambda _: self._stop_waiting(), immediate=True)

    def wait_for(self, what: str) -> None:
        """Shows the work of an `OPENING` worker, if the work takes longer than `MOMENT` s.

        The line disappears when the work is done or cancelled.

        Args:
            what: The work, for example "Planning the kill".
        """
        self._stop_waiting()
        self._waiting = self.set_timer(MOMENT, lambda: self._wait(what))

    def _wait(self, what: str) -> None:
        if not any(opening_workers(self.app)):
            self._stop_waiting()
            return
        if not self.has_class("shown"):
            self.add_class("shown")
            self.update(fit(f" {what} … Escape cancels", self.screen.size.width), layout=False)
        self._waiting = self.set_timer(_LOOK_EVERY, lambda: self._wait(what))

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None
            # The line may show the progress of an action by now.
            if self._since is None:
                self.finish()

    def tell(self, what: str, done: int, of: int) -> None:
        """Shows how many steps of long work are done; hides the line when all steps are done.

        Args:
            what: The work.
            done: The number of steps that are done.
            of: The number of all steps.
        """
        now = time.monotonic()
        if done >= of:
            self.finish()
            return
        if self._since is None:
            self._since = now
        if now - self._since < LONG or now - self._drawn_at < _REDRAW_EVERY:
            return
        self._drawn_at = now
        self.add_class("shown")
        self.update(bar(what, done, of, self.screen.size.width), layout=False)

    def finish(self) -> None:
        """Hides the line."""
        self._since = None
        self._drawn_at = 0.0
        self.remove_class("shown")
