"""Runs Python's garbage collector while the user is idle, and after a screen was closed.

Closed screens are reference cycles, which only the garbage collector frees. Automatic collections
can interrupt the drawing, so this module makes automatic collections rare.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

QUIET = 1.0
"""Seconds without input after which `Collector` collects garbage."""

SOON = 0.1
"""Seconds from the closing of a screen to the collection; Textual draws the next screen first."""

# With fewer new objects, a collection would free too little memory.
_WORTH_IT = 2_000


def hold() -> None:
    """Disables the garbage collector until `Collector.begin` is called."""
    # Imports create many objects, but no garbage.
    gc.disable()


def forget_sizes() -> None:
    """Empties the caches of computed positions and sizes, of blank lines and of widths of texts.

    After a change of the terminal's size, most of the cached results are useless. Textual keeps
    up to 4,096 results of each method: 10 MB after 1,000 changes of the size.
    """
    # Imported here, because `run_monitor` imports this module before it imports Textual.
    from rich.cells import cached_cell_len
    from textual.css.scalar import Scalar
    from textual.geometry import Offset, Region, Size, Spacing
    from textual.strip import Strip

    cached_cell_len.cache_clear()
    for kind in (Offset, Region, Scalar, Size, Spacing, Strip):
        for name in vars(kind):
            if (clear := getattr(getattr(kind, name), "cache_clear", None)) is not None:
                clear()


class Collector:
    """Collects garbage while the user is idle, and after a screen was closed.

    Args:
        later: Calls a function after a number of seconds, in the app's thread.
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
        """Starts the collections after the imports; does nothing if `hold` was not called."""
        if gc.isenabled():
            return
        # Imported objects live until the end, so the collector can skip them.
        gc.freeze()
        # Updates create hardly any cycles, and a full collection stops the screen for tens
        # of milliseconds. Keys and new sizes create many cycles, and half of them survive the
        # collection of the youngest objects. Freed memory stays with this process, so garbage
        # must not pile up. Python runs a full collection only if a quarter of the old objects
        # is new; a pause of the user comes first, except during very long typing.
        gc.set_threshold(20_000, 4, 4)
        gc.enable()
        self._begun = True

    def note_input(self) -> None:
        """Notes input; a collection runs when there was no input for `QUIET` seconds."""
        self._last_input = self._now()
        if self._begun and not self._waiting:
            self._waiting = True
            self._later(QUIET, self._collect_at_rest)

    def note_closed(self) -> None:
        """Schedules a collection after `SOON` seconds, but at most one in `QUIET` seconds.

        This frees memory even if the user closes many screens without an idle time.
        """
        if self._begun and self._now() - self._last_collection >= QUIET:
            # Set already here, so that this collection serves all screens closed before it runs.
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
