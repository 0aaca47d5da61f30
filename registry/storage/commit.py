"""Writes the new content of registries to the same inodes: the whole content or nothing.

A new file is never renamed over the old file. Another process may wait for the lock of the old
inode. That process would get the lock, write to the old inode, and lose its update. So the new
text is first written to a journal, and then to the file itself. `registry.storage.recovery`
finishes an interrupted commit. The tests in `tests/registry/storage/test_faults.py` and
`tests/torture/kills` interrupt each step.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TypeAlias

from registry.dataclass import dataclass, field
from registry.errors import (
    HalfWrittenError,
    InaccessibleRegistryError,
    LostLockError,
    RegistryError,
)
from registry.storage import journal as journals
from registry.storage import lease
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.safe_open import write_all
from registry.storage.journal import Journal, Role, journal_path
from registry.storage.journal_file import JournalFile, open_journal
from registry.storage.partner import are_partners, name_for_partner
from registry.text import shown_name

_log = logging.getLogger(__name__)

_durable: ContextVar[bool] = ContextVar("registry_durable", default=False)

Stamp: TypeAlias = tuple[int, int]
"""A file's size in bytes and its mtime in nanoseconds; a write changes at least one of them."""


@contextmanager
def durable_commits(durable: bool = True) -> Iterator[None]:
    """Makes every commit inside the ``with`` block durable, in this thread or asyncio task.

    Every commit survives the death of its process: the next process that opens the registry finds
    the whole change or nothing. A durable commit also survives a power cut or a kernel crash,
    because the call returns only after all data is flushed to the disk (fdatasync).

    A commit needs four flushes, a commit of two files eight, and the first journal in a directory
    one more. Each flush takes some milliseconds on a disk without a battery-backed cache, while
    the lock is held. `tests/benchmarks/commits.py` measures these times.

    Args:
        durable: False makes the commits of an inner block not durable.

    Example:
        >>> with durable_commits():
        ...     atomic_mark_agents_completed(path, ids)
    """
    before = _durable.get()
    try:
        # The call is inside the `try`: so an interruption directly after it restores the value.
        _durable.set(durable)
        yield
    finally:
        _durable.set(before)


def is_durable() -> bool:
    """Returns whether commits of this thread or asyncio task are durable."""
    return _durable.get()


def stamp(fd: int) -> Stamp:
    """Returns the size in bytes and the mtime in nanoseconds of an open file.

    Raises:
        OSError: The disk failed.
    """
    return stamp_of(os.fstat(fd))


def stamp_of(status: os.stat_result) -> Stamp:
    """Returns the size in bytes and the mtime in nanoseconds from the status of a file."""
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Write:
    """The change of one registry file.

    Attributes:
        fd: The descriptor of the file, which holds the exclusive lock.
        path: The path of the file.
        old: The present content.
        new: The new content. The caller has checked that this is JSON.
        found: The size and mtime of the file when `old` was read.
    """

    fd: int
    path: Path
    old: bytes
    new: bytes
    found: Stamp


@dataclass(slots=True)
class _Progress:
    """The steps that a commit has made, for the case that the commit fails.

    Attributes:
        journals: The journals that this commit has begun to write, with their lengths in bytes.
        left: Maps each file to its size and mtime after the last step of this commit, and to None
            during a step.
        placed: The writes that have begun to overwrite the old content.
        shared: The files that another process had open during the commit.
    """

    journals: list[tuple[JournalFile, int]] = field(default_factory=list)
    left: dict[Path, Stamp | None] = field(default_factory=dict)
    placed: list[Write] = field(default_factory=list)
    shared: set[Path] = field(default_factory=set)


def commit(writes: Sequence[Write]) -> set[Path]:
    """Writes one or two files; after a crash, all of these files are written, or none.

    Args:
        writes: One or two changes. If there are two, the first one changes the task's registry.

    Returns:
        The files that another process had open during the write.

    Raises:
        LostLockError: Another process wrote a file without the lock. The text of that
            process is kept.
        InaccessibleRegistryError: The disk is full or failed, or a file is not writable. All files
            have their old content.
        HalfWrittenError: The disk failed during the write, and then during the attempt to restore
            the old content. The journal is kept, and the next process that opens the registry
            finishes the commit.
        UntrustedJournalError: The file at the path of a journal cannot be trusted.
        UnfinishableCommitError: Another user who can write a registry could not finish the commit.
    """
    changed = [write for write in writes if write.old != write.new]
    progress = _Progress(left={write.path: write.found for write in changed})
    if not changed:
        return set()
    try:
        _commit(changed, progress, is_durable())
    finally:
        for journal, _ in progress.journals:
            close_read(journal.opened)
    return progress.shared


def _commit(changed: Sequence[Write], progress: _Progress, durable: bool) -> None:
    at = changed[0]
    try:
        transaction = os.urandom(8).hex()
        if durable:
            # Other writers do not flush. Without this flush, a power cut could leave parts of an
            # earlier text in the file. Recovery knows only the old and the new text.
            for at in changed:
                os.fdatasync(at.fd)
        for number in range(len(changed)):
            at = changed[number]
            _write_journal(changed, number, transaction, durable, progress)
        # Reserve the space for all files before any old byte is changed, so that a full disk
        # is found here. Spaces after a JSON text do not change its meaning. The journals must
        # already be written, because a power cut can leave zeros in the reserved space.
        for at in changed:
            _reserve(at, progress)
        for at in changed:
            _replace(at, progress)
            if durable:
                os.fdatasync(at.fd)
    except BaseException as error:
        # This includes an interruption (Ctrl-C) between two steps.
        _put_back(changed, progress, error)
        hand_on(error)
        if isinstance(error, OSError) and not isinstance(error, RegistryError):
            raise InaccessibleRegistryError(at.path, error, "write") from error
        raise
    _end(progress, durable)


