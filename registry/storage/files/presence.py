"""Examines paths, and distinguishes "cannot be examined" from "does not exist".

A file cannot be examined if this user may not search its directory, or if the disk fails. Then
`os.path.exists` returns False, and `Path.exists` raises an error, although the file may exist. The
caller that opens the file gets the error, and can report the error for this file alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from registry.storage.files.interruption import hand_on

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


def is_absence(error: OSError) -> bool:
    """Returns whether an error means that the file certainly does not exist."""
    return error.errno in _ABSENT


def may_exist(path: Path) -> bool:
    """Returns whether a file or a symlink exists; True also if this cannot be known."""
    return _has(lambda: os.lstat(path), lambda _: True) is not False


def is_kind(path: Path, kind: Callable[[int], bool]) -> bool | None:
    """Returns whether a path leads to a file of a kind.

    Args:
        path: The path; symlinks are followed.
        kind: Decides by the file's mode, for example `stat.S_ISDIR`.

    Returns:
        The answer; None if it cannot be known.
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
