"""Reads snapshots of registries, and never makes a writer wait.

Some writers first truncate a file and then write it. So a file that has just changed may be
incomplete. A reader checks before and after the read that no process is writing.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from registry.dataclass import dataclass, replace
from registry.errors import (
    BusyRegistryError,
    CorruptRegistryError,
    InaccessibleRegistryError,
    RegistryError,
)
from registry.schema.records import (
    GlobalRecord,
    TaskRecord,
    agent_entries,
    global_record,
    task_record,
)
from registry.storage import metrics
from registry.storage.codec import MAX_BYTES, Json, check_size, decode
from registry.storage.files.descriptor import close_read
from registry.storage.files.file_age import (
    is_ahead,
    is_in_the_making,
    is_settled,
    seconds_since_write,
)
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import look, open_file, read_all
from registry.storage.shared_lock import nobody_writes

BUSY_TIMEOUT = 2.5
"""How long, in seconds, a reader waits for the writers of a registry before it gives up."""

_BUSY_PAUSE = 0.03

_ATTEMPTS = 12
_PAUSE = 0.003

# No further attempt starts after this many seconds: the wait for a lease may be long.
_PATIENCE = 0.5

# A writer may hold the lock for long without writing. A file that was not changed for this
# many seconds is read in spite of the lock.
_UNTOUCHED = 1.0

Record = TypeVar("Record")
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Signature:
    """The metadata of a file, to find out later whether the file has changed.

    Attributes:
        settled: Whether the file is settled; see `registry.storage.files.file_age.is_settled`. If
            not, the file may change again although its metadata stays the same.
        owner: The user id of the file's owner.
        beside: The states of further files with a part of the content.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    settled: bool
    owner: int
    beside: tuple[object, ...] = ()

    @property
    def identity(self) -> tuple[int, int]:
        """A key that identifies the file, independent of its paths."""
        return self.device, self.inode


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[Record]):
    """The content of a registry at one moment.

    Attributes:
        path: The registry.
        record: The decoded content.
        signature: The state of the file, for `changed_since`.
        has_locks: Whether the file system accepts locks. If not, the registry was read without a
            lock, and cannot be written.
    """

    path: Path
    record: Record
    signature: Signature
    has_locks: bool = True


def _signature_of(status: os.stat_result) -> Signature:
    return Signature(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        settled=is_settled(status),
        owner=status.st_uid,
    )


def changed_since(path: Path, signature: Signature) -> bool:
    """Returns whether a registry may have changed since the snapshot with this signature."""
    return signature_of(path) != signature


def signature_of(path: Path, opened: int | None = None) -> Signature | None:
    """Returns the signature of a registry without reading the file.

    If the result equals the signature of a snapshot, the file has the content of the snapshot.

    Args:
        path: The path of the registry.
        opened: A descriptor of the registry's directory; see `folder_of`.

    Returns:
        None if the file cannot be examined, or is not settled.
    """
    try:
        now = _signature_of(look(path, opened))
    except OSError as error:
        hand_on(error)
        return None
    return now if now.settled else None


def _check_size(state: Signature, path: Path, largest: int) -> None:
    try:
        check_size(state.size, path, largest)
    except CorruptRegistryError as error:
        hand_on(error)
        metrics.count_corrupt_read(path, replace(state, settled=True))
        raise


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of a registry.

    Attributes:
        data: The bytes of the text.
        status: The status of the file.
        has_locks: See `Snapshot`.
    """

    data: bytes
    status: os.stat_result
    has_locks: bool


def _read_once(path: Path, largest: int) -> _Text | None:
    """Returns the file's text; None if a process may have written the file during the read."""
    try:
        file = open_file(path, os.O_RDONLY)
    except InaccessibleRegistryError as error:
        hand_on(error)
        if error.errno == errno.EAGAIN:
            # A writer holds a lease on the file.
            return None
        raise
    try:
        return _read_open(file.fileno(), path, largest)
    finally:
        close_read(file)


def _read_open(fd: int, path: Path, largest: int) -> _Text | None:
    before = _status(fd, path)
    if before.st_size > largest:
        _check_size(_signature_of(before), path, largest)
    data = read_all(fd, path, largest)
    # A write under the lock that is now held would have set mtime to the present time.
    rests = is_ahead(before) or seconds_since_write(before) >= _UNTOUCHED
    quiet = nobody_writes(fd)
    if quiet is False and not rests:
        return None
    after = _status(fd, path)
    if len(data) != min(after.st_size, largest + 1):
        return None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return None
    certain = is_settled(after) and (rests or quiet is not None)
    if not certain and read_all(fd, path, largest) != data:
        return None
    return _Text(data, after, quiet is not None)


def _status(fd: int, path: Path) -> os.stat_result:
    try:
        return os.fstat(fd)
    except OSError as error:  # For example because a network file system lost the file.
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "read") from error


