"""The rows of a page: pieces of text with styles, wrapped to a width. Pure.

The text is safe to show, because the caller applied `tui.text.sanitize.harmless` to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import cell_len, chop_cells
from rich.style import Style

from registry.dataclass import dataclass
from tui.model.roll import AgentKey

Piece = tuple[str, str | Style]
"""A text that is safe to show, and its style or the name of the style."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a page before it is wrapped.

    Attributes:
        pieces: The text.
        hang: The indentation of all lines except the first, in cells.
        target: The agent to which the row links, or None.
        wrap: Whether a long text continues on the next line.
    """

    pieces: tuple[Piece, ...]
    hang: int = 0
    target: AgentKey | None = None
    wrap: bool = True

    @property
    def text(self) -> str:
        """The text of all pieces."""
        return "".join(text for text, _ in self.pieces)


def row(*pieces: Piece | str, hang: int = 0, target: AgentKey | None = None) -> Row:
    """Returns a row of pieces; a string becomes a piece without style."""
    styled = tuple((piece, "") if isinstance(piece, str) else piece for piece in pieces)
    return Row(styled, hang, target)


def wrapped(unwrapped: Row, width: int) -> tuple[tuple[Piece, ...], ...]:
    """Breaks a row into lines of at most `width` cells, between words if possible."""
    if not unwrapped.wrap or width < 1 or cell_len(unwrapped.text) <= width:
        return (unwrapped.pieces,)
    hang = unwrapped.hang if unwrapped.hang < width // 2 else 0
    lines: list[tuple[Piece, ...]] = []
    rest = list(unwrapped.pieces)
    while rest:
        indent: list[Piece] = [(" " * hang, "")] if lines and hang else []
        room = width - (hang if lines else 0)
        text = "".join(part for part, _ in rest)
        end = _break(text, room, width - hang)
        line, rest = _split(rest, end)
        lines.append((*indent, *line))
        if rest and text[end : end + 1] == " ":
            _, rest = _split(rest, end and 1)
    return tuple(lines)


# A word that is longer than a line is broken after a slash, or after one of these characters.
_JOINTS = "_-.:,"


def _break(text: str, room: int, later: int) -> int:
    """Returns how many characters of a text fit on its first line.

    Args:
        text: The text.
        room: The cells of the first line.
        later: The cells of the next lines.
    """
    if cell_len(text) <= room:
        return len(text)
    end = max(1, len(next(iter(chop_cells(text[: 4 * room + 4], room)), text[:1])))
    if text[end : end + 1] == " ":
        return end
    space = text.rfind(" ", 0, end)
    word = text[space + 1 :].split(" ", 1)[0]
    if cell_len(word) > later:
        joint = text.rfind("/", space + 1, end)
        if joint < 0:
            joint = max(text.rfind(sign, space + 1, end) for sign in _JOINTS)
        return joint + 1 if joint >= 0 else end
    # A break in the indentation would leave an empty line.
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
    """Yields the pieces of a line; gives each occurrence of the query the style `match`.

    Args:
        pieces: The pieces of one line.
        query: The text to find, case-folded; empty for no matches. The case is ignored.
    """
    whole = list(pieces)
    text = "".join(part for part, _ in whole)
    folded = text.casefold()
    if not query or len(folded) != len(text):
        # If a letter folds to two letters, positions in the two texts differ.
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
