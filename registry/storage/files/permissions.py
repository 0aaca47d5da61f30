"""Checks which users can write a registry. Only these users are trusted to write a journal for it.

A journal contains the new content of its registry. Any user who can write the registry must be
able to finish an interrupted commit of another user. So each of these users must be able to read
the journals of the others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from registry.dataclass import dataclass, replace
from registry.storage.files import access_list
from registry.storage.files.access_list import AccessList
from registry.storage.files.interruption import hand_on, tolerating

_READ, _WRITE, _SEARCH = 4, 2, 1

_USUAL_OVERFLOW = 65534
"""The id that Linux shows for unknown users, unless the administrator changed it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The users and groups, besides the owner, that have one permission for a file.

    Attributes:
        users: The ids of the users to whom the access control list gives the permission.
        refused: The ids of the users to whom the access control list refuses the permission.
        groups: The ids of the groups whose members have the permission.
        refused_groups: The ids of the groups whose members do not have the permission, even if all
            other users have it.
        others: Whether all other users have the permission.
    """

    users: frozenset[int]
    refused: frozenset[int]
    groups: frozenset[int]
    refused_groups: frozenset[int]
    others: bool


@dataclass(frozen=True, slots=True)
class Access:
    """The owner and the permissions of a file.

    Attributes:
        owner: The user id of the owner.
        group: The group id.
        mode: The permission bits.
        listed: The access control list; None if the file has only a mode. With a list, the
            group bits of the mode are the mask of the list.
    """

    owner: int
    group: int
    mode: int
    listed: AccessList | None = None

    @classmethod
    def of(cls, fd: int) -> Access:
        """Returns the permissions of a file that is open for reading or writing.

        Raises:
            OSError: The file cannot be examined.
        """
        return cls._from(os.fstat(fd), fd)

    @classmethod
    def at(cls, folder: int, name: str) -> Access:
        """Returns the permissions of a file in an open directory; a symlink is not followed.

        Raises:
            OSError: The file cannot be examined.
        """
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return cls._from(status, f"/proc/self/fd/{folder}/{name}")

    @classmethod
    def _from(cls, status: os.stat_result, file: int | str) -> Access:
        try:
            listed = access_list.read(file)
        except ValueError as error:
            hand_on(error)
            # The list has an unknown format, so only the owner is known to have access.
            listed = {_OWNER: _READ | _WRITE}
        return cls(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), listed)

    def allowed(self, bit: int) -> Allowed:
        """Returns the users and groups that have one permission for the file.

        Args:
            bit: The permission: 4 to read, 2 to write.
        """
        if self.listed is None:
            own, none = frozenset({self.group}), frozenset[int]()
            groups, refused = (own, none) if self.mode >> 3 & bit else (none, own)
            return Allowed(none, none, groups, refused, bool(self.mode & bit))
        entries = access_list.effective(self.listed)
        named = {number for kind, number in entries if kind == access_list.USER}
        users = {number for number in named if entries[access_list.USER, number] & bit}
        by_group = {
            self.group if kind == access_list.OWNING_GROUP else number: bits & bit
            for (kind, number), bits in entries.items()
            if kind in (access_list.OWNING_GROUP, access_list.GROUP)
        }
        others = entries.get((access_list.OTHERS, access_list.UNNAMED), 0)
        return Allowed(
            frozenset(users),
            frozenset(named - users),
            frozenset(group for group, has in by_group.items() if has),
            frozenset(group for group, has in by_group.items() if not has),
            bool(others & bit),
        )


def is_denied(path: Path) -> bool:
    """Returns whether this user has no permission to write an existing file.

    The result is False if nobody can write the file system.
    """
    effective = os.access in os.supports_effective_ids
    try:
        if is_read_only(path):
            return False
    except OSError as error:
        hand_on(error)
        return False
    return not os.access(path, os.W_OK, effective_ids=effective)


def is_read_only(file: Path | int) -> bool:
    """Returns whether the file system of a file allows no writes at all.

    Args:
        file: The path or the descriptor of the file.

    Raises:
        OSError: The file system cannot be examined.
    """
    return bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def is_unmapped(number: int, *, kind: str = "uid") -> bool:
    """Returns whether an id stands for all users or groups that the user namespace does not know.

    Two files with such an owner may belong to different users; see user_namespaces(7).

    Args:
        number: The id of a user or a group.
        kind: ``uid`` for a user, ``gid`` for a group.
    """
    try:
        lines = Path(f"/proc/self/{kind}_map").read_bytes().splitlines()
    except FileNotFoundError as error:
        hand_on(error)
        # The kernel does not support user namespaces.
        return False
    try:
        overflow = int(Path(f"/proc/sys/kernel/overflow{kind}").read_bytes())
    except FileNotFoundError as error:
        hand_on(error)
        # A /proc that is mounted with `subset=pid` has no /proc/sys.
        overflow = _USUAL_OVERFLOW
    if number != overflow:
        return False
    ranges = [[int(word) for word in line.split()] for line in lines]
    return not any(first <= number < first + count for first, _, count in ranges)


def is_member(user: int, group: int) -> bool | None:
    """Returns whether a user is in a group; None if the user or the group is not known."""
    if is_unmapped(group, kind="gid"):
        return None
    if user == os.geteuid() and group in (os.getegid(), *os.getgroups()):
        return True
    # Imported at the first use: a workspace of one user does not need it.
    import pwd

    with tolerating(KeyError, OSError):
        account = pwd.getpwuid(user)
        return group in os.getgrouplist(account.pw_name, account.pw_gid)
    return None


def other_writer(listing: Access, listed: Access, trusted: Collection[int] = ()) -> str | None:
    """Returns a user or group that can write one file, but perhaps cannot write another file.

    The first file names the second file. The user of this process and root are ignored, because
    these users are trusted to name any file.

    Args:
        listing: The permissions of the first file.
        listed: The permissions of the second file.
        trusted: The ids of further users that are ignored.

    Returns:
        A text that names the user or group; None if no user or group is found.
    """
    writers, able = listing.allowed(_WRITE), listed.allowed(_WRITE)
    known = able.users | {listed.owner, 0, os.geteuid(), *trusted}
    known |= {user for user in (*writers.users, listing.owner) if _may(user, listed, able)}
    if listing.owner not in known or is_unmapped(listing.owner):
        return user_called(listing.owner)
    # On some systems, each user has a group of their own, which can write the user's files.
    groups = writers.groups - able.groups
    private = {group for group in groups if any(_is_private(group, user) for user in known)}
    return _beyond(replace(writers, groups=writers.groups - private), able, known)


def _beyond(writers: Allowed, able: Allowed, known: frozenset[int]) -> str | None:
    """Returns a user or group that has one permission, but perhaps not a second permission.

    Args:
        writers: The users with the first permission.
        able: The users with the second permission.
        known: The ids of further users with the second permission.

    Returns:
        A text that names the user or group; None if no user or group is found.
    """
    if users := writers.users - known:
        return user_called(min(users))
    if writers.others and not able.others:
        return "every user"
    if not able.others and (groups := writers.groups - able.groups):
        return f"group {min(groups)}"
    if writers.groups or writers.others:
        for user in sorted(able.refused - writers.refused - known):
            may = (is_member(user, group) is not False for group in writers.groups)
            if writers.others or any(may):
                return user_called(user)
    if able.others:
        kept_out = able.refused_groups - writers.refused_groups if writers.others else frozenset()
        if groups := kept_out | able.refused_groups & writers.groups:
            return f"group {min(groups)}"
    return None


def _is_private(group: int, user: int) -> bool:
    """Returns whether a user is the only member of a group that has the user's name."""
    import grp
    import pwd

    with tolerating(KeyError, OSError):
        name, entry = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
        if entry.gr_name != name or not set(entry.gr_mem) <= {name}:
            return False
        return not any(
            account.pw_gid == group and account.pw_uid != user for account in pwd.getpwall()
        )
    return False


