"""Finds the users who may write registries, and so may run the agents in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.storage.anchor import open_anchor
from registry.storage.descriptor import close_read
from registry.storage.interruption import hand_on
from registry.storage.permissions import Access, is_member
from registry.storage.safe_open import folder_of, name_of

_WRITE = 2


@dataclass(frozen=True, slots=True)
class Writers:
    """The users who may write at least one of several registries.

    ``user_id in writers`` tests whether a user is one of them. Root and the user of this process
    always are, and also every user whose permission cannot be known.

    Attributes:
        accesses: The permissions of the registries.
    """

    accesses: tuple[Access, ...] = ()

    def __contains__(self, user: object) -> bool:
        if not isinstance(user, int):
            return False
        if user in (0, os.geteuid()):
            return True
        return any(_may_write(user, access) for access in self.accesses)


def writers_of(registries: Iterable[Path], workspaces: Iterable[Path] = ()) -> Writers:
    """Returns the users who may write any of the registries, or create registries.

    A path that cannot be examined is ignored.

    Args:
        registries: The paths of the registries.
        workspaces: Directories in which registries may be created.
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
    # A user that the system does not know may be in any group.
    return user not in allowed.refused and any(
        is_member(user, group) is not False for group in allowed.groups
    )
