"""What a command says: standard streams, lines, errors and exit codes.

Texts are made harmless where they are put together, which knows what is data and what
is not. `harmless_output` is the net beneath: argparse, warnings, logging and tracebacks
write, too.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from registry.errors import WorkspaceNotFoundError
from tui.errors import UsageError
from tui.text.sanitize import harmless, inert

DONE = 0
NOT_ALL_DONE = 1
USAGE = 2
INTERRUPTED = 130

_GONE = select.POLLERR | select.POLLHUP

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


def on_terminal() -> bool:
    """Whether a screen can be opened; Textual draws on standard error."""
    return sys.stdin.isatty() and is_terminal(sys.stdout) and is_terminal(sys.stderr)


def say(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Prints lines that are harmless."""
    stream = sys.stderr if to_stderr else sys.stdout
    for line in lines:
        print(line, file=stream)


def complain(*lines: str) -> None:
    """Says on standard error what went wrong; a line end within a line is none.

    Args:
        lines: The first one is said in muster's name.
    """
    for number, line in enumerate(lines):
        print(harmless(line if number else f"muster: {line}"), file=sys.stderr)


def lines_of(error: Exception) -> tuple[str, ...]:
    """What an error says, line by line."""
    if isinstance(error, UsageError):
        return error.lines
    if isinstance(error, WorkspaceNotFoundError):
        return tuple(str(error).split("\n"))
    return (str(error),)


def wait_for_reader(seconds: float, *wakers: int) -> None:
    """Waits, unless whoever reads our output is gone.

    Args:
        seconds: How long, at most.
        wakers: Descriptors that end the wait once there is something to read from them.

    Raises:
        BrokenPipeError: They are.
    """
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    for each in wakers:
        poll.register(each, select.POLLIN)
    if any(fd == output and events & _GONE for fd, events in poll.poll(seconds * 1000)):
        raise BrokenPipeError


def reader_is_gone() -> bool:
    """Whether whoever reads our output is gone; a pipe that broke may be another one."""
    try:
        wait_for_reader(0.0)
    except BrokenPipeError:
        return True
    return False


def discard_output() -> None:
    """Drops what is left to print: Python would fail of it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code_after(problems: Iterable[str]) -> int:
    """Says what did not work although the rest is done; the exit code."""
    code = DONE
    for problem in problems:
        complain(problem)
        code = NOT_ALL_DONE
    return code
