"""Opens files and directories; each descriptor is owned by an object that closes it.

With plain descriptor numbers, an interruption can come after the file is open and before the
number is stored. Then the file stays open forever. An open file keeps a lock, and prevents leases
of other processes. So `registry` opens all files through this module.
"""

from __future__ import annotations

import os
import select
from functools import partial
from pathlib import Path
from typing import TypeAlias

from registry.storage.files.interruption import hand_on

Descriptor: TypeAlias = select.epoll
"""An object that owns an open file or directory, and closes it when the last reference is gone.

`select.epoll` closes its descriptor without running Python code, which a signal could interrupt.
No other such type of the standard library accepts every kind of file. Polling is not used.
"""

_own = select.epoll.fromfd


def open_owned(
    path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
) -> Descriptor:
    """Opens a file like `os.open`; even an interruption cannot leave the descriptor open forever.

    Raises:
        OSError: The file cannot be opened.
    """
    # `map` calls both functions, and no signal handler can run between them.
    opening = map(partial(os.open, dir_fd=dir_fd), (path,), (flags | os.O_CLOEXEC,), (mode,))
    (opened,) = map(_own, opening)
    return opened


def close_read(opened: Descriptor) -> None:
    """Closes a file that was only read, and ignores errors.

    An error does not affect the data that was read, and the descriptor is closed in spite of the
    error.
    """
    try:
        opened.close()
    except OSError as error:
        hand_on(error)
