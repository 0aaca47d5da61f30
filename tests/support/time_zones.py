"""Local time zones for a test, also zones in which one hour occurs twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

_numbers = count()


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    """Sets the time zone of this process until the block ends."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def set_back_at(moment: float) -> str:
    """Returns a time zone whose clock is set back by an hour at a moment, and shows UTC then."""
    # The rule contains the local time before the change, and counts days from 0.
    at = datetime.fromtimestamp(moment, UTC) + timedelta(hours=1)
    begin = at - timedelta(days=60)
    # The names must be unique in this process.
    letters = "".join(chr(ord("a") + int(digit)) for digit in f"{next(_numbers):03d}")
    return f"{letters}S0{letters}D,{_day(begin)}/0,{_day(at)}/{at:%H:%M:%S}"


def _day(moment: datetime) -> int:
    return moment.timetuple().tm_yday - 1


def local(moment: float) -> str:
    """Returns a timestamp as agents write it: local time, without a time zone."""
    return datetime.fromtimestamp(moment).isoformat()
