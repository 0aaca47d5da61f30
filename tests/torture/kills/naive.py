"""A writer as one writes it at first: under the lock, in place, and with no journal."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def naive_write(path: Path, text: bytes) -> None:
    """Replaces a registry's text."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        written = 0
        while written < len(text):
            written += os.pwrite(fd, text[written:], written)
        os.ftruncate(fd, len(text))
    finally:
        os.close(fd)
