"""A filter that limits the whole screen to ASCII, including borders and scroll bars."""

from __future__ import annotations

import os
from contextlib import suppress

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.host.process import procfs
from tui.text.ascii import ascii_only, is_ascii_locale


class AsciiFilter(LineFilter):
    """Replaces each non-ASCII character of a line before the line is sent to the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Returns the segments of a line with ASCII text."""
        return [
            segment if segment.text.isascii() else Segment(ascii_only(segment.text), *segment[1:])
            for segment in segments
        ]


def ascii_filters(wanted: bool | None) -> tuple[LineFilter, ...]:
    """Returns the ASCII filter in a tuple, or an empty tuple if the filter is off.

    Args:
        wanted: Whether to use the filter. None uses it if the locale's encoding is not UTF-8.
    """
    is_wanted = is_ascii_locale(_environment_of_user()) if wanted is None else wanted
    return (AsciiFilter(),) if is_wanted else ()


def _environment_of_user() -> dict[str, str]:
    """Returns the environment without the ``LC_CTYPE`` that Python set itself (PEP 538)."""
    environment = dict(os.environ)
    with suppress(OSError):
        if "LC_CTYPE" not in procfs.environment(os.getpid()):
            environment.pop("LC_CTYPE", None)
    return environment
