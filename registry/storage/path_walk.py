"""Follows a path step by step like the kernel, to find the users who could redirect the path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from registry.storage.interruption import hand_on

_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_LINKS_AT_MOST = 40  # The kernel's own limit, see path_resolution(7).


def steps(path: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yields every directory and symlink on the way to the target of a path, and the target.

    A step is examined only when the caller asks for it. So a caller can stop at the first step
    that another user could change, and never examines a forged step.

    Args:
        path: An absolute path, or one relative to the working directory.

    Yields:
        A path without symlinks above its last part, and its status. The root directory comes
        first. If a step does not exist, it is the last one, and its status is None.

    Raises:
        OSError: The path cannot be followed.
    """
    here = "/"
    yield here, os.lstat(here)
    todo = list(reversed(path.absolute().parts[1:]))
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            here = os.path.dirname(here)
            yield here, os.lstat(here)
            continue
        step = os.path.join(here, name)
        try:
            state = os.lstat(step)
        except FileNotFoundError as error:
            hand_on(error)
            yield step, None
            return
        yield step, state
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


def is_open_to_others(directory: os.stat_result) -> bool:
    """Returns whether users other than a directory's owner may create files in the directory."""
    return bool(directory.st_mode & _BY_OTHERS)


def others_may_replace_in(directory: os.stat_result) -> bool:
    """Returns whether users other than a directory's owner may replace any file in it."""
    return is_open_to_others(directory) and not directory.st_mode & stat.S_ISVTX


def is_ours_alone(path: Path, expected: os.stat_result) -> bool:
    """Returns whether only this user and root could choose the directory that a path names.

    This is so if both conditions are true:

    - Every directory and symlink on the way, and the directory itself, belongs to this user or
      to root.
    - No other user may replace files in the directories above it.

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
        for _, state in steps(path):
            if state is None or state.st_uid not in trusted:
                return False
            if above is not None:
                if others_may_replace_in(above):
                    return False
                # Other users could hard-link a symlink of this user to a name of theirs.
                if stat.S_ISLNK(state.st_mode) and state.st_nlink > 1 and is_open_to_others(above):
                    return False
            if stat.S_ISDIR(state.st_mode):
                above = last = state
    except OSError as error:
        hand_on(error)
        return False
    return above is not None and os.path.samestat(last, expected)
