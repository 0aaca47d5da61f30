"""Waiting for what happens elsewhere: another thread, process or server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 15.0
"""Seconds after which what was waited for counts as never coming."""


def until(look: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """Looks again and again until there is something; returns it.

    Raises:
        AssertionError: It did not come in time.
    """
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}"
        time.sleep(0.01)
    return found
