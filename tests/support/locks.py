"""Examines locks without the library."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def is_free(path: Path) -> bool:
    """Whether no process holds the lock of a file, or a lease on the file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except BlockingIOError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
