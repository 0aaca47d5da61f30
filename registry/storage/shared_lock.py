"""Finds out for readers whether a writer holds the lock of a registry."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from registry.errors import RegistryError
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import open_file

Found = TypeVar("Found")


def refuses_locks(path: Path) -> bool:
    """Returns whether the file system of a registry certainly refuses locks.

    Such a registry cannot be written. If the file cannot be opened, the result is False.
    """
    try:
        with open_file(path, os.O_RDONLY) as file:
            return nobody_writes(file.fileno()) is None
    except RegistryError as error:
        hand_on(error)
        return False


def nobody_writes(fd: int) -> bool | None:
    """Returns whether no writer holds the lock of a registry at this moment.

    Args:
        fd: The descriptor of the registry, open for reading.

    Returns:
        True or False; None if the file system refuses locks.
    """
    shared = _try_shared(fd)
    if shared:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return shared


def while_nobody_writes(fd: int, look: Callable[[], Found | None]) -> Found | None:
    """Calls a function under the shared lock, so that no writer holds the lock during the call.

    If the file system refuses locks, the function is called without the lock. Then writers of this
    library cannot get the lock either.

    Args:
        fd: The descriptor of the registry, open for reading.
        look: The function; it must be fast, because writers wait for its end.

    Returns:
        The result of the function; None also if a writer holds the lock.
    """
    shared = _try_shared(fd)
    if shared is False:
        return None
    try:
        return look()
    finally:
        if shared:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _try_shared(fd: int) -> bool | None:
    """Returns whether the shared lock was acquired; None if the file system refuses locks."""
    # The same call as in portalocker, whose import takes 30 ms.
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hand_on(error)
        return False
    except OSError as error:
        # For example ENOLCK, EOPNOTSUPP or ENOSYS. If the disk fails, a read reports the error.
        hand_on(error)
        return None
    return True
