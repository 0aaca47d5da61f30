"""A simple writer for comparison: writes in place under the lock, without a journal."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def naive_write(path: Path, text: bytes) -> None:
    """Replaces the text of a registry."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        written = 0
        while written < len(text):
            written += os.pwrite(fd, text[written:], written)
        os.ftruncate(fd, len(text))
    finally:
        os.close(fd)
