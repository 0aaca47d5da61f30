"""Examines paths, and distinguishes "does not exist" from "cannot be examined".

A file cannot be examined if this user has no permission to search its directory, or if the disk
fails. Then `os.path.exists` returns False, and `Path.exists` raises an error, although the file
may exist. The functions of this module return True or None instead. A caller that then opens the
file gets the error of this file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from registry.storage.files.interruption import hand_on

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


def is_absence(error: OSError) -> bool:
    """Returns whether an error proves that a file does not exist."""
    return error.errno in _ABSENT


def may_exist(path: Path) -> bool:
    """Returns whether a file or a symlink exists at a path; True also if this cannot be known."""
    return _has(lambda: os.lstat(path), lambda _: True) is not False


def is_kind(path: Path, kind: Callable[[int], bool]) -> bool | None:
    """Returns whether a path leads to a file of a certain kind.

    Args:
        path: The path; symlinks are followed.
        kind: Returns whether a file mode has the kind, for example `stat.S_ISDIR`.

    Returns:
        None if the file cannot be examined; False if no file exists.
    """
    return _has(lambda: os.stat(path), kind)


def _has(examine: Callable[[], os.stat_result], kind: Callable[[int], bool]) -> bool | None:
    try:
        return kind(examine().st_mode)
    except ValueError as error:  # The path contains NUL.
        hand_on(error)
        return False
    except OSError as error:
        hand_on(error)
        # A symlink to itself leads nowhere.
        return False if is_absence(error) or error.errno == errno.ELOOP else None
