"""The directories that everything is opened beneath, each the same one for a process's life.

A workspace may lie in a directory of another user, which can put another one in its place
between any two steps of an operation: a symlink to a workspace of root's, for example. So
which directory a path names is remembered when it is first opened. Later it must be the same
one, and everything in it is opened from its descriptor.

A workspace that was removed and made anew is accepted where nobody else could have done that.
"""

from __future__ import annotations

import os
from pathlib import Path

from registry.errors import ReplacedWorkspaceError
from registry.storage.descriptor import Descriptor, close_read, open_owned
from registry.storage.interruption import hand_on, tolerating
from registry.storage.new_file import make_folder
from registry.storage.path_walk import is_ours_alone

_FLAGS = os.O_PATH | os.O_DIRECTORY

# Device, inode and owner of each directory when it was first opened, by its absolute path.
# Never forgotten: another user could have that happen at will. No lock guards it, since each
# use of it is one step for every thread, and a fork in between leaves it whole.
_pins: dict[str, tuple[int, int, int]] = {}


def open_anchor(directory: Path) -> Descriptor:
    """Opens a directory that a path led to before, or for the first time; through symlinks.

    Args:
        directory: A workspace, or another directory that paths are taken from.

    Returns:
        A descriptor to open others beneath (`O_PATH`).

    Raises:
        ReplacedWorkspaceError: It is another directory than the first time, and another
            user could have put it there.
        OSError: It is not there, or must not be searched.
    """
    return checked(directory, open_owned(directory, _FLAGS))


def status_of(directory: Path) -> os.stat_result:
    """The status of the directory that `open_anchor` opens.

    Raises:
        OSError: As `open_anchor`.
    """
    opened = open_anchor(directory)
    try:
        return os.fstat(opened.fileno())
    finally:
        close_read(opened)


def identity_of(directory: Path) -> tuple[int, int]:
    """Device and inode of the directory that `open_anchor` opens.

    Raises:
        OSError: As `open_anchor`.
    """
    status = status_of(directory)
    return status.st_dev, status.st_ino


def open_resolved(directory: Path) -> Descriptor:
    """As `open_anchor`, of a path whose symlinks were resolved: none may be in it now.

    Raises:
        ReplacedWorkspaceError: One is, so somebody has it lead elsewhere since.
        OSError: As `open_anchor`.
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
    """Opens a directory as `open_anchor` does, and makes what is missing of it.

    Nothing is made through a symlink that is put there meanwhile.

    Raises:
        ReplacedWorkspaceError: As `open_anchor`.
        OSError: It cannot be made or opened.
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
    """Opens a directory in another, which is made if it is not there; no symlink is followed.

    Returns:
        A descriptor (`O_PATH`).

    Raises:
        OSError: It cannot be made or opened; a `NotADirectoryError` for a symlink.
    """
    with tolerating(FileExistsError):
        make_folder(name, folder)
    return open_owned(name, _FLAGS | os.O_NOFOLLOW, dir_fd=folder)


def checked(directory: Path, opened: Descriptor) -> Descriptor:
    """An open directory, if its path led to the same one when it was first opened.

    Args:
        directory: Its path.
        opened: Its descriptor; closed if this raises.

    Raises:
        ReplacedWorkspaceError: As `open_anchor`.
        OSError: It cannot be looked at.
    """
    try:
        path = str(directory)
        if not os.path.isabs(path):
            path = os.path.join(os.getcwd(), path)
        status = os.fstat(opened.fileno())
        found = (status.st_dev, status.st_ino, status.st_uid)
        pinned = _pins.setdefault(path, found)
        if found[:2] != pinned[:2]:
            if status.st_uid != pinned[2] or not is_ours_alone(Path(path), status):
                raise ReplacedWorkspaceError(directory)
            _pins[path] = found
    except BaseException:
        close_read(opened)
        raise
    return opened
