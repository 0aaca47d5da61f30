"""Converts a captured tmux pane to safe pieces of text with colours. Pure.

SGR sequences (colours and text attributes) become styles. Hyperlinks are replaced by their text.
Line-drawing characters are translated. All other escape sequences become visible text
(`tui.text.sanitize.harmless`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.color import Color
from rich.style import Style

from tui.details.rows import Piece, Row
from tui.text.sanitize import harmless

LINE_AT_MOST = 4096
"""How many characters of one captured line are shown."""

_TOKEN = re.compile(r"\x1b\[([0-9;:]{0,256})m|\x1b\]8;[^\x07\x1b]*(?:\x1b\\|\x07)|([\x0e\x0f])")

# The DEC special graphics that tmux writes between SO and SI.
_DRAWN = str.maketrans(
    "`afgjklmnopqrstuvwxyz{|}~",
    "◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·",
)

_ON = {
    1: "bold",
    2: "dim",
    3: "italic",
    4: "underline",
    7: "reverse",
    9: "strike",
    21: "underline2",
    53: "overline",
}
_OFF = {
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline", "underline2"),
    27: ("reverse",),
    29: ("strike",),
    55: ("overline",),
}
_COLOURS = {38: "color", 48: "bgcolor", 58: ""}

State = dict[str, bool | Color]


def screen_rows(lines: Iterable[str]) -> tuple[Row, ...]:
    """Returns the lines of a pane as unwrapped rows. A style stays on until it is turned off."""
    state: State = {}
    shift = [False]
    return tuple(Row(tuple(_pieces(line, state, shift)), wrap=False) for line in lines)


def _pieces(line: str, state: State, shift: list[bool]) -> Iterator[Piece]:
    cut = line[:LINE_AT_MOST]
    position = 0
    for token in _TOKEN.finditer(cut):
        yield from _piece(cut[position : token.start()], state, shift)
        position = token.end()
        if token[2] is not None:
            shift[0] = token[2] == "\x0e"
        elif token[1] is not None:
            _apply(token[1], state)
    yield from _piece(cut[position:], state, shift)


def _piece(text: str, state: State, shift: list[bool]) -> Iterator[Piece]:
    if text:
        shown = harmless(text.translate(_DRAWN) if shift[0] else text)
        yield shown, Style(**state) if state else ""  # type: ignore[arg-type]


def _apply(parameters: str, state: State) -> None:
    """Changes the style as the parameters of an SGR sequence say; ignores unknown parameters."""
    words = iter(parameters.split(";"))
    for word in words:
        code, *sub = word.split(":")
        number = int(code[:6]) if code else 0
        if number == 0:
            state.clear()
        elif number == 4 and sub[:1] == ["0"]:
            _turn_off(state, _OFF[24])
        elif number in _ON:
            state[_ON[number]] = True
        elif number in _OFF:
            _turn_off(state, _OFF[number])
        elif number in _COLOURS:
            colour = _extended(sub) if sub else _extended_words(words)
            if colour is not None and _COLOURS[number]:
                state[_COLOURS[number]] = colour
        elif number in (39, 49):
            state.pop("color" if number == 39 else "bgcolor", None)
        elif 30 <= number <= 37 or 40 <= number <= 47:
            state["color" if number < 40 else "bgcolor"] = Color.from_ansi(number % 10)
        elif 90 <= number <= 97 or 100 <= number <= 107:
            state["color" if number < 100 else "bgcolor"] = Color.from_ansi(number % 10 + 8)


def _turn_off(state: State, names: Iterable[str]) -> None:
    for name in names:
        state.pop(name, None)


def _extended_words(words: Iterator[str]) -> Color | None:
    kind = next(words, "")
    count = {"5": 1, "2": 3}.get(kind, 0)
    return _extended([kind, *(next(words, "") for _ in range(count))])


def _extended(sub: list[str]) -> Color | None:
    """Returns the colour for the numbers after 38 or 48, or None if the numbers are invalid.

    The forms are ``5;n``, ``2;r;g;b`` and, with a colour space, ``2:space:r:g:b``.
    """
    kind, *values = sub
    if kind == "2" and len(values) > 3:
        values = values[1:]
    try:
        numbers = [int(value[:6] or 0) for value in values]
    except ValueError:
        return None
    if any(not 0 <= number <= 255 for number in numbers):
        return None
    if kind == "5" and len(numbers) >= 1:
        return Color.from_ansi(numbers[0])
    if kind == "2" and len(numbers) >= 3:
        return Color.from_rgb(*numbers[:3])
    return None
