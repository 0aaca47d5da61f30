"""Opens, checks and writes the journal file of a registry.

The file is kept for the next commit, and begins with a NUL when its commit is over. If each
durable commit created a new file, two more flushes of the directory would be needed (compare
SQLite's ``journal_mode=PERSIST``).
"""

from __future__ import annotations

import os
from pathlib import Path

from registry.advice import moving_aside
from registry.dataclass import dataclass
from registry.errors import (
    RegistryNotFoundError,
    UnfinishableCommitError,
    UntrustedJournalError,
)
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import make_file
from registry.storage.files.permissions import (
    Access,
    journal_access,
    user_called,
    why_unfinishable,
)
from registry.storage.files.safe_open import (
    folder_of,
    look,
    name_of,
    read_all,
    sync_directory,
    write_all,
)
from registry.storage.files.same_access import giving_access
from registry.storage.journal import OVER, is_over
from registry.storage.journal_trust import is_unneeded, open_single, planted, why_not_of_writer

KEPT_BYTES = 1 << 20
"""A journal of more than this many bytes is emptied at the end of its commit."""

# The device and inode of the journals whose directory entry this process has flushed.
_entered: dict[Path, tuple[int, int]] = {}
_ENTERED_AT_MOST = 256


@dataclass(frozen=True, slots=True)
class JournalFile:
    """The open journal file during a commit, under the registry's lock.

    Attributes:
        place: The path.
        opened: The descriptor.
        size: The size in bytes when the file was opened.
        stays: Whether the file is kept for the next commit. This is so if the file has the same
            owner, group and permissions as the registry.
    """

    place: Path
    opened: Descriptor
    size: int
    stays: bool

    @property
    def fd(self) -> int:
        """The number of the descriptor."""
        return self.opened.fileno()

    def write(self, text: bytes, durable: bool) -> None:
        """Writes a journal to the file, over an older journal whose commit is over.

        Raises:
            OSError: The disk is full or failed.
        """
        # The first byte is written last: until then the journal counts as over. Otherwise
        # the first bytes of the new journal could revive the older one.
        write_all(self.fd, text[1:], 1)
        write_all(self.fd, text[:1], 0)
        if durable:
            os.fdatasync(self.fd)
            self._enter()

    def _enter(self) -> None:
        status = os.fstat(self.fd)
        identity = (status.st_dev, status.st_ino)
        if _entered.get(self.place) == identity:
            return
        sync_directory(self.place)
        if len(_entered) >= _ENTERED_AT_MOST:
            _entered.clear()
        _entered[self.place] = identity

    def end(self, length: int, durable: bool) -> None:
        """Ends the journal of a successful commit: marks the commit as over, or removes the file.

        Args:
            length: The length of the written journal in bytes.
            durable: Whether to flush the mark to the disk. Without the flush, a power cut could
                remove the mark. Then recovery could overwrite later writes of other processes.

        Raises:
            OSError: The disk failed.
        """
        if not self.stays:
            try:
                remove(self.place, durable)
            except PermissionError as error:
                hand_on(error)
                # The directory is sticky, or only its owner may change it.
                self._mark_over(durable)
            return
        if max(length, self.size) > KEPT_BYTES:
            os.ftruncate(self.fd, 0)
            if durable:
                os.fdatasync(self.fd)
        else:
            self._mark_over(durable)

    def take_back(self, durable: bool) -> None:
        """Ends the journal of a commit that was taken back, and removes the file if permitted.

        Raises:
            OSError: The disk failed; a recovery may use the journal.
        """
        try:
            self._mark_over(durable)
        except OSError as error:
            hand_on(error)
            remove(self.place, durable)
            return
        with tolerating(OSError):
            remove(self.place, durable=False)

    def _mark_over(self, durable: bool) -> None:
        if not is_over(os.pread(self.fd, 1, 0)):
            write_all(self.fd, OVER, 0)
        if durable:
            os.fdatasync(self.fd)


def open_journal(place: Path, fd: int, registry: Path) -> JournalFile:
    """Opens or creates the file for a journal, with permissions for all writers of the registry.

    Args:
        place: The path of the journal.
        fd: The descriptor of the registry, which holds the exclusive lock. The caller must have
            recovered an interrupted commit.
        registry: The path of the registry, for errors.

    Returns:
        The open file; the caller must close its descriptor.

    Raises:
        UntrustedJournalError: The file at this path is not a journal that can be trusted.
        UnfinishableCommitError: Another user who can write the registry could not finish an
            interrupted commit of this user.
        OSError: The file cannot be opened or created.
    """
    owner = Access.of(fd)
    journal = _open_kept(place, fd, registry)
    if journal is None:
        journal = make_beside(place, owner)
    try:
        status = os.fstat(journal.fileno())
        access = Access.of(journal.fileno())
        why = why_unfinishable(access, owner)
        if why is not None:
            remove(place, durable=False)
            raise UnfinishableCommitError(registry, why)
    except BaseException:
        close_read(journal)
        raise
    stays = access == journal_access(owner.owner, owner.group, owner)
    return JournalFile(place, journal, status.st_size, stays)


