"""The command line: the table of commands, and what holds for all of them."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Protocol, cast

from registry.errors import RegistryError
from tui.cli.help import Command, Page, overview
from tui.cli.output import (
    INTERRUPTED,
    NOT_ALL_DONE,
    USAGE,
    complain,
    discard_output,
    harmless_output,
    lines_of,
    reader_is_gone,
)
from tui.cli.parser import first_word, make_parser, parse, take_command, take_words
from tui.cli.suggest import mistaken_command
from tui.errors import UsageError

COMMANDS: dict[str, Command] = {
    "list": Command("", "the same roll once, as a table or as JSON"),
    "show": Command("AGENT", "everything about one agent"),
    "tail": Command("AGENT", "what one agent reports, finds and says, also as it goes on"),
    "watch": Command("", "a line for every change, for scripts"),
    "kill": Command("NAME...", "end agents' sessions and processes, and record it"),
    "complete": Command("AGENT...", "mark agents, or all zombies, as through"),
    "doctor": Command("", "what is wrong, and --fix, which sets it right"),
    "undo": Command("[ID]", "take the last change, or another one, back"),
    "log": Command("", "what was done, by whom and why"),
    "metrics": Command("", "counts and lock times, as OpenMetrics"),
    "register": Command("TYPE", "write an agent down before it is deployed"),
    "report": Command("AGENT", "say how far an agent is"),
    "completion": Command("SHELL", "a script that completes commands, options and ids"),
    "config": Command("", "the settings file"),
    "demo": Command("", "a workspace and a private tmux server to try it on"),
}
"""All commands, in the order in which they are listed; each is the module of its name.

The monitor, which needs no name, is the module `monitor`.
"""


class CommandModule(Protocol):
    """What the module of a command has."""

    PAGE: Page

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Adds what it takes to its parser."""

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        """Does it; the exit code."""


def module_of(command: str) -> CommandModule:
    """The module of a command in the table; no other is imported."""
    return cast(CommandModule, importlib.import_module(f"tui.cli.{command or 'monitor'}"))


def page_of(command: str) -> Page:
    """What the help of a command says; the monitor's page lists the commands."""
    return module_of(command).PAGE if command else overview(COMMANDS)


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command; of the monitor for an empty name."""
    return make_parser(command, page_of(command), module_of(command).add_arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs muster.

    Args:
        arguments: The command line without the program's name; `sys.argv` if None.

    Returns:
        The exit code: 0 done, 1 not all done, 2 wrong usage or nothing found; of
        `doctor` 0 healthy, 1 findings, 2 could not tell. 128 and the number of a signal,
        if that ended it.
    """
    _hold_standard_descriptors()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with harmless_output():
        try:
            return _run(given)
        except Exception:
            import traceback

            # Not by the interpreter, which writes past the block.
            traceback.print_exc()
            return NOT_ALL_DONE


def _run(given: list[str]) -> int:
    """Runs a command line; the exit code."""
    command = take_command(given, COMMANDS)
    words = take_words(given) if command == "completion" else None
    options = parse(parser_of(command), given)
    options.words = words
    try:
        if not command and (problem := mistaken_command(first_word(given), COMMANDS)) is not None:
            raise UsageError(problem)
        if not options.opens_screen:
            _raise_interrupts()
        code = module_of(command).run(options)
        sys.stdout.flush()
    except (UsageError, RegistryError) as error:
        complain(*lines_of(error))
        # A file that is locked, or a disk that is full: to be tried again as it is.
        again = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        return NOT_ALL_DONE if again else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            discard_output()
            return int(options.code_without_reader)
        discard_output()
        complain(*lines_of(error))
        return NOT_ALL_DONE
    return code


def _raise_interrupts() -> None:
    """Has an interrupt raise KeyboardInterrupt: what has begun is ended in order."""
    if threading.current_thread() is threading.main_thread():  # noqa: SIM102
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _hold_standard_descriptors() -> None:
    """Keeps files that are opened later from becoming a standard stream that was closed."""
    while (fd := os.open(os.devnull, os.O_RDONLY)) <= 2:
        name = ("stdin", "stdout", "stderr")[fd]
        setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", encoding="utf-8"))
    os.close(fd)
