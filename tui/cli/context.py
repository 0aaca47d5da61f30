"""What every command without a screen shares: where to look, what to print, how to ask."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import WorkspaceNotFoundError
from registry.schema.layout import Workspace, find_workspaces
from tui.cli.output import is_terminal
from tui.errors import UsageError
from tui.host.tmux_types import socket_path
from tui.text.sanitize import harmless

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

DONE = 0
NOT_ALL_DONE = 1
USAGE = 2
INTERRUPTED = 130

_GONE = select.POLLERR | select.POLLHUP


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


def find(options: argparse.Namespace) -> tuple[Workspace, ...]:
    """The workspaces that a command line asks for; says which were passed over on the way."""

    def passed_over(why: str) -> None:
        complain(why)

    return find_workspaces(options.workspaces, os.environ, Path.cwd(), passed_over)


def socket_of(options: argparse.Namespace) -> Path:
    """The tmux socket that a command line asks for."""
    try:
        return socket_path(options.socket_name, options.socket_path, os.environ)
    except ValueError as error:
        raise UsageError(str(error)) from None


def tmux_of(options: argparse.Namespace) -> Tmux:
    """The tmux server that a command line asks for."""
    # Not at the top: the monitor opens its screen before it needs this.
    from tui.host.tmux import Tmux

    return Tmux(socket_of(options))


def on_terminal() -> bool:
    """Whether a screen can be opened; Textual draws on standard error."""
    return sys.stdin.isatty() and is_terminal(sys.stdout) and is_terminal(sys.stderr)


def say(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Prints lines that are harmless."""
    stream = sys.stderr if to_stderr else sys.stdout
    for line in lines:
        print(line, file=stream)


_ANSWER_AT_MOST = 1000
"""Characters of an answer that are read; without an end it would fill the memory."""


def confirmed(question: str = "Go ahead?") -> bool:
    """Asks whether to go ahead.

    Args:
        question: What is asked.

    Raises:
        UsageError: There is nobody to ask.
    """
    if not (sys.stdin.isatty() and is_terminal(sys.stderr)):
        raise UsageError("there is no terminal to ask on; say --yes to go ahead")
    print(f"{harmless(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline(_ANSWER_AT_MOST).strip().lower() in ("y", "yes")


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
