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
    LinkedRegistryError,
    NotARegularFileError,
    RegistryNotFoundError,
    UnfinishableCommitError,
    UntrustedJournalError,
    finding_names,
    moving_aside,
)
from registry.storage import access_list
from registry.storage.descriptor import Descriptor, close_read, open_owned
from registry.storage.interruption import hand_on, tolerating
from registry.storage.journal import OVER, is_over, journal_path
from registry.storage.new_file import make_file
from registry.storage.permissions import (
    Access,
    is_member,
    is_unmapped,
    journal_access,
    user_called,
    why_unbelievable,
    why_unfinishable,
)
from registry.storage.safe_open import (
    folder_of,
    look,
    name_of,
    open_regular,
    read_all,
    sync_directory,
    write_all,
)
from registry.text import command_line

KEPT_BYTES = 1 << 20
"""A journal that is over and larger than this is emptied."""

# Journals whose directory entry this process has flushed, by device and inode.
_entered: dict[Path, tuple[int, int]] = {}
_ENTERED_AT_MOST = 256


def find_journal(registry: Path) -> Path | None:
    """The journal of a commit that is not over, as far as one look tells; or None."""
    place = journal_path(registry)
    return place if is_open(place) else None


def is_open(place: Path) -> bool:
    """Whether there is a journal whose commit is not over; also if that cannot be known."""
    try:
        with folder_of(place) as folder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            file = open_owned(name_of(place), flags, dir_fd=folder)
    except FileNotFoundError as error:
        hand_on(error)
        return False
    except OSError as error:
        hand_on(error)
        return not _is_empty(place)
    try:
        return not is_over(os.pread(file.fileno(), 1, 0))
    except OSError as error:
        hand_on(error)
        return True
    finally:
        close_read(file)


def _is_empty(place: Path) -> bool:
    """Whether a journal is known to say nothing, though it may not be opened.

    A process that was killed while it made its journal leaves one.
    """
    try:
        status = look(place)
    except OSError as error:
        hand_on(error)
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


@dataclass(frozen=True, slots=True)
class JournalFile:
    """A journal's file, open for a commit under the registry's lock.

    Attributes:
        place: Its path.
        opened: Its descriptor.
        size: Bytes in it.
        stays: Whether it may be left for the next commit: it belongs to whom the
            registry belongs to, and may be opened by whoever may open that.
    """

    place: Path
    opened: Descriptor
    size: int
    stays: bool

    @property
    def fd(self) -> int:
        """The number of its descriptor."""
        return self.opened.fileno()

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
        sync_directory(self.place)
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
            try:
                remove(self.place, durable)
            except PermissionError as error:
                hand_on(error)
                # A sticky directory, or one that only its owner may change.
                self._say_that_it_is_over(durable)
            return
        if max(length, self.size) > KEPT_BYTES:
            os.ftruncate(self.fd, 0)
            if durable:
                os.fdatasync(self.fd)
        else:
            self._say_that_it_is_over(durable)

    def take_back(self, durable: bool) -> None:
        """Ends a journal whose commit was made undone, and removes it where that is allowed.

        Raises:
            OSError: The disk failed; it may still be followed.
        """
        try:
            self._say_that_it_is_over(durable)
        except OSError as error:
            hand_on(error)
            remove(self.place, durable)
            return
        with tolerating(OSError):
            remove(self.place, durable=False)

    def _say_that_it_is_over(self, durable: bool) -> None:
        if not is_over(os.pread(self.fd, 1, 0)):
            write_all(self.fd, OVER, 0)
        if durable:
            os.fdatasync(self.fd)


def check_place(registry: Path) -> None:
    """Makes sure, as far as a look tells, that a journal can be written beside a registry.

    Raises:
        UntrustedJournalError: Something else is there, or it may not be written by this user.
        UnfinishableCommitError: Not every user who may write the registry could finish a commit.
        InaccessibleRegistryError: It may not be made.
    """
    place = journal_path(registry)
    try:
        there = look(place)
    except FileNotFoundError as error:
        hand_on(error)
        _check_that_it_can_be_made(place, registry)
        return
    except OSError as error:
        hand_on(error)
        # The commit says why.
        return
    if not stat.S_ISREG(there.st_mode):
        raise UntrustedJournalError(place, "is no regular file")
    if there.st_size == 0:
        return
    with folder_of(place) as folder:
        usable = os.access(name_of(place), os.R_OK | os.W_OK, dir_fd=folder, effective_ids=True)
    if usable:
        return
    with tolerating(OSError):
        with folder_of(registry) as folder:
            owner = Access.at(folder, name_of(registry))
        if _says_nothing(place, owner):
            return
    raise _not_ours(place, registry, there.st_uid, "written")


