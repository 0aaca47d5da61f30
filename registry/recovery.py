"""Finishing, or dropping, commits that were cut off; by whoever holds the lock next."""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime
from pathlib import Path

from registry import journal as journals
from registry import locking, metrics
from registry.codec import MAX_BYTES, decode
from registry.commit import boot_id, place_whole
from registry.errors import (
    CorruptRegistryError,
    InaccessibleRegistryError,
    NotARegularFileError,
    RegistryNotFoundError,
    UntrustedJournalError,
)
from registry.files import open_file, read_all, sync_directory, write_all
from registry.journal import Journal, Remedy, Role, journal_path
from registry.journal_file import find_journal, is_open, read_journal, remove
from registry.locking import Lock
from registry.text import shown_name

_log = logging.getLogger(__name__)

_JOURNAL_BYTES = 3 * MAX_BYTES

# A file that is no registry and that nobody is known to have broken: a careless
# writer may be in the middle of it. Only after so many seconds it is given up.
_GIVEN_UP_AFTER = 1.0


def is_hot(registry: Path) -> bool:
    """Whether a commit was cut off and nobody has recovered it yet. Waits for nobody.

    Raises:
        RegistryError: The registry is not there, not regular or not accessible.
    """
    if find_journal(registry) is None:
        return False
    with open_file(registry, os.O_RDONLY) as file:
        # With the shared lock in hand nobody is committing.
        hot = locking.while_nobody_writes(file.fileno(), registry, lambda: find_journal(registry))
    return hot is not None


def recover_registry(registry: str | os.PathLike[str], timeout: float = 10.0) -> bool:
    """Finishes or drops a commit that was cut off.

    Every writer of this library does so by itself; this is for those who only read.

    Args:
        registry: The registry.
        timeout: Seconds to wait for its lock.

    Returns:
        Whether there was one.

    Raises:
        RegistryError: The lock, the file or its journal cannot be had.
    """
    path = Path(registry)
    if find_journal(path) is None:
        return False
    acquire(path, timeout).release()
    return True


def acquire(path: Path, timeout: float, *, longest_pause: float = locking.LONGEST_PAUSE) -> Lock:
    """As `locking.acquire`, and the registry is recovered when the lock is given out.

    Raises:
        RegistryError: As `locking.acquire`; or the journal cannot be trusted or read.
    """
    return locking.acquire(path, timeout, longest_pause=longest_pause, ready=recover)


def acquire_both(first: Path, second: Path, timeout: float) -> tuple[Lock, Lock]:
    """As `locking.acquire_both`, and both are recovered when the locks are given out.

    Raises:
        RegistryError: As `acquire`, for either.
    """
    return locking.acquire_both(first, second, timeout, ready=recover)


def recover(fd: int, path: Path) -> bool:
    """Finishes or drops a commit that was cut off, under the registry's lock.

    Args:
        fd: The registry's descriptor; holds the exclusive lock.
        path: Its path.

    Returns:
        False when it is too early: the other file of the commit is locked, or
        somebody may be in the middle of writing this one without a lock.

    Raises:
        UntrustedJournalError: The journal is not ours to follow.
        InaccessibleRegistryError: The disk is full or failed.
    """
    real = Path(os.path.realpath(path))
    place = journal_path(real)
    if not is_open(place):
        return True
    try:
        try:
            text = read_journal(place, fd, _JOURNAL_BYTES)
        except RegistryNotFoundError:
            return True
        journal = journals.decode(text)
        if journal is None:
            # Nothing is touched before the journal is whole.
            _finish(place, real, "dropped the unfinished journal of")
            return True
        if journal.role is Role.SECOND and not _first_is_settled(journal, real):
            return False
        return _apply(journal, fd, real, place)
    except OSError as error:
        if isinstance(error, (InaccessibleRegistryError, UntrustedJournalError)):
            raise
        raise InaccessibleRegistryError(path, error, "recover") from error


def _apply(journal: Journal, fd: int, real: Path, place: Path) -> bool:
    data = read_all(fd, real, MAX_BYTES)
    found = journals.remedy(
        journal,
        data,
        boot=boot_id(),
        committed=journal.role is Role.SECOND or _second_is_journalled(journal, real),
        parses=_parses(data, real),
    )
    if found is Remedy.SET_ASIDE:
        if time.time() - os.fstat(fd).st_mtime < _GIVEN_UP_AFTER:
            return False
        _keep_copy(data, real)
    if found is Remedy.CUT_BACK:
        os.ftruncate(fd, journal.old_length)
    elif found in (Remedy.WRITE, Remedy.SET_ASIDE):
        place_whole(fd, journal.new)
    os.fsync(fd)
    said = {
        Remedy.NOTHING: "found nothing to do for",
        Remedy.CUT_BACK: "took back a commit that had not begun in",
        Remedy.WRITE: "finished a commit that was cut off in",
        Remedy.SET_ASIDE: "set a broken text aside and finished a commit in",
    }
    _finish(place, real, said[found])
    return True


def _finish(place: Path, real: Path, said: str) -> None:
    remove(place, durable=True)
    metrics.count_recovery(real)
    _log.warning("Recovery %s %s", said, shown_name(real))


def _first_is_settled(journal: Journal, real: Path) -> bool:
    """Recovers the other file of a commit of two, whose fate hangs on this journal."""
    first = _partner(journal, real)
    if first is None or locking.holds(first):
        return True
    try:
        lock = locking.try_acquire(first, ready=recover)
    except (RegistryNotFoundError, NotARegularFileError):
        # Its task was removed: there is nothing to keep in step with.
        return True
    if lock is None:
        return False
    lock.release()
    return True


def _second_is_journalled(journal: Journal, real: Path) -> bool:
    """Whether the other file's journal is complete: from then on the commit counts."""
    second = _partner(journal, real)
    if journal.role is not Role.FIRST or second is None:
        return False
    try:
        text = read_journal(journal_path(second), second, _JOURNAL_BYTES)
    except (RegistryNotFoundError, FileNotFoundError):
        return False
    other = journals.decode(text)
    return other is not None and other.transaction == journal.transaction


def _partner(journal: Journal, real: Path) -> Path | None:
    if journal.partner is None:
        return None
    return Path(os.path.realpath(real.parent / journal.partner))


def _parses(data: bytes, path: Path) -> bool:
    try:
        decode(data, path, lenient=True)
    except CorruptRegistryError:
        return False
    return True


def _keep_copy(data: bytes, real: Path) -> None:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    copy = real.with_name(f".{real.name}.{stamp}.broken")
    fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        write_all(fd, data, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    # Not only with the journal's removal: the text is overwritten before that.
    sync_directory(real.parent)
    _log.warning("Kept what stood in %s as %s", shown_name(real), shown_name(copy))
