"""Opens directories such as workspaces, and checks that a path always leads to the same directory.

The directory above a workspace may belong to another user. This user can replace the workspace
between any two steps of an operation, for example by a symlink to a workspace of root. So this
process remembers to which directory each path led at its first use. Later, the path must lead to
the same directory. All files in the directory are opened from the descriptor of this directory.

A workspace that was removed and created again is accepted if no other user could have done that.
"""

from __future__ import annotations

import os
from pathlib import Path

from registry.errors import ReplacedWorkspaceError
from registry.storage.files.descriptor import Descriptor, close_read, open_owned
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import make_folder
from registry.storage.files.path_walk import is_ours_alone

_FLAGS = os.O_PATH | os.O_DIRECTORY

# The device, inode and owner of each directory when it was first opened, by its absolute path.
# Entries are never removed, because another user could force their removal. The dict needs no
# lock: each access is atomic for threads, and a fork copies the dict in a consistent state.
_pins: dict[str, tuple[int, int, int]] = {}


def open_anchor(directory: Path) -> Descriptor:
    """Opens a directory, and checks that its path has always led to this directory.

    Symlinks in the path are followed.

    Args:
        directory: A workspace, or another directory.

    Returns:
        A descriptor with `O_PATH`, to open files below the directory.

    Raises:
        ReplacedWorkspaceError: The path leads to another directory than at the first call, and
            another user could have caused that.
        OSError: The directory does not exist, or is not accessible.
    """
    return checked(directory, open_owned(directory, _FLAGS))


def status_of(directory: Path) -> os.stat_result:
    """Returns the status of the directory that `open_anchor` opens.

    Raises:
        OSError: See `open_anchor`.
    """
    opened = open_anchor(directory)
    try:
        return os.fstat(opened.fileno())
    finally:
        close_read(opened)


def identity_of(directory: Path) -> tuple[int, int]:
    """Returns the device and inode of the directory that `open_anchor` opens.

    Raises:
        OSError: See `open_anchor`.
    """
    status = status_of(directory)
    return status.st_dev, status.st_ino


def open_resolved(directory: Path) -> Descriptor:
    """Opens a directory like `open_anchor`, by a path without symlinks.

    Raises:
        ReplacedWorkspaceError: The path contains a symlink; see also `open_anchor`.
        OSError: See `open_anchor`.
    """
    opened = open_owned("/", _FLAGS)
    try:
        for part in directory.parts[1:]:
            opened = open_owned(part, _FLAGS | os.O_NOFOLLOW, dir_fd=opened.fileno())
    except NotADirectoryError as error:
        hand_on(error)
        raise ReplacedWorkspaceError(directory) from None
    return checked(directory, opened)


def make_anchor(directory: Path) -> Descriptor:
    """Opens a directory like `open_anchor`, and creates missing directories of the path.

    A symlink that another user creates during the call is not followed.

    Raises:
        ReplacedWorkspaceError: See `open_anchor`.
        OSError: A directory cannot be created or opened.
    """
    try:
        return open_anchor(directory)
    except FileNotFoundError as error:
        hand_on(error)
        if directory.parent == directory or directory.name == "..":
            raise
    above = make_anchor(directory.parent)
    try:
        return checked(directory, make_beneath(directory.name, above.fileno()))
    finally:
        close_read(above)


def make_beneath(name: str, folder: int) -> Descriptor:
    """Opens a directory in an open directory, and creates a missing one; follows no symlink.

    Args:
        name: The name of the directory to open.
        folder: A descriptor of the open directory.

    Returns:
        A descriptor with `O_PATH`.

    Raises:
        OSError: The directory cannot be created or opened; for a symlink this is a
            `NotADirectoryError`.
    """
    with tolerating(FileExistsError):
        make_folder(name, folder)
    return open_owned(name, _FLAGS | os.O_NOFOLLOW, dir_fd=folder)


def checked(directory: Path, opened: Descriptor) -> Descriptor:
    """Checks that the path of an open directory has always led to this directory.

    Args:
        directory: The path of the directory.
        opened: The descriptor of the directory; closed if an error is raised.

    Returns:
        The descriptor.

    Raises:
        ReplacedWorkspaceError: See `open_anchor`.
        OSError: The directory cannot be examined.
    """
    try:
        path = str(directory)
        if not os.path.isabs(path):
            path = os.path.join(os.getcwd(), path)
        status = os.fstat(opened.fileno())
        present = (status.st_dev, status.st_ino, status.st_uid)
        pinned = _pins.setdefault(path, present)
        if present[:2] != pinned[:2]:
            if status.st_uid != pinned[2] or not is_ours_alone(Path(path), status):
                raise ReplacedWorkspaceError(directory)
            _pins[path] = present
    except BaseException:
        close_read(opened)
        raise
    return opened
