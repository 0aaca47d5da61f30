"""Decides which file is trusted as the journal of a registry, and words why a file is not.

Recovery copies the content of a journal into the registry. So a journal must come from a user who
may write the registry, and every user who may write the registry must be able to finish it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from registry.advice import finding_names, moving_aside
from registry.errors import (
    InaccessibleRegistryError,
    LinkedRegistryError,
    NotARegularFileError,
    UnfinishableCommitError,
    UntrustedJournalError,
)
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.permissions import (
    Access,
    is_member,
    is_unmapped,
    journal_access,
    user_called,
    why_unbelievable,
    why_unfinishable,
)
from registry.storage.files.safe_open import (
    folder_of,
    look,
    name_of,
    open_regular,
)
from registry.storage.hot_journal import is_empty, is_open
from registry.storage.journal import journal_path
from registry.text import command_line


def check_place(registry: Path) -> None:
    """Checks that a journal for a registry can probably be written.

    Raises:
        UntrustedJournalError: The journal is not a regular file, or this user is not allowed to
            write the journal.
        UnfinishableCommitError: Another user who can write the registry could not finish an
            interrupted commit of this user.
        InaccessibleRegistryError: This user is not allowed to create the journal.
    """
    place = journal_path(registry)
    try:
        status = look(place)
    except FileNotFoundError as error:
        hand_on(error)
        _check_creatable(place, registry)
        return
    except OSError as error:
        hand_on(error)
        # The commit will fail with the reason.
        return
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedJournalError(place, "is not a regular file")
    if status.st_size == 0:
        return
    with folder_of(place) as folder:
        usable = os.access(name_of(place), os.R_OK | os.W_OK, dir_fd=folder, effective_ids=True)
    if usable:
        return
    with tolerating(OSError):
        with folder_of(registry) as folder:
            owner = Access.at(folder, name_of(registry))
        if is_unneeded(place, owner):
            return
    raise _not_ours(place, registry, status.st_uid, "written")


def _check_creatable(place: Path, registry: Path) -> None:
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
        raise InaccessibleRegistryError(place, refused, "create")
    us = os.geteuid()
    if us == 0:
        return
    group = folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
    if is_member(us, owner.group):
        group = owner.group
    why = why_unfinishable(journal_access(us, group, owner), owner)
    if why is not None:
        raise UnfinishableCommitError(registry, why)


def open_single(place: Path, flags: int, registry: Path) -> Descriptor:
    """Opens a journal that is a regular file with a single name.

    Raises:
        RegistryNotFoundError: The journal does not exist.
        UntrustedJournalError: The journal is not a regular file, has a second hard link, or is not
            accessible for this user.
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
            # After an error of the disk, the advice must not be to move the journal aside.
            raise
        doing = "read" if flags == os.O_RDONLY else "written"
        raise _not_ours(place, registry, None, doing) from None
    try:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise UntrustedJournalError(
                place,
                "has a second name (hard link)",
                f"{finding_names(place)}; then move the wrong name aside",
            )
    except BaseException:
        close_read(file)
        raise
    return file


def why_not_of_writer(place: Path, journal: Access, registry: Access) -> str | None:
    """Returns why the owner of a file is perhaps not allowed to write a registry, or None.

    Args:
        place: The path of the file.
        journal: The permissions of the file.
        registry: The permissions of the registry.

    Raises:
        RegistryError: The directory of the file cannot be examined.
        OSError: The directory of the file cannot be examined.
    """
    same = (journal.owner, journal.group) == (registry.owner, registry.group)
    plain = journal.listed is None and registry.listed is None
    known = not is_unmapped(journal.owner) and not is_unmapped(journal.group, kind="gid")
    if same and known and plain and journal.mode & 0o022 & ~registry.mode == 0:
        return None
    with folder_of(place) as folder:
        return why_unbelievable(journal, registry, Access.at(folder, "."))


def is_unneeded(place: Path, registry: Access) -> bool:
    """Returns whether a journal that this user cannot write is certainly not needed.

    Such a journal remains if a process is killed before or while it writes the journal.
    """
    if is_empty(place):
        return True
    try:
        status = look(place)
        one_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not one_file or is_open(place):
            return False
        with folder_of(place) as folder:
            journal = Access.at(folder, name_of(place))
        return why_not_of_writer(place, journal, registry) is None
    except OSError as error:
        hand_on(error)
        return False


def planted(place: Path, why: str, registry: Path) -> UntrustedJournalError:
    """Returns the error for a journal that another user may have put there.

    Args:
        place: The path of the journal.
        why: Why the journal is not trusted.
        registry: The path of the registry.
    """
    return UntrustedJournalError(
        place,
        why,
        f"If that user may write the registry, let that user finish the "
        f"commit{_repairing(registry)}. "
        f"Otherwise {moving_aside(place)}",
    )


def _not_ours(place: Path, registry: Path, owner: int | None, doing: str) -> UntrustedJournalError:
    if owner is None:
        with tolerating(OSError):
            owner = look(place).st_uid
    whose = "its owner" if owner is None else user_called(owner)
    return UntrustedJournalError(
        place,
        f"cannot be {doing} by this user, but by {whose}",
        f"The file may contain an interrupted commit: let {whose} or root finish the "
        f"commit{_repairing(registry)}. If no commit was interrupted, {moving_aside(place)}",
    )


def _repairing(registry: Path) -> str:
    command = command_line("muster", "doctor", "--fix", names=(str(registry),))
    return " (muster doctor --fix)" if command is None else f": {command}"
