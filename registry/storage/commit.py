"""Putting new texts in registries' places, all or nothing, on the same inodes.

Never by renaming a new file over the old one: a peer that waits for the lock on
the old inode would get it, write there, and lose its update. So the new text
goes into a journal first, and from there into the file; `registry.storage.recovery`
finishes what was cut off. The journal then says that it is over, and stays. What
can go wrong at each step is said beside it; `tests/registry/storage/test_faults.py` and
`tests/torture/kills` make it go wrong there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

from registry.errors import (
    HalfWrittenError,
    InaccessibleRegistryError,
    LostLockError,
    RegistryError,
)
from registry.storage import journal as journals
from registry.storage import lease
from registry.storage.descriptor import close_read
from registry.storage.durability import is_durable
from registry.storage.interruption import hand_on, tolerating
from registry.storage.journal import Journal, Role, journal_path
from registry.storage.journal_file import JournalFile, open_journal
from registry.storage.partner import are_partners, name_for_partner
from registry.storage.safe_open import write_all
from registry.text import shown_name

_log = logging.getLogger(__name__)

Stamp: TypeAlias = tuple[int, int]
"""A file's size in bytes and its mtime in nanoseconds: it changes with every write."""


def stamp(fd: int) -> Stamp:
    """The stamp of an open file.

    Raises:
        OSError: The disk failed.
    """
    return stamp_of(os.fstat(fd))


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Write:
    """One registry to be rewritten.

    Attributes:
        fd: Its descriptor; holds the exclusive lock.
        path: Its path.
        old: The bytes that are there.
        new: The bytes to put there; checked to be JSON by the caller.
        found: The file's stamp when `old` was read.
    """

    fd: int
    path: Path
    old: bytes
    new: bytes
    found: Stamp


@dataclass(slots=True)
class _Progress:
    """How far a commit has come, for the case that it fails.

    Attributes:
        journals: Those that were begun, with how many bytes each has.
        left: The stamp that each file was left with; None while that cannot be known.
        placed: Those whose old text was touched.
        shared: Those that another process had open.
    """

    journals: list[tuple[JournalFile, int]] = field(default_factory=list)
    left: dict[Path, Stamp | None] = field(default_factory=dict)
    placed: list[Write] = field(default_factory=list)
    shared: set[Path] = field(default_factory=set)


def commit(writes: Sequence[Write]) -> set[Path]:
    """Writes one text, or two as one: after a crash both are there or neither.

    Args:
        writes: At most two. Of two the first is the task's registry.

    Returns:
        Those that another process had open while they were written.

    Raises:
        LostLockError: Another process wrote one of them without the lock; its text stands.
        InaccessibleRegistryError: The disk is full, failed, or may not be written;
            every file holds its old text.
        HalfWrittenError: The disk failed, and then failed again when the old text
            was to be put back; the journal stays, and the next opener finishes.
        UntrustedJournalError: Somebody put a file where the journal belongs.
        UnfinishableCommitError: Not every user who may write a registry could finish it.
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
            # Peers do not flush: a power cut could otherwise mix the text before
            # theirs with what follows, and recovery knows only two texts.
            for at in changed:
                os.fdatasync(at.fd)
        for number in range(len(changed)):
            at = changed[number]
            _write_journal(changed, number, transaction, durable, progress)
        # Room for all before any byte that is there is touched: a full disk shows
        # here. Spaces after a JSON text do not change what it says. Not before the
        # journals: a power cut can leave zeros where the file had just grown.
        for at in changed:
            _reserve(at, progress)
        for at in changed:
            _replace(at, progress)
            if durable:
                os.fdatasync(at.fd)
    except BaseException as error:
        # Also an interruption (Ctrl-C) between two steps.
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
    # Two of different workspaces are finished or dropped one by one: a journal that could
    # name a file anywhere would let whoever plants it choose what is opened for writing.
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
    """Changes a file that is as it was left, and that nobody can open meanwhile.

    Raises:
        LostLockError: It is not as it was left.
        OSError: The disk is full or failed.
    """
    if not lease.take(write.fd):
        progress.shared.add(write.path)
    try:
        if stamp(write.fd) != progress.left[write.path]:
            raise LostLockError(write.path, "another process wrote it without the lock")
        progress.left[write.path] = None
        change()
        progress.left[write.path] = stamp(write.fd)
    finally:
        lease.drop(write.fd)


def _place(fd: int, text: bytes) -> None:
    # The first byte is NUL until all the rest is there: whoever reads without
    # the lock meanwhile gets a decode error, never a mix of two states, and
    # recovery knows a commit that was cut off from a text that a peer wrote.
    write_all(fd, b"\0", 0)
    write_all(fd, text[1:], 1)
    os.ftruncate(fd, len(text))
    write_all(fd, text[:1], 0)


def place_whole(fd: int, text: bytes) -> None:
    """Puts a journal's text in its registry's place, room first, and flushes it.

    Raises:
        OSError: The disk is full or failed; the journal still says what is to come.
    """
    missing = len(text) - os.fstat(fd).st_size
    if missing > 0:
        write_all(fd, b" " * missing, len(text) - missing)
    _place(fd, text)
    os.fsync(fd)


def _put_back(changed: Sequence[Write], progress: _Progress, error: BaseException) -> None:
    """Makes a commit that failed undone."""
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
            # One file's journal is dropped by the next opener, who finds the old
            # text; two say that the commit counts, and would be followed.
            return
    if again is not None:
        where = ", ".join(str(journal.place) for journal, _ in progress.journals)
        raise HalfWrittenError(changed[0].path, again, where) from error


def _end(progress: _Progress, durable: bool) -> None:
    """Ends the journals, the one that makes a commit count first.

    One that cannot be ended does no harm after a commit: the next opener finds
    that its text is in place, and tries again.
    """
    for journal, length in reversed(progress.journals):
        try:
            journal.end(length, durable)
        except OSError as error:
            hand_on(error)
            _log.error(
                "Could not end the journal %s: %s", shown_name(journal.place), error.strerror
            )
            return


def _take_back(progress: _Progress, durable: bool) -> OSError | None:
    """Ends the journals of a commit that was undone; returns what went wrong.

    The one that makes a commit count first, and the other only after it: alone, that one
    would be followed.
    """
    for journal, _ in reversed(progress.journals):
        try:
            journal.take_back(durable)
        except OSError as error:
            hand_on(error)
            _log.error(
                "Could not take back the journal %s: %s", shown_name(journal.place), error.strerror
            )
            return error
    return None


@cache
def boot_id() -> str:
    """Which boot of the machine this is (proc(5)); empty where nobody can tell."""
    with tolerating(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""
