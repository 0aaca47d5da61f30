"""Follows a path step by step like the kernel, to find the users who could redirect the path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import hand_on
from registry.storage.files.mounts import owner_of

_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_LINKS_AT_MOST = 40  # The kernel's own limit, see path_resolution(7).


class Step(NamedTuple):
    """A directory or symlink on the way to the target of a path, or the target itself.

    Attributes:
        path: The path of the step, without symlinks above its last part.
        state: The status of the step; None if the step does not exist.
        owner: The id of the user who controls the step (`mounts.owner_of`); -1 if the step does
            not exist.
    """

    path: str
    state: os.stat_result | None
    owner: int


def steps(path: Path) -> Iterator[Step]:
    """Yields every directory and symlink on the way to the target of a path, and then the target.

    A step is examined only when the caller requests it. So a caller can stop at the first step
    that another user could have changed.

    Args:
        path: An absolute path, or a path relative to the working directory.

    Yields:
        The steps, from the root directory on. The walk ends at a step that does not exist.

    Raises:
        OSError: The path cannot be followed.
    """
    here = "/"
    yield step_at(here)
    todo = list(reversed(path.absolute().parts[1:]))
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            here = os.path.dirname(here)
            yield step_at(here)
            continue
        step = os.path.join(here, name)
        try:
            found = step_at(step)
        except FileNotFoundError as error:
            hand_on(error)
            yield Step(step, None, -1)
            return
        yield found
        state = found.state
        assert state is not None
        if stat.S_ISLNK(state.st_mode):
            links += 1
            if links > _LINKS_AT_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(step)
            here = "/" if target.startswith("/") else here
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        if todo and not stat.S_ISDIR(state.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        here = step


def step_at(path: str) -> Step:
    """Returns the step at a path; a symlink in the last part of the path is not followed.

    Raises:
        OSError: The path does not exist, or cannot be examined.
    """
    opened = open_owned(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return Step(path, os.fstat(opened.fileno()), owner_of(opened.fileno()))
    finally:
        close_read(opened)


def is_open_to_others(directory: os.stat_result) -> bool:
    """Returns whether users other than a directory's owner can create files in the directory."""
    return bool(directory.st_mode & _BY_OTHERS)


def others_may_replace_in(directory: os.stat_result) -> bool:
    """Returns whether users other than a directory's owner can replace files in the directory.

    In a directory with the sticky bit, these users can create files, but not replace files.
    """
    return is_open_to_others(directory) and not directory.st_mode & stat.S_ISVTX


def is_ours_alone(path: Path, expected: os.stat_result) -> bool:
    """Returns whether only this user and root control to which directory a path leads.

    This is so if both conditions are true:

    - Every directory and symlink on the way, and the directory itself, belongs to this user or to
      root.
    - No other user can replace files in the directories on the way.

    Args:
        path: The directory's path.
        expected: The status of the directory that was opened by this path.

    Returns:
        The result; False if the answer cannot be known.
    """
    trusted = (0, os.geteuid())
    above: os.stat_result | None = None
    last = expected
    try:
        for _, state, owner in steps(path):
            if state is None or owner not in trusted:
                return False
            if above is not None:
                if others_may_replace_in(above):
                    return False
                # Another user may have created a hard link to a symlink of this user.
                if stat.S_ISLNK(state.st_mode) and state.st_nlink > 1 and is_open_to_others(above):
                    return False
            if stat.S_ISDIR(state.st_mode):
                above = last = state
    except OSError as error:
        hand_on(error)
        return False
    return above is not None and os.path.samestat(last, expected)


def others_may_replace(path: Path) -> bool:
    """Returns whether users other than this user and root can replace a file or redirect its path.

    Args:
        path: The path of an existing file.

    Returns:
        The answer; True if it cannot be known.
    """
    try:
        directory = os.stat(path.parent)
    except OSError as error:
        hand_on(error)
        return True
    return is_open_to_others(directory) or not is_ours_alone(path.parent, directory)
