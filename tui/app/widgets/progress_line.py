"""A line that shows how far long work is, or what is waited for; not there for a moment's."""

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
"""Seconds that work may take before it is shown how far it is."""

_REDRAW_EVERY = 0.5
"""Seconds between two drawings: each is sent over the line."""

OPENING = frozenset({"plan kill", "plan complete", "plan undo", "log", "attach", "open"})
"""The groups of workers that work out what a key of the roll opens."""

MOMENT = 0.3
"""Seconds that it may take to work that out before it is said."""

_LOOK_EVERY = 0.1


def working_out(app: App[Any]) -> Iterator[Worker[Any]]:
    """The workers that work out what a key of the roll opens, if there are any.

    Until that is there, or given up, the roll takes no other key: it would be for what is
    about to open, and could do anything on the roll.
    """
    return (
        each
        for each in app.workers
        if each.group in OPENING and not (each.is_cancelled or each.is_finished)
    )


class ProgressLine(Static):
    """What is being done and how far it is."""

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
        """Waits for nothing any more once the terminal is lent: that was waited for."""
        self.app.app_suspend_signal.subscribe(self, lambda _: self._stop_waiting(), immediate=True)

    def wait_for(self, what: str) -> None:
        """Says what is worked out once that takes longer, until it is there or given up.

        Args:
            what: What is done meanwhile.
        """
        self._stop_waiting()
        self._waiting = self.set_timer(MOMENT, lambda: self._wait(what))

    def _wait(self, what: str) -> None:
        if not any(working_out(self.app)):
            self.finish()
            return
        if not self.has_class("shown"):
            self.add_class("shown")
            self.update(fit(f" {what} … Escape gives up", self.screen.size.width), layout=False)
        self._waiting = self.set_timer(_LOOK_EVERY, lambda: self._wait(what))

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None
            self.finish()

    def tell(self, what: str, done: int, of: int) -> None:
        """Shows how far something is; it goes away when all of it is done."""
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
        """Nothing is being done any more."""
        self._since = None
        self._drawn_at = 0.0
        self.remove_class("shown")
