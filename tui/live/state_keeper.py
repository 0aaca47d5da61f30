"""Saves a copy of each registry (its kept state) while the monitor runs; see `audit.keep`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from registry import audit
from registry.errors import RegistryError
from registry.snapshots import Signature, signature_of

EVERY = 10.0
"""After this many seconds, a registry is copied although it is being written all the time."""

QUIET = 1.0
"""If a registry was not written for this many seconds, it is copied at once."""

SHARE = 0.02
"""The largest share of the time that copies of one registry take; limits copies of large files."""

AT_ONCE = 8
"""The largest number of copies that one call of `StateKeeper.keep` makes."""


class _State(NamedTuple):
    """The state of a registry that decides the content and the permissions of the copy.

    Attributes:
        signature: The signature of the registry.
        directory: The mode, owner and group of the registry's directory.
    """

    signature: Signature
    directory: tuple[int, int, int]


class StateKeeper:
    """The maker of copies of the registries of one workspace. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Path, _State] = {}
        self._not_before: dict[Path, float] = {}
        self._changed: dict[Path, float] = {}

    def keep(self, registries: Iterable[Path]) -> None:
        """Saves copies of registries that changed after their last copy. Blocks.

        Args:
            registries: The paths of the registries. At most `AT_ONCE` copies are made.
        """
        written = 0
        for path in registries:
            state = _state_of(path)
            if state is None or not self._is_due(path, state):
                continue
            if written >= AT_ONCE:
                return
            written += 1
            self._kept[path] = state
            self._changed.pop(path, None)
            began = time.monotonic()
            # The roll call shows errors of the registry itself.
            with contextlib.suppress(RegistryError, OSError):
                audit.keep(path)
            done = time.monotonic()
            self._not_before[path] = done + (done - began) / SHARE

    def _is_due(self, path: Path, state: _State) -> bool:
        now = time.monotonic()
        if self._kept.get(path) == state or now < self._not_before.get(path, now):
            return False
        changed = self._changed.setdefault(path, now)
        is_quiet = abs(time.time() - state.signature.mtime_ns / 1e9) >= QUIET
        return is_quiet or now - changed >= EVERY


def _state_of(path: Path) -> _State | None:
    signature = signature_of(path)
    try:
        directory = os.stat(path.parent)
    except OSError:
        return None
    access = (directory.st_mode, directory.st_uid, directory.st_gid)
    return None if signature is None else _State(signature, access)
