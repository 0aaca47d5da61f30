"""Finds the users who can write a registry, and so can control the agents in the registry."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from registry.dataclass import dataclass, replace
from registry.errors import RegistryError
from registry.storage.files.anchor import open_anchor
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.mounts import owner_of
from registry.storage.files.permissions import Access, is_member, other_writer
from registry.storage.files.safe_open import folder_of, name_of

_WRITE = 2

_ROOTS = Access(0, 0, 0o600)
"""The permissions of a file that only root may write."""


@dataclass(frozen=True, slots=True)
class Writers:
    """The users who can write at least one of several registries.

    ``user_id in writers`` is true for each of these users, for root, and for the user of this
    process. It is also true for a user whose permission cannot be known.

    Attributes:
        accesses: The owner and the permissions of each registry.
    """

    accesses: tuple[Access, ...] = ()

    def __contains__(self, user: object) -> bool:
        if not isinstance(user, int):
            return False
        if user in (0, os.geteuid()):
            return True
        return any(_may_write(user, access) for access in self.accesses)

    def outsider(self, trusted: Collection[int] = (), able: Writers | None = None) -> str | None:
        """Returns a user or group among the writers that is not trusted.

        Root and the user of this process are trusted. A group is trusted if it has the name of a
        trusted user, and this user is its only member.

        Args:
            trusted: The ids of further trusted users.
            able: Further trusted users.

        Returns:
            A text that names the user or group; None if all writers are trusted.
        """
        targets = (*(able.accesses if able is not None else ()), _ROOTS)
        for access in self.accesses:
            others = [other_writer(access, target, trusted) for target in targets]
            if None not in others:
                return others[0]
        return None


def writers_of(registries: Iterable[Path], workspaces: Iterable[Path] = ()) -> Writers:
    """Returns the users who can write at least one of the registries, or create a registry.

    A path that cannot be examined is ignored.

    Args:
        registries: The paths of the registries.
        workspaces: The directories in which a registry could be created.
    """
    accesses: dict[object, Access] = {}
    for read_access, paths in ((_access_of, registries), (_access_to, workspaces)):
        for path in paths:
            try:
                access = read_access(path)
            except (RegistryError, OSError) as error:
                hand_on(error)
                continue
            listed = None if access.listed is None else frozenset(access.listed.items())
            accesses[access.owner, access.group, access.mode, listed] = access
    return Writers(tuple(accesses.values()))


def writers_of_task(registry: Path, folders: Iterable[str] = ()) -> Writers:
    """Returns the users who can write or replace a registry, or files in folders beside it.

    Args:
        registry: The path of a task's registry, or of the global registry.
        folders: The names of these folders; a folder that does not exist is ignored.

    Raises:
        RegistryError: The registry cannot be examined.
        OSError: The registry cannot be examined.
    """
    name = name_of(registry)
    with folder_of(registry) as folder:
        # A user who can write a folder above a file can replace the file.
        accesses = [controlled_access(folder, step) for step in ("..", ".", name)]
        accesses = [
            # In a sticky folder, only the owner of the folder can replace files of other users.
            replace(access, mode=0o700, listed=None) if access.mode & stat.S_ISVTX else access
            for access in accesses
        ]
        for step in folders:
            with tolerating(FileNotFoundError):
                accesses.append(controlled_access(folder, step))
    return Writers(tuple(accesses))


def controlled_access(folder: int, name: str) -> Access:
    """Returns the permissions of a file or folder; the owner is the user of `mounts.owner_of`.

    Args:
        folder: The descriptor of the folder that contains the file.
        name: The name of the file.

    Raises:
        OSError: The file cannot be examined.
    """
    opened = open_owned(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        return replace(Access.at(folder, name), owner=owner_of(opened.fileno()))
    finally:
        close_read(opened)


def outsider_of(
    registry: Path, trusted: Collection[int], folders: Iterable[str] = ()
) -> str | None:
    """Returns a user or group that can write or replace a registry, and is not trusted.

    Args:
        registry: The path of the registry.
        trusted: The ids of the trusted users, besides root and the user of this process.
        folders: See `writers_of_task`.

    Returns:
        A text that names the user or group. None if certainly no such user or group exists.
    """
    try:
        return writers_of_task(registry, folders).outsider(trusted)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return f"an unknown user ({error})"


def is_believed(telling: Path, about: Path) -> bool:
    """Returns whether to trust the content of one registry about the agents of another registry.

    The first registry is trusted if each user who can change this registry can also change the
    second registry. Root and the user of this process are always trusted.

    Args:
        telling: The path of the first registry.
        about: The path of the second registry, which lists the agents.

    Returns:
        The answer; False if it cannot be known.
    """
    if telling == about:
        return True
    try:
        return writers_of_task(telling).outsider(able=writers_of_task(about)) is None
    except (RegistryError, OSError) as error:
        hand_on(error)
        return False


def _access_of(registry: Path) -> Access:
    with folder_of(registry) as folder:
        return Access.at(folder, name_of(registry))


def _access_to(workspace: Path) -> Access:
    opened = open_anchor(workspace)
    try:
        return Access.at(opened.fileno(), ".")
    finally:
        close_read(opened)


def _may_write(user: int, file: Access) -> bool:
    if user == file.owner:
        return True
    allowed = file.allowed(_WRITE)
    if user in allowed.users or allowed.others:
        return True
    # A user whom the system does not know could be in any group.
    return user not in allowed.refused and any(
        is_member(user, group) is not False for group in allowed.groups
    )
