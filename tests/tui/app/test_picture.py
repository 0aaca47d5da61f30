"""An update sends only the cells that differ, and the terminal then shows the whole update."""

from __future__ import annotations

from collections.abc import Sequence

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tui.app.terminal.picture import Picture

WIDTH, HEIGHT = 12, 3
CONSOLE = Console(color_system="truecolor", force_terminal=True, width=WIDTH)

STYLES = st.sampled_from(
    [
        None,
        Style(color="#ffffff", bgcolor="#121212"),
        Style(color="#00ff00", bgcolor="#121212"),
        Style(color="#00ff00", bgcolor="#003366", bold=True),
        Style(color="#00ff00", bgcolor="#003366", reverse=True),
        Style(color="red"),
        Style(underline=True),
        Style(color=None, bgcolor="bright_blue", italic=True),
        Style(color="color(9)", bgcolor="color(200)", strike=True),
    ]
)
CHARACTERS = st.sampled_from([*"ab  ", "\u4e2d", "\u2713", "\u00e9"])


@st.composite
def strips(draw: st.DrawFn, width: int) -> Strip:
    """A strip of exactly this width."""
    segments: list[Segment] = []
    while width > 0:
        text = draw(CHARACTERS)
        if text == "\u4e2d" and width == 1:
            text = " "
        segments.append(Segment(text, draw(STYLES)))
        width -= 2 if text == "\u4e2d" else 1
    return Strip(segments)


@st.composite
def whole_screens(draw: st.DrawFn) -> LayoutUpdate:
    lines = [[draw(strips(WIDTH))] for _ in range(HEIGHT)]
    return LayoutUpdate(list(lines), Region(0, 0, WIDTH, HEIGHT))


@st.composite
def regions(draw: st.DrawFn) -> LayoutUpdate:
    x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    width = draw(st.integers(1, WIDTH - x))
    height = draw(st.integers(1, HEIGHT - y))
    lines = [[draw(strips(width))] for _ in range(height)]
    return LayoutUpdate(list(lines), Region(x, y, width, height))


@st.composite
def spans(draw: st.DrawFn) -> ChopsUpdate:
    """An update of parts of lines, cut into two strips at the same column."""
    cut = draw(st.integers(1, WIDTH - 1))
    chops = [{0: draw(strips(cut)), cut: draw(strips(WIDTH - cut))} for _ in range(HEIGHT)]
    start = draw(st.sampled_from([0, cut]))
    end = draw(st.integers(start + 1, WIDTH))
    lines = draw(st.lists(st.integers(0, HEIGHT - 1), min_size=1, unique=True))
    return ChopsUpdate(chops, [(y, start, end) for y in sorted(lines)], [[cut, WIDTH]] * HEIGHT)


class Terminal:
    """A terminal that shows what it is sent."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self.screen.reset_mode(pyte.modes.DECAWM)
        self.stream = pyte.Stream(self.screen)

    def shows(self, text: str) -> None:
        self.stream.feed(text)

    def cells(self) -> list[list[object]]:
        return [[_seen(self.screen.buffer[y][x]) for x in range(WIDTH)] for y in range(HEIGHT)]


def _seen(cell: pyte.screens.Char) -> object:
    """What one sees of a cell: of a blank, only its background and the lines through it."""
    if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
        return " ", cell.bg
    return cell


def after(updates: Sequence[CompositorUpdate]) -> tuple[Terminal, Terminal]:
    """Returns a terminal that got the changes, and one that got the whole updates."""
    changed, whole = Terminal(), Terminal()
    picture = Picture()
    for update in updates:
        assert isinstance(update, LayoutUpdate | ChopsUpdate)
        changed.shows(picture.change(update, CONSOLE))
        # Textual's line feeds between lines would scroll; each line begins with a movement.
        whole.shows(update.render_segments(CONSOLE).replace("\n", ""))
    return changed, whole


@given(whole_screens(), st.lists(st.one_of(whole_screens(), regions(), spans()), max_size=6))
def test_the_terminal_shows_the_same_as_with_whole_updates(
    first: LayoutUpdate, later: list[CompositorUpdate]
) -> None:
    changed, whole = after([first, *later])
    assert changed.cells() == whole.cells()


@given(st.one_of(whole_screens(), regions(), spans()))
def test_the_same_update_again_sends_nothing(update: LayoutUpdate | ChopsUpdate) -> None:
    picture = Picture()
    picture.change(update, CONSOLE)
    assert picture.change(update, CONSOLE) == ""


@given(whole_screens())
def test_a_forgotten_picture_is_sent_whole(update: LayoutUpdate) -> None:
    picture = Picture()
    first = picture.change(update, CONSOLE)
    picture.forget()
    assert picture.change(update, CONSOLE) == first


def line(x: int, text: str) -> LayoutUpdate:
    return LayoutUpdate([[Strip([Segment(text)])]], Region(x, 0, len(text), 1))


@pytest.mark.parametrize("x", [0, 1])
def test_a_wide_character_is_sent_again_after_a_half_was_overwritten(x: int) -> None:
    picture = Picture()
    wide = line(0, "\u4e2dx")
    picture.change(wide, CONSOLE)
    picture.change(line(x, "b"), CONSOLE)
    assert picture.change(wide, CONSOLE) == "\x1b[1;1H\u4e2d"


@pytest.mark.parametrize(
    "text",
    [
        "e\u0301x",  # a combining character
        "\U0001f469\u200d\U0001f680x",  # joined to one sign
        "\U0001f1e9\U0001f1eax",  # a flag
        "\U0001f44d\U0001f3fdx",  # a skin tone
    ],
)
def test_a_sign_of_several_characters_is_sent_whole_or_not_at_all(text: str) -> None:
    picture = Picture()
    assert text[:-1] in picture.change(line(0, f"{text}a"), CONSOLE)
    sent = picture.change(line(0, f"{text}b"), CONSOLE)
    assert sent.endswith("b")
    assert text[:-1] in sent or not any(sign in sent for sign in text[:-1])
