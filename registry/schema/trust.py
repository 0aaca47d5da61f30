"""Decides whether another user may have created a workspace, or a task in another workspace."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from registry.errors import RegistryError, ReplacedWorkspaceError
from registry.storage.files.anchor import open_anchor, status_of
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.mounts import owner_of
from registry.storage.files.path_walk import step_at
from registry.storage.files.permissions import Access, is_unmapped, user_called
from registry.storage.files.safe_open import open_folder
from registry.storage.files.writers import Writers, writers_of_task
from registry.storage.partner import GLOBAL_FOLDER, GLOBAL_REGISTRY
from registry.text import command_line, shown_name


def why_foreign(workspace: Path, *, trusted: Iterable[int] = ()) -> str | None:
    """Returns why a workspace that the user did not name may belong to another user.

    Args:
        workspace: The workspace's directory, or a symlink to it.
        trusted: The ids of further trusted users, besides this user and root.

    Returns:
        The reason. None if all of these are true: a trusted user owns the directory, a trusted
        user owns the symlink to the directory (if any), and the directory is not writable for
        every user.
    """
    try:
        return why_not_ours(workspace, trusted=trusted)
    except OSError as error:
        hand_on(error)
        return why_unexamined(error)


def why_not_ours(workspace: Path, *, trusted: Iterable[int] = ()) -> str | None:
    """Returns the result of `why_foreign` for a workspace that can be examined.

    Raises:
        OSError: The directory cannot be examined.
    """
    link = step_at(str(workspace))
    with open_anchor(workspace) as directory:
        return _why_untrusted(directory, trusted, link.owner)


def why_unexamined(error: OSError) -> str:
    """Returns the words that tell why a directory cannot be examined."""
    why = error.reason if isinstance(error, ReplacedWorkspaceError) else error.strerror
    return f"cannot be examined: {why}"


def _why_untrusted(
    directory: Descriptor, trusted: Iterable[int], link_owner: int = 0
) -> str | None:
    """Returns why an untrusted user may have created a directory or a symlink to it, or None.

    Args:
        directory: The open directory.
        trusted: The ids of further trusted users, besides this user and root.
        link_owner: The id of the user that owns the symlink; 0 if there is no symlink.

    Raises:
        OSError: The directory cannot be examined.
    """
    ours = {os.geteuid(), 0, *trusted}
    for owner in (link_owner, owner_of(directory.fileno())):
        if owner not in ours or is_unmapped(owner):
            return f"belongs to {user_called(owner)}"
    if os.fstat(directory.fileno()).st_mode & stat.S_IWOTH:
        return "is writable for every user"
    return None


def why_foreign_task(registry: Path, home: Path) -> str | None:
    """Returns why a task in another workspace must not be opened, and the remedy; or None."""
    why = _why_place_untrusted(registry, home) or _why_listing_untrusted(registry, home)
    if why is None:
        return None
    command = command_line("muster", names=(str(registry),))
    typed = "" if command is None else f": {command}"
    return f"{why}; to show this task, name its registry{typed}"


def _why_place_untrusted(registry: Path, home: Path) -> str | None:
    """Returns why a task in another workspace may belong to an untrusted user, or None."""
    trusted: list[int] = []
    with tolerating(OSError):
        trusted.append(status_of(home).st_uid)
    for directory in (registry.parent.parent, registry.parent):
        if directory == registry.parent:
            why = _why_task_foreign(directory, trusted)
        else:
            why = why_foreign(directory, trusted=trusted)
        if why is not None:
            return f"is in {shown_name(directory)}, which {why}"
    return None


def _why_listing_untrusted(registry: Path, home: Path) -> str | None:
    """Returns why the global registry that lists a task elsewhere is not trusted, or None.

    Each user that may write or replace the global registry must also be able to write the task's
    registry. Otherwise, such a user could make muster change the task of another user.
    """
    names = (".", GLOBAL_FOLDER, f"{GLOBAL_FOLDER}/{GLOBAL_REGISTRY}")
    try:
        able = writers_of_task(registry)
        with open_anchor(home) as opened:
            for name in names:
                other = Writers((Access.at(opened.fileno(), name),)).outsider(able=able)
                if other is not None:
                    place = home / name
                    return f"is listed by {shown_name(place)}, which {other} may write"
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        return f"cannot be examined: {why}"
    return None


def _why_task_foreign(directory: Path, trusted: Iterable[int]) -> str | None:
    """Returns why a task's directory may belong to an untrusted user, or None.

    The directory is opened below the workspace directory that this process opened first.
    """
    try:
        folder = open_folder(directory)
    except RegistryError as error:
        hand_on(error)
        return f"cannot be examined: {error.reason or error}"
    try:
        return _why_untrusted(folder, trusted)
    finally:
        close_read(folder)
