"""A filter that makes every text readable on its background, whatever the theme."""

from __future__ import annotations

import re
from functools import lru_cache

from rich.color import Color as TerminalColor
from rich.color import ColorSystem, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from textual.color import Color
from textual.filter import LineFilter

READABLE = 4.5
"""The smallest contrast of a text and its background (WCAG 2, level AA)."""

# Lines and blocks, such as borders, bars and scroll bars, are not text.
_IS_DRAWN = re.compile("[\\s\u2500-\u259f]*")

_STEPS = 10
_BLACK, _WHITE = ColorTriplet(0, 0, 0), ColorTriplet(255, 255, 255)


class ContrastFilter(LineFilter):
    """Moves the colour of a text towards white or black until the text is readable.

    Args:
        system: The colours that the terminal has.
    """

    def __init__(self, system: ColorSystem) -> None:
        super().__init__()
        self._system = system

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Returns the segments of a line, each with a readable text."""
        return [
            segment
            if segment.style is None or _IS_DRAWN.fullmatch(segment.text)
            else Segment(segment.text, readable(segment.style, self._system), segment.control)
            for segment in segments
        ]


@lru_cache(4096)
def readable(style: Style, system: ColorSystem) -> Style:
    """Returns a style whose text is readable; unknown colours of the terminal stay as they are."""
    color, background = style.color, style.bgcolor
    if style.reverse:
        color, background = background, color
    if color is None or background is None or color.is_default or background.is_default:
        return style
    behind = _shown(background, system)
    if contrast(_shown(color, system), behind) >= READABLE:
        return style
    better = _better(color.get_truecolor(DEFAULT_TERMINAL_THEME), behind, system)
    return style + (Style(bgcolor=better) if style.reverse else Style(color=better))


def _better(color: ColorTriplet, behind: ColorTriplet, system: ColorSystem) -> TerminalColor:
    """Returns the readable colour that is the nearest to a colour."""
    ends = sorted((_WHITE, _BLACK), key=lambda end: contrast(end, behind), reverse=True)
    for step in range(1, _STEPS + 1):
        for end in ends:
            mixed = TerminalColor.from_triplet(_mixed(color, end, step / _STEPS))
            if contrast(_shown(mixed, system), behind) >= READABLE:
                return mixed
    return TerminalColor.from_triplet(ends[0])


def _mixed(color: ColorTriplet, end: ColorTriplet, share: float) -> ColorTriplet:
    return ColorTriplet(*(round(a + (b - a) * share) for a, b in zip(color, end, strict=True)))


def _shown(color: TerminalColor, system: ColorSystem) -> ColorTriplet:
    """Returns the colour that the terminal shows, with the usual palette of 16 colours."""
    if color.type is ColorType.TRUECOLOR:
        color = color.downgrade(system)
    return color.get_truecolor(DEFAULT_TERMINAL_THEME)


def contrast(color: ColorTriplet, other: ColorTriplet) -> float:
    """Returns the contrast of two colours, from 1 to 21 (WCAG 2)."""
    darker, lighter = sorted((_luminance(color), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@lru_cache(4096)
def _luminance(color: ColorTriplet) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
