"""A line that shows how far long work is; not there for what takes a moment."""

from __future__ import annotations

import time

from textual.widgets import Static

from tui.progress import bar

LONG = 0.7
"""Seconds that work may take before it is shown how far it is."""

_REDRAW_EVERY = 0.5
"""Seconds between two drawings: each is sent over the line."""


class Working(Static):
    """What is being done and how far it is."""

    DEFAULT_CSS = """
    Working { height: 1; background: $panel; color: $foreground; display: none; }
    Working.shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._since: float | None = None
        self._drawn_at = 0.0

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
