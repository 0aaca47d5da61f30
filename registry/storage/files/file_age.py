"""Calculates the age of files, even if the modification time (mtime) of a file is in the future.

An mtime is in the future if the clock was set back, or if the file was copied from another
machine. Such an mtime does not tell when the file was written. Then the age is the time since this
process first saw this mtime, by the monotonic clock.
"""

from __future__ import annotations

import os
import time

from registry.storage.files.interruption import tolerating

# Maps the device and inode of each file with an mtime in the future to three values: the size and
# mtime of the file, and the time when this process first saw them, by the monotonic clock and by
# the system clock.
_first_seen: dict[tuple[int, int], tuple[tuple[int, int], float, float]] = {}
_SEEN_AT_MOST = 65_536

# The time in seconds in which writes can have the same mtime, with some reserve.
_TICK = 0.012
_COARSE_TICK = 2.1

_SECOND = 1_000_000_000

# For this many seconds after its last write, a file with an incomplete text, or an empty file,
# may be being written. After this time the file counts as corrupt.
_IN_THE_MAKING = 0.1
_EMPTY_FOR = 1.0


def is_ahead(status: os.stat_result) -> bool:
    """Returns whether a file's mtime is in the future."""
    return status.st_mtime_ns > time.time_ns()


def seconds_since_write(status: os.stat_result) -> float:
    """Returns the seconds since the last write to a file; at least 0.

    Args:
        status: The present status of the file.
    """
    if not is_ahead(status):
        return (time.time_ns() - status.st_mtime_ns) / 1e9
    return time.monotonic() - _seen(status)[0]


def is_settled(status: os.stat_result) -> bool:
    """Returns whether a further write to a file would certainly change the file's mtime.

    Two states of the same size that are written in one tick can have the same mtime. Linux updates
    mtime once per tick, at most 10 ms. Some file systems round mtime down to whole seconds, or to
    two seconds (ext4 with small inodes, FAT, some network file systems).

    Args:
        status: The present status of the file.
    """
    return seconds_since_write(status) > (_COARSE_TICK if _is_coarse(status) else _TICK)


def _is_coarse(status: os.stat_result) -> bool:
    """Returns whether the times of a file's file system may be whole seconds.

    All times of the file are looked at, because one of them may be a whole second by accident: on
    some systems this is so for one of 250 writes.
    """
    # No generator: an interruption of an unfinished one would be swallowed.
    return not (
        status.st_mtime_ns % _SECOND
        or status.st_ctime_ns % _SECOND
        or status.st_atime_ns % _SECOND
    )


def is_in_the_making(status: os.stat_result) -> bool:
    """Returns whether another process may be writing a file whose text cannot be decoded.

    For 0.1 s after the last write to the file, the result is True. For an empty file it is True
    for 1 s, because some writers truncate the file before they encode the new text.

    Args:
        status: The present status of the file.
    """
    patience = _IN_THE_MAKING if status.st_size else _EMPTY_FOR
    return seconds_since_write(status) < patience


def written_at(status: os.stat_result) -> float:
    """Returns when a file was written, in seconds since the epoch; never in the future.

    Args:
        status: The present status of the file.
    """
    if not is_ahead(status):
        return status.st_mtime
    since, at = _seen(status)
    now = time.time()
    # Every call returns the same time, unless the clock was set back after the first call.
    return at if at <= now else now - (time.monotonic() - since)


def _seen(status: os.stat_result) -> tuple[float, float]:
    file, state = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
    seen = _first_seen.get(file)
    if seen is None or seen[0] != state:
        _first_seen.pop(file, None)
        if len(_first_seen) >= _SEEN_AT_MOST:
            # A dict keeps the order of its entries, so this is the oldest entry.
            with tolerating(StopIteration, KeyError, RuntimeError):
                del _first_seen[next(iter(_first_seen))]
        seen = _first_seen[file] = (state, time.monotonic(), time.time())
    return seen[1:]
