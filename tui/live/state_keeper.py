"""Saves a copy of each registry (its kept state) while the monitor runs; see `audit.keep`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from registry import audit
from registry.errors import RegistryError
from registry.snapshots import Signature, signature_of

EVERY = 60.0
"""The least time between two copies of one registry, in seconds."""

QUIET = 2.0
"""If a registry was not written for this many seconds, its first copy is made at once."""

AT_ONCE = 8
"""The largest number of copies that one call of `StateKeeper.keep` makes."""


class StateKeeper:
    """The maker of copies of the registries of one workspace. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Signature, float]] = {}
        self._first_seen: dict[Path, float] = {}

    def keep(self, registries: Iterable[Path]) -> None:
        """Saves copies of registries that changed after their last copy. Blocks.

        Args:
            registries: The paths of the registries. At most `AT_ONCE` copies are made.
        """
        written = 0
        for path in registries:
            signature = signature_of(path)
            if signature is None or not self._is_due(path, signature):
                continue
            if written >= AT_ONCE:
                return
            written += 1
            self._kept[path] = signature, time.monotonic()
            # The roll call shows errors of the registry itself.
            with contextlib.suppress(RegistryError, OSError):
                audit.keep(path)

    def _is_due(self, path: Path, signature: Signature) -> bool:
        now = time.monotonic()
        if path in self._kept:
            last, at = self._kept[path]
            return last != signature and now - at >= EVERY
        if abs(time.time() - signature.mtime_ns / 1e9) >= QUIET:
            return True
        # The registry is written all the time: its first copy is made after `EVERY` seconds.
        return now - self._first_seen.setdefault(path, now) >= EVERY
