"""Identifies directories, so that muster notices if a directory was removed and created again."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

Watched = tuple[Path, int, int]
"""A directory to watch, with its device and inode."""


def identified(directories: Iterable[Path]) -> frozenset[Watched]:
    """Returns the existing directories with their devices and inodes."""
    return frozenset(_identified(directories))


def _identified(directories: Iterable[Path]) -> Iterator[Watched]:
    for path in directories:
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield path, status.st_dev, status.st_ino
