"""Runs the garbage collector when the user is idle, and after a screen was closed.

Closed screens are reference cycles, which only the garbage collector frees. Python's automatic
collections would interrupt the drawing. With higher limits, automatic collections would be too
rare.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

QUIET = 1.0
"""After this many seconds without input, the collector runs."""

SOON = 0.1
"""Seconds between the end of a screen and the collection; the new screen is drawn first."""

# The number of new objects at which a collection is worth its time.
_WORTH_IT = 2_000


def hold() -> None:
    """Stops the collector until the imports are done."""
    # Imports create many objects, but no garbage.
    gc.disable()


def forget_sizes() -> None:
    """Empties Textual's caches of geometry.

    The keys of the caches are positions and sizes. A terminal of another size needs few of the old
    keys. Textual keeps up to 4,096 results of each method: 10 MB after 1,000 changes of size.
    """
    # Imported late: `hold` and the first roll call come before the import of Textual.
    from textual.css.scalar import Scalar
    from textual.geometry import Offset, Region, Size, Spacing

    for kind in (Offset, Region, Scalar, Size, Spacing):
        for method in vars(kind).values():
            if (clear := getattr(method, "cache_clear", None)) is not None:
                clear()


class Collector:
    """Collects garbage while the user is idle.

    Args:
        later: Calls a function after a number of seconds, in the thread of the app.
        now: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later = later
        self._now = now
        self._last_input = 0.0
        self._begun = False
        self._waiting = False
        self._last_collection = 0.0

    def begin(self) -> None:
        """Lets the collector run after the imports; does nothing if `hold` was not called."""
        if gc.isenabled():
            return
        # Imported objects live until the end, so the collector can skip them.
        gc.freeze()
        # Updates create hardly any cycles, and a full collection stops the screen for tens
        # of milliseconds.
        gc.set_threshold(20_000, 20, 50)
        gc.enable()
        self._begun = True

    def note_input(self) -> None:
        """Delays the collection, because the user is active."""
        self._last_input = self._now()
        if self._begun and not self._waiting:
            self._waiting = True
            self._later(QUIET, self._collect_at_rest)

    def note_closed(self) -> None:
        """Collects the closed screen soon, unless a collection has just run.

        The user may close several screens in a row, without an idle time between them.
        """
        if self._begun and self._now() - self._last_collection >= QUIET:
            # Set at once, so that one collection serves all screens closed until then.
            self._last_collection = self._now()
            self._later(SOON, self._collect)

    def _collect_at_rest(self) -> None:
        left = self._last_input + QUIET - self._now()
        if left > 0.0:
            self._later(left, self._collect_at_rest)
            return
        self._waiting = False
        self._collect()

    def _collect(self) -> None:
        young, *older = gc.get_count()
        if young > _WORTH_IT or any(older):
            gc.collect()
        self._last_collection = self._now()
