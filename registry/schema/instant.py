"""A moment that can be compared with timestamps, even after the system clock was set."""

from __future__ import annotations

import time
from typing import NamedTuple

# This clock goes on while the machine is suspended, and cannot be set.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


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
