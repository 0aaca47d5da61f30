"""Rows of a page: pieces of harmless text with styles, wrapped to a width. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.style import Style

from tui.model.roll import AgentKey

Piece = tuple[str, str | Style]
"""A harmless text, and the name of its style or the style itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a page before it is wrapped.

    Attributes:
        pieces: What it says.
        hang: Cells that its second and further lines are indented by.
        target: Whom it leads to, or None.
        wrap: Whether what is too long goes on in the next line.
    """

    pieces: tuple[Piece, ...]
    hang: int = 0
    target: AgentKey | None = None
    wrap: bool = True

    @property
    def text(self) -> str:
        """All that it says."""
        return "".join(text for text, _ in self.pieces)


def row(*pieces: Piece | str, hang: int = 0, target: AgentKey | None = None) -> Row:
    """A row of pieces; a plain text has no style."""
    styled = tuple((each, "") if isinstance(each, str) else each for each in pieces)
    return Row(styled, hang, target)


def wrapped(each: Row, width: int) -> tuple[tuple[Piece, ...], ...]:
    """The lines of a row, each at most `width` cells, broken between words if possible."""
    if not each.wrap or width < 1 or cell_len(each.text) <= width:
        return (each.pieces,)
    hang = each.hang if each.hang < width // 2 else 0
    lines: list[tuple[Piece, ...]] = []
    rest = list(each.pieces)
    while rest:
        indent: list[Piece] = [(" " * hang, "")] if lines and hang else []
        room = width - (hang if lines else 0)
        text = "".join(part for part, _ in rest)
        end = _break(text, room)
        line, rest = _split(rest, end)
        lines.append((*indent, *line))
        if rest and text[end : end + 1] == " ":
            _, rest = _split(rest, end and 1)
    return tuple(lines)


def _break(text: str, room: int) -> int:
    """Up to which character a line goes."""
    if cell_len(text) <= room:
        return len(text)
    end = max(1, len(next(iter(chop_cells(text[: 4 * room + 4], room)), text[:1])))
    if text[end : end + 1] == " ":
        return end
    space = text.rfind(" ", 0, end)
    # Not where only an indentation would be left.
    return space if space > 0 and text[:space].strip() else end


def _split(pieces: Iterable[Piece], at: int) -> tuple[list[Piece], list[Piece]]:
    before: list[Piece] = []
    after: list[Piece] = []
    for text, style in pieces:
        if text[:at]:
            before.append((text[:at], style))
        if text[at:]:
            after.append((text[at:], style))
        at = max(0, at - len(text))
    return before, after


def marked(pieces: Iterable[Piece], query: str) -> Iterator[Piece]:
    """The pieces with each place where the query stands, whatever the case, as a match.

    Args:
        pieces: Of one line.
        query: Folded for comparison; empty for none.
    """
    whole = list(pieces)
    text = "".join(part for part, _ in whole)
    folded = text.casefold()
    if not query or len(folded) != len(text):
        # A letter that folds to two: places in one are not places in the other.
        yield from whole
        return
    done = 0
    while (at := folded.find(query, done)) >= 0:
        before, rest = _split(whole, at - done)
        yield from before
        match, whole = _split(rest, len(query))
        yield from ((part, "match") for part, _ in match)
        done = at + len(query)
    yield from whole
