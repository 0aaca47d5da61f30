"""What the terminal shows, so that an update sends only the cells that differ.

Textual sends each changed region whole. While a dialog is open, it even sends the whole screen for
each change of the covered screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat

from rich.cells import cell_len, get_character_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

Cell = tuple[str, str]
"""The text and the SGR parameters of one cell.

The text is empty if a character to the left covers the cell too. A blank has only those parameters
that can be seen.
"""

# These attributes (underlined, reversed, struck out, framed, overlined) show on a blank.
_SHOWN_ON_BLANKS = {"4", "7", "9", "21", "51", "52", "53"}

# If fewer equal cells than this are between two changed cells, sending the equal cells is shorter
# than moving the cursor.
_GAP = 4


class CellsUpdate(CompositorUpdate):
    """An update that contains only changed cells.

    Args:
        sequences: The text and the escape sequences for the terminal.
    """

    def __init__(self, sequences: str) -> None:
        self._sequences = sequences

    def render_segments(self, console: Console) -> str:
        """Returns the text and the escape sequences for the terminal."""
        return self._sequences


class Picture:
    """The cells that the terminal shows, as far as they are known."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell | None]] = {}

    def forget(self) -> None:
        """Forgets all cells, because another program or a resize may have changed them."""
        self._rows.clear()

    def change(self, update: LayoutUpdate | ChopsUpdate, console: Console) -> str:
        """Returns the shortest text that makes the terminal show an update; empty for no change.

        The caller must send the text: afterwards, the picture contains the update.

        Args:
            update: The update.
            console: The console, which defines the number of colours.
        """
        colors = console._color_system or ColorSystem.TRUECOLOR
        sequences: list[str] = []
        style = ""
        for x, y, strips in _lines(update):
            cells = [
                cell for strip in strips for segment in strip for cell in _cells(segment, colors)
            ]
            row = self._rows.setdefault(y, [])
            end = x + len(cells)
            if len(row) < end:
                row.extend(repeat(None, end - len(row)))
            shown = row[x:end]
            if shown == cells:
                continue
            for first, last in _runs(shown, cells):
                sequences.append(f"\x1b[{y + 1};{x + first + 1}H")
                for text, wanted in cells[first:last]:
                    if wanted != style and (text != " " or wanted != _of_blank(style)):
                        sequences.append(_transition(style, wanted))
                        style = wanted
                    sequences.append(text)
            if x > 0 and (covered := row[x]) is not None and not covered[0]:
                # The terminal erases a wide character if its second cell is overwritten.
                row[x - 1] = None
            row[x:end] = cells
        if style:
            sequences.append("\x1b[0m")
        return "".join(sequences)


def _lines(update: LayoutUpdate | ChopsUpdate) -> Iterator[tuple[int, int, Iterable[Strip]]]:
    """Yields the parts of lines in an update: column, line, and strips."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            yield update.region.x, y, strips
        return
    for y, start, end in update.spans:
        for stop, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x >= end or stop <= start:
                continue
            yield x, y, (strip if stop <= end else strip.crop(0, end - x),)


def _cells(segment: Segment, colors: ColorSystem) -> Iterable[Cell]:
    text, style, control = segment
    if control:
        return ()
    codes = ""
    if style is not None:
        codes = style._ansi if style._ansi is not None else Strip.render_ansi(style, colors)
    blank = " ", _of_blank(codes)
    characters = text if text.isascii() else _split(text)
    return [blank if character == " " else (character, codes) for character in characters]


@lru_cache(4096)
def _split(text: str) -> Sequence[str]:
    """Returns the text of each cell.

    If several characters join to one sign, their widths do not add up to the width of the text.
    Then the first cell contains the whole text, and each change sends the whole text again.
    """
    cells: list[str] = []
    for character in text:
        size = get_character_cell_size(character)
        if size:
            cells += (character, *repeat("", size - 1))
        elif cells:
            last = max(number for number, cell in enumerate(cells) if cell)
            cells[last] += character
    width = cell_len(text)
    if len(cells) != width:
        cells = [text, *repeat("", width - 1)]
    return cells


def _runs(shown: Sequence[Cell | None], cells: Sequence[Cell]) -> Iterator[tuple[int, int]]:
    """Yields the start and the end of each run of cells to send."""
    differing = [
        number
        for number, (old, new) in enumerate(zip(shown, cells, strict=True))
        if old is not new and old != new
    ]
    start = end = -1
    for number in differing:
        if number < end + _GAP and start >= 0:
            end = number + 1
        else:
            if start >= 0:
                yield start, end
            start, end = number, number + 1
    yield start, end


@lru_cache(4096)
def _of_blank(codes: str) -> str:
    """Returns the SGR parameters that can be seen on a blank with these parameters."""
    _, background, attributes = _parsed(codes)
    return background if attributes.isdisjoint(_SHOWN_ON_BLANKS) else codes


@lru_cache(4096)
def _transition(before: str, after: str) -> str:
    """Returns the escape sequence that changes the style of the next characters.

    Args:
        before: The present SGR parameters; empty for the terminal's default style.
        after: The wanted SGR parameters.
    """
    if not after:
        return "\x1b[0m"
    foreground, background, attributes = _parsed(before)
    wanted_foreground, wanted_background, wanted_attributes = _parsed(after)
    is_lost = (
        not attributes <= wanted_attributes
        or (foreground and not wanted_foreground)
        or (background and not wanted_background)
    )
    if is_lost:
        return f"\x1b[0;{after}m"
    parameters = sorted(wanted_attributes - attributes)
    if wanted_foreground != foreground:
        parameters.append(wanted_foreground)
    if wanted_background != background:
        parameters.append(wanted_background)
    return f"\x1b[{';'.join(parameters)}m"


@lru_cache(4096)
def _parsed(codes: str) -> tuple[str, str, frozenset[str]]:
    """Returns the foreground colour, the background colour and the attributes of a style."""
    foreground = background = ""
    attributes: set[str] = set()
    numbers = iter(codes.split(";") if codes else ())
    for number in numbers:
        value = int(number)
        if value in (38, 48):
            kind = next(numbers)
            count = 1 if kind == "5" else 3
            color = ";".join((number, kind, *(next(numbers) for _ in range(count))))
            if value == 38:
                foreground = color
            else:
                background = color
        elif 30 <= value <= 39 or 90 <= value <= 97:
            foreground = number
        elif 40 <= value <= 49 or 100 <= value <= 107:
            background = number
        else:
            attributes.add(number)
    return foreground, background, frozenset(attributes)
