"""Who may write a registry: it may be believed about its content, and nobody else.

A journal says what is to stand in its registry. So whoever may write the registry
may leave a journal, and must be able to read the journal of another such user: it
may have to finish that user's commit.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from registry.storage.interruption import hand_on, tolerating

_READ, _WRITE = 4, 2


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what with a file, as far as its owner, group and mode tell.

    Attributes:
        owner: User id.
        group: Group id.
        mode: The permission bits.
        has_acl: Whether an access control list says more; then the group's bits
            are no more than an upper bound of it.
    """

    owner: int
    group: int
    mode: int
    has_acl: bool = False

    @classmethod
    def of(cls, fd: int) -> Access:
        """That of an open file or directory.

        Raises:
            OSError: It cannot be looked at.
        """
        return cls.from_status(os.fstat(fd), has_acl=_has_acl(fd))

    @classmethod
    def from_status(cls, status: os.stat_result, *, has_acl: bool = False) -> Access:
        """That of a file whose status is known."""
        return cls(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), has_acl)

    def group_may(self, bit: int) -> bool:
        """Whether members of the file's group may read (4) or write (2) it."""
        return bool(self.mode >> 3 & bit)

    def others_may(self, bit: int) -> bool:
        """Whether users who are neither its owner nor in its group may."""
        return bool(self.mode & bit)


def _has_acl(fd: int) -> bool:
    try:
        return bool(os.getxattr(fd, "system.posix_acl_access"))
    except OSError as error:
        hand_on(error)
        # There is none, or the file system has none.
        return False


def is_member(user: int, group: int) -> bool | None:
    """Whether a user is in a group; None where the system does not know the user."""
    if user == os.geteuid() and group in (os.getegid(), *os.getgroups()):
        return True
    # Imported on first use: in a workspace of one user nobody asks.
    import pwd

    with tolerating(KeyError, OSError):
        account = pwd.getpwuid(user)
        return group in os.getgrouplist(account.pw_name, account.pw_gid)
    return None


def why_unbelievable(journal: Access, registry: Access, directory: Access) -> str | None:
    """Why the user who wrote a journal is not known as one who may write its registry.

    Args:
        journal: Whose owner wrote it.
        registry: What it is about.
        directory: What both lie in.

    Returns:
        None where that user is known as one.
    """
    if registry.others_may(_WRITE):
        return None
    by_group = registry.group_may(_WRITE) and not registry.has_acl
    if journal.others_may(_WRITE):
        return "may be written by users who may not write the registry"
    if journal.group_may(_WRITE) and not (
        registry.group_may(_WRITE) and journal.group == registry.group
    ):
        return "may be written by users who may not write the registry"
    if journal.owner in (os.geteuid(), registry.owner, 0):
        return None
    if by_group and (
        is_member(journal.owner, registry.group)
        or (journal.group == registry.group and _only_writers_may_write(directory, registry))
    ):
        return None
    return f"belongs to {user_called(journal.owner)}, who is not known to write the registry"


def _only_writers_may_write(directory: Access, registry: Access) -> bool:
    """Whether whoever put a file in a directory may write a registry of a group.

    A file's group tells nothing of its owner: a directory elsewhere may give that group
    to files of users outside it, who can move them.
    """
    if directory.has_acl or directory.others_may(_WRITE):
        return False
    if directory.owner not in (os.geteuid(), registry.owner, 0):
        return False
    return not directory.group_may(_WRITE) or directory.group == registry.group


def why_unfinishable(journal: Access, registry: Access) -> str | None:
    """Why a user who may write a registry may not be able to read a journal.

    Args:
        journal: As it is, or would be.
        registry: What it is about.

    Returns:
        In words; None where all of them can.
    """
    all_may = journal.group_may(_READ) and journal.others_may(_READ)
    if all_may:
        return None
    whose = f"the journal, which belongs to {user_called(journal.owner)}, group {journal.group}"
    if registry.owner not in (journal.owner, 0):
        member = is_member(registry.owner, journal.group)
        may = {True: journal.group_may(_READ), False: journal.others_may(_READ), None: False}
        if not may[member]:
            return f"{user_called(registry.owner)}, its owner, could not read {whose}"
    if registry.group_may(_WRITE) and not (
        journal.group == registry.group and journal.group_may(_READ)
    ):
        return f"members of group {registry.group} could not read {whose}"
    if registry.others_may(_WRITE):
        return f"other users could not read {whose}"
    return None


def journal_mode(group: int, registry: Access) -> int:
    """The mode of a new journal: who may read and write the registry may do so with it.

    Args:
        group: The journal's group: another than the registry's where the user who makes
            it is not in that one.
        registry: What it is about.
    """
    bits = registry.mode & 0o666 | 0o600
    if group == registry.group:
        return bits
    return bits & ~0o070 | (bits & 0o007) << 3


def user_called(user: int) -> str:
    """A user in words, with its number and, where the system knows it, its name."""
    import pwd

    try:
        return f"user {user} ({pwd.getpwuid(user).pw_name})"
    except (KeyError, OSError) as error:
        hand_on(error)
        return f"user {user}"
