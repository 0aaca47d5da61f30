"""How long ago a file was written, whatever its clock and this machine's say.

A file's time may lie ahead of the clock: the clock was set back, or the file was copied
from another machine. Such a time says nothing of when the file was written. So its age
counts from when this process first saw the file as it is, by a clock that nobody sets.
"""

from __future__ import annotations

import os
import time

from registry.storage.interruption import tolerating

# Files whose time lies ahead, by device and inode: size and time of the file, and when it
# was first seen so, by the monotonic clock and by the other one.
_first_seen: dict[tuple[int, int], tuple[tuple[int, int], float, float]] = {}
_SEEN_AT_MOST = 65_536


def is_ahead(status: os.stat_result) -> bool:
    """Whether a file's time lies ahead of the clock: it was not written by that clock."""
    return status.st_mtime_ns > time.time_ns()


def seconds_since_write(status: os.stat_result) -> float:
    """How long ago a file was written, in seconds, never less than 0.

    Args:
        status: As `os.stat` gives it, just now.
    """
    if not is_ahead(status):
        return (time.time_ns() - status.st_mtime_ns) / 1e9
    return time.monotonic() - _seen(status)[0]


def written_at(status: os.stat_result) -> float:
    """When a file was written, in seconds since the epoch; not ahead of the clock.

    Args:
        status: As `os.stat` gives it, just now.
    """
    if not is_ahead(status):
        return status.st_mtime
    since, at = _seen(status)
    now = time.time()
    # The same as the last time, unless the clock was set back again since.
    return at if at <= now else now - (time.monotonic() - since)


def _seen(status: os.stat_result) -> tuple[float, float]:
    file, state = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
    seen = _first_seen.get(file)
    if seen is None or seen[0] != state:
        _first_seen.pop(file, None)
        if len(_first_seen) >= _SEEN_AT_MOST:
            # The one that was first seen the longest ago.
            with tolerating(StopIteration, KeyError, RuntimeError):
                del _first_seen[next(iter(_first_seen))]
        seen = _first_seen[file] = (state, time.monotonic(), time.time())
    return seen[1:]
