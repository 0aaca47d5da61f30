"""Keeps whole states of registries while the monitor runs: rarely, and a few at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from registry import audit
from registry.errors import RegistryError
from registry.snapshots import Signature, signature_of

EVERY = 60.0
"""The least time between two kept states of one registry, in seconds."""

QUIET = 2.0
"""A registry whose last write is this many seconds old is kept at the first sight."""

AT_ONCE = 8
"""How many states are kept in one pass."""


class StateKeeper:
    """Keeps the states of the registries of one workspace. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Signature, float]] = {}
        self._first_seen: dict[Path, float] = {}

    def keep(self, registries: Iterable[Path]) -> None:
        """Keeps the states of registries that changed, and are not being written. Blocks."""
        written = 0
        for path in registries:
            signature = signature_of(path)
            if signature is None or not self._is_due(path, signature):
                continue
            if written >= AT_ONCE:
                return
            written += 1
            self._kept[path] = signature, time.monotonic()
            # Without a kept state the doctor offers none. An error of the file is shown anyway.
            with contextlib.suppress(RegistryError, OSError):
                audit.keep(path)

    def _is_due(self, path: Path, signature: Signature) -> bool:
        now = time.monotonic()
        if path in self._kept:
            last, at = self._kept[path]
            return last != signature and now - at >= EVERY
        if abs(time.time() - signature.mtime_ns / 1e9) >= QUIET:
            return True
        # It is written all the time.
        return now - self._first_seen.setdefault(path, now) >= EVERY
