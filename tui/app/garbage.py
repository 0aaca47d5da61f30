"""When memory is looked through for garbage: at rest, and where much has become garbage.

Closed screens are cycles, which only the garbage collector frees. What Python does by
itself comes in the middle of a change, and with limits that keep it from that too seldom.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

QUIET = 1.0
"""Seconds without any input after which the collector runs."""

SOON = 0.1
"""Seconds after a screen was closed by which the one beneath it is drawn."""

# Objects more than at the last collection, from which on another one is worth it.
_WORTH_IT = 2_000


def hold() -> None:
    """Stops the collector until all is imported."""
    # Until then there is much to look through, but no garbage.
    gc.disable()


def forget_sizes() -> None:
    """Empties Textual's caches of geometry.

    Their keys are positions and sizes, of which a screen of another size uses few again.
    Textual keeps up to 4,096 results of each method: 10 MB after 1,000 changes of size.
    """
    # Imported late: the collector is stopped, and the roll is called, before Textual is there.
    from textual.css.scalar import Scalar
    from textual.geometry import Offset, Region, Size, Spacing

    for kind in (Offset, Region, Scalar, Size, Spacing):
        for method in vars(kind).values():
            if (clear := getattr(method, "cache_clear", None)) is not None:
                clear()


class Collector:
    """Collects garbage in the pauses of whoever uses the monitor.

    Args:
        later: Calls something after so many seconds, in the thread of the screen.
        now: A clock that never goes back, in seconds.
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
        """Starts collecting, once all is imported; does nothing where `hold` was not called."""
        if gc.isenabled():
            return
        # What is there now is needed until the end: it is never looked through again.
        gc.freeze()
        # Next to nothing that changes make is in cycles, and a look through all of it stops
        # the screen for tens of milliseconds.
        gc.set_threshold(20_000, 20, 50)
        gc.enable()
        self._begun = True

    def note_input(self) -> None:
        """Puts the collection off: the user is doing something."""
        self._last_input = self._now()
        if self._begun and not self._waiting:
            self._waiting = True
            self._later(QUIET, self._collect_at_rest)

    def note_closed(self) -> None:
        """Collects soon, if not just now: the screen that was closed is garbage.

        Whoever closes one after another makes no pauses meanwhile.
        """
        if self._begun and self._now() - self._last_collection >= QUIET:
            # From now on: it comes once for all that are closed until then.
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