def _open_kept(place: Path, registry: int, named: Path) -> Descriptor | None:
    """Opens the journal file that an earlier commit left.

    If the permissions of the file do not fit the registry, and the earlier commit is over, the
    file is removed.

    Returns:
        None if the file does not exist or was removed.
    """
    try:
        file = open_single(place, os.O_RDWR, named)
    except RegistryNotFoundError as error:
        hand_on(error)
        return None
    except UntrustedJournalError as error:
        hand_on(error)
        if not is_unneeded(place, Access.of(registry)):
            raise
        _remove_unneeded(place)
        return None
    try:
        if not is_over(os.pread(file.fileno(), 1, 0)):
            raise UntrustedJournalError(place, "blocks a new journal")
        status, owner = os.fstat(file.fileno()), Access.of(registry)
        journal = Access.of(file.fileno())
        unbelievable = why_not_of_writer(place, journal, owner)
        if unbelievable is None and why_unfinishable(journal, owner) is None:
            return file
        ours = journal.owner in (os.geteuid(), owner.owner, 0)
        if unbelievable is not None and status.st_size and not ours:
            raise planted(place, unbelievable, named)
        _remove_unneeded(place)
    except BaseException:
        close_read(file)
        raise
    close_read(file)
    return None


def _remove_unneeded(place: Path) -> None:
    """Removes a journal that is not needed, so that a new journal can be created.

    Raises:
        UntrustedJournalError: This user is not allowed to remove the journal.
        OSError: The disk failed.
    """
    try:
        remove(place, durable=False)
    except PermissionError as error:
        hand_on(error)
        with folder_of(place) as folder:
            owners = {look(place).st_uid, os.fstat(folder).st_uid} - {0}
        able = " or ".join([*map(user_called, sorted(owners)), "root"])
        raise UntrustedJournalError(
            place,
            f"blocks a new journal, and only {able} can move this file",
            f"Have {able} {moving_aside(place)}",
        ) from None


def make_beside(place: Path, registry: Access) -> Descriptor:
    """Creates and opens an empty file, to which users have the same access as to a registry.

    Args:
        place: The path of the new file, in the registry's directory.
        registry: The permissions of the registry; see `giving_access`.

    Raises:
        UntrustedJournalError: A file already exists at this path.
        OSError: The file cannot be created.
    """
    _entered.pop(place, None)
    try:
        with folder_of(place) as folder:
            return make_file(name_of(place), folder, 0o600, giving_access(registry))
    except FileExistsError as error:
        hand_on(error)
        raise UntrustedJournalError(place, "blocks a new journal") from None


def read_journal(place: Path, registry: int, named: Path, limit: int) -> bytes:
    """Reads a journal whose writer is trusted, and flushes the journal to the disk.

    Args:
        place: The path of the journal.
        registry: The descriptor of the registry. The users who can write the registry are trusted.
        named: The path of the registry, for errors.
        limit: The largest size of a journal in bytes.

    Raises:
        RegistryNotFoundError: The journal does not exist.
        UntrustedJournalError: The journal must not be trusted.
        OSError: The disk failed.
    """
    file = open_single(place, os.O_RDONLY, named)
    fd = file.fileno()
    try:
        status = os.fstat(fd)
        why = why_not_of_writer(place, Access.of(fd), Access.of(registry))
        if why is not None:
            raise planted(place, why, named)
        if status.st_size > limit:
            raise UntrustedJournalError(place, "is larger than any journal of this library")
        text = read_all(fd, place, limit)
        # The writer may have been killed before it flushed the journal. A power cut must not
        # remove the journal after recovery has begun to use it.
        os.fsync(fd)
    finally:
        close_read(file)
    sync_directory(place)
    return text


def remove(place: Path, durable: bool) -> None:
    """Removes a journal's file, if the file exists.

    Args:
        place: The path of the journal.
        durable: Whether to flush the directory to the disk.

    Raises:
        OSError: The file cannot be removed.
    """
    with tolerating(FileNotFoundError), folder_of(place) as folder:
        os.unlink(name_of(place), dir_fd=folder)
    _entered.pop(place, None)
    if durable:
        sync_directory(place)


def discard_journal(place: Path, registry: Path) -> None:
    """Removes a journal after recovery; empties the journal if this user cannot remove it.

    In a sticky directory, for example, only some users are allowed to remove the file.

    Args:
        place: The path of the journal.
        registry: The path of the registry, for errors.

    Raises:
        UntrustedJournalError: This user can neither remove nor empty the journal; nothing was
            changed.
        OSError: The disk failed.
    """
    try:
        remove(place, durable=True)
    except PermissionError as error:
        hand_on(error)
        with open_single(place, os.O_RDWR, registry) as file:
            os.ftruncate(file.fileno(), 0)
            os.fsync(file.fileno())
