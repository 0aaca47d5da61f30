"""Tests of the chart of progress over time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.details.chart import Point, chart

POINTS = st.lists(
    st.tuples(st.floats(0, 2e9, allow_nan=False), st.floats(-1e9, 1e9, allow_nan=False)),
    max_size=40,
).map(sorted)
SIZES = st.integers(1, 120)
HEIGHTS = st.integers(1, 8)


def heights(lines: list[str]) -> list[int]:
    """Returns the height of each column, in eighths of a line."""
    return [sum(" ▁▂▃▄▅▆▇█".index(cell) for cell in column) for column in zip(*lines, strict=True)]


def test_a_rise_is_drawn_as_one() -> None:
    points = [(float(n), n * 25.0) for n in range(5)]
    assert chart(points, 5, 2, ascii_only=False) == ["   ▄█", " ▄███"]
    assert chart(points, 4, 1, ascii_only=False) == ["▂▄▆█"]
    assert chart(points, 4, 1, ascii_only=True) == [".::#"]


def test_nothing_is_drawn_of_nothing() -> None:
    assert chart([], 10, 3, ascii_only=False) == []


def test_one_report_is_a_level_line() -> None:
    assert chart([(5.0, 50.0)], 3, 2, ascii_only=False) == ["   ", "███"]


@given(POINTS, SIZES, HEIGHTS, st.booleans())
def test_whatever_the_points_the_chart_has_its_size(
    points: list[Point], width: int, height: int, ascii_only: bool
) -> None:
    lines = chart(points, width, height, ascii_only=ascii_only)
    assert len(lines) == (height if points else 0)
    assert all(len(line) == width for line in lines)
    assert not ascii_only or all(line.isascii() for line in lines)


@given(POINTS.filter(bool), SIZES, HEIGHTS)
def test_what_only_grows_is_drawn_so_and_ends_with_the_last_report(
    points: list[Point], width: int, height: int
) -> None:
    rising = list(zip(*(sorted(each) for each in zip(*points, strict=True)), strict=True))
    drawn = heights(chart(rising, width, height, ascii_only=False))
    assert drawn == sorted(drawn)
    last = max(0.0, min(100.0, rising[-1][1]))
    assert abs(drawn[-1] - last / 100 * height * 8) <= 1


@given(POINTS.filter(bool), SIZES)
def test_what_there_is_at_all_is_seen(points: list[Point], width: int) -> None:
    drawn = heights(chart(points, width, 3, ascii_only=False))
    assert (drawn[-1] > 0) == (points[-1][1] > 0)
