"""Waiting for the flock on a registry: the one door to portalocker.

The lock is ``flock`` on the registry's own inode, because that is what the
peers lock; a sidecar file or ``lockf`` would exclude nobody. Each attempt opens
the file anew, so that a file that was replaced meanwhile is noticed and so that
nothing of ours keeps the file open while it waits.

Peers try every 0.1 s, and keep the file open. A writer whose commits find it open all the
time therefore stays away now and then, together with all others of its kind. Beside four
writers in a hot loop a peer waits 1.4 s at most, and they make 570 commits a second.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar
from weakref import WeakSet

from registry.errors import InaccessibleRegistryError, LockTimeoutError, RegistryError
from registry.storage import codec, metrics
from registry.storage.descriptor import Descriptor
from registry.storage.interruption import hand_on
from registry.storage.safe_open import look, open_file
from registry.text import shown_name

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.0003
"""Seconds before the second attempt; each further pause is half as long again."""

LONGEST_PAUSE = 0.02
"""Longest pause between two attempts, in seconds, before jitter."""

STAY_AWAY = 0.11
"""Seconds that a writer stays away from a registry that a slow poller waits for.

A little more than the 0.1 s that the peers sleep between two tries.
"""

# A file that so many commits in a row, over so many seconds, found open elsewhere is open
# for longer than readers, and other writers at a try that fails, have it open.
_COMMITS_IN_A_ROW = 4
_OPEN_FOR = 0.03

# Writers stay away at the same times, by the clock that all processes share: one that did
# not would take the poller's turn. They do so every so many seconds; and once somebody has
# had the file open for long, who then hardly waits for the lock, in every fourth round.
_ROUND = 0.25
_FOR_LONG = 2.0
_SELDOM = 4

Ready: TypeAlias = Callable[[int, Path], bool]
"""Called with a locked descriptor; False lets go of the lock and waits on."""

Found = TypeVar("Found")


_held: WeakSet[Lock] = WeakSet()

# Between opening a file and noting it in `_held` nobody may fork: the child would
# share an open file, and later its lock, that it knows nothing of.
_fork_guard = threading.RLock()


@dataclass(slots=True)
class _Crowd:
    """Commits of this process, in a row, that found a registry open elsewhere.

    Attributes:
        since: When the first of them was, in monotonic seconds.
        last: When the last of them was.
        commits: How many.
    """

    since: float
    last: float
    commits: int


_crowds: dict[Path, _Crowd] = {}
_CROWDS_AT_MOST = 256

# A reader's glance at the lock lasts some microseconds; it is no reason to wait.
_GLANCES = 4

_NEVER_HAD = (0, 0)


def _forget_in_child() -> None:
    # A forked child shares our open file descriptions: left open there, the
    # lock would outlive our own death. Closing them does not unlock.
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
    """A registry opened for reading and writing, and the exclusive lock on it.

    Let go at the latest when nobody refers to it any more, so that no interruption
    between two steps can leave a lock behind.

    Attributes:
        path: The registry.
    """

    __slots__ = ("__weakref__", "_file", "identity", "path", "thread")

    def __init__(self, path: Path) -> None:
        self._file: Descriptor | None = None
        self.path = path
        self.identity = _NEVER_HAD
        self.thread = threading.get_ident()

    @property
    def fd(self) -> int:
        """Its descriptor; -1 once it was let go, and in a forked child."""
        return -1 if self._file is None or self._file.closed else self._file.fileno()

    def open(self) -> bool:
        """Opens the file; False while a peer has a lease on it.

        Raises:
            RegistryError: It is not there, not regular or not accessible.
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

    def try_lock(self, glances: int) -> bool:
        """One try for the lock on what the path names now; so many glances are outlasted.

        Raises:
            InaccessibleRegistryError: The disk failed, or its file system has no locks.
        """
        if not any(_flock(self.fd, self.path) for _ in range(glances)):
            return False
        try:
            status = os.fstat(self.fd)
        except OSError as error:
            hand_on(error)
            raise InaccessibleRegistryError(self.path, error, "lock") from error
        self.identity = (status.st_dev, status.st_ino)
        return self.is_of_what_is_there()

    def is_held(self) -> bool:
        """Whether the lock is still held, and by this process."""
        return self.fd >= 0 and _flock(self.fd, self.path)

    def is_of_what_is_there(self) -> bool:
        """Whether the path still names the file that is locked.

        Raises:
            InaccessibleRegistryError: Nobody can tell.
        """
        return self.identity == _identity(self.path)

    def release(self) -> None:
        """Unlocks and closes; the second time, and in a forked child, does nothing.

        Unlocked by name and not by closing alone: a child forked meanwhile may
        hold a copy of the descriptor, and with it the lock.
        """
        fd = self.fd
        if fd < 0:
            return
        try:
            _unlock(fd)
        except OSError as error:
            hand_on(error)
            _log.error("Error unlocking registry %s: %s", shown_name(self.path), error)
        finally:
            # Also when interrupted; interrupted even before this, it is closed with the object.
            self.close()

    def close(self) -> None:
        """Closes the file; a lock goes with it, unless a child has the file open as well."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            hand_on(error)
            # The descriptor is gone all the same, and what was written is written:
            # to raise would tell the caller that it was not.
            _log.error("Error closing registry %s: %s", shown_name(self.path), error)

    def __del__(self) -> None:
        # Made but for an interruption, it has no file yet.
        if getattr(self, "_file", None) is not None:
            self.release()


def _flock(fd: int, path: Path) -> bool:
    # Imported on first use: readers get by without it.
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
    """What the system said, which portalocker wraps in an exception that is no OSError."""
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else OSError(errno.ENOLCK, str(error))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        there = look(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        return None
    except RegistryError:
        raise
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "look at") from error
    return there.st_dev, there.st_ino


def holds(path: Path) -> bool:
    """Whether this thread holds the exclusive lock on what `path` names now."""
    there = _identity(path)
    me = threading.get_ident()
    return any(
        lock.identity == there and lock.thread == me and lock.fd >= 0 for lock in tuple(_held)
    )


def try_acquire(path: Path, ready: Ready | None = None, *, glances: int = _GLANCES) -> Lock | None:
    """One try for the exclusive lock on what `path` names now.

    Args:
        path: The registry.
        ready: Decides under the lock whether it may be given out.
        glances: How often to look again at once, for readers' sake; who tries again
            and again anyway needs it once only, and costs the holder less.

    Returns:
        None if somebody else holds the lock.

    Raises:
        RegistryError: The file is not there, not regular or not accessible.
    """
    lock = Lock(path)
    try:
        if lock.open() and lock.try_lock(glances) and (ready is None or ready(lock.fd, path)):
            return lock
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


def note_commit(path: Path, *, shared: bool) -> None:
    """Notes what a commit told of other processes, for the next one to leave them room.

    Args:
        path: The registry.
        shared: Whether another process had it open, as pollers have while they wait.
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
    """Pauses that grow, with jitter, until a deadline."""

    def __init__(self, timeout: float, longest_pause: float) -> None:
        # Imported before the clock runs, and before the lock is held and others wait:
        # it takes longer than most waits.
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
        """Leaves a slow poller its turn, if this process had many just now."""
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
            # What it did not see is no gap.
            crowd.last = time.monotonic()

    def wait(self, busy: Path) -> None:
        left = self._began + self._timeout - time.monotonic()
        if left <= 0:
            metrics.count_timeout(busy)
            _log.warning("Could not acquire lock on %s after %gs", shown_name(busy), self._timeout)
            raise LockTimeoutError(busy, self._timeout)
        time.sleep(min(left, self._pause * self._jitter(0.5, 1.5)))
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
) -> Lock:
    """Takes the exclusive lock on a registry.

    Args:
        path: The registry.
        timeout: Seconds to wait at most; 0 tries once.
        longest_pause: Upper bound of the pause between two tries, in seconds.
        ready: Decides under the lock whether it may be given out.

    Raises:
        LockTimeoutError: Somebody else held it all the time.
        RegistryError: The file is not there, not regular or not accessible.
    """
    patience = _Patience(timeout, longest_pause)
    patience.stay_away(path)
    lock = try_acquire(path, ready)
    if lock is None:
        _refuse_own(path)
    while lock is None:
        patience.wait(path)
        lock = try_acquire(path, ready, glances=1)
    patience.had(path)
    return lock


