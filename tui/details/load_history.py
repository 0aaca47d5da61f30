"""The CPU and memory of sessions over the last ten minutes, and a small graph of it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from tui.host.process.usage import Load

Key = TypeVar("Key", bound=Hashable)

Points = Sequence[tuple[float, Load]]
"""Measurements of one session, the oldest first, each with its time in seconds since the epoch."""

SPAN = 600.0
"""The seconds that the history has."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-=+*%#"


class LoadHistory(Generic[Key]):
    """The measurements of the last ten minutes, by session."""

    def __init__(self) -> None:
        self._points: dict[Key, deque[tuple[float, Load]]] = {}

    def add(self, loads: Mapping[Key, Load], at: float) -> None:
        """Adds measurements.

        Args:
            loads: Maps the key of a session to its CPU and memory.
            at: The time of the measurements, in seconds since the epoch.
        """
        for key, load in loads.items():
            self._points.setdefault(key, deque()).append((at, load))
        for key, points in list(self._points.items()):
            while points and points[0][0] < at - SPAN:
                points.popleft()
            if not points:
                del self._points[key]

    def of(self, key: Key) -> tuple[tuple[float, Load], ...]:
        """Returns the measurements of one session, the oldest first."""
        return tuple(self._points.get(key, ()))


def graph(
    points: Sequence[tuple[float, float]], now: float, cells: int, most: float, *, ascii_only: bool
) -> str:
    """Draws values of the last ten minutes as one line of blocks, the newest at the right.

    Each block stands for a fixed part of the time, so the graph moves only at the end of a part.

    Args:
        points: Times in seconds since the epoch, each with a value that is at least 0.
        now: The present time, in seconds since the epoch.
        cells: The width; the line is shorter if the first values are newer than ten minutes.
        most: The value of the highest block; greater than 0.
        ascii_only: Whether to draw with ASCII characters.

    Returns:
        The line; a space stands for a part of the time without a value.
    """
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    part = SPAN / cells
    last = int(now // part)
    highest: dict[int, float] = {}
    for at, value in points:
        number = int(at // part)
        if last - cells < number <= last:
            highest[number] = max(value, highest.get(number, 0.0))
    if not highest:
        return ""
    steps = len(blocks) - 1
    return "".join(
        blocks[min(steps, round(highest[number] / most * steps))] if number in highest else " "
        for number in range(min(highest), max(highest) + 1)
    )
