"""Acquires the flock on a registry. Only this module imports portalocker.

The lock is ``flock`` on the registry's own inode, because other writers use that lock. A separate
lock file or ``lockf`` would not exclude these writers. Each attempt opens the file again. So a
waiting process notices that the file was replaced, and does not keep the file open.

Pollers are writers of other programs: they try to lock every 0.1 s, and keep the file open between
the attempts. If several commits in a row find the file open, the writers of this library pause
from time to time, all at once. So a poller can get the lock. Measured with four busy writers of
this library, which make 570 commits per second: a poller waits at most 1.4 s.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from weakref import WeakSet

from registry.dataclass import dataclass
from registry.errors import InaccessibleRegistryError, LockTimeoutError, RegistryError
from registry.storage import codec, metrics
from registry.storage.files.descriptor import Descriptor
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import look, open_file
from registry.text import shown_name

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.0003
"""The pause before the second attempt, in seconds; each further pause is 1.5 times as long."""

LONGEST_PAUSE = 0.02
"""The longest pause between two attempts, in seconds, before jitter."""

STAY_AWAY = 0.11
"""How long, in seconds, a writer pauses so that a poller can get the lock.

This is slightly longer than the 0.1 s that a poller sleeps between two attempts.
"""

# A poller probably waits if this many commits in a row, over this many seconds, find the file open
# in another process. Readers, and failed attempts of writers, open the file for a shorter time.
_COMMITS_IN_A_ROW = 4
_OPEN_FOR = 0.03

# All writers pause at the same times, by the clock that all processes share. Otherwise another
# writer would take the lock instead of the poller. The writers pause once in each round of _ROUND
# seconds. A process that has the file open for longer than _FOR_LONG seconds is probably not
# waiting for the lock. Then the writers pause only in every fourth round.
_ROUND = 0.25
_FOR_LONG = 2.0
_SELDOM = 4

Ready: TypeAlias = Callable[[int, Path], bool]
"""A function that is called under the lock, with the registry's descriptor and path.

If the function returns False, the lock is released, and the wait goes on.
"""


_held: WeakSet[Lock] = WeakSet()

# No fork may happen between opening a file and adding it to `_held`. Otherwise the child would
# share the open file, and later its lock, without knowing it.
_fork_guard = threading.RLock()


@dataclass(slots=True)
class _Crowd:
    """A series of commits of this process that found a registry open in another process.

    Attributes:
        since: The time of the first commit, in monotonic seconds.
        last: The time of the last commit, in monotonic seconds.
        commits: The number of commits.
    """

    since: float
    last: float
    commits: int


_crowds: dict[Path, _Crowd] = {}
_CROWDS_AT_MOST = 256

# A reader holds the shared lock only for some microseconds. So the first call makes this many
# attempts before a pause.
_FIRST_ATTEMPTS = 4

_NO_IDENTITY = (0, 0)


def _forget_in_child() -> None:
    # A forked child shares the open file descriptions. If they stayed open there, the lock
    # would survive the death of the parent. Closing them in the child does not unlock.
    for lock in _held:
        lock.close()
    _held.clear()
    _crowds.clear()
    _fork_guard.release()


os.register_at_fork(
    before=_fork_guard.acquire,
    after_in_parent=_fork_guard.release,
    after_in_child=_forget_in_child,
)


class Lock:
    """A registry that is open for reading and writing, and its exclusive lock.

    The lock is released when the last reference to this object is gone. So an interruption between
    two steps cannot leave a lock behind.

    Attributes:
        path: The registry.
        identity: The device and inode of the locked file.
        thread: The id of the thread that created the lock.
    """

    __slots__ = ("__weakref__", "_file", "_may_hold", "identity", "path", "thread")

    def __init__(self, path: Path) -> None:
        self._file: Descriptor | None = None
        # True also if an interruption came between the lock and the next line.
        self._may_hold = False
        self.path = path
        self.identity = _NO_IDENTITY
        self.thread = threading.get_ident()

    @property
    def fd(self) -> int:
        """The descriptor; -1 after the release, and in a forked child."""
        return -1 if self._file is None or self._file.closed else self._file.fileno()

    def open(self) -> bool:
        """Opens the file; returns False if another process holds a lease on the file.

        Raises:
            RegistryError: The file does not exist, is not a regular file, or is not accessible.
        """
        with _fork_guard:
            try:
                self._file = open_file(self.path, os.O_RDWR, past_lease=False)
            except InaccessibleRegistryError as error:
                hand_on(error)
                if error.errno == errno.EAGAIN:
                    return False
                raise
            _held.add(self)
        return True

    def try_lock(self, attempts: int) -> bool:
        """Tries to lock the file that is now at the path.

        Args:
            attempts: How many attempts to make without a pause; readers hold the lock only for a
                moment.

        Returns:
            Whether this object holds the lock, and the locked file is at the path.

        Raises:
            InaccessibleRegistryError: The disk failed, or its file system has no locks.
        """
        self._may_hold = True
        try:
            self._may_hold = any(_flock(self.fd, self.path) for _ in range(attempts))
        except InaccessibleRegistryError:
            self._may_hold = False
            raise
        if not self._may_hold:
            return False
        try:
            status = os.fstat(self.fd)
        except OSError as error:
            hand_on(error)
            raise InaccessibleRegistryError(self.path, error, "lock") from error
        self.identity = (status.st_dev, status.st_ino)
        return self.is_current()

    def is_held(self) -> bool:
        """Returns whether this process still holds the lock."""
        return self.fd >= 0 and _flock(self.fd, self.path)

    def is_current(self) -> bool:
        """Returns whether the locked file is at the path.

        Raises:
            InaccessibleRegistryError: The path cannot be examined.
        """
        return self.identity == _identity(self.path)

    def release(self) -> None:
        """Unlocks and closes the file; does nothing on a second call, or in a forked child.

        To close the file is not enough: a forked process may have a copy of the descriptor, and
        this copy keeps the lock.
        """
        fd = self.fd
        if fd < 0:
            return
        try:
            if self._may_hold:
                _unlock(fd)
        except OSError as error:
            hand_on(error)
            _log.error("Error unlocking registry %s: %s", shown_name(self.path), error)
        finally:
            # If an interruption prevents this call, the destructor closes the file.
            self.close()

    def close(self) -> None:
        """Closes the file. This ends the lock, unless a forked child has the file open too."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            hand_on(error)
            # The descriptor is closed in spite of the error, and the data is written. An
            # exception would tell the caller that the data was not written.
            _log.error("Error closing registry %s: %s", shown_name(self.path), error)

    def __del__(self) -> None:
        # After an interruption of the constructor the attribute does not exist.
        if getattr(self, "_file", None) is not None:
            self.release()


