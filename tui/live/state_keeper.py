"""Keeps copies of the complete texts of registries while the monitor runs."""

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
"""Seconds after the last write of a registry. Then its first state is kept without a wait."""

AT_ONCE = 8
"""The greatest number of states that are kept in one pass."""


class StateKeeper:
    """Keeps the states of the registries of one workspace. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Signature, float]] = {}
        self._first_seen: dict[Path, float] = {}

    def keep(self, registries: Iterable[Path]) -> None:
        """Keeps the states of registries that changed and are not being written. Blocks."""
        written = 0
        for path in registries:
            signature = signature_of(path)
            if signature is None or not self._is_due(path, signature):
                continue
            if written >= AT_ONCE:
                return
            written += 1
            self._kept[path] = signature, time.monotonic()
            # An error of the registry is shown anyway. If no state is kept, the doctor offers
            # none.
            with contextlib.suppress(RegistryError, OSError):
                audit.keep(path)

    def _is_due(self, path: Path, signature: Signature) -> bool:
        now = time.monotonic()
        if path in self._kept:
            last, at = self._kept[path]
            return last != signature and now - at >= EVERY
        if abs(time.time() - signature.mtime_ns / 1e9) >= QUIET:
            return True
        # The registry is written again and again.
        return now - self._first_seen.setdefault(path, now) >= EVERY
