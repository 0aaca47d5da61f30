"""Finds times by the system clock in which no process ran. Pure.

While the machine is suspended, the system clock goes on, but no process runs. If the system clock
is set forward, time seems to have passed in which no process ran. In both cases the system clock
jumps forward, compared with the monotonic clock. The time of a jump does not count as time without
a report of an agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# Smaller differences are corrections of the clock, or delays between two readings.
_LEAST = 2.0

# Older jumps are forgotten. An agent without a report since then has been silent long enough.
_AT_MOST = 100


class ClockJump(NamedTuple):
    """A jump of the system clock.

    Attributes:
        at: A time right after the jump, in seconds since the epoch. Times in registries and in
            tmux that are earlier than this were written before the jump.
        seconds: The length of the jump.
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
    """Returns the earlier jumps, and the jump between two readings, if the clock jumped.

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
    # The exact time of the jump is not known. The latest possible time is used, so that no agent
    # is called silent by mistake.
    at = before.wall + max(ran, seconds)
    return (*jumps[-_AT_MOST + 1 :], ClockJump(at, seconds))


def seconds_between(since: float, until: float, jumps: Iterable[ClockJump]) -> float:
    """Returns the seconds between two times, without the jumps in between."""
    return until - since - sum(jump.seconds for jump in jumps if since < jump.at <= until)
