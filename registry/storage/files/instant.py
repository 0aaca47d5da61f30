"""A moment that can still be compared with the clock after the clock was set."""

from __future__ import annotations

import time
from typing import NamedTuple

# This clock goes on while the machine is suspended, and cannot be set.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Instant(NamedTuple):
    """A moment by two clocks. Instants are ordered by the clock that cannot be set.

    Attributes:
        steady: Seconds since boot.
        wall: Seconds since the epoch, by the system clock at that moment.
    """

    steady: float
    wall: float

    @classmethod
    def now(cls) -> Instant:
        """Returns the present moment."""
        return cls(time.clock_gettime(_STEADY), time.time())

    def by_clock(self) -> float:
        """Returns this moment by the present system clock, in seconds since the epoch.

        If the clock was set after this moment, the moment has two times: one by the clock before
        it was set, and one by the clock after it was set. The result is the earlier time. So a
        timestamp that another process wrote after this moment is not taken for an older one.
        """
        now = Instant.now()
        return min(self.wall, now.wall - (now.steady - self.steady))
