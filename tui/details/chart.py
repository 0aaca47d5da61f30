"""Draws progress over time as a small chart of characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " .:#"

Point = tuple[float, float]
"""A time in seconds since the epoch, and a percentage."""


def chart(points: Sequence[Point], width: int, height: int, *, ascii_only: bool) -> list[str]:
    """Draws a chart in which each percentage is valid until the next point.

    Args:
        points: The points, ordered by time. Percentages are limited to the range from 0 to 100.
        width: The width of the chart in cells, at least 1.
        height: The number of lines, at least 1.
        ascii_only: Whether to draw with ASCII characters.

    Returns:
        The lines from the top; no lines if `points` is empty.
    """
    if not points:
        return []
    columns = _columns(points, width)
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    steps = len(blocks) - 1
    lines = []
    for level in range(height - 1, -1, -1):
        cells = []
        for percent in columns:
            filled = percent / 100 * height * steps - level * steps
            # A percentage above 0 is always visible.
            least = 1 if level == 0 and percent > 0 else 0
            cells.append(blocks[max(least, min(steps, round(filled)))])
        lines.append("".join(cells))
    return lines


def _columns(points: Sequence[Point], width: int) -> list[float]:
    """Returns the percentage at the end of each column's time span."""
    first, last = points[0][0], points[-1][0]
    span = last - first
    columns: list[float] = []
    number = 0
    for column in range(width):
        until = first + span * (column + 1) / width if column < width - 1 else last
        while number + 1 < len(points) and points[number + 1][0] <= until:
            number += 1
        columns.append(max(0.0, min(100.0, points[number][1])))
    return columns
