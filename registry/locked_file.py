"""A registry held under its lock while it is read, changed and written."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from registry import commit as committing
from registry import locking, recovery
from registry.codec import MAX_BYTES, Json, decode, encode
from registry.errors import CorruptRegistryError, LostLockError
from registry.files import read_all

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10.0
"""Seconds that every operation waits for a lock unless told otherwise."""


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
        """The locked descriptor, for `os.fsync` and `os.fstat`; not for writing."""
        return self._fd


class LockedRegistryFile:
    """Opens a registry under an exclusive lock and gives its content and a file.

    The lock is ``flock`` on the registry's inode and excludes every process and
    thread that takes it too. It is released on any exit from the block.
    What was written to the file is checked to be a JSON object and then
    committed in place; a block that raises leaves the registry untouched.

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
        LostLockError: On exit, in a child that was forked inside the block.
    """

    def __init__(
        self, path: str | os.PathLike[str], timeout: float = 10, retry_delay: float = 0.1
    ) -> None:
        self.path = Path(path)
        self.timeout = timeout
        self.retry_delay = retry_delay
        self._open = threading.local()

    def __enter__(self) -> tuple[Json, StagedText]:
        pause = min(self.retry_delay, locking.LONGEST_PAUSE)
        fd = recovery.acquire(self.path, self.timeout, longest_pause=pause)
        try:
            old = read_all(fd, self.path, MAX_BYTES)
            registry = decode(old, self.path, for_writing=True)
            staged = StagedText(old.decode("utf-8"), self.path, fd)
        except BaseException:
            locking.release(fd, self.path)
            raise
        self._stack().append((fd, old, staged))
        return registry, staged

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        fd, old, staged = self._stack().pop()
        try:
            if kind is None:
                self._commit(fd, old, staged.getvalue())
        finally:
            locking.release(fd, self.path)
        # Logged only now: a log handler may be slow, and the lock is not for that.
        _log.info("Registry locked and loaded: %s", self.path)

    def _commit(self, fd: int, old: bytes, text: str) -> None:
        try:
            new = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CorruptRegistryError(
                self.path,
                f"not written: a lone surrogate at character {error.start}; use "
                "json.dumps with ensure_ascii=True",
            ) from None
        if new == old:
            return
        if not locking.is_held(fd):
            raise LostLockError(self.path)
        try:
            decode(new, self.path, for_writing=True)
        except CorruptRegistryError as error:
            raise CorruptRegistryError(
                self.path, f"not written, the text {error.reason}; the file is unchanged"
            ) from None
        # Not sooner: the caller's block may last, and nobody could open the file.
        locking.take_lease(fd)
        committing.commit([committing.Write(fd, self.path, old, new)])

    def _stack(self) -> list[tuple[int, bytes, StagedText]]:
        stack: list[tuple[int, bytes, StagedText]] | None = getattr(self._open, "stack", None)
        if stack is None:
            stack = self._open.stack = []
        return stack


@dataclass(slots=True)
class Edit:
    """A decoded registry under its lock, and whether it is to be written.

    Attributes:
        path: Where it lies.
        registry: The decoded object; change it in place.
        changed: Set to write it when the block ends well.
    """

    path: Path
    registry: Json
    changed: bool = False


def _load(fd: int, path: Path) -> tuple[Edit, bytes]:
    locking.take_lease(fd)
    old = read_all(fd, path, MAX_BYTES)
    return Edit(path, decode(old, path, for_writing=True)), old


@contextmanager
def editing(path: Path, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Edit]:
    """One locked read-change-write of one registry.

    Raises:
        RegistryError: The lock, the file or its content cannot be had.
    """
    with ExitStack() as stack:
        fd = recovery.acquire(path, timeout)
        stack.callback(locking.release, fd, path)
        edit, old = _load(fd, path)
        yield edit
        if edit.changed:
            committing.commit([committing.Write(fd, path, old, encode(edit.registry, path))])
    _log.info("Registry locked and loaded: %s", path)


@contextmanager
def editing_both(
    task: Path, global_: Path, timeout: float = DEFAULT_TIMEOUT
) -> Iterator[tuple[Edit, Edit]]:
    """One locked read-change-write of a task's registry and the global one.

    Raises:
        RegistryError: Either lock, file or content cannot be had; nothing was written.
    """
    with ExitStack() as stack:
        first, second = recovery.acquire_both(task, global_, timeout)
        stack.callback(locking.release, first, task)
        stack.callback(locking.release, second, global_)
        task_edit, task_old = _load(first, task)
        global_edit, global_old = _load(second, global_)
        yield task_edit, global_edit
        committing.commit(
            [
                committing.Write(fd, edit.path, old, encode(edit.registry, edit.path))
                for fd, edit, old in (
                    (first, task_edit, task_old),
                    (second, global_edit, global_old),
                )
                if edit.changed
            ]
        )
    _log.info("Registry locked and loaded: %s", task)
    _log.info("Registry locked and loaded: %s", global_)
