"""Waiting for the flock on a registry: the one door to portalocker.

The lock is ``flock`` on the registry's own inode, because that is what the
peers lock; a sidecar file or ``lockf`` would exclude nobody. Each attempt opens
the file anew, so that a file that was replaced meanwhile is noticed and so that
nothing of ours keeps the file open while it waits.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from registry import metrics
from registry.errors import InaccessibleRegistryError, LockTimeoutError
from registry.files import open_regular

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.0003
"""Seconds before the second attempt; each further pause is half as long again."""

LONGEST_PAUSE = 0.02
"""Longest pause between two attempts, in seconds, before jitter."""

STAY_AWAY = 0.11
"""Seconds that a writer stays away from a registry that a slow poller waits for.

A little more than the 0.1 s that the peers sleep between two tries.
"""

Ready: TypeAlias = Callable[[int, Path], bool]
"""Called with a locked descriptor; False lets go of the lock and waits on."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class _Hold:
    """Who holds a lock in this process, and of which file."""

    device: int
    inode: int
    thread: int


_held: dict[int, _Hold] = {}

# Until when to stay away from a registry, in monotonic seconds.
_crowded: dict[Path, float] = {}
_CROWDED_AT_MOST = 256


def _forget_in_child() -> None:
    # A forked child shares our open file descriptions: left open there, the
    # lock would outlive our own death. Closing them does not unlock.
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()
    _crowded.clear()


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


def try_acquire(path: Path, ready: Ready | None = None) -> int | None:
    """One try for the exclusive lock on what `path` names now.

    Args:
        path: The registry.
        ready: Decides under the lock whether it may be given out.

    Returns:
        A descriptor to be given to `release`, or None if somebody else holds the lock.

    Raises:
        RegistryError: The file is not there, not regular or not accessible.
    """
    try:
        fd = open_regular(path, os.O_RDWR, past_lease=False)
    except InaccessibleRegistryError as error:
        if error.errno == errno.EAGAIN:
            return None
        raise
    try:
        locked = _flock(fd, path, shared=False)
        if locked and _same_file(fd, path):
            status = os.fstat(fd)
            _held[fd] = _Hold(status.st_dev, status.st_ino, threading.get_ident())
            if ready is None or ready(fd, path):
                return fd
    except BaseException:
        _held.pop(fd, None)
        os.close(fd)
        raise
    _held.pop(fd, None)
    if locked:
        _unlock(fd)
    os.close(fd)
    return None


def is_held(fd: int) -> bool:
    """Whether a descriptor that was given out still holds its lock in this process.

    False in a child that was forked meanwhile: there it was closed.
    """
    return fd in _held


def holds(path: Path) -> bool:
    """Whether this thread holds the exclusive lock on what `path` names now."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    mine = _Hold(there.st_dev, there.st_ino, threading.get_ident())
    return mine in _held.values()


def take_lease(fd: int) -> bool:
    """Takes a write lease on a locked file, if nobody else has it open.

    Until it is let go, the kernel holds back everybody who opens the file, even a
    careless ``open(path, "w")`` that knows no lock (fcntl(2), F_SETLEASE). It is an
    extra: nothing goes wrong without it.

    Args:
        fd: A descriptor that holds the exclusive lock. Held for milliseconds only:
            whoever opens the file meanwhile waits.

    Returns:
        Whether it was had.
    """
    return _lease(fd) == 0


def _lease(fd: int) -> int:
    """Takes a write lease; 0, or the number of the error."""
    try:
        # By default the kernel tells of an open with SIGIO, which would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _others_have_it_open(fd: int) -> bool:
    """Whether somebody else has a locked file open, as a peer that waits for it has."""
    crowded = _lease(fd) == errno.EAGAIN
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return crowded


def release(fd: int, path: Path) -> None:
    """Unlocks and closes a descriptor that `acquire` or `acquire_both` gave out.

    Unlocked by name and not by closing alone: a child forked meanwhile may
    hold a copy of the descriptor, and with it the lock. In such a child there
    is nothing to let go, and the number may be another file's by now.
    """
    if not is_held(fd):
        return
    if _others_have_it_open(fd):
        if len(_crowded) >= _CROWDED_AT_MOST:
            _crowded.clear()
        _crowded[path] = time.monotonic() + STAY_AWAY
    del _held[fd]
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
        self._began = time.monotonic()
        self._longest = longest_pause
        self._pause = min(FIRST_PAUSE, longest_pause)

    def stay_away(self, path: Path) -> None:
        """Leaves a slow poller its turn, if this process had its own just now."""
        until = _crowded.pop(path, None)
        if until is not None:
            pause = until - time.monotonic() + random.uniform(0, 0.01)
            time.sleep(max(0.0, min(pause, self._timeout / 2)))

    def wait(self, busy: Path) -> None:
        left = self._began + self._timeout - time.monotonic()
        if left <= 0:
            metrics.count_timeout(busy)
            _log.warning("Could not acquire lock on %s after %gs", busy, self._timeout)
            raise LockTimeoutError(busy, self._timeout)
        time.sleep(min(left, self._pause * random.uniform(0.5, 1.5)))
        self._pause = min(self._pause * 1.5, self._longest)

    def had(self, path: Path) -> None:
        """Counts a lock that was had."""
        metrics.count_wait(path, time.monotonic() - self._began)


def acquire(
    path: Path,
    timeout: float,
    *,
    longest_pause: float = LONGEST_PAUSE,
    ready: Ready | None = None,
) -> int:
    """Takes the exclusive lock on a registry.

    Args:
        path: The registry.
        timeout: Seconds to wait at most; 0 tries once.
        longest_pause: Upper bound of the pause between two tries, in seconds.
        ready: Decides under the lock whether it may be given out.

    Returns:
        A descriptor open for reading and writing, to be given to `release`.

    Raises:
        LockTimeoutError: Somebody else held it all the time.
        RegistryError: The file is not there, not regular or not accessible.
    """
    patience = _Patience(timeout, longest_pause)
    patience.stay_away(path)
    while (fd := try_acquire(path, ready)) is None:
        patience.wait(path)
    patience.had(path)
    return fd


def acquire_both(
    first: Path, second: Path, timeout: float, *, ready: Ready | None = None
) -> tuple[int, int]:
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
    for each in (first, second):
        patience.stay_away(each)
    while True:
        fd = try_acquire(first, ready)
        if fd is None:
            patience.wait(first)
            continue
        try:
            other = try_acquire(second, ready)
        except BaseException:
            release(fd, first)
            raise
        if other is not None:
            patience.had(first)
            patience.had(second)
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
    return while_nobody_writes(fd, path, lambda: True) or False


def while_nobody_writes(fd: int, path: Path, look: Callable[[], Found | None]) -> Found | None:
    """Looks at something while no writer can hold the lock; for an instant only.

    Args:
        fd: The registry, open for reading.
        path: Its path, for errors.
        look: What to do meanwhile.

    Returns:
        What was seen; None also when a writer holds the lock.

    Raises:
        InaccessibleRegistryError: The file system has no locks.
    """
    if not _flock(fd, path, shared=True):
        return None
    try:
        return look()
    finally:
        _unlock(fd)
