"""Every text is readable on its background, in every theme, with few or many colours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color, ColorSystem
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from textual.color import Color as TextualColor
from textual.theme import BUILTIN_THEMES

from tests.support.still_app import (
    SEARCH,
    SPEED,
    StillApp,
    agent,
    call,
    opened,
    shown,
    task_of,
)
from tui.app.theme import OURS
from tui.app.widgets.contrast_filter import (
    _IS_DRAWN,
    READABLE,
    ContrastFilter,
    contrast,
    readable,
)
from tui.app.widgets.roll_list import RollView
from tui.model.verdicts import TERMINATED, VERDICTS

SYSTEMS = (ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD)
ENDED = task_of(
    "TASK-ended",
    agent("broken-9", "failed"),
    agent("killed-10", "terminated"),
    agent("odd-11", ""),
)
"""Agents with the verdicts that the other tasks do not have."""

ROLL = call(SEARCH, SPEED, ENDED)

TRIPLETS = st.builds(ColorTriplet, *[st.integers(0, 255)] * 3)


def seen(color: Color, system: ColorSystem) -> ColorTriplet:
    return color.downgrade(system).get_truecolor(DEFAULT_TERMINAL_THEME)


def contrast_of(style: Style, system: ColorSystem) -> float | None:
    """The contrast on the terminal; None if the terminal decides a colour."""
    pair = (style.color, style.bgcolor)
    if any(color is None or color.is_default for color in pair):
        return None
    color, background = (seen(color, system) for color in pair if color is not None)
    return contrast(color, background)


@given(TRIPLETS, TRIPLETS, st.sampled_from(SYSTEMS), st.booleans())
def test_any_two_colours_become_readable(
    color: ColorTriplet, background: ColorTriplet, system: ColorSystem, reverse: bool
) -> None:
    given_style = Style(
        color=Color.from_triplet(color), bgcolor=Color.from_triplet(background), reverse=reverse
    )
    style = readable(given_style, system)
    found = contrast_of(style, system)
    assert found is not None and found >= READABLE
    kept = style.color == given_style.color if reverse else style.bgcolor == given_style.bgcolor
    assert kept, "only the text changes"


@given(TRIPLETS, TRIPLETS)
def test_a_readable_text_stays_as_it_is(color: ColorTriplet, background: ColorTriplet) -> None:
    style = Style(color=Color.from_triplet(color), bgcolor=Color.from_triplet(background))
    is_readable = contrast(color, background) >= READABLE
    assert (readable(style, ColorSystem.TRUECOLOR) == style) is is_readable


@pytest.mark.parametrize(
    "style", [Style(), Style(color="red"), Style(bgcolor="red"), Style(color="default")]
)
def test_colours_that_the_terminal_decides_stay(style: Style) -> None:
    assert readable(style, ColorSystem.STANDARD) is style


def test_borders_and_bars_stay_faint() -> None:
    faint = Style(color="#202020", bgcolor="#121212")
    segments = [Segment("━━ ", faint), Segment("│", faint)]
    behind = TextualColor.parse("#121212")
    assert ContrastFilter(ColorSystem.TRUECOLOR).apply(segments, behind) == segments


ALWAYS = set(zip((*(each.name for each in OURS), "nord"), SYSTEMS, strict=True))
"""Three themes, each with another number of colours."""


@pytest.mark.parametrize(
    ("theme", "system"),
    [
        pytest.param(theme, system, marks=() if (theme, system) in ALWAYS else pytest.mark.torture)
        for theme in (*(each.name for each in OURS), *sorted(BUILTIN_THEMES))
        for system in SYSTEMS
    ],
)
async def test_all_texts_of_the_screen_are_readable(theme: str, system: ColorSystem) -> None:
    app = StillApp(ROLL)
    app._contrast = (ContrastFilter(system),)
    async with app.run_test(size=(120, 40)) as pilot:
        app.theme = theme
        await pilot.pause()
        told = 0
        for _ in range(13):
            for strip in app.screen._compositor.render_strips():
                for segment in strip:
                    if segment.style is None or _IS_DRAWN.fullmatch(segment.text):
                        continue
                    found = contrast_of(segment.style, system)
                    told += found is not None
                    assert found is None or found >= READABLE, segment
            await pilot.press("down")
        # The themes with the terminal's own colours leave them to the terminal.
        assert told > 100 or theme.startswith("ansi")


@pytest.mark.parametrize("theme", [each.name for each in OURS])
async def test_each_verdict_looks_different_with_16_colours(theme: str) -> None:
    async with opened(ROLL, (120, 40)) as (app, _, pilot):
        app.theme = theme
        await pilot.pause()
        view = app.query_one(RollView)
        looks = set()
        for verdict in VERDICTS:
            style = view.get_component_rich_style(f"roll--{verdict}", partial=True)
            color = style.color.downgrade(ColorSystem.STANDARD).number if style.color else None
            looks.add((color, style.bold, style.italic, style.dim))
        assert len(looks) == len(VERDICTS)


async def test_without_colours_each_verdict_has_its_glyph() -> None:
    async with opened(ROLL, (120, 40)) as (app, _, _):
        text = shown(app)
        for verdict, entry in VERDICTS.items():
            if ROLL.counts[verdict]:
                assert f"{entry.glyph} {verdict.value}" in text
        assert f"{TERMINATED} finished" in text
