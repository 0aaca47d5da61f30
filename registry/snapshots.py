"""Snapshots of registries, taken without making any writer wait.

A change event is a hint that there is something to read, not a promise that the
file is whole: careless writers truncate first and dump after. So a reader looks
whether somebody writes, reads, and looks again.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

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
from registry.storage import flock, metrics
from registry.storage.codec import MAX_BYTES, Json, check_size, decode
from registry.storage.descriptor import close_read
from registry.storage.file_age import is_ahead, seconds_since_write
from registry.storage.interruption import hand_on
from registry.storage.safe_open import look, open_file, read_all

BUSY_TIMEOUT = 2.5
"""Seconds that a reader waits for a registry that writers are busy with, before it gives up."""

_BUSY_PAUSE = 0.03

_ATTEMPTS = 12
_PAUSE = 0.003

# Seconds after which no further attempt is made: waiting for a lease may take long.
_PATIENCE = 0.5

# Linux stamps mtime with the granularity of its tick (at most 10 ms): within
# that, two different contents can carry the same stamp and the same size.
_YOUNG = 0.012

# A writer may hold the lock for long without touching the file. What nobody
# has touched for this many seconds is read all the same.
_UNTOUCHED = 1.0

Record = TypeVar("Record")
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells one state of a file from another without reading it.

    Attributes:
        settled: False while the file is so young that a second change could
            have left the other fields as they are.
        owner: The user it belongs to, by its number.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    settled: bool
    owner: int

    @property
    def identity(self) -> tuple[int, int]:
        """Tells the file from all others, whatever paths lead to them."""
        return self.device, self.inode


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[Record]):
    """A registry as it was at one moment.

    Attributes:
        path: Where it was read.
        record: What it said.
        signature: The file's state, for `changed_since`.
    """

    path: Path
    record: Record
    signature: Signature


def _signature_of(status: os.stat_result) -> Signature:
    return Signature(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        settled=seconds_since_write(status) > _YOUNG,
        owner=status.st_uid,
    )


def changed_since(path: Path, signature: Signature) -> bool:
    """Whether a registry may differ from the snapshot with this signature."""
    return signature_of(path) != signature


def signature_of(path: Path) -> Signature | None:
    """The signature of a registry, without reading it.

    Returns:
        None where the registry is so young that a change could go unnoticed, or where it
        cannot be looked at. So whatever equals a snapshot's says what the snapshot says.
    """
    try:
        now = _signature_of(look(path))
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


def _read_once(path: Path, largest: int) -> tuple[bytes, Signature] | None:
    """The file's bytes if nobody wrote meanwhile, else None."""
    try:
        file = open_file(path, os.O_RDONLY)
    except InaccessibleRegistryError as error:
        hand_on(error)
        if error.errno == errno.EAGAIN:
            # A writer holds a lease on it.
            return None
        raise
    try:
        return _read_open(file.fileno(), path, largest)
    finally:
        close_read(file)


def _read_open(fd: int, path: Path, largest: int) -> tuple[bytes, Signature] | None:
    before = os.fstat(fd)
    _check_size(_signature_of(before), path, largest)
    data = read_all(fd, path, largest)
    # Whoever wrote it under that lock would have stamped it with the present time.
    rests = is_ahead(before) or seconds_since_write(before) >= _UNTOUCHED
    if not flock.nobody_writes(fd, path) and not rests:
        return None
    after = _signature_of(os.fstat(fd))
    if len(data) != min(after.size, largest + 1):
        return None
    if (before.st_size, before.st_mtime_ns) != (after.size, after.mtime_ns):
        return None
    if not after.settled and read_all(fd, path, largest) != data:
        return None
    return data, after


