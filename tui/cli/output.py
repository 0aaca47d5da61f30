"""Standard streams, lines of output, error messages and exit codes.

Control characters in untrusted text are escaped in two places. First, the code that builds a text
escapes the parts that are data. Then `harmless_output` escapes everything that is printed, also by
argparse, warnings, logging and tracebacks.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from registry.errors import WorkspaceNotFoundError
from registry.text import shown_name
from tui.errors import UsageError
from tui.text.sanitize import harmless, inert

DONE = 0
NOT_ALL_DONE = 1
USAGE = 2
INTERRUPTED = 130

# The width, in cells, if the terminal does not report its width.
_COLUMNS = 80

_GONE = select.POLLERR | select.POLLHUP

# Replacements for muster's own symbols if an encoding lacks a character. All other characters
# that the encoding lacks become escapes.
_WITHOUT = str.maketrans({"…": "...", "→": "->", "▸": ">", "·": "-"})


# The codes of styles, as the terminal's own colours. The names are those of `tui.model.verdicts`.
_CODES = {
    "$success": 32, "$warning": 33, "$error": 31, "$failed": 31, "$accent": 35,
    "$primary": 34, "$secondary": 36,
    "bold": 1, "dim": 2, "italic": 3,
}  # fmt: skip


class StyledLine(str):
    """A line of text, of which a part has a style on terminals with colours.

    Args:
        text: The line.
        start, end: The indexes of the first character of the part, and after its last one.
        style: Colours and text styles, separated by blanks.
    """

    start: int
    end: int
    style: str

    def __new__(cls, text: str, start: int, end: int, style: str) -> StyledLine:
        """Returns the line."""
        line = super().__new__(cls, text)
        line.start, line.end, line.style = start, end, style
        return line


class HarmlessStream:
    """A text stream that writes all control characters except the line feed as visible text.

    If the stream's encoding lacks a character, the character becomes an escape, so that different
    names look different.

    Args:
        stream: The stream that receives the text.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes a text; returns the length of the text before the escapes."""
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

    def write_styled(self, text: str, style: str) -> None:
        """Writes a text in a style; only the codes of the style are not escaped."""
        codes = ";".join(str(_CODES[word]) for word in style.split() if word in _CODES)
        if text and codes:
            self.stream.write(f"\x1b[{codes}m")
            self.write(text)
            self.stream.write("\x1b[0m")
        else:
            self.write(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Returns False, so that no library writes colours, which `write` would escape."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def is_terminal(stream: object) -> bool:
    """Returns whether a standard stream is a terminal, even if `harmless_output` replaced it."""
    if isinstance(stream, HarmlessStream):
        return stream.stream.isatty()
    return cast(TextIO, stream).isatty()


def terminal_columns() -> int:
    """Returns the width of the terminal in cells.

    `shutil.get_terminal_size` does the same, but the import of `shutil` takes longer.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(cast(TextIO, sys.__stdout__).fileno()).columns or _COLUMNS
    except (AttributeError, ValueError, OSError):
        return _COLUMNS


@contextmanager
def harmless_output() -> Iterator[None]:
    """Escapes control characters in standard output and standard error until the block ends."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, HarmlessStream(before[0]))
    sys.stderr = cast(TextIO, HarmlessStream(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def on_terminal() -> bool:
    """Returns whether the monitor can be opened; Textual draws on standard error."""
    return sys.stdin.isatty() and is_terminal(sys.stdout) and is_terminal(sys.stderr)


def need_screen(what: str, remedy: str = "") -> None:
    """Checks that a screen can be shown.

    Args:
        what: What needs the screen, for example "the monitor".
        remedy: What the user can do without a screen; may be empty.

    Raises:
        UsageError: muster does not run on a terminal, or the terminal cannot show a screen.
    """
    from tui.host.terminfo import has_cursor_addressing

    if not on_terminal():
        raise UsageError(f"{what} needs a terminal{remedy and f'; without one, {remedy}'}")
    terminal = os.environ.get("TERM", "")
    if not has_cursor_addressing(terminal):
        raise UsageError(
            f"{what} needs a terminal that can place the cursor; TERM={shown_name(terminal, 40)} "
            f"cannot: set TERM to the type of this terminal{remedy and f', or {remedy}'}"
        )


def wants_color(choice: str) -> bool:
    """Returns whether standard output gets colours.

    Args:
        choice: The value of ``--color``: always, never, or auto, which means: on a terminal,
            unless the variable ``NO_COLOR`` is set, or the terminal has no colours.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(sys.stdout)


def say(lines: Iterable[str], *, to_stderr: bool = False, color: bool = False) -> None:
    """Prints lines. The caller must have escaped control characters.

    Args:
        lines: The lines.
        to_stderr: Whether to print on standard error.
        color: Whether to print the styles of lines.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    for line in lines:
        if color and isinstance(line, StyledLine) and isinstance(stream, HarmlessStream):
            stream.write(line[: line.start])
            stream.write_styled(line[line.start : line.end], line.style)
            stream.write(f"{line[line.end :]}\n")
        else:
            # `print` would write the line and its end one after the other.
            stream.write(f"{line}\n")


def complain(*lines: str) -> None:
    """Prints an error on standard error; line breaks within a line become visible text.

    Args:
        lines: The lines; ``muster:`` is put before the first one.
    """
    for number, line in enumerate(lines):
        print(harmless(line if number else f"muster: {line}"), file=sys.stderr)


def lines_of(error: Exception) -> tuple[str, ...]:
    """Returns the lines of an error message."""
    if isinstance(error, UsageError):
        return error.lines
    if isinstance(error, WorkspaceNotFoundError):
        return tuple(str(error).split("\n"))
    return (str(error),)


def wait_for_reader(seconds: float, *wakers: int) -> None:
    """Waits until the time is over, a descriptor is readable, or no reader is left.

    The reader is the process that reads the standard output of muster.

    Args:
        seconds: The longest wait.
        wakers: File descriptors. The wait ends when any of these descriptors is readable.

    Raises:
        BrokenPipeError: The reader has closed the pipe.
    """
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    for waker in wakers:
        poll.register(waker, select.POLLIN)
    if any(fd == output and events & _GONE for fd, events in poll.poll(seconds * 1000)):
        raise BrokenPipeError


def reader_is_gone() -> bool:
    """Returns whether the reader of standard output has closed the pipe.

    A BrokenPipeError alone does not prove this, because the error may come from another pipe.
    """
    try:
        wait_for_reader(0.0)
    except BrokenPipeError:
        return True
    return False


def discard_output() -> None:
    """Discards unwritten output. Otherwise Python would fail to flush this output at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code_after(problems: Iterable[str]) -> int:
    """Prints the problems of a command; returns DONE without problems, otherwise NOT_ALL_DONE."""
    code = DONE
    for problem in problems:
        complain(problem)
        code = NOT_ALL_DONE
    return code
