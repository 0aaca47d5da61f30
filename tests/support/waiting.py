"""Waiting for what happens elsewhere: another thread, process or server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 15.0
"""Seconds after which what was waited for counts as never coming."""


# A machine that stands still for a while is no reason to lose patience.
_AT_MOST_BETWEEN_LOOKS = 0.25


class Patience:
    """Pauses between looks at something, for so long in all."""

    def __init__(self, seconds: float, pause: float = 0.05) -> None:
        self._left, self._pause = seconds, pause
        self._looked_at = time.monotonic()

    def is_over(self) -> bool:
        """Pauses, unless there is no patience left."""
        if self._left <= 0:
            return True
        time.sleep(self._pause)
        now = time.monotonic()
        self._left -= min(now - self._looked_at, _AT_MOST_BETWEEN_LOOKS)
        self._looked_at = now
        return False


def until(look: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """Looks again and again until there is something; returns it.

    Raises:
        AssertionError: It did not come in time.
    """
    left = Patience(patience, pause=0.01)
    while not (found := look()):
        assert not left.is_over(), f"waited {patience:g} s for {what}"
    return found