def why_unbelievable(journal: Access, registry: Access, directory: Access) -> str | None:
    """Returns why the writer of a journal is perhaps not allowed to write the registry.

    Args:
        journal: The permissions of the journal.
        registry: The permissions of the registry.
        directory: The permissions of the directory that contains both files.

    Returns:
        The reason; None if the writer is certainly allowed.
    """
    writers = registry.allowed(_WRITE)
    known = writers.users | {registry.owner, 0}
    if _beyond(journal.allowed(_WRITE), writers, known) is not None:
        return "is writable for users who are not allowed to write the registry"
    if writers.others and not (writers.refused or writers.refused_groups):
        return None
    is_known = not is_unmapped(journal.owner)
    if is_known and (journal.owner in known or journal.owner == os.geteuid()):
        return None
    if writers.others and is_known and journal.owner not in writers.refused:
        member = (is_member(journal.owner, group) for group in writers.refused_groups)
        if all(is_in is False for is_in in member):
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
    owner = user_called(journal.owner)
    return f"belongs to {owner}, who is perhaps not allowed to write the registry"


def _only_writers_may_write(directory: Access, registry: Access, groups: frozenset[int]) -> bool:
    """Returns whether every user who can create files in a directory can write the registry.

    The group of a file alone proves nothing about the file's owner. In another directory, a user
    outside the group can perhaps create files with this group, and then move them to this
    directory.
    """
    writers = directory.allowed(_WRITE)
    if directory.listed is not None or writers.others:
        return False
    if is_unmapped(directory.owner) or directory.owner not in (os.geteuid(), registry.owner, 0):
        return False
    return writers.groups <= groups


