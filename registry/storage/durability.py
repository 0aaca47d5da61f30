"""Which crashes a commit outlasts: the library's one switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_durable: ContextVar[bool] = ContextVar("registry_durable", default=False)


@contextmanager
def durable_commits(durable: bool = True) -> Iterator[None]:
    """Makes every commit within the block durable, in this thread or task.

    Without it a commit outlasts the death of its process, at any moment, as
    every commit does: whoever opens the registry next finds all of it or
    nothing. What the system had not yet written to the disk a power cut or a
    kernel crash may still take, or tear.

    Within it the registry as it is, the journal, the registry as it becomes, and
    the journal's end are flushed to the disk (fdatasync) before the call returns: a
    power cut, too, leaves all or nothing, and what was acknowledged stays. That
    costs four flushes a commit, eight of two files, and of a directory when it gets
    its first journal; some milliseconds each on a disk without a battery-backed
    cache, while the lock is held. `tests/benchmarks/commits.py` prints what it costs here.

    Args:
        durable: False switches it off again for an inner block.

    Example:
        >>> with durable_commits():
        ...     atomic_mark_agents_completed(path, ids)
    """
    before = _durable.get()
    try:
        # Within, so that an interruption right behind it finds it set back.
        _durable.set(durable)
        yield
    finally:
        _durable.set(before)


def is_durable() -> bool:
    """Whether commits are to be durable now."""
    return _durable.get()
