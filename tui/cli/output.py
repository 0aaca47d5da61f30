"""The standard streams of a command: whatever writes to them, no control byte gets through.

Texts are made harmless where they are put together, which knows what is data and what
is not. This is the net beneath: argparse, warnings, logging and tracebacks write, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from tui.text.sanitize import inert

# Our own signs, where an encoding has none of them; all else becomes an escape.
_WITHOUT = str.maketrans({"…": "...", "→": "->", "▸": ">", "·": "-"})


class HarmlessStream:
    """A text stream on which only a line feed keeps its effect.

    What the stream's encoding cannot say becomes an escape: names that differ still do.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes a text; its length as it was given."""
        shown = inert(text)
        encoding = self.stream.encoding or "utf-8"
        if not shown.isascii():
            try:
                shown.encode(encoding)
            except UnicodeEncodeError:
                shown = shown.translate(_WITHOUT)
                shown = shown.encode(encoding, "backslashreplace").decode(encoding)
        self.stream.write(shown)
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Writes texts one after the other."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """False: colours would not get through, so nobody is to send any."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def is_terminal(stream: object) -> bool:
    """Whether a standard stream leads to a terminal."""
    if isinstance(stream, HarmlessStream):
        return stream.stream.isatty()
    return cast(TextIO, stream).isatty()


@contextmanager
def harmless_output() -> Iterator[None]:
    """Makes standard output and standard error harmless within the block."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, HarmlessStream(before[0]))
    sys.stderr = cast(TextIO, HarmlessStream(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
