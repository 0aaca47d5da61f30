"""Who may write a registry: it may be believed about its content, and nobody else.

A journal says what is to stand in its registry. So whoever may write the registry
may leave a journal, and must be able to read the journal of another such user: it
may have to finish that user's commit.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from registry.storage import access_list
from registry.storage.access_list import AccessList
from registry.storage.interruption import hand_on, tolerating

_READ, _WRITE = 4, 2


@dataclass(frozen=True, slots=True)
class Allowed:
    """Who, besides the owner, may do one thing with a file.

    Attributes:
        users: Users that an access control list names.
        refused: Users that it names without allowing them this.
        groups: Groups whose members may.
        others: Whether users may who are neither named nor in a group that is.
    """

    users: frozenset[int]
    refused: frozenset[int]
    groups: frozenset[int]
    others: bool


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what with a file.

    Attributes:
        owner: User id.
        group: Group id.
        mode: The permission bits.
        listed: Its access control list; None where the mode says all. With one, the
            group's bits of the mode are the list's mask.
    """

    owner: int
    group: int
    mode: int
    listed: AccessList | None = None

    @classmethod
    def of(cls, fd: int) -> Access:
        """The access to a file that is open for reading or writing.

        Raises:
            OSError: It cannot be looked at.
        """
        return cls._from(os.fstat(fd), fd)

    @classmethod
    def at(cls, folder: int, name: str) -> Access:
        """The access to what lies in an open directory; of a symlink, its own.

        Raises:
            OSError: It cannot be looked at.
        """
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return cls._from(status, f"/proc/self/fd/{folder}/{name}")

    @classmethod
    def _from(cls, status: os.stat_result, file: int | str) -> Access:
        try:
            listed = access_list.read(file)
        except ValueError as error:
            hand_on(error)
            # Of a later kernel: nobody but the owner is known to have access.
            listed = {_OWNER: _READ | _WRITE}
        return cls(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), listed)

    def allowed(self, bit: int) -> Allowed:
        """Who may read (4) or write (2) the file."""
        if self.listed is None:
            groups = frozenset({self.group} if self.mode >> 3 & bit else ())
            return Allowed(frozenset(), frozenset(), groups, bool(self.mode & bit))
        entries = access_list.effective(self.listed)
        named = {number for kind, number in entries if kind == access_list.USER}
        users = {number for number in named if entries[access_list.USER, number] & bit}
        groups = frozenset(
            self.group if kind == access_list.OWNING_GROUP else number
            for (kind, number), bits in entries.items()
            if kind in (access_list.OWNING_GROUP, access_list.GROUP) and bits & bit
        )
        others = entries.get((access_list.OTHERS, access_list.UNNAMED), 0)
        return Allowed(frozenset(users), frozenset(named - users), groups, bool(others & bit))


def is_unmapped(number: int, *, kind: str = "uid") -> bool:
    """Whether a number stands for every user that this user namespace does not know.

    Two files with that owner may belong to two users; see user_namespaces(7).

    Args:
        number: The id of a user.
        kind: ``uid``, or ``gid`` for the id of a group.
    """
    try:
        if number != int(Path(f"/proc/sys/kernel/overflow{kind}").read_text("ascii")):
            return False
        lines = Path(f"/proc/self/{kind}_map").read_text("ascii").splitlines()
    except FileNotFoundError as error:
        hand_on(error)
        # A kernel without user namespaces.
        return False
    ranges = [[int(word) for word in line.split()] for line in lines]
    return not any(first <= number < first + count for first, _, count in ranges)


def is_member(user: int, group: int) -> bool | None:
    """Whether a user is in a group; None where the system does not know one of them."""
    if is_unmapped(group, kind="gid"):
        return None
    if user == os.geteuid() and group in (os.getegid(), *os.getgroups()):
        return True
    # Imported on first use: in a workspace of one user nobody asks.
    import pwd

    with tolerating(KeyError, OSError):
        account = pwd.getpwuid(user)
        return group in os.getgrouplist(account.pw_name, account.pw_gid)
    return None


def other_writer(listing: Access, listed: Access) -> str | None:
    """Somebody who may write one file, but not another that it leads to; None for nobody.

    This user and root may follow their own word anywhere.

    Returns:
        A user or a group, in words.
    """
    writers, able = listing.allowed(_WRITE), listed.allowed(_WRITE)
    known = able.users | {listed.owner, 0, os.geteuid()}
    users = {listing.owner, *writers.users} - known
    if is_unmapped(listing.owner):
        users.add(listing.owner)
    if users:
        return user_called(min(users))
    if writers.others and not able.others:
        return "every user"
    # A user's own group, which some systems have each user's files writable for.
    groups = writers.groups - able.groups - {_first_group(listing.owner)}
    return f"group {min(groups)}" if groups and not able.others else None


