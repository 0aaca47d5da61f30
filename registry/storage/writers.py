"""Which users may write some registries, and so may have agents in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.errors import RegistryError
from registry.storage.anchor import open_anchor
from registry.storage.descriptor import close_read
from registry.storage.interruption import hand_on
from registry.storage.permissions import Access, is_member
from registry.storage.safe_open import folder_of, name_of

_WRITE = 2


@dataclass(frozen=True, slots=True)
class Writers:
    """The users who may write any of some registries: ask with ``in``, by a user's number.

    One of whom that cannot be known is among them. So are root and this user.
    """

    accesses: tuple[Access, ...] = ()

    def __contains__(self, user: object) -> bool:
        if not isinstance(user, int):
            return False
        return user in (0, os.geteuid()) or any(_may_write(user, each) for each in self.accesses)


def writers_of(registries: Iterable[Path], workspaces: Iterable[Path] = ()) -> Writers:
    """Who may write registries, or make some; what cannot be looked at tells nobody.

    Args:
        registries: Their files.
        workspaces: Directories that registries may be made in.
    """
    found: dict[object, Access] = {}
    for look, paths in ((_access_of, registries), (_access_to, workspaces)):
        for path in paths:
            try:
                access = look(path)
            except (RegistryError, OSError) as error:
                hand_on(error)
                continue
            listed = None if access.listed is None else frozenset(access.listed.items())
            found[access.owner, access.group, access.mode, listed] = access
    return Writers(tuple(found.values()))


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
    # Of a user whom the system does not know the groups are not known either.
    return user not in allowed.refused and any(
        is_member(user, group) is not False for group in allowed.groups
    )