def _check_that_it_can_be_made(place: Path, registry: Path) -> None:
    try:
        with folder_of(place) as opened:
            owner = Access.at(opened, name_of(registry))
            folder = os.fstat(opened)
            usable = os.access(".", os.W_OK | os.X_OK, dir_fd=opened, effective_ids=True)
    except OSError as error:
        hand_on(error)
        return
    if not usable:
        refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise InaccessibleRegistryError(place, refused, "make")
    us = os.geteuid()
    if us == 0:
        return
    group = folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
    if is_member(us, owner.group):
        group = owner.group
    why = why_unfinishable(journal_access(us, group, owner), owner)
    if why is not None:
        raise UnfinishableCommitError(registry, why)


def open_journal(place: Path, fd: int, registry: Path) -> JournalFile:
    """Opens the file for a journal, or makes it; in a state that others can finish it from.

    Args:
        place: Where it lies.
        fd: The registry's descriptor; holds the exclusive lock, and the registry
            is recovered.
        registry: The registry's path, for errors.

    Returns:
        It; whoever is done with it closes its descriptor.

    Raises:
        UntrustedJournalError: Something else is there.
        UnfinishableCommitError: Not every user who may write the registry could finish
            a commit that is cut off.
        OSError: The system refused it.
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
    """The journal that a commit before left, if exactly those may use it who should.

    Otherwise one that says nothing any more is removed, to be made anew.
    """
    try:
        file = _open_single(place, os.O_RDWR, named)
    except RegistryNotFoundError as error:
        hand_on(error)
        return None
    except UntrustedJournalError as error:
        hand_on(error)
        if not _says_nothing(place, Access.of(registry)):
            raise
        _make_way(place)
        return None
    try:
        if not is_over(os.pread(file.fileno(), 1, 0)):
            raise UntrustedJournalError(place, "is in the way of a new journal")
        status, owner = os.fstat(file.fileno()), Access.of(registry)
        journal = Access.of(file.fileno())
        unbelievable = _why_unbelievable(place, journal, owner)
        if unbelievable is None and why_unfinishable(journal, owner) is None:
            return file
        ours = journal.owner in (os.geteuid(), owner.owner, 0)
        if unbelievable is not None and status.st_size and not ours:
            raise _planted(place, unbelievable, named)
        _make_way(place)
    except BaseException:
        close_read(file)
        raise
    close_read(file)
    return None


def _says_nothing(place: Path, registry: Access) -> bool:
    """Whether a journal that this user may not write is known to keep nobody out.

    A process that was killed while it made its journal, or began to write it, leaves one.
    """
    if _is_empty(place):
        return True
    try:
        status = look(place)
        one_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not one_file or is_open(place):
            return False
        with folder_of(place) as folder:
            journal = Access.at(folder, name_of(place))
        return _why_unbelievable(place, journal, registry) is None
    except OSError as error:
        hand_on(error)
        return False


def _make_way(place: Path) -> None:
    """Removes a journal that says nothing, for a new one.

    Raises:
        UntrustedJournalError: It may not be removed by this user.
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
            f"is in the way of a new journal, and can be moved only by {able}",
            f"It says nothing: have {able} {moving_aside(place)}",
        ) from None


def make_beside(place: Path, registry: Access) -> Descriptor:
    """Makes a file that whoever may use a registry may use, and opens it; it is empty.

    Args:
        place: Where; in the registry's directory.
        registry: Whose owner, group and mode it follows, as far as this user may set them.

    Raises:
        UntrustedJournalError: Something is there.
        OSError: The system refused it.
    """
    _entered.pop(place, None)

    def prepare(fd: int) -> None:
        made = os.fstat(fd)
        owner = registry.owner if os.geteuid() == 0 else made.st_uid
        if (made.st_uid, made.st_gid) != (owner, registry.group):
            # Whether that is good enough is decided by what the file is then.
            with tolerating(PermissionError):
                os.fchown(fd, owner, registry.group)
        made = os.fstat(fd)
        wanted = journal_access(made.st_uid, made.st_gid, registry)
        try:
            access_list.write(fd, wanted.listed)
        except OSError as error:
            hand_on(error)
            # Whether the owner alone is enough is decided by what the file is then, too.
            os.fchmod(fd, 0o600)
        else:
            os.fchmod(fd, wanted.mode)

    try:
        with folder_of(place) as folder:
            return make_file(name_of(place), folder, 0o600, prepare)
    except FileExistsError as error:
        hand_on(error)
        raise UntrustedJournalError(place, "is in the way of a new journal") from None


