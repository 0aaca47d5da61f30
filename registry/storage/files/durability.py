"""Switches durable commits on. A durable commit survives a power cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_durable: ContextVar[bool] = ContextVar("registry_durable", default=False)


@contextmanager
def durable_commits(durable: bool = True) -> Iterator[None]:
    """Makes every commit inside the ``with`` block durable, in this thread or asyncio task.

    Every commit survives the death of its process: the next process that opens the registry finds
    the whole change or nothing. A durable commit also survives a power cut or a kernel crash,
    because the call returns only after all data is flushed to the disk (fdatasync).

    A commit needs four flushes, a commit of two files eight, and the first journal in a directory
    one more. Each flush takes some milliseconds on a disk without a battery-backed cache, while
    the lock is held. `tests/benchmarks/commits.py` measures these times.

    Args:
        durable: False makes the commits of an inner block not durable.

    Example:
        >>> with durable_commits():
        ...     atomic_mark_agents_completed(path, ids)
    """
    before = _durable.get()
    try:
        # The call is inside the `try`: so an interruption directly after it restores the value.
        _durable.set(durable)
        yield
    finally:
        _durable.set(before)


def is_durable() -> bool:
    """Returns whether commits of this thread or asyncio task are durable."""
    return _durable.get()
