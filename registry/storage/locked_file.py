"""A registry held under its lock while it is read, changed and written."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from registry.errors import CorruptRegistryError, InaccessibleRegistryError, LostLockError, naming
from registry.storage import commit as committing
from registry.storage import flock, recovery
from registry.storage.codec import MAX_BYTES, Json, check_size, decode, encode
from registry.storage.file_age import seconds_since_write
from registry.storage.flock import Lock
from registry.storage.interruption import hand_on
from registry.storage.safe_open import read_all

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10.0
"""Seconds that every operation waits for a lock unless told otherwise."""

# A careless writer empties the file first and writes it then: what does not parse
# but was touched a moment ago is looked at again before it is called corrupt.
_IN_THE_MAKING = 0.1
_LOOK_AGAIN = 0.005


class StagedText(io.StringIO):
    """What `LockedRegistryFile` hands out as its file: writes are staged.

    Behaves as a text file opened with ``r+`` that has been read to its end.
    What is written reaches the registry when the ``with`` block ends well.
    """

    def __init__(self, text: str, path: Path, fd: int) -> None:
        super().__init__(text, newline="\n")
        self.seek(0, io.SEEK_END)
        self.name = str(path)
        self._fd = fd

    def fileno(self) -> int:
        """The locked descriptor, for `os.fstat`; the staged text is not in it yet."""
        return self._fd

    def close(self) -> None:
        """Does nothing: the end of the ``with`` block closes the registry."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A registry under its lock, as it was found.

    Attributes:
        stamp: Tells whether somebody wrote without the lock meanwhile.
        owner: The user it belongs to, by its number.
    """

    lock: Lock
    old: bytes
    registry: Json
    stamp: committing.Stamp
    owner: int


def _open(acquire: Callable[[float], Sequence[Lock]], timeout: float) -> list[_Opened]:
    """Locks, recovers, reads and decodes; looks again at what is just being written.

    Args:
        acquire: Takes the locks, given seconds to wait for them.
        timeout: Seconds to wait in all.
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
                    seconds_since_write(_status(lock)) < _IN_THE_MAKING for lock in locks
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
        raise InaccessibleRegistryError(lock.path, error, "look at") from error


def _commit(changes: Sequence[tuple[_Opened, bytes]]) -> None:
    """Commits new texts, unless they would overwrite what somebody wrote meanwhile.

    Raises:
        LostLockError: The lock was let go in between, or somebody wrote without it.
        RegistryError: As `registry.storage.commit.commit`.
    """
    for opened, new in changes:
        lock = opened.lock
        if new == opened.old:
            continue
        if not lock.is_held():
            raise LostLockError(lock.path, "the lock stayed with the process that took it")
        if not lock.is_of_what_is_there():
            raise LostLockError(lock.path, "somebody put another file in its place, or removed it")
        if committing.stamp_of(_status(lock)) != opened.stamp:
            raise LostLockError(lock.path, "somebody who holds no lock wrote it meanwhile")
    shared = committing.commit(
        [
            committing.Write(each.lock.fd, each.lock.path, each.old, new, each.stamp)
            for each, new in changes
        ]
    )
    for opened, new in changes:
        if new != opened.old:
            flock.note_commit(opened.lock.path, shared=opened.lock.path in shared)


class LockedRegistryFile:
    """Opens a registry under an exclusive lock and gives its content and a file.

    The lock is ``flock`` on the registry's inode and excludes every process and
    thread that takes it too. It is released on any exit from the block.
    What was written to the file is checked to be a JSON object and then
    committed in place, all or nothing; a block that raises leaves the registry
    untouched. See `durable_commits` for what a commit outlasts.

    One object may be used again and by several threads at once.

    Example:
        >>> with LockedRegistryFile(path) as (registry, f):
        ...     registry["max_agents"] = 20
        ...     f.seek(0)
        ...     f.write(json.dumps(registry, indent=2))
        ...     f.truncate()

    Args:
        path: The registry.
        timeout: Seconds to wait for the lock; 0 means one try.
        retry_delay: Longest pause between two tries, in seconds. Pauses start
            well under a millisecond and never exceed 20 ms.

    Raises:
        TimeoutError: On entry, when the lock cannot be had in time.
        FileNotFoundError: On entry, when there is no such file.
        json.JSONDecodeError: On entry, when the file is corrupt, and on exit, when
            what was written is not a JSON object; the file keeps its content.
        LostLockError: On exit, when the lock was let go inside the block, in a child that
            was forked there, or when another file was put in the registry's place; nothing
            is written.
        OSError: On exit, when the disk is full or failed; nothing is written.
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
        # Logged only now: a log handler may be slow, and the lock is not for that.
        _log.info("Registry locked and loaded: %s", self.path)

    def _leave(self) -> tuple[_Opened, StagedText]:
        """This thread's own entry; or, for a generator that another thread ends, the last."""
        mine = [each for each in self._entered if each[0] == threading.get_ident()]
        entry = (mine or self._entered)[-1]
        self._entered.remove(entry)
        return entry[1], entry[2]

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
                f"the text that was to be written: {error.reason}",
                remedy="Write a JSON object, as json.dumps makes it, and cut what is behind it",
            ) from None
        _commit([(opened, new)])


@dataclass(slots=True)
class Edit:
    """A decoded registry under its lock, and whether it is to be written.

    Attributes:
        path: Where it lies.
        registry: The decoded object; change it in place.
        owner: The user that the file belongs to, by its number.
        changed: Set to write it when the block ends well.
    """

    path: Path
    registry: Json
    owner: int
    changed: bool = False


@contextmanager
def _editing(acquire: Callable[[float], Sequence[Lock]], timeout: float) -> Iterator[list[Edit]]:
    opened = _open(acquire, timeout)
    edits = [Edit(each.lock.path, each.registry, each.owner) for each in opened]
    # No `ExitStack`: one that is interrupted keeps what it holds until garbage is collected.
    try:
        yield edits
        _commit(
            [
                (each, encode(edit.registry, edit.path))
                for each, edit in zip(opened, edits, strict=True)
                if edit.changed
            ]
        )
    finally:
        for each in reversed(opened):
            each.lock.release()
    for edit in edits:
        _log.info("Registry locked and loaded: %s", edit.path)


@contextmanager
def editing(path: Path, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Edit]:
    """One locked read-change-write of one registry.

    Raises:
        RegistryError: The lock, the file or its content cannot be had.
    """
    with _editing(lambda left: (recovery.acquire(path, left),), timeout) as (edit,), naming(path):
        yield edit


@contextmanager
def editing_two(
    task: Path, global_: Path, timeout: float = DEFAULT_TIMEOUT
) -> Iterator[tuple[Edit, Edit]]:
    """One locked read-change-write of two registries: a task's and the global one.

    Raises:
        RegistryError: A lock, file or content cannot be obtained; nothing was written.
    """
    with _editing(lambda left: recovery.acquire_both(task, global_, left), timeout) as edits:
        first, second = edits
        yield first, second
