"""Finishes or drops interrupted commits, in the next process that gets the registry's lock."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

from registry.errors import (
    InaccessibleRegistryError,
    NotARegularFileError,
    RegistryError,
    RegistryNotFoundError,
    UntrustedJournalError,
)
from registry.storage import flock, metrics
from registry.storage import journal as journals
from registry.storage.codec import MAX_BYTES, check_size, parses
from registry.storage.commit import boot_id, place_whole
from registry.storage.files.file_age import seconds_since_write
from registry.storage.files.interruption import hand_on
from registry.storage.files.permissions import Access
from registry.storage.files.safe_open import open_file, read_all
from registry.storage.files.same_access import save_beside
from registry.storage.flock import Lock
from registry.storage.hot_journal import find_journal, is_open
from registry.storage.journal import Journal, RecoveryAction, Role, journal_path
from registry.storage.journal_file import (
    discard_journal,
    read_journal,
)
from registry.storage.partner import partner_of
from registry.text import shown_name

_log = logging.getLogger(__name__)

_JOURNAL_BYTES = 3 * MAX_BYTES

# Another process may be writing a corrupt file without the lock. So recovery replaces the file
# only if the last write to the file is older than this many seconds.
_GIVEN_UP_AFTER = 1.0


def recover_registry(registry: str | os.PathLike[str], timeout: float = 10.0) -> bool:
    """Finishes or drops an interrupted commit. Every write with this library also does this.

    Args:
        registry: The registry.
        timeout: How long to wait for the registry's lock, in seconds.

    Returns:
        Whether a commit was interrupted.

    Raises:
        RegistryError: The registry cannot be locked, or its journal cannot be read or trusted.
    """
    path = Path(registry)
    if find_journal(path) is None:
        return False
    acquire(path, timeout).release()
    return True


def acquire(path: Path, timeout: float, *, longest_pause: float = flock.LONGEST_PAUSE) -> Lock:
    """Acquires the lock like `flock.acquire`, and recovers the registry.

    Raises:
        RegistryError: See `flock.acquire`. This error is also raised if the journal cannot be read
            or trusted.
    """
    return flock.acquire(path, timeout, longest_pause=longest_pause, ready=recover)


def acquire_both(first: Path, second: Path, timeout: float) -> tuple[Lock, Lock]:
    """Acquires both locks like `flock.acquire_both`, and recovers both registries.

    Raises:
        RegistryError: See `acquire`, for either file.
    """
    return flock.acquire_both(first, second, timeout, ready=recover)


def recover(fd: int, path: Path) -> bool:
    """Finishes or drops an interrupted commit, under the registry's lock.

    Args:
        fd: The descriptor of the registry, which holds the exclusive lock.
        path: The path of the registry.

    Returns:
        Whether the caller can use the registry. False if another process holds the lock of the
        commit's other file, or may be writing this registry without the lock.

    Raises:
        UntrustedJournalError: The journal must not be trusted.
        CorruptRegistryError: The registry is too large to be read.
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
        decoded = _decoded(text, place, path)
        if decoded is None:
            # A commit changes the registry only after its journal is complete.
            _finish(place, path, "dropped the unfinished journal of")
            return True
        journal, partner = decoded
        if journal.role is Role.SECOND and partner and not _first_is_settled(partner):
            return False
        return _apply(journal, partner, fd, path, place)
    except OSError as error:
        hand_on(error)
        # An error of the journal is reported as an error of the recovery, which may already
        # have changed the registry.
        of_journal = isinstance(error, InaccessibleRegistryError) and error.path == place
        if isinstance(error, RegistryError) and not of_journal:
            raise
        raise InaccessibleRegistryError(path, error, "recover") from error


def _decoded(text: bytes, place: Path, registry: Path) -> tuple[Journal, Path | None] | None:
    """Returns a journal and the other file of its commit; None if the journal is incomplete.

    Raises:
        UntrustedJournalError: The journal is not one that this library could have written.
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
    action = journals.decide(
        journal,
        data,
        boot=boot_id(),
        committed=journal.role is Role.SECOND or _second_is_journalled(journal, partner),
        parses=parses(data, path),
    )
    if action is RecoveryAction.SET_ASIDE:
        if seconds_since_write(os.fstat(fd)) < _GIVEN_UP_AFTER:
            return False
        _keep_copy(data, fd, path)
    if action is RecoveryAction.CUT_BACK:
        os.ftruncate(fd, journal.old_length)
    elif action in (RecoveryAction.WRITE, RecoveryAction.SET_ASIDE):
        place_whole(fd, journal.new)
    os.fsync(fd)
    messages = {
        RecoveryAction.NOTHING: "found nothing to do for",
        RecoveryAction.CUT_BACK: "dropped a commit that had not begun in",
        RecoveryAction.WRITE: "finished an interrupted commit in",
        RecoveryAction.SET_ASIDE: "kept a copy of a corrupt text and finished a commit in",
    }
    _finish(place, path, messages[action])
    return True


def _finish(place: Path, path: Path, message: str) -> None:
    discard_journal(place, path)
    metrics.count_recovery(path)
    _log.warning("Recovery %s %s", message, shown_name(path))


def _first_is_settled(first: Path) -> bool:
    """Recovers the task's registry of a two-file commit, before the global registry.

    The recovery of the task's registry needs the journal of the global registry.

    Returns:
        False if another process holds the lock of the task's registry.
    """
    if flock.holds(first):
        return True
    try:
        # This does not recurse further: the journal of a task's registry can only name the
        # global registry, and only with the role FIRST.
        lock = flock.try_acquire(first, ready=recover)
    except (RegistryNotFoundError, NotARegularFileError) as error:
        hand_on(error)
        # The task was removed, so its registry needs no recovery.
        return True
    if lock is None:
        return False
    lock.release()
    return True


def _second_is_journalled(journal: Journal, second: Path | None) -> bool:
    """Returns whether the journal of the global registry is complete too.

    If so, the commit of both files is valid. False if the commit has one file.

    Args:
        journal: The journal of the task's registry, which is complete.
        second: The path of the global registry; None if the commit has one file.

    Raises:
        UntrustedJournalError: The journal of the global registry must not be trusted.
    """
    if journal.role is not Role.FIRST or second is None:
        return False
    place = journal_path(second)
    if not is_open(place):
        # Checked before the journal's owner, because such a journal is always harmless.
        return False
    try:
        with open_file(second, os.O_RDONLY) as file:
            text = read_journal(place, file.fileno(), second, _JOURNAL_BYTES)
    except FileNotFoundError as error:
        hand_on(error)
        return False
    decoded = _decoded(text, place, second)
    return decoded is not None and decoded[0].transaction == journal.transaction


def _keep_copy(data: bytes, registry: int, path: Path) -> None:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    copy = path.with_name(f".{path.name}.{stamp}.broken")
    # The registry's text is overwritten before the removal of the journal flushes the directory.
    save_beside(copy, Access.of(registry), data)
    _log.warning("Kept the corrupt content of %s as %s", shown_name(path), shown_name(copy))