def _write_journal(
    writes: Sequence[Write], number: int, transaction: str, durable: bool, progress: _Progress
) -> None:
    write = writes[number]
    partner = None
    role = Role.ALONE
    # Registries of different workspaces are finished or dropped separately. If a journal could
    # name any file, a planted journal could choose which file is opened for writing.
    if len(writes) == 2 and are_partners(writes[0].path, writes[1].path):
        role = (Role.FIRST, Role.SECOND)[number]
        partner = name_for_partner(writes[1 - number].path)
    text = journals.encode(
        Journal(
            transaction=transaction,
            role=role,
            partner=partner,
            boot=boot_id(),
            old_length=len(write.old),
            old_digest=journals.digest(write.old),
            old=write.old if durable else None,
            new=write.new,
        )
    )
    file = open_journal(journal_path(write.path), write.fd, write.path)
    progress.journals.append((file, len(text)))
    file.write(text, durable)


def _reserve(write: Write, progress: _Progress) -> None:
    missing = len(write.new) - len(write.old)
    if missing > 0:
        _alone(write, progress, lambda: write_all(write.fd, b" " * missing, len(write.old)))


def _replace(write: Write, progress: _Progress) -> None:
    def place() -> None:
        progress.placed.append(write)
        _place(write.fd, write.new)

    _alone(write, progress, place)


def _alone(write: Write, progress: _Progress, change: Callable[[], None]) -> None:
    """Changes a file under a write lease, unless another process has changed the file.

    Raises:
        LostLockError: Another process has changed the file.
        OSError: The disk is full or failed.
    """
    if not lease.take(write.fd):
        progress.shared.add(write.path)
    try:
        if stamp(write.fd) != progress.left[write.path]:
            raise LostLockError(write.path, "another process wrote the file without the lock")
        progress.left[write.path] = None
        change()
        progress.left[write.path] = stamp(write.fd)
    finally:
        lease.drop(write.fd)


def _place(fd: int, text: bytes) -> None:
    # The first byte is NUL until the rest is written. So a reader without the lock gets a
    # decode error, never a mix of two states. And recovery can distinguish an interrupted
    # commit from a text of another writer.
    write_all(fd, b"\0", 0)
    write_all(fd, text[1:], 1)
    os.ftruncate(fd, len(text))
    write_all(fd, text[:1], 0)


def place_whole(fd: int, text: bytes) -> None:
    """Writes the new content from a journal to the registry, and flushes the registry.

    The disk space is reserved first.

    Raises:
        OSError: The disk is full or failed; the journal still has the new content.
    """
    missing = len(text) - os.fstat(fd).st_size
    if missing > 0:
        write_all(fd, b" " * missing, len(text) - missing)
    _place(fd, text)
    os.fsync(fd)


def _put_back(changed: Sequence[Write], progress: _Progress, error: BaseException) -> None:
    """Restores the old content of all files after a commit failed."""
    try:
        for write in changed:
            if write in progress.placed:
                _place(write.fd, write.old)
            elif progress.left[write.path] in (None, stamp(write.fd)):
                os.ftruncate(write.fd, len(write.old))
            if is_durable() and progress.journals:
                os.fdatasync(write.fd)
    except OSError as failure:
        hand_on(failure)
        again: OSError | None = failure
    else:
        again = _take_back(progress, is_durable())
        if len(progress.journals) < 2:
            # A single journal is harmless: the next process that opens the registry finds the
            # old text, and drops the journal. With two complete journals the commit is valid.
            return
    if again is not None:
        where = ", ".join(str(journal.place) for journal, _ in progress.journals)
        raise HalfWrittenError(changed[0].path, again, where) from error


def _end(progress: _Progress, durable: bool) -> None:
    """Ends the journals after a commit, in reverse order: the last journal makes the commit valid.

    A journal that cannot be ended is harmless: the next process that opens the registry finds the
    new text in the file, and ends the journal.
    """
    for journal, length in reversed(progress.journals):
        try:
            journal.end(length, durable)
        except OSError as error:
            hand_on(error)
            _log.error("cannot end the journal %s: %s", shown_name(journal.place), error.strerror)
            return


def _take_back(progress: _Progress, durable: bool) -> OSError | None:
    """Ends the journals of a commit that was taken back; returns the error, if one occurs.

    The last journal, which makes the commit valid, is ended first. If this fails, the other
    journal is not ended. Otherwise a recovery could find the last journal alone, and finish the
    commit.
    """
    for journal, _ in reversed(progress.journals):
        try:
            journal.take_back(durable)
        except OSError as error:
            hand_on(error)
            _log.error(
                "cannot end the journal %s of a commit that was taken back: %s",
                shown_name(journal.place),
                error.strerror,
            )
            return error
    return None


@cache
def boot_id() -> str:
    """Returns the id of the machine's present boot (proc(5)); empty if the id is not known."""
    with tolerating(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""
