"""The switch for commits that survive a power cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_durable: ContextVar[bool] = ContextVar("registry_durable", default=False)


@contextmanager
def durable_commits(durable: bool = True) -> Iterator[None]:
    """Makes every commit inside the `with` block durable, in this thread or task.

    Every commit survives the death of its process, also without this block: the next process that
    opens the registry finds the whole change or nothing. But without this block, a power cut or a
    kernel crash may lose data, or a part of it, that the system had not yet written to the disk.

    Inside the block, a call returns only after all data is flushed to the disk (fdatasync). So
    after a power cut, too, the registry has the whole change or nothing, and the changes of
    completed calls are kept. A commit flushes the old content, the journal, the new content, and
    the end of the journal.

    A commit needs four flushes, a commit of two files eight, and the first journal in a directory
    one more. Each flush takes some milliseconds on a disk without a battery-backed cache, while
    the lock is held. `tests/benchmarks/commits.py` measures these times.

    Args:
        durable: Whether commits are durable; False makes the commits of an inner block not
            durable.

    Example:
        >>> with durable_commits():
        ...     atomic_mark_agents_completed(path, ids)
    """
    before = _durable.get()
    try:
        # Inside the try, so that the value is restored after an interruption here.
        _durable.set(durable)
        yield
    finally:
        _durable.set(before)


def is_durable() -> bool:
    """Returns whether commits are durable now."""
    return _durable.get()
