"""Holds the lock of a registry while the registry is read, changed and written."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from registry.dataclass import dataclass
from registry.errors import CorruptRegistryError, InaccessibleRegistryError, LostLockError, naming
from registry.storage import commit as committing
from registry.storage import flock, recovery
from registry.storage.codec import MAX_BYTES, Json, check_size, decode, encode
from registry.storage.files.file_age import is_in_the_making
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import read_all
from registry.storage.flock import Lock

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

DEFAULT_TIMEOUT = 10.0
"""How long, in seconds, an operation waits for a lock by default."""

_LOOK_AGAIN = 0.005


class StagedText(io.StringIO):
    """The file object of `LockedRegistryFile`, which keeps the written text in memory.

    The object behaves like a text file that was opened with ``r+`` and read to its end. If the
    ``with`` block raises no exception, the text is written to the registry at the end of the
    block.
    """

    def __init__(self, text: str, path: Path, fd: int) -> None:
        super().__init__(text, newline="\n")
        self.seek(0, io.SEEK_END)
        self.name = str(path)
        self._fd = fd

    def fileno(self) -> int:
        """Returns the registry's descriptor, for `os.fstat`."""
        return self._fd

    def close(self) -> None:
        """Does nothing, because the end of the ``with`` block closes the registry."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A locked registry with its content.

    Attributes:
        stamp: The size and mtime of the file when the content was read. If the size or the mtime
            differs at the commit, another process has written the file.
        owner: The id of the user who owns the file.
    """

    lock: Lock
    old: bytes
    registry: Json
    stamp: committing.Stamp
    owner: int


def _open(acquire: Callable[[float], Sequence[Lock]], timeout: float) -> list[_Opened]:
    """Locks, recovers, reads and decodes the registries.

    If a file cannot be decoded, another process may be writing it without the lock. Then this
    function repeats all steps.

    Args:
        acquire: Acquires the locks; called with the timeout in seconds.
        timeout: How long to wait in total, in seconds.
    """
    deadline = time.monotonic() + timeout
    left = timeout
    while True:
        locks = acquire(left)
        try:
            return [_load(lock) for lock in locks]
        except BaseException as error:
            try:
                in_the_making = isinstance(error, CorruptRegistryError) and any(
                    is_in_the_making(_status(lock)) for lock in locks
                )
            finally:
                for lock in locks:
                    lock.release()
            hand_on(error)
            left = deadline - time.monotonic()
            if not in_the_making or left <= 0:
                raise
        time.sleep(min(left, _LOOK_AGAIN))


def _load(lock: Lock) -> _Opened:
    check_size(_status(lock).st_size, lock.path)
    old = read_all(lock.fd, lock.path, MAX_BYTES)
    registry, status = decode(old, lock.path), _status(lock)
    return _Opened(lock, old, registry, committing.stamp_of(status), status.st_uid)


def _status(lock: Lock) -> os.stat_result:
    try:
        return os.fstat(lock.fd)
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(lock.path, error, "examine") from error


def _commit(changes: Sequence[tuple[_Opened, bytes]]) -> None:
    """Commits new texts, unless another process has changed a file after it was read.

    Raises:
        LostLockError: The lock was lost, or another process wrote a file without the lock.
        RegistryError: See `registry.storage.commit.commit`.
    """
    for opened, new in changes:
        lock = opened.lock
        if new == opened.old:
            continue
        if not lock.is_held():
            why = "this process no longer holds the lock"
            raise LostLockError(lock.path, why, by_peer=False)
        if not lock.is_current():
            raise LostLockError(lock.path, "the file was replaced or removed meanwhile")
        if committing.stamp_of(_status(lock)) != opened.stamp:
            raise LostLockError(lock.path, "another process wrote the file without the lock")
    shared = committing.commit(
        [
            committing.Write(opened.lock.fd, opened.lock.path, opened.old, new, opened.stamp)
            for opened, new in changes
        ]
    )
    for opened, new in changes:
        if new != opened.old:
            flock.note_commit(opened.lock.path, shared=opened.lock.path in shared)