def _open_single(place: Path, flags: int, registry: Path) -> Descriptor:
    """Opens a journal that is a regular file of one name.

    Raises:
        RegistryNotFoundError: There is none.
        UntrustedJournalError: It is another kind of file, has a second name, or may not
            be opened.
    """
    try:
        file = open_regular(place, flags)
    except LinkedRegistryError as error:
        hand_on(error)
        if error.link != place:
            raise
        raise UntrustedJournalError(place, "is a symlink") from None
    except NotARegularFileError as error:
        hand_on(error)
        raise UntrustedJournalError(place, f"is {error.what}") from None
    except InaccessibleRegistryError as error:
        hand_on(error)
        if error.errno != errno.EACCES:
            # A disk that fails makes nobody's journal one that may be removed.
            raise
        doing = "read" if flags == os.O_RDONLY else "written"
        raise _not_ours(place, registry, None, doing) from None
    try:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise UntrustedJournalError(
                place,
                "has a second name (hard link)",
                f"{finding_names(place)}; then move the one that does not belong there aside",
            )
    except BaseException:
        close_read(file)
        raise
    return file


def _why_unbelievable(place: Path, journal: Access, registry: Access) -> str | None:
    same = (journal.owner, journal.group) == (registry.owner, registry.group)
    plain = journal.listed is None and registry.listed is None
    known = not is_unmapped(journal.owner) and not is_unmapped(journal.group, kind="gid")
    if same and known and plain and journal.mode & 0o022 & ~registry.mode == 0:
        return None
    with folder_of(place) as folder:
        return why_unbelievable(journal, registry, Access.at(folder, "."))


def _planted(place: Path, why: str, registry: Path) -> UntrustedJournalError:
    return UntrustedJournalError(
        place,
        why,
        f"If that user may write the registry, have it finish its commit{_repairing(registry)}. "
        f"Otherwise {moving_aside(place)}",
    )


def _not_ours(place: Path, registry: Path, owner: int | None, doing: str) -> UntrustedJournalError:
    if owner is None:
        with tolerating(OSError):
            owner = look(place).st_uid
    whose = "its owner" if owner is None else user_called(owner)
    return UntrustedJournalError(
        place,
        f"may not be {doing} by this user, but by {whose}",
        f"It may hold a commit that was cut off: have {whose} or root finish "
        f"that{_repairing(registry)}. If there was none, {moving_aside(place)}",
    )


def _repairing(registry: Path) -> str:
    command = command_line("muster", "doctor", "--fix", names=(str(registry),))
    return " (muster doctor --fix)" if command is None else f": {command}"


def read_journal(place: Path, registry: int, named: Path, limit: int) -> bytes:
    """The bytes of a journal that is to be followed, flushed to the disk.

    Args:
        place: Where it lies.
        registry: The registry's descriptor: whoever may write that may be believed.
        named: The registry's path, for errors.
        limit: How many bytes at most.

    Raises:
        RegistryNotFoundError: There is none.
        UntrustedJournalError: It may not be followed.
        OSError: The disk failed.
    """
    file = _open_single(place, os.O_RDONLY, named)
    fd = file.fileno()
    try:
        status = os.fstat(fd)
        why = _why_unbelievable(place, Access.of(fd), Access.of(registry))
        if why is not None:
            raise _planted(place, why, named)
        if status.st_size > limit:
            raise UntrustedJournalError(place, "is larger than any journal")
        text = read_all(fd, place, limit)
        # A process that was killed may not have come to flush it. It must not be
        # lost to a power cut once anything is done because of it.
        os.fsync(fd)
    finally:
        close_read(file)
    sync_directory(place)
    return text


def remove(place: Path, durable: bool) -> None:
    """Removes a journal's file, if it is there.

    Raises:
        OSError: It could not be removed.
    """
    with tolerating(FileNotFoundError), folder_of(place) as folder:
        os.unlink(name_of(place), dir_fd=folder)
    _entered.pop(place, None)
    if durable:
        sync_directory(place)


def put_an_end_to(place: Path, registry: Path) -> None:
    """Removes a journal that was followed or dropped; or empties it, where it must stay.

    That is so in a directory that only its owner, or the journal's, may remove it from.

    Args:
        place: Where it lies.
        registry: The registry's path, for errors.

    Raises:
        UntrustedJournalError: This user may do neither; it is as it was.
        OSError: The disk failed.
    """
    try:
        remove(place, durable=True)
    except PermissionError as error:
        hand_on(error)
        with _open_single(place, os.O_RDWR, registry) as file:
            os.ftruncate(file.fileno(), 0)
            os.fsync(file.fileno())
