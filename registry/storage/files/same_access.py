"""Gives new files the access of a registry, so that other users can read and use these files."""

from __future__ import annotations

import os
from pathlib import Path

from registry.storage.files import access_list
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import Prepare
from registry.storage.files.permissions import Access, journal_access
from registry.storage.files.safe_open import folder_of, name_of
from registry.storage.files.whole_file import create_whole


def giving_access(registry: Access) -> Prepare:
    """Returns a function that gives a new file the access of a registry.

    The file gets the same owner, group and permissions, if this user can set them. Otherwise as
    many users as possible have the same access as to the registry, and no user has more.
    """

    def prepare(fd: int) -> None:
        made = os.fstat(fd)
        owner = registry.owner if os.geteuid() == 0 else made.st_uid
        if (made.st_uid, made.st_gid) != (owner, registry.group):
            # The caller checks whether the resulting owner and permissions are sufficient.
            with tolerating(PermissionError):
                os.fchown(fd, owner, registry.group)
        made = os.fstat(fd)
        wanted = journal_access(made.st_uid, made.st_gid, registry)
        try:
            access_list.write(fd, wanted.listed)
        except OSError as error:
            hand_on(error)
            # The caller also checks whether access for the owner alone is sufficient.
            os.fchmod(fd, 0o600)
        else:
            os.fchmod(fd, wanted.mode)

    return prepare


def save_beside(place: Path, registry: Access, text: bytes) -> None:
    """Saves a text in a new file, to which users have the same access as to a registry.

    Args:
        place: The path of the new file, in the registry's directory.
        registry: The permissions of the registry; see `giving_access`.
        text: The content of the file.

    Raises:
        FileExistsError: A file already exists at this path.
        RegistryError: The directory cannot be opened.
        OSError: The file cannot be created.
    """
    with folder_of(place) as folder:
        create_whole(name_of(place), folder, text, giving_access(registry))