def _first_group(user: int) -> int | None:
    import pwd

    with tolerating(KeyError, OSError):
        return pwd.getpwuid(user).pw_gid
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
    writers = registry.allowed(_WRITE)
    if writers.others:
        return None
    able = journal.allowed(_WRITE)
    known = writers.users | {registry.owner, 0}
    if able.others or able.users - known or able.groups - writers.groups:
        return "may be written by users who may not write the registry"
    is_known = not is_unmapped(journal.owner)
    if is_known and (journal.owner in known or journal.owner == os.geteuid()):
        return None
    if journal.owner not in writers.refused and (
        any(is_member(journal.owner, group) for group in writers.groups)
        or (
            journal.group in writers.groups
            and not is_unmapped(journal.group, kind="gid")
            and _only_writers_may_write(directory, registry, writers.groups)
        )
    ):
        return None
    return f"belongs to {user_called(journal.owner)}, who is not known to write the registry"


def _only_writers_may_write(directory: Access, registry: Access, groups: frozenset[int]) -> bool:
    """Whether whoever put a file in a directory may write a registry of these groups.

    A file's group tells nothing of its owner: a directory elsewhere may give that group
    to files of users outside it, who can move them.
    """
    writers = directory.allowed(_WRITE)
    if directory.listed is not None or writers.others:
        return False
    if is_unmapped(directory.owner) or directory.owner not in (os.geteuid(), registry.owner, 0):
        return False
    return writers.groups <= groups


def why_unfinishable(journal: Access, registry: Access) -> str | None:
    """Why a user who may write a registry may not be able to read a journal.

    Args:
        journal: As it is, or would be.
        registry: What it is about.

    Returns:
        In words; None where all of them can.
    """
    readers, writers = journal.allowed(_READ), registry.allowed(_WRITE)
    if journal.listed is None and readers.groups and readers.others:
        return None
    whose = f"the journal, which belongs to {user_called(journal.owner)}, group {journal.group}"
    if registry.owner not in (journal.owner, 0) and not _may(registry.owner, journal, readers):
        return f"{user_called(registry.owner)}, its owner, could not read {whose}"
    for user in sorted(writers.users - {journal.owner, 0}):
        if not _may(user, journal, readers):
            return f"{user_called(user)}, who may write it, could not read {whose}"
    for group in sorted(writers.groups - readers.groups):
        return f"members of group {group} could not read {whose}"
    if writers.others and not readers.others:
        return f"other users could not read {whose}"
    return None


def _may(user: int, file: Access, allowed: Allowed) -> bool:
    """Whether a user who does not own a file is known to be allowed a thing."""
    if user in allowed.users or user in allowed.refused:
        return user in allowed.users
    groups = {file.group, *allowed.groups}
    if file.listed is not None:
        groups |= {number for kind, number in file.listed if kind == access_list.GROUP}
    member = {group: is_member(user, group) for group in groups}
    if any(member.values()):
        return any(member[group] for group in allowed.groups)
    return allowed.others and None not in member.values()


def journal_access(user: int, group: int, registry: Access) -> Access:
    """The access to a new journal: who may read and write the registry may do so with it.

    Args:
        user: The journal's owner.
        group: The journal's group: another than the registry's where the user who makes
            it is not in that one.
        registry: What it is about.
    """
    if registry.listed is not None:
        listed = _journal_list(user, group, registry, registry.listed)
        mode = 0o600 | listed[_MASK] << 3 | listed[_OTHERS]
        return Access(user, group, mode, listed)
    bits = registry.mode & 0o666 | 0o600
    if group != registry.group:
        bits = bits & ~0o070 | (bits & 0o007) << 3
    return Access(user, group, bits)


_OWNER = access_list.OWNER, access_list.UNNAMED
_OWNING_GROUP = access_list.OWNING_GROUP, access_list.UNNAMED
_MASK = access_list.MASK, access_list.UNNAMED
_OTHERS = access_list.OTHERS, access_list.UNNAMED


def _journal_list(
    user: int, group: int, registry: Access, listed: AccessList
) -> dict[tuple[int, int], int]:
    """The registry's list, with its owner and group by name where the journal has others."""
    both = _READ | _WRITE
    entries = {entry: bits & both for entry, bits in access_list.effective(listed).items()}
    entries[_OWNER] = both
    entries.setdefault(_OWNING_GROUP, 0)
    entries.setdefault(_OTHERS, 0)
    if user != registry.owner:
        entries[access_list.USER, registry.owner] = both
    if group != registry.group:
        entries.setdefault((access_list.GROUP, registry.group), entries[_OWNING_GROUP])
        entries[_OWNING_GROUP] = entries.pop((access_list.GROUP, group), 0)
    entries[_MASK] = both
    return entries


def user_called(user: int) -> str:
    """A user in words, with its number and, where the system knows it, its name."""
    import pwd

    if is_unmapped(user):
        return "a user whom this user namespace does not know"
    try:
        return f"user {user} ({pwd.getpwuid(user).pw_name})"
    except (KeyError, OSError) as error:
        hand_on(error)
        return f"user {user}"