def _read(
    path: Path, accept: Callable[[bytes], Record], largest: int = MAX_BYTES
) -> tuple[Record, Signature]:
    """Reads until nobody writes and `accept` takes it, for some milliseconds.

    Raises:
        RegistryError: What the last attempt failed of.
    """
    problem: RegistryError = BusyRegistryError(path)
    state: Signature | None = None
    give_up_at = time.monotonic() + _PATIENCE
    for attempt in range(_ATTEMPTS):
        if attempt:
            if time.monotonic() > give_up_at:
                break
            time.sleep(_PAUSE)
        read = _read_once(path, largest)
        if read is None:
            continue
        data, signature = read
        try:
            return accept(data), signature
        except CorruptRegistryError as error:
            hand_on(error)
            problem, state = error, signature
            # A file that has been whole-heartedly broken for a while is not
            # in the middle of anything; trying on would only cost time.
            if signature.settled and attempt:
                break
    if isinstance(problem, CorruptRegistryError):
        metrics.count_corrupt_read(path, state and replace(state, settled=True))
    raise problem


def read_registry(path: str | os.PathLike[str]) -> Json:
    """A registry, decoded as it is. Takes no lock, and never returns half a write.

    Args:
        path: A task's registry or the global one.

    Raises:
        RegistryError: It is not there, not regular, not accessible, corrupt, or was being
            written for longer than `BUSY_TIMEOUT`.
    """
    registry = Path(path)
    return when_free(lambda: _read(registry, lambda data: decode(data, registry))[0])


def read_task(path: Path, largest: int = MAX_BYTES) -> Snapshot[TaskRecord]:
    """A snapshot of a task's registry.

    Args:
        path: The registry.
        largest: Bytes above which it is not read.

    Raises:
        RegistryError: It is not there, not regular, not accessible or corrupt.
    """
    record, signature = _read(path, lambda data: task_record(decode(data, path)), largest)
    return Snapshot(path, record, signature)


def read_global(path: Path, largest: int = MAX_BYTES) -> Snapshot[GlobalRecord]:
    """A snapshot of a workspace's global registry.

    Args:
        path: The registry.
        largest: Bytes above which it is not read.

    Raises:
        RegistryError: It is not there, not regular, not accessible or corrupt.
    """
    record, signature = _read(path, lambda data: global_record(decode(data, path)), largest)
    return Snapshot(path, record, signature)


def read_agent_fields(path: Path, agent_id: str, ordinal: int = 0) -> Json | None:
    """Every field of one agent as its registry has it, or None if it is not there.

    Args:
        path: The registry of a task, or the global one.
        agent_id: The agent's id.
        ordinal: Which one, if several entries have that id; 0 is the first.

    Raises:
        RegistryError: The registry is not there, not regular, not accessible or corrupt.
    """
    registry, _ = _read(path, lambda data: decode(data, path))
    found = [entry for each, entry in agent_entries(registry) if each == agent_id]
    return found[ordinal] if ordinal < len(found) else None


def while_busy(is_busy: Callable[[], bool], timeout: float = BUSY_TIMEOUT) -> Iterator[None]:
    """Yields once, and then again and again while writers are busy with what is read.

    Args:
        is_busy: Whether a writer kept anything from being read in the last turn.
        timeout: Seconds after which no further turn begins.
    """
    give_up_at = time.monotonic() + timeout
    yield
    while is_busy() and time.monotonic() < give_up_at:
        time.sleep(_BUSY_PAUSE)
        yield


def when_free(read: Callable[[], Read], timeout: float = BUSY_TIMEOUT) -> Read:
    """What `read` returns; it is called again while it finds a writer at work.

    Args:
        read: Reads a registry.
        timeout: Seconds after which no further attempt is made.

    Raises:
        BusyRegistryError: Writers kept it from reading in every attempt.
        RegistryError: Whatever else `read` raises, at once.
    """
    problems: list[BusyRegistryError] = []
    for _ in while_busy(lambda: bool(problems), timeout):
        try:
            return read()
        except BusyRegistryError as error:
            hand_on(error)
            problems.append(error)
    raise problems[-1]