def _flock(fd: int, path: Path) -> bool:
    # Imported at the first use: readers do not need it.
    import portalocker

    flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    try:
        portalocker.lock(fd, flags)
    except portalocker.exceptions.AlreadyLocked as error:
        hand_on(_cause(error))
        return False
    except portalocker.exceptions.LockException as error:
        hand_on(_cause(error))
        raise InaccessibleRegistryError(path, _cause(error), "lock") from error
    return True


def _unlock(fd: int) -> None:
    import portalocker

    try:
        portalocker.unlock(fd)
    except portalocker.exceptions.LockException as error:
        hand_on(_cause(error))
        raise _cause(error) from error


def _cause(error: Exception) -> OSError:
    """Returns the error of the system that portalocker has wrapped in its own exception."""
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else OSError(errno.ENOLCK, str(error))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = look(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        return None
    except RegistryError:
        raise
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "examine") from error
    return status.st_dev, status.st_ino


def holds(path: Path) -> bool:
    """Returns whether this thread holds the exclusive lock of the file that is now at `path`."""
    identity = _identity(path)
    thread = threading.get_ident()
    return any(
        lock.identity == identity and lock.thread == thread and lock.fd >= 0
        for lock in tuple(_held)
    )


def try_acquire(
    path: Path, ready: Ready | None = None, *, attempts: int = _FIRST_ATTEMPTS
) -> Lock | None:
    """Tries once to acquire the exclusive lock of the file that is now at `path`.

    Args:
        path: The registry.
        ready: Called under the lock; see `Ready`.
        attempts: How many attempts to make without a pause; readers hold the lock only for a
            moment. A caller that repeats this call should use 1, which disturbs the holder less.

    Returns:
        The lock; None if another process or thread holds the lock, or if `ready` returned False.

    Raises:
        RegistryError: The file does not exist, is not a regular file, or is not accessible.
    """
    lock = Lock(path)
    try:
        if lock.open() and lock.try_lock(attempts) and (ready is None or ready(lock.fd, path)):
            return lock
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