def _read(
    path: Path, accept: Callable[[bytes], Record], largest: int = MAX_BYTES
) -> Snapshot[Record]:
    """Reads until no process writes and `accept` succeeds; gives up after `_PATIENCE` seconds.

    Raises:
        BusyRegistryError: The file is being written, with the lock or without it.
        RegistryError: The error of the last attempt.
    """
    problem: RegistryError = BusyRegistryError(path)
    state: os.stat_result | None = None
    give_up_at = time.monotonic() + _PATIENCE
    for attempt in range(_ATTEMPTS):
        if attempt:
            if time.monotonic() > give_up_at:
                break
            time.sleep(_PAUSE)
        read = _read_once(path, largest)
        if read is None:
            continue
        signature = _signature_of(read.status)
        try:
            return Snapshot(path, accept(read.data), signature, read.has_locks)
        except CorruptRegistryError as error:
            hand_on(error)
            problem, state = error, read.status
            # If a corrupt file was not written lately, no process is writing the file.
            # Further attempts would only take time.
            if signature.settled and attempt:
                break
    if isinstance(problem, CorruptRegistryError) and state is not None:
        if is_in_the_making(state):
            raise BusyRegistryError(path, locked=False) from problem
        metrics.count_corrupt_read(path, replace(_signature_of(state), settled=True))
    raise problem


def read_registry(path: str | os.PathLike[str], timeout: float = BUSY_TIMEOUT) -> Json:
    """Reads a registry without a lock, and returns its decoded and complete content.

    Args:
        path: A task's registry or the global registry.
        timeout: How long to wait for the end of writes, in seconds.

    Raises:
        BusyRegistryError: The file was being written until the timeout.
        RegistryError: The file does not exist, is not a regular file, is not accessible, or is
            corrupt.
    """
    registry = Path(path)
    return when_free(lambda: _read(registry, lambda data: decode(data, registry)).record, timeout)


def read_task(path: Path, largest: int = MAX_BYTES) -> Snapshot[TaskRecord]:
    """Returns a snapshot of a task's registry.

    Args:
        path: The registry.
        largest: The largest size, in bytes, of a registry that is read.

    Raises:
        BusyRegistryError: The file is being written.
        RegistryError: The file does not exist, is not a regular file, is not accessible, or is
            corrupt.
    """
    return _read(path, lambda data: task_record(decode(data, path)), largest)


def read_global(path: Path, largest: int = MAX_BYTES) -> Snapshot[GlobalRecord]:
    """Returns a snapshot of a workspace's global registry.

    Args:
        path: The registry.
        largest: The largest size, in bytes, of a registry that is read.

    Raises:
        RegistryError: See `read_task`.
    """
    return _read(path, lambda data: global_record(decode(data, path)), largest)


def read_text(path: Path, largest: int = MAX_BYTES) -> Snapshot[bytes]:
    """Returns the text of a registry, after checking that the text can be decoded.

    Args:
        path: The registry.
        largest: The largest size, in bytes, of a registry that is read.

    Raises:
        RegistryError: See `read_task`.
    """

    def accept(data: bytes) -> bytes:
        decode(data, path)
        return data

    return _read(path, accept, largest)


def read_agent_fields(path: Path, agent_id: str, ordinal: int = 0) -> Json | None:
    """Returns all fields of one agent in a registry; None if the registry does not list the agent.

    Args:
        path: A task's registry or the global registry.
        agent_id: The agent's id.
        ordinal: The position among the entries with this id; 0 is the first.

    Raises:
        RegistryError: See `read_task`.
    """
    registry = _read(path, lambda data: decode(data, path)).record
    entries = [entry for id_, entry in agent_entries(registry) if id_ == agent_id]
    return entries[ordinal] if ordinal < len(entries) else None


def while_busy(is_busy: Callable[[], bool], timeout: float = BUSY_TIMEOUT) -> Iterator[None]:
    """Yields once; then pauses and yields again as long as `is_busy` returns True.

    Args:
        is_busy: Returns whether a writer blocked a read after the last yield.
        timeout: How long to go on, in seconds.
    """
    give_up_at = time.monotonic() + timeout
    yield
    while is_busy() and time.monotonic() < give_up_at:
        time.sleep(_BUSY_PAUSE)
        yield


def when_free(read: Callable[[], Read], timeout: float = BUSY_TIMEOUT) -> Read:
    """Calls `read` until it does not raise `BusyRegistryError`, and returns its result.

    Args:
        read: Reads a registry.
        timeout: No further attempt starts after this many seconds.

    Raises:
        BusyRegistryError: Every attempt raised this error.
        RegistryError: An attempt raised another error. No further attempt was made.
    """
    problems: list[BusyRegistryError] = []
    for _ in while_busy(lambda: bool(problems), timeout):
        try:
            return read()
        except BusyRegistryError as error:
            hand_on(error)
            problems.append(error)
    raise problems[-1]
