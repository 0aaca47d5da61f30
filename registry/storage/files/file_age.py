"""Calculates the age of files, even of files with a time in the future.

The time of a file is in the future if the clock was set back, or if the file was copied from
another machine. A time in the future does not tell when the file was written. So the age is
counted from the moment when this process first saw this state of the file, by the monotonic clock.
"""

from __future__ import annotations

import os
import time

from registry.storage.files.interruption import tolerating

# Files with a time in the future, by device and inode. The values are the size and time of the
# file, and the time when this state was first seen, by the monotonic and by the system clock.
_first_seen: dict[tuple[int, int], tuple[tuple[int, int], float, float]] = {}
_SEEN_AT_MOST = 65_536

# Seconds after the last write. Later an incomplete file, or an empty file, counts as corrupt.
_IN_THE_MAKING = 0.1
_EMPTY_FOR = 1.0


def is_ahead(status: os.stat_result) -> bool:
    """Returns whether a file's time is in the future."""
    return status.st_mtime_ns > time.time_ns()


def seconds_since_write(status: os.stat_result) -> float:
    """Returns how long ago a file was written, in seconds; at least 0.

    Args:
        status: The present result of `os.stat`.
    """
    if not is_ahead(status):
        return (time.time_ns() - status.st_mtime_ns) / 1e9
    return time.monotonic() - _seen(status)[0]


def is_in_the_making(status: os.stat_result) -> bool:
    """Returns whether another process may just be writing a file that cannot be decoded.

    Some writers without the lock truncate the file, encode the new text, and then write the text.
    So an empty file counts as being written for a longer time than a file with a part of a text.

    Args:
        status: The present result of `os.stat`.
    """
    patience = _IN_THE_MAKING if status.st_size else _EMPTY_FOR
    return seconds_since_write(status) < patience


def written_at(status: os.stat_result) -> float:
    """Returns when a file was written, in seconds since the epoch; never in the future.

    Args:
        status: The present result of `os.stat`.
    """
    if not is_ahead(status):
        return status.st_mtime
    since, at = _seen(status)
    now = time.time()
    # The result is the same as in the last call, unless the clock was set back after that call.
    return at if at <= now else now - (time.monotonic() - since)


def _seen(status: os.stat_result) -> tuple[float, float]:
    file, state = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
    seen = _first_seen.get(file)
    if seen is None or seen[0] != state:
        _first_seen.pop(file, None)
        if len(_first_seen) >= _SEEN_AT_MOST:
            # Remove the oldest entry.
            with tolerating(StopIteration, KeyError, RuntimeError):
                del _first_seen[next(iter(_first_seen))]
        seen = _first_seen[file] = (state, time.monotonic(), time.time())
    return seen[1:]