def note_commit(path: Path, *, shared: bool) -> None:
    """Records whether a commit found the registry open in another process.

    If several commits in a row find the registry open, another program probably waits for the
    lock. Then `acquire` pauses, so that this program can get the lock.

    Args:
        path: The registry.
        shared: Whether another process had the registry open.
    """
    now = time.monotonic()
    if not shared:
        _crowds.pop(path, None)
        return
    crowd = _crowds.get(path)
    if crowd is not None and now - crowd.last < STAY_AWAY:
        crowd.last = now
        crowd.commits += 1
        return
    if len(_crowds) >= _CROWDS_AT_MOST:
        _crowds.clear()
    _crowds[path] = _Crowd(now, now, 1)


class _Patience:
    """The pauses between attempts to get a lock. They grow, with jitter, until a deadline."""

    def __init__(self, timeout: float, longest_pause: float) -> None:
        # Imported before the time is measured and the lock is held, because the imports take
        # longer than most waits.
        import hashlib  # noqa: F401
        from random import uniform

        import portalocker  # noqa: F401

        codec.prepare()

        self._jitter = uniform
        self._timeout = timeout
        self._began = time.monotonic()
        self._longest = longest_pause
        self._pause = min(FIRST_PAUSE, longest_pause)

    def stay_away(self, path: Path) -> None:
        """Pauses if another program probably waits for the lock; see `note_commit`."""
        crowd = _crowds.get(path)
        if crowd is None or self._began - crowd.last > STAY_AWAY:
            return
        open_for = crowd.last - crowd.since
        if crowd.commits < _COMMITS_IN_A_ROW or open_for < _OPEN_FOR:
            return
        number, into = divmod(self._began, _ROUND)
        if into < STAY_AWAY and (open_for < _FOR_LONG or number % _SELDOM == 0):
            away = STAY_AWAY - into + self._jitter(0, 0.01)
            time.sleep(min(away, self._timeout / 2))
            # The pause must not count as a gap between commits.
            crowd.last = time.monotonic()

    def wait(self, busy: Path) -> None:
        left = self._began + self._timeout - time.monotonic()
        if left <= 0:
            metrics.count_timeout(busy)
            _log.warning("Could not acquire lock on %s after %gs", shown_name(busy), self._timeout)
            raise LockTimeoutError(busy, self._timeout)
        time.sleep(min(left, self._pause * self._jitter(0.5, 1.5)))
        self._pause = min(self._pause * 1.5, self._longest)

    def count_acquired(self, path: Path) -> None:
        metrics.count_wait(path, time.monotonic() - self._began)


def acquire(
    path: Path,
    timeout: float,
    *,
    longest_pause: float = LONGEST_PAUSE,
    ready: Ready | None = None,
) -> Lock:
    """Acquires the exclusive lock on a registry.

    Args:
        path: The registry.
        timeout: How long to wait, in seconds; 0 for one attempt.
        longest_pause: The longest pause between two attempts, in seconds.
        ready: Called under the lock; see `Ready`.

    Raises:
        LockTimeoutError: Another process or thread held the lock until the timeout.
        RegistryError: The file does not exist, is not a regular file, or is not accessible.
    """
    patience = _Patience(timeout, longest_pause)
    patience.stay_away(path)
    lock = try_acquire(path, ready)
    if lock is None:
        _refuse_own(path)
    while lock is None:
        patience.wait(path)
        lock = try_acquire(path, ready, attempts=1)
    patience.count_acquired(path)
    return lock


def _refuse_own(path: Path) -> None:
    """Raises an error if this thread itself holds the lock, because a wait would never end."""
    if holds(path):
        raise LockTimeoutError(path, 0, by_caller=True)


def acquire_both(
    first: Path, second: Path, timeout: float, *, ready: Ready | None = None
) -> tuple[Lock, Lock]:
    """Acquires the locks of a task's registry and of the global registry.

    This function waits for the first lock, and then tries to get the second lock without waiting.
    If the second lock is busy, the first lock is released, and the function starts from the
    beginning. So no lock order of other processes causes a deadlock.

    Raises:
        LockTimeoutError: Another process or thread held one of the locks; the error names the
            file.
        RegistryError: See `acquire`, for either file.
    """
    patience = _Patience(timeout, LONGEST_PAUSE)
    for path in (first, second):
        patience.stay_away(path)
    while True:
        lock = try_acquire(first, ready)
        if lock is None:
            _refuse_own(first)
            patience.wait(first)
            continue
        try:
            other = try_acquire(second, ready)
            if other is not None:
                patience.count_acquired(first)
                patience.count_acquired(second)
                return lock, other
            # For example if both paths name the same file.
            _refuse_own(second)
        except BaseException:
            lock.release()
            raise
        lock.release()
        patience.wait(second)
