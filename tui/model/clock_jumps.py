"""Finds forward jumps of the system clock, in which no process ran. Pure.

The system clock jumps forward if the machine was suspended, or if the clock was set forward. The
monotonic clock does not jump. The length of a jump is not counted as time without a report of an
agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# Smaller differences are corrections of the clock, or delays between two readings.
_LEAST = 2.0

# Older jumps are forgotten: after so many jumps without a report, an agent may be called stalled.
_AT_MOST = 100


class ClockJump(NamedTuple):
    """A jump of the system clock.

    Attributes:
        at: The system time right after the jump, in seconds since the epoch. Any earlier time in a
            registry or in tmux was recorded before the jump.
        seconds: The length of the jump in seconds.
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
    """Returns the known jumps. If the clock jumped between two readings, adds this jump.

    Args:
        jumps: The known jumps.
        before: The previous reading, or None.
        now: The present reading.
    """
    if before is None:
        return jumps
    ran = now.monotonic - before.monotonic
    seconds = now.wall - before.wall - ran
    if seconds < _LEAST:
        return jumps
    # The exact time of the jump is not known. The latest possible time is used, so that no agent
    # is called stalled by mistake.
    at = before.wall + max(ran, seconds)
    return (*jumps[-_AT_MOST + 1 :], ClockJump(at, seconds))


def seconds_between(since: float, until: float, jumps: Iterable[ClockJump]) -> float:
    """Returns the seconds from one time to another, without the clock jumps between them."""
    return until - since - sum(jump.seconds for jump in jumps if since < jump.at <= until)
