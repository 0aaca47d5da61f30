"""Progress over time as a small chart of characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " .:#"

Point = tuple[float, float]
"""When, in seconds since the epoch, and how many percent."""


def chart(points: Sequence[Point], width: int, height: int, *, ascii_only: bool) -> list[str]:
    """Draws percents, each of which holds until the next one.

    Args:
        points: In the order of time; percents beyond 0 to 100 are drawn as those.
        width: Cells of each line, at least 1.
        height: Lines, at least 1.
        ascii_only: Whether only ASCII may be used.

    Returns:
        Lines from the top, all of that width; none when there are no points.
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
            # What there is at all is seen.
            least = 1 if level == 0 and percent > 0 else 0
            cells.append(blocks[max(least, min(steps, round(filled)))])
        lines.append("".join(cells))
    return lines


def _columns(points: Sequence[Point], width: int) -> list[float]:
    """The percent that holds at the end of each column."""
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
