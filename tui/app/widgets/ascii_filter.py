"""Keeps whatever is drawn to ASCII, borders and scroll bars too."""

from __future__ import annotations

import os

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.text.ascii import ascii_only, is_ascii_locale


class AsciiFilter(LineFilter):
    """Puts ASCII in place of every other character on its way to the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Draws the same line in ASCII."""
        return [
            each if each.text.isascii() else Segment(ascii_only(each.text), *each[1:])
            for each in segments
        ]


def ascii_filters(wanted: bool | None) -> tuple[LineFilter, ...]:
    """The filter that keeps to ASCII, if that is wanted.

    Args:
        wanted: None for what the locale says.
    """
    is_wanted = is_ascii_locale(os.environ) if wanted is None else wanted
    return (AsciiFilter(),) if is_wanted else ()
