"""Text in pieces, each with the names of its styles. Pure."""

from __future__ import annotations

import itertools

from tui.text.sanitize import fit, width
from tui.view.filter import Filter

Piece = tuple[str, str]
"""Text that is safe to show, and the names of its styles, separated by blanks."""

# A bar, and the percentage to its right.
_BAR = 6
PROGRESS_WIDTH = _BAR + 5
"""Cells that `progress_pieces` takes."""


def highlighted(text: str, style: str, wanted: Filter, *keys: str) -> list[Piece]:
    """Splits a text so that what the filter looks for has the style ``match`` too.

    Args:
        text: Safe text.
        style: The style of the whole text.
        wanted: The filter.
        keys: The filter's fields that this text belongs to.
    """
    if not wanted:
        return [(text, style)]
    lit: set[int] = set()
    for key in keys:
        for start, end in wanted.spans(key, text):
            lit.update(range(start, end))
    pieces: list[Piece] = []
    for is_lit, run in itertools.groupby(range(len(text)), lambda at: at in lit):
        part = "".join(text[at] for at in run)
        pieces.append((part, f"{style} match".strip() if is_lit else style))
    return pieces


def exactly(pieces: list[Piece], cells: int) -> list[Piece]:
    """Cuts pieces, or adds blanks, so that they take exactly that many cells."""
    result: list[Piece] = []
    left = cells
    for text, style in pieces:
        wide = width(text)
        if wide > left:
            result.append((fit(text, left), style))
            return result
        result.append((text, style))
        left -= wide
    if left:
        result.append((" " * left, ""))
    return result


def progress_pieces(progress: float | None, style: str) -> list[Piece]:
    """A bar and a percentage.

    Args:
        progress: In percent; None if it is not known.
        style: The style of the percentage, and of the bar if there is one.
    """
    if progress is None:
        return [(fit("-", PROGRESS_WIDTH), "finished")]
    percent = min(max(progress, 0.0), 100.0)
    full = round(percent / 100 * _BAR)
    return [
        ("━" * full, style or "bar"),
        ("─" * (_BAR - full), "finished"),
        (f"{percent:4.0f}%", style),
    ]
