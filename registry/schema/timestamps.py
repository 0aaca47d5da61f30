"""Reads timestamps, and compares them with moments, even after the system clock was set."""

from __future__ import annotations

import time
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from registry.storage.files.interruption import hand_on

# This clock goes on while the machine is suspended, and cannot be set.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_DAY = 86400


def parse_time(value: object) -> float | None:
    """Converts an ISO 8601 timestamp to seconds since the epoch.

    The result is None if the timestamp is not valid. A timestamp without a time zone is local
    time. If this local time occurs twice, the result is the last of the `possible_times`.
    """
    times = possible_times(value)
    return times[-1] if times else None


def possible_times(value: object) -> tuple[float, ...]:
    """Returns the possible meanings of an ISO 8601 timestamp, the earlier one first.

    If the clocks go back, some local times occur twice. The second occurrence is left out if it is
    in the future.

    Returns:
        One or two times, in seconds since the epoch; none if the timestamp is not valid.
    """
    if not isinstance(value, str) or len(value) > 40:
        return ()
    try:
        moment = datetime.fromisoformat(value)
        first = moment.timestamp()
        if moment.tzinfo is not None or not _clocks_go_back(int(first // _DAY), time.tzname):
            return (first,)
        second = moment.replace(fold=1).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        hand_on(error)
        return ()
    return (first, second) if first < second <= time.time() else (first,)


# Cached, because it is much faster than a second conversion of each timestamp.
@lru_cache(maxsize=1024)
def _clocks_go_back(day: int, zone: tuple[str, str]) -> bool:
    """Returns whether the local clocks go back on a day or on the next day.

    Args:
        day: The number of days since the epoch.
        zone: The names of the local time zone, as part of the cache's key: the zone may change
            while the process runs.
    """
    before, after = time.localtime(day * _DAY), time.localtime((day + 2) * _DAY)
    return after.tm_gmtoff < before.tm_gmtoff


class Instant(NamedTuple):
    """A moment, measured by two clocks. Moments are ordered by the clock that cannot be set.

    Attributes:
        steady: Seconds since boot.
        wall: Seconds since the epoch, as the system clock showed at that moment.
    """

    steady: float
    wall: float

    @classmethod
    def now(cls) -> Instant:
        """Returns the present moment."""
        return cls(time.clock_gettime(_STEADY), time.time())

    def by_clock(self) -> float:
        """Returns the moment in seconds since the epoch, for a comparison with timestamps.

        If the system clock was set after the moment, the moment has two times: one by the old
        setting, and one by the new setting. The result is the earlier time. So a timestamp that
        was written after the moment is never less than the result.
        """
        now = Instant.now()
        return min(self.wall, now.wall - (now.steady - self.steady))
