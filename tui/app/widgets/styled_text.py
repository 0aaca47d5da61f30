"""Pieces of text with the names of their styles. Pure."""

from __future__ import annotations

import itertools

from tui.text.sanitize import fit, width
from tui.view.filter import Filter

Piece = tuple[str, str]
"""A text without control characters, and the names of its styles, separated by spaces."""

# The width of the bar in cells; the percentage follows the bar.
_BAR = 6

PERCENT = 5
"""The width of a percentage with a gap before it, in cells."""

BAR_AND_PERCENT = 1 + _BAR + PERCENT
"""The width of a bar and a percentage with a gap before them, in cells."""


def highlighted(text: str, style: str, wanted: Filter, *keys: str) -> list[Piece]:
    """Splits a text into pieces; parts that match the filter also have the style ``match``.

    Args:
        text: The text, without control characters.
        style: The style of the whole text.
        wanted: The filter.
        keys: The keys under which the filter searches this text, such as ``id``.
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
    """Cuts or pads pieces to an exact width in cells."""
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


def progress_pieces(progress: float | None, style: str, wide: int) -> list[Piece]:
    """Returns a progress bar and a percentage; only the percentage if the bar has no room.

    Args:
        progress: The progress in percent; None if it is not known.
        style: The style of the percentage and of the bar. If empty, the bar has the style ``bar``.
        wide: The width in cells.
    """
    if progress is None:
        none = "-".rjust(wide) if wide < BAR_AND_PERCENT else fit(" -", wide)
        return [(none, "finished")]
    percent = min(max(progress, 0.0), 100.0)
    if wide < BAR_AND_PERCENT:
        return [(f"{percent:.0f}%".rjust(wide), style)]
    full = round(percent / 100 * _BAR)
    return [
        (" ", ""),
        ("━" * full, style or "bar"),
        ("─" * (_BAR - full), "finished"),
        (f"{percent:4.0f}%", style),
    ]
