"""Examines locks without the library."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import portalocker.portalocker
import pytest


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


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Refuses every lock from now on, as some network file systems do.

    Args:
        monkeypatch: Takes the change back.
        number: The error number of the refusal.
    """

    def flock(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(portalocker.portalocker, "LOCKER", flock)
