"""Waits for an event in another thread, process or server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 15.0
"""The usual longest wait, in seconds."""


# If the machine stops for a while, this time does not count.
_AT_MOST_BETWEEN_LOOKS = 0.25


class Patience:
    """Pauses between checks, up to a total time."""

    def __init__(self, seconds: float, pause: float = 0.05) -> None:
        self._left, self._pause = seconds, pause
        self._looked_at = time.monotonic()

    def is_over(self) -> bool:
        """Returns whether the total time is over; if not, pauses first."""
        if self._left <= 0:
            return True
        time.sleep(self._pause)
        now = time.monotonic()
        self._left -= min(now - self._looked_at, _AT_MOST_BETWEEN_LOOKS)
        self._looked_at = now
        return False


def until(look: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """Calls a function until the result is true; returns the result.

    Raises:
        AssertionError: The result was not true in time.
    """
    left = Patience(patience, pause=0.01)
    while not (found := look()):
        assert not left.is_over(), f"waited {patience:g} s for {what}"
    return found
