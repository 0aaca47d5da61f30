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


def until(look: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """Looks again and again until there is something; returns it.

    Raises:
        AssertionError: It did not come in time.
    """
    waited, looked_at = 0.0, time.monotonic()
    while not (found := look()):
        assert waited < patience, f"waited {patience:g} s for {what}"
        time.sleep(0.01)
        now = time.monotonic()
        waited, looked_at = waited + min(now - looked_at, _AT_MOST_BETWEEN_LOOKS), now
    return found
