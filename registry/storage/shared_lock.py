"""Tells whether a writer holds the lock of a registry. All readers ask this."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from registry.errors import InaccessibleRegistryError
from registry.storage.interruption import hand_on

Found = TypeVar("Found")


def nobody_writes(fd: int, path: Path) -> bool:
    """Returns whether no writer holds the lock now; takes the shared lock only for a moment.

    Args:
        fd: The descriptor of the registry, open for reading.
        path: Its path, for errors.

    Raises:
        InaccessibleRegistryError: The file system has no locks.
    """
    return while_nobody_writes(fd, path, lambda: True) or False


def while_nobody_writes(fd: int, path: Path, look: Callable[[], Found | None]) -> Found | None:
    """Calls a function under the shared lock, while no writer can hold the lock.

    Args:
        fd: The descriptor of the registry, open for reading.
        path: Its path, for errors.
        look: The function; it must be fast.

    Returns:
        The result of the function; None also if a writer holds the lock.

    Raises:
        InaccessibleRegistryError: The file system has no locks.
    """
    # The same call as in portalocker, but without its import, which takes 30 ms. A reader
    # needs the lock only to see whether a writer holds it.
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hand_on(error)
        return None
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "lock") from error
    try:
        return look()
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