def why_unfinishable(journal: Access, registry: Access) -> str | None:
    """Returns why a user who can write a registry could not read the registry's journal.

    Args:
        journal: The present or planned permissions of the journal.
        registry: The permissions of the registry.

    Returns:
        The reason; None if all these users can read the journal.
    """
    readers = journal.allowed(_READ)
    if journal.listed is None and readers.groups and readers.others:
        return None
    text = f"could not read the journal of {user_called(journal.owner)} and group {journal.group}"
    return _kept_out(journal, readers, registry, registry.allowed(_WRITE), text)


def _kept_out(
    new: Access, able: Allowed, registry: Access, users: Allowed, text: str
) -> str | None:
    """Returns a user of one file who is perhaps not a user of a new file, and `text`; or None."""
    if registry.owner not in (new.owner, 0) and not _may(registry.owner, new, able):
        return f"{user_called(registry.owner)}, the registry's owner, {text}"
    for user in sorted(users.users - {new.owner, 0}):
        if not _may(user, new, able):
            return f"{user_called(user)}, who may write the registry, {text}"
    for group in sorted(users.groups - able.groups):
        return f"members of group {group} {text}"
    if users.others and not able.others:
        return f"other users {text}"
    return None


def _may(user: int, file: Access, allowed: Allowed) -> bool:
    """Returns whether a user who does not own a file certainly has a permission for the file."""
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
    """Returns the permissions for a new journal: each user has the same access as to the registry.

    Args:
        user: The owner of the journal.
        group: The group of the journal. This group differs from the registry's group if the
            user who creates the journal is not in the registry's group.
        registry: The permissions of the registry.
    """
    if registry.listed is not None:
        listed = _journal_list(user, group, registry, registry.listed)
        mode = 0o600 | listed[_MASK] << 3 | listed[_OTHERS]
        return Access(user, group, mode, listed)
    bits = registry.mode & 0o666 | 0o600
    if group != registry.group:
        bits = bits & ~0o070 | (bits & 0o007) << 3
    return Access(user, group, bits)


def reachable(file: Access, directory: Access) -> Access:
    """Returns a file's permissions without those that the file's directory prevents.

    Args:
        file: The permissions of the file.
        directory: The permissions of the directory.
    """
    searchers, known = directory.allowed(_SEARCH), frozenset({file.owner, directory.owner, 0})
    for left_out in (0, stat.S_IRWXO, stat.S_IRWXG | stat.S_IRWXO):
        listed = file.listed
        if listed is not None and left_out:
            listed = None if left_out & stat.S_IRWXG else {**listed, _OTHERS: 0}
        narrowed = replace(file, mode=file.mode & ~left_out, listed=listed)
        if _beyond(narrowed.allowed(_READ), searchers, known) is None:
            break
    return narrowed


_OWNER = access_list.OWNER, access_list.UNNAMED
_OWNING_GROUP = access_list.OWNING_GROUP, access_list.UNNAMED
_MASK = access_list.MASK, access_list.UNNAMED
_OTHERS = access_list.OTHERS, access_list.UNNAMED


def _journal_list(
    user: int, group: int, registry: Access, listed: AccessList
) -> dict[tuple[int, int], int]:
    """Returns the access list for a journal, which names the registry's owner and group."""
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
    """Returns a text that names a user: the id and, if known, the name."""
    import pwd

    if is_unmapped(user):
        return "a user that this user namespace does not know"
    try:
        return f"user {user} ({pwd.getpwuid(user).pw_name})"
    except (KeyError, OSError) as error:
        hand_on(error)
        return f"user {user}"
