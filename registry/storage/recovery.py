"""Finishing, or dropping, commits that were cut off; by whoever holds the lock next."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

from registry.errors import (
    CorruptRegistryError,
    InaccessibleRegistryError,
    NotARegularFileError,
    RegistryError,
    RegistryNotFoundError,
    UntrustedJournalError,
)
from registry.storage import flock, metrics
from registry.storage import journal as journals
from registry.storage.codec import MAX_BYTES, check_size, decode
from registry.storage.commit import boot_id, place_whole
from registry.storage.file_age import seconds_since_write
from registry.storage.flock import Lock
from registry.storage.interruption import hand_on
from registry.storage.journal import Journal, RecoveryAction, Role, journal_path
from registry.storage.journal_file import (
    find_journal,
    is_open,
    make_beside,
    put_an_end_to,
    read_journal,
)
from registry.storage.partner import partner_of
from registry.storage.permissions import Access
from registry.storage.safe_open import open_file, read_all, sync_directory, write_all
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
        hot = flock.while_nobody_writes(file.fileno(), registry, lambda: find_journal(registry))
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


def acquire(path: Path, timeout: float, *, longest_pause: float = flock.LONGEST_PAUSE) -> Lock:
    """As `locking.acquire`, and the registry is recovered when the lock is given out.

    Raises:
        RegistryError: As `locking.acquire`; or the journal cannot be trusted or read.
    """
    return flock.acquire(path, timeout, longest_pause=longest_pause, ready=recover)


def acquire_both(first: Path, second: Path, timeout: float) -> tuple[Lock, Lock]:
    """As `locking.acquire_both`, and both are recovered when the locks are given out.

    Raises:
        RegistryError: As `acquire`, for either.
    """
    return flock.acquire_both(first, second, timeout, ready=recover)


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
        CorruptRegistryError: The registry is larger than any that is read.
        InaccessibleRegistryError: The disk is full or failed.
    """
    place = journal_path(path)
    if not is_open(place):
        return True
    try:
        try:
            text = read_journal(place, fd, path, _JOURNAL_BYTES)
        except RegistryNotFoundError as error:
            hand_on(error)
            return True
        found = _decoded(text, place, path)
        if found is None:
            # Nothing is touched before the journal is whole.
            _finish(place, path, "dropped the unfinished journal of")
            return True
        journal, partner = found
        if journal.role is Role.SECOND and partner and not _first_is_settled(partner):
            return False
        return _apply(journal, partner, fd, path, place)
    except OSError as error:
        hand_on(error)
        # What failed of the journal says nothing of what was done to the registry before.
        of_journal = isinstance(error, InaccessibleRegistryError) and error.path == place
        if isinstance(error, RegistryError) and not of_journal:
            raise
        raise InaccessibleRegistryError(path, error, "recover") from error


def _decoded(text: bytes, place: Path, registry: Path) -> tuple[Journal, Path | None] | None:
    """A journal and the other file of its commit; None where it was not finished.

    Raises:
        UntrustedJournalError: It says what no journal of this library says.
    """
    try:
        journal = journals.decode(text)
        return None if journal is None else (journal, partner_of(journal, registry))
    except ValueError as error:
        hand_on(error)
        raise UntrustedJournalError(place, str(error)) from None


def _apply(journal: Journal, partner: Path | None, fd: int, path: Path, place: Path) -> bool:
    check_size(os.fstat(fd).st_size, path)
    data = read_all(fd, path, MAX_BYTES)
    found = journals.decide(
        journal,
        data,
        boot=boot_id(),
        committed=journal.role is Role.SECOND or _second_is_journalled(journal, partner),
        parses=_parses(data, path),
    )
    if found is RecoveryAction.SET_ASIDE:
        if seconds_since_write(os.fstat(fd)) < _GIVEN_UP_AFTER:
            return False
        _keep_copy(data, fd, path)
    if found is RecoveryAction.CUT_BACK:
        os.ftruncate(fd, journal.old_length)
    elif found in (RecoveryAction.WRITE, RecoveryAction.SET_ASIDE):
        place_whole(fd, journal.new)
    os.fsync(fd)
    said = {
        RecoveryAction.NOTHING: "found nothing to do for",
        RecoveryAction.CUT_BACK: "took back a commit that had not begun in",
        RecoveryAction.WRITE: "finished a commit that was cut off in",
        RecoveryAction.SET_ASIDE: "set a broken text aside and finished a commit in",
    }
    _finish(place, path, said[found])
    return True


def _finish(place: Path, path: Path, said: str) -> None:
    put_an_end_to(place, path)
    metrics.count_recovery(path)
    _log.warning("Recovery %s %s", said, shown_name(path))


def _first_is_settled(first: Path) -> bool:
    """Recovers the task's registry of a commit of two, whose fate hangs on this journal."""
    if flock.holds(first):
        return True
    try:
        # Its own journal may name the global registry only, as the first of two: this
        # goes no deeper.
        lock = flock.try_acquire(first, ready=recover)
    except (RegistryNotFoundError, NotARegularFileError) as error:
        hand_on(error)
        # Its task was removed: there is nothing to keep in step with.
        return True
    if lock is None:
        return False
    lock.release()
    return True


def _second_is_journalled(journal: Journal, second: Path | None) -> bool:
    """Whether the other file's journal is complete: from then on the commit counts."""
    if journal.role is not Role.FIRST or second is None:
        return False
    place = journal_path(second)
    if not is_open(place):
        # Before it is asked whose it is: one that says nothing keeps nobody out.
        return False
    try:
        with open_file(second, os.O_RDONLY) as file:
            text = read_journal(place, file.fileno(), second, _JOURNAL_BYTES)
    except FileNotFoundError as error:
        hand_on(error)
        return False
    found = _decoded(text, place, second)
    return found is not None and found[0].transaction == journal.transaction


def _parses(data: bytes, path: Path) -> bool:
    try:
        decode(data, path, lenient=True)
    except CorruptRegistryError as error:
        hand_on(error)
        return False
    return True


def _keep_copy(data: bytes, registry: int, path: Path) -> None:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    copy = path.with_name(f".{path.name}.{stamp}.broken")
    with make_beside(copy, Access.of(registry)) as file:
        write_all(file.fileno(), data, 0)
        os.fsync(file.fileno())
    # Not only with the journal's removal: the text is overwritten before that.
    sync_directory(path)
    _log.warning("Kept what stood in %s as %s", shown_name(path), shown_name(copy))
