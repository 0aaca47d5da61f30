"""The file that a journal lies in: found, trusted, written, and kept for the next commit.

Kept, because to make and remove a file at each commit costs a durable one two more
flushes, of the directory (SQLite's ``journal_mode=PERSIST``). A journal whose commit
is over begins with a NUL.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from registry.errors import (
    InaccessibleRegistryError,
    NotARegularFileError,
    RegistryNotFoundError,
    UntrustedJournalError,
)
from registry.files import close_read, open_regular, read_all, sync_directory, write_all
from registry.journal import OVER, is_over, journal_path

KEPT_BYTES = 1 << 20
"""A journal that is over and larger than this is emptied."""

_MODE = 0o600

# Journals whose directory entry this process has flushed, by device and inode.
_entered: dict[Path, tuple[int, int]] = {}
_ENTERED_AT_MOST = 256


def find_journal(registry: Path) -> Path | None:
    """The journal of a commit that is not over, as far as one look tells; or None."""
    place = journal_path(Path(os.path.realpath(registry)))
    return place if is_open(place) else None


def is_open(place: Path) -> bool:
    """Whether there is a journal whose commit is not over; also if nobody can tell."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not is_over(os.pread(fd, 1, 0))
    except OSError:
        return True
    finally:
        close_read(fd)


@dataclass(frozen=True, slots=True)
class JournalFile:
    """A journal's file, open for a commit under the registry's lock.

    Attributes:
        place: Its path.
        fd: Its descriptor.
        size: Bytes in it.
        stays: Whether it may be left for the next commit: it belongs to whom the
            registry belongs to, and may be opened by whoever may open that.
    """

    place: Path
    fd: int
    size: int
    stays: bool

    def write(self, text: bytes, durable: bool) -> None:
        """Writes a journal over what is over.

        Raises:
            OSError: The disk is full or failed.
        """
        # The first byte last: until then it is over, whatever is cut off. A few bytes
        # of the new one's start could otherwise bring back the one beneath.
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
        sync_directory(self.place.parent)
        if len(_entered) >= _ENTERED_AT_MOST:
            _entered.clear()
        _entered[self.place] = identity

    def end(self, length: int, durable: bool) -> None:
        """Says that the commit is over.

        Args:
            length: Bytes of the journal that was written.
            durable: Whether that must outlast a power cut: a journal that came back
                could undo what a peer wrote since.

        Raises:
            OSError: The disk failed.
        """
        if not self.stays:
            remove(self.place, durable)
            return
        if max(length, self.size) > KEPT_BYTES:
            os.ftruncate(self.fd, 0)
        else:
            write_all(self.fd, OVER, 0)
        if durable:
            os.fdatasync(self.fd)


def check_place(registry: Path) -> None:
    """Makes sure, as far as a look tells, that a journal can be written beside a registry.

    Raises:
        UntrustedJournalError: Something else is there, or it may not be written by this user.
        InaccessibleRegistryError: It may not be made.
    """
    place = journal_path(Path(os.path.realpath(registry)))
    try:
        status = os.lstat(place)
    except FileNotFoundError:
        if os.path.isdir(place.parent) and not os.access(place.parent, os.W_OK | os.X_OK):
            refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise InaccessibleRegistryError(place, refused, "make") from None
        return
    except OSError:
        # The commit says why.
        return
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedJournalError(place, "is no regular file")
    if not os.access(place, os.R_OK | os.W_OK):
        raise UntrustedJournalError(place, "may not be written by this user")


def open_journal(place: Path, registry: int) -> JournalFile:
    """Opens the file for a journal, or makes it.

    Args:
        place: Where it lies.
        registry: The registry's descriptor; holds the exclusive lock, and the
            registry is recovered.

    Returns:
        It, with a descriptor that the caller closes.

    Raises:
        UntrustedJournalError: Something else is there.
        OSError: The system refused it.
    """
    owner = os.fstat(registry)
    try:
        fd = _open_trusted(place, os.O_RDWR, owner.st_uid)
    except RegistryNotFoundError:
        fd = _make(place, owner)
    try:
        status = os.fstat(fd)
        if not is_over(os.pread(fd, 1, 0)):
            raise UntrustedJournalError(place, "is in the way of a new journal")
    except BaseException:
        os.close(fd)
        raise
    stays = (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid) and (
        stat.S_IMODE(status.st_mode) == _mode(owner)
    )
    return JournalFile(place, fd, status.st_size, stays)


def _mode(owner: os.stat_result) -> int:
    """Who may write the registry must be able to finish its commits."""
    return stat.S_IMODE(owner.st_mode) & 0o666 | _MODE


def _make(place: Path, owner: os.stat_result) -> int:
    _entered.pop(place, None)
    try:
        fd = os.open(
            place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE
        )
    except FileExistsError:
        raise UntrustedJournalError(place, "is in the way of a new journal") from None
    try:
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.fchown(fd, owner.st_uid, owner.st_gid)
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid):
            os.fchmod(fd, _mode(owner))
    except BaseException:
        os.close(fd)
        remove(place, durable=False)
        raise
    return fd


def _open_trusted(place: Path, flags: int, owner: int) -> int:
    """Opens a journal that may be followed.

    Raises:
        RegistryNotFoundError: There is none.
        UntrustedJournalError: It is no regular file of one link, or belongs to
            neither us, the registry's owner nor root.
    """
    try:
        fd = open_regular(place, flags | os.O_NOFOLLOW)
    except NotARegularFileError as error:
        raise UntrustedJournalError(place, f"is {error.what}") from None
    except InaccessibleRegistryError as error:
        if error.errno != errno.EACCES:
            # A disk that fails makes nobody's journal one that may be removed.
            raise
        doing = "read" if flags == os.O_RDONLY else "written"
        raise UntrustedJournalError(place, f"may not be {doing} by this user") from None
    try:
        status = os.fstat(fd)
        if status.st_uid not in (os.geteuid(), owner, 0):
            raise UntrustedJournalError(place, f"belongs to user {status.st_uid}")
        if status.st_nlink > 1:
            raise UntrustedJournalError(place, "has a second name (hard link)")
    except BaseException:
        close_read(fd)
        raise
    return fd


def read_journal(place: Path, registry: int | Path, limit: int) -> bytes:
    """The bytes of a journal that is to be followed, flushed to the disk.

    Args:
        place: Where it lies.
        registry: Whose owner's journals may be followed; a path or a descriptor.
        limit: How many bytes at most.

    Raises:
        RegistryNotFoundError: There is none.
        UntrustedJournalError: It may not be followed.
        OSError: The disk failed.
    """
    fd = _open_trusted(place, os.O_RDONLY, os.stat(registry).st_uid)
    try:
        text = read_all(fd, place, limit)
        # A process that was killed may not have come to flush it. It must not be
        # lost to a power cut once anything is done because of it.
        os.fsync(fd)
    finally:
        close_read(fd)
    sync_directory(place.parent)
    return text


def remove(place: Path, durable: bool) -> None:
    """Removes a journal's file, if it is there.

    Raises:
        OSError: It could not be removed.
    """
    place.unlink(missing_ok=True)
    _entered.pop(place, None)
    if durable:
        sync_directory(place.parent)
