"""The times in which no process ran: they are not silence, and not age. Pure.

While the machine is suspended, the system clock goes on, but no process does. If the clock is set
forward, as much time seems to have passed. Both show as a jump of the system clock against the
monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# Smaller differences are corrections of the clock, or delays between two readings.
_LEAST = 2.0

# More jumps are not kept: a silence that is older than these has lasted long enough.
_AT_MOST = 100


class ClockJump(NamedTuple):
    """A jump of the system clock.

    Attributes:
        at: A time right after the jump, in seconds since the epoch. Earlier times in registries
            and tmux are from before the jump.
        seconds: Its length.
    """

    at: float
    seconds: float


class ClockReading(NamedTuple):
    """Both clocks at one moment.

    Attributes:
        wall: Seconds since the epoch.
        monotonic: Seconds of the monotonic clock, which stops while the machine is suspended.
    """

    wall: float
    monotonic: float


def next_jumps(
    jumps: tuple[ClockJump, ...], before: ClockReading | None, now: ClockReading
) -> tuple[ClockJump, ...]:
    """Returns the jumps, with the one between two readings, if there was one.

    Args:
        jumps: The earlier jumps.
        before: The last reading, or None.
        now: The present reading.
    """
    if before is None:
        return jumps
    ran = now.monotonic - before.monotonic
    seconds = now.wall - before.wall - ran
    if seconds < _LEAST:
        return jumps
    # When it jumped between the readings is not known: nobody is called silent by mistake.
    at = before.wall + max(ran, seconds)
    return (*jumps[-_AT_MOST + 1 :], ClockJump(at, seconds))


def seconds_between(since: float, until: float, jumps: Iterable[ClockJump]) -> float:
    """Returns the seconds between two times in which processes ran."""
    return until - since - sum(jump.seconds for jump in jumps if since < jump.at <= until)
