"""Open files and directories, each owned by an object that closes it.

A bare number that is interrupted on its way to whoever closes it stays open for good, and
keeps a lock, or leases from everybody. So nothing in `registry` opens one but through here.
"""

from __future__ import annotations

import os
import select
from functools import partial
from pathlib import Path
from typing import TypeAlias

from registry.storage.interruption import tolerating

Descriptor: TypeAlias = select.epoll
"""An open file or directory; closed at the latest when nothing refers to it any more.

Of the types of the standard library that close what they own without running any Python
code, which could be interrupted, this one takes every kind of file. Nothing is polled.
"""

_own = select.epoll.fromfd


def open_owned(
    path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
) -> Descriptor:
    """As `os.open`, and what it returns has an owner before anything can interrupt.

    Raises:
        OSError: The system refused it.
    """
    # `map` calls both without a step in between at which a signal handler could run.
    opening = map(partial(os.open, dir_fd=dir_fd), (path,), (flags | os.O_CLOEXEC,), (mode,))
    (opened,) = map(_own, opening)
    return opened


def close_read(opened: Descriptor) -> None:
    """Closes a file that was only read.

    An error then says nothing about what was read, and the descriptor is gone.
    """
    with tolerating(OSError):
        opened.close()
