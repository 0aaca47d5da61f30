"""Waiting for the flock on a registry: the one door to portalocker.

The lock is ``flock`` on the registry's own inode, because that is what the
peers lock; a sidecar file or ``lockf`` would exclude nobody. Each attempt opens
the file anew, so that a file that was replaced meanwhile is noticed and so that
nothing of ours keeps the file open while it waits.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import time
from pathlib import Path

from registry.errors import InaccessibleRegistryError, LockTimeoutError
from registry.files import open_regular

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.0003
"""Seconds before the second attempt; each further pause is half as long again."""

LONGEST_PAUSE = 0.02
"""Longest pause between two attempts, in seconds, before jitter."""

_held: set[int] = set()


def _forget_in_child() -> None:
    # A forked child shares our open file descriptions: left open there, the
    # lock would outlive our own death. Closing them does not unlock.
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def _flock(fd: int, path: Path, *, shared: bool) -> bool:
    # Imported on first use: it is a third of what `muster list` would import,
    # and looking at registries needs it only for a moment.
    import portalocker

    kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(fd, kind | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.exceptions.AlreadyLocked:
        return False
    except portalocker.exceptions.LockException as error:
        raise InaccessibleRegistryError(path, _cause(error), "lock") from error
    return True


def _unlock(fd: int) -> None:
    import portalocker

    try:
        portalocker.unlock(fd)
    except portalocker.exceptions.LockException as error:
        raise _cause(error) from error


def _cause(error: Exception) -> OSError:
    """What the system said, which portalocker wraps in an exception that is no OSError."""
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else OSError(errno.ENOLCK, str(error))


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _attempt(path: Path) -> int | None:
    """One try: a descriptor that holds the lock on what `path` names now, or None."""
    fd = open_regular(path, os.O_RDWR)
    try:
        locked = _flock(fd, path, shared=False)
        if locked and _same_file(fd, path):
            _held.add(fd)
            return fd
    except BaseException:
        os.close(fd)
        raise
    if locked:
        _unlock(fd)
    os.close(fd)
    return None


def is_held(fd: int) -> bool:
    """Whether a descriptor that was given out still holds its lock in this process.

    False in a child that was forked meanwhile: there it was closed.
    """
    return fd in _held


def release(fd: int, path: Path) -> None:
    """Unlocks and closes a descriptor that `acquire` or `acquire_both` gave out.

    Unlocked by name and not by closing alone: a child forked meanwhile may
    hold a copy of the descriptor, and with it the lock. In such a child there
    is nothing to let go, and the number may be another file's by now.
    """
    if not is_held(fd):
        return
    _held.discard(fd)
    try:
        _unlock(fd)
    except OSError as error:
        _log.error("Error unlocking registry %s: %s", path, error)
    finally:
        os.close(fd)


class _Patience:
    """Pauses that grow, with jitter, until a deadline."""

    def __init__(self, timeout: float, longest_pause: float) -> None:
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._longest = longest_pause
        self._pause = min(FIRST_PAUSE, longest_pause)

    def wait(self, busy: Path) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            _log.warning("Could not acquire lock on %s after %gs", busy, self._timeout)
            raise LockTimeoutError(busy, self._timeout)
        time.sleep(min(left, self._pause * random.uniform(0.5, 1.5)))
        self._pause = min(self._pause * 1.5, self._longest)


def acquire(path: Path, timeout: float, *, longest_pause: float = LONGEST_PAUSE) -> int:
    """Takes the exclusive lock on a registry.

    Args:
        path: The registry.
        timeout: Seconds to wait at most; 0 tries once.
        longest_pause: Upper bound of the pause between two tries, in seconds.

    Returns:
        A descriptor open for reading and writing, to be given to `release`.

    Raises:
        LockTimeoutError: Somebody else held it all the time.
        RegistryError: The file is not there, not regular or not accessible.
    """
    patience = _Patience(timeout, longest_pause)
    while (fd := _attempt(path)) is None:
        patience.wait(path)
    return fd


def acquire_both(first: Path, second: Path, timeout: float) -> tuple[int, int]:
    """Takes the locks of a task's registry and of the global one.

    The first is waited for, the second only tried; if it is busy both are let
    go and the wait starts again. So no order that others lock in can deadlock.

    Returns:
        Two descriptors as of `acquire`.

    Raises:
        LockTimeoutError: One of the two was held all the time; it names which.
        RegistryError: As `acquire`, for either.
    """
    patience = _Patience(timeout, LONGEST_PAUSE)
    while True:
        fd = _attempt(first)
        if fd is None:
            patience.wait(first)
            continue
        try:
            other = _attempt(second)
        except BaseException:
            release(fd, first)
            raise
        if other is not None:
            return fd, other
        release(fd, first)
        patience.wait(second)


def nobody_writes(fd: int, path: Path) -> bool:
    """Whether no writer holds the lock at this instant; lets go at once.

    Args:
        fd: The registry, open for reading.
        path: Its path, for errors.

    Raises:
        InaccessibleRegistryError: The file system has no locks.
    """
    if not _flock(fd, path, shared=True):
        return False
    _unlock(fd)
    return True