def _refuse_own(path: Path) -> None:
    """Raises where this very thread holds the lock: to wait for that would be in vain."""
    if holds(path):
        raise LockTimeoutError(path, 0, by_caller=True)


def acquire_both(
    first: Path, second: Path, timeout: float, *, ready: Ready | None = None
) -> tuple[Lock, Lock]:
    """Takes the locks of a task's registry and of the global one.

    The first is waited for, the second only tried; if it is busy both are let
    go and the wait starts again. So no order that others lock in can deadlock.

    Raises:
        LockTimeoutError: One of the two was held all the time; it names which.
        RegistryError: As `acquire`, for either.
    """
    patience = _Patience(timeout, LONGEST_PAUSE)
    for each in (first, second):
        patience.stay_away(each)
    while True:
        lock = try_acquire(first, ready)
        if lock is None:
            _refuse_own(first)
            patience.wait(first)
            continue
        try:
            other = try_acquire(second, ready)
            if other is not None:
                patience.had(first)
                patience.had(second)
                return lock, other
            # The same file, by two names, for example.
            _refuse_own(second)
        except BaseException:
            lock.release()
            raise
        lock.release()
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
    # What portalocker calls on Linux, without the 30 ms that importing it takes: a reader
    # never holds a lock, it only looks whether somebody does.
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
