"""Putting a new text in a registry's place, on the same inode, under its lock.

Never by renaming a new file over the old one: a peer that waits for the lock on
the old inode would get it, write there, and lose its update.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import InaccessibleRegistryError


@dataclass(frozen=True, slots=True)
class Write:
    """One registry to be rewritten.

    Attributes:
        fd: Its descriptor; holds the exclusive lock.
        path: Its path, for errors.
        old: The bytes that are there.
        new: The bytes to put there; checked to be JSON by the caller.
    """

    fd: int
    path: Path
    old: bytes
    new: bytes


def commit(writes: Sequence[Write]) -> None:
    """Writes every text in place; a failure puts back what was there.

    Raises:
        InaccessibleRegistryError: The disk is full or failed; every file holds
            its old text again.
    """
    changed = [write for write in writes if write.old != write.new]
    # Room first, for all: a full disk shows before any byte that is there is
    # touched. Spaces after a JSON text do not change what it says.
    for write in changed:
        try:
            _reserve(write)
        except OSError as error:
            for each in changed:
                os.ftruncate(each.fd, len(each.old))
            raise InaccessibleRegistryError(write.path, error, "write") from error
    done: list[Write] = []
    for write in changed:
        done.append(write)
        try:
            _place(write.fd, write.new)
        except OSError as error:
            for each in done:
                _place(each.fd, each.old)
            raise InaccessibleRegistryError(write.path, error, "write") from error


def _reserve(write: Write) -> None:
    missing = len(write.new) - len(write.old)
    if missing > 0:
        _write_all(write.fd, b" " * missing, len(write.old))


def _place(fd: int, text: bytes) -> None:
    # The first byte is NUL until all the rest is there: whoever reads without
    # the lock meanwhile gets a decode error, never a mix of two states.
    _write_all(fd, b"\0", 0)
    _write_all(fd, text[1:], 1)
    os.ftruncate(fd, len(text))
    _write_all(fd, text[:1], 0)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        if written <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[written:]
        offset += written