class LockedRegistryFile:
    """Opens a registry under an exclusive lock, and returns its content and a file object.

    The lock is ``flock`` on the registry's inode. No other process or thread can hold this lock at
    the same time. The lock is released when the ``with`` block ends, also by an exception.

    At the end of the block, the text in the file object must be a JSON object. The whole text is
    committed in place, or nothing. If the block raises an exception, the registry is not changed.
    See `durable_commits` for the crashes that a commit survives.

    A `LockedRegistryFile` can be used several times, also by several threads at the same time.

    Example:
        >>> with LockedRegistryFile(path) as (registry, f):
        ...     registry["max_agents"] = 20
        ...     f.seek(0)
        ...     f.write(json.dumps(registry, indent=2))
        ...     f.truncate()

    Args:
        path: The registry.
        timeout: How long to wait for the lock, in seconds; 0 for one attempt.
        retry_delay: The longest pause between two attempts, in seconds. Values over 0.02 count as
            0.02.

    Raises:
        TimeoutError: On entry, if the lock cannot be acquired in time.
        FileNotFoundError: On entry, if the file does not exist.
        json.JSONDecodeError: On entry, if the file is corrupt. On exit, if the new text is not a
            JSON object; the file keeps its content.
        LostLockError: On exit, if the lock was released inside the block, if the block ends in a
            forked child, or if the file was replaced. Nothing is written.
        OSError: On exit, if the disk is full or failed. Nothing is written.
    """

    def __init__(
        self, path: str | os.PathLike[str], timeout: float = 10, retry_delay: float = 0.1
    ) -> None:
        self.path = Path(path)
        self.timeout = timeout
        self.retry_delay = retry_delay
        self._entered: list[tuple[int, _Opened, StagedText]] = []

    def __enter__(self) -> tuple[Json, StagedText]:
        pause = min(self.retry_delay, flock.LONGEST_PAUSE)

        def acquire(timeout: float) -> tuple[Lock]:
            return (recovery.acquire(self.path, timeout, longest_pause=pause),)

        (opened,) = _open(acquire, self.timeout)
        staged = StagedText(opened.old.decode("utf-8"), self.path, opened.lock.fd)
        self._entered.append((threading.get_ident(), opened, staged))
        return opened.registry, staged

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, staged = self._leave()
        try:
            if kind is None:
                self._write(opened, staged.getvalue())
        finally:
            opened.lock.release()
        # Logged after the release, because a log handler may be slow.
        _log.info("Registry locked and loaded: %s", self.path)

    def _leave(self) -> tuple[_Opened, StagedText]:
        """Removes and returns the registry that this thread entered last.

        If this thread entered none, the last registry of all threads is used. This happens if a
        generator contains the ``with`` block, and another thread ends the generator.
        """
        own = [entry for entry in self._entered if entry[0] == threading.get_ident()]
        last = (own or self._entered)[-1]
        self._entered.remove(last)
        return last[1], last[2]

    def _write(self, opened: _Opened, text: str) -> None:
        try:
            new = text.encode("utf-8")
        except UnicodeEncodeError as error:
            hand_on(error)
            raise CorruptRegistryError(
                self.path,
                f"the new text has a lone surrogate at character {error.start}",
                remedy="Use json.dumps with ensure_ascii=True",
            ) from None
        if new == opened.old:
            return
        try:
            decode(new, self.path)
        except CorruptRegistryError as error:
            hand_on(error)
            raise CorruptRegistryError(
                self.path,
                f"the new text is not valid: {error.reason}",
                remedy="Write a JSON object with json.dumps, then truncate the file",
            ) from None
        _commit([(opened, new)])


@dataclass(slots=True)
class Edit:
    """A decoded registry under its lock.

    Attributes:
        path: The path of the registry.
        registry: The decoded object; change this object in place.
        owner: The id of the user who owns the file.
        changed: Set this to True to write the registry when the block ends without an exception.
    """

    path: Path
    registry: Json
    owner: int
    changed: bool = False


@contextmanager
def _editing(acquire: Callable[[float], Sequence[Lock]], timeout: float) -> Iterator[list[Edit]]:
    opened = _open(acquire, timeout)
    edits = [Edit(locked.lock.path, locked.registry, locked.owner) for locked in opened]
    # An `ExitStack` is not used: after an interruption it would keep the locks until the
    # garbage collector runs.
    try:
        yield edits
        _commit(
            [
                (locked, encode(edit.registry, edit.path))
                for locked, edit in zip(opened, edits, strict=True)
                if edit.changed
            ]
        )
    finally:
        for locked in reversed(opened):
            locked.lock.release()
    for edit in edits:
        _log.info("Registry locked and loaded: %s", edit.path)


@contextmanager
def editing(path: Path, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Edit]:
    """Yields a registry under its lock; commits the registry at the end of the block.

    Raises:
        RegistryError: The registry cannot be locked, read or written.
    """
    with _editing(lambda left: (recovery.acquire(path, left),), timeout) as (edit,), naming(path):
        yield edit


def until_kept(attempt: Callable[[float], Result], timeout: float) -> Result:
    """Repeats a change until no other process writes the file during the change.

    If another process without the lock writes or replaces the file, the change is not written.
    Then this function makes the change again.

    Args:
        attempt: Locks, reads, changes and commits. Its argument is the time left in seconds.
        timeout: No further attempt starts after this many seconds.

    Raises:
        LostLockError: Another process wrote the file during the last attempt, or this process lost
            the lock.
        RegistryError: An attempt raised another error. No further attempt was made.
    """
    deadline = time.monotonic() + timeout
    left = timeout
    while True:
        try:
            return attempt(left)
        except LostLockError as error:
            hand_on(error)
            left = deadline - time.monotonic()
            if not error.by_peer or left <= 0:
                raise
        time.sleep(min(left, _LOOK_AGAIN))


def edited(
    path: Path, change: Callable[[Edit], Result], timeout: float = DEFAULT_TIMEOUT
) -> Result:
    """Changes a registry under its lock, commits the change, and returns the result of `change`.

    Args:
        path: The registry.
        change: Makes the change. It is called again if another process writes the file
            during the change.
        timeout: How long to try, in seconds.

    Raises:
        RegistryError: The registry cannot be locked, read or written; nothing was written.
    """

    def attempt(left: float) -> Result:
        with editing(path, left) as edit:
            return change(edit)

    return until_kept(attempt, timeout)


@contextmanager
def editing_two(
    task: Path, global_: Path, timeout: float = DEFAULT_TIMEOUT
) -> Iterator[tuple[Edit, Edit]]:
    """Yields both registries under their locks; commits both at the end of the block.

    Args:
        task: The path of a task's registry.
        global_: The path of the global registry.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        RegistryError: A registry cannot be locked, read or written; nothing was written.
    """
    with _editing(lambda left: recovery.acquire_both(task, global_, left), timeout) as edits:
        first, second = edits
        yield first, second
