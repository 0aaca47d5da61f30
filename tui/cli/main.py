"""The entry of the command line: the table of commands, and the handling of their errors."""

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
from tui.host.suspension import stop_between_readings

COMMANDS: dict[str, Command] = {
    "list": Command("", "print the roll call once, as a table or as JSON"),
    "show": Command("AGENT", "print everything about one agent"),
    "tail": Command("AGENT", "print an agent's last reports, findings and log lines"),
    "attach": Command("AGENT", "go into the session of an agent"),
    "watch": Command("", "print a line for every change, for scripts"),
    "kill": Command("NAME...", "end the sessions and processes of agents"),
    "complete": Command("AGENT...", "give agents, or all zombies, a terminal status"),
    "doctor": Command("", "find problems; --fix repairs the registries"),
    "undo": Command("[ID]", "take back the last change, or the change with this ID"),
    "log": Command("", "print the audit log: who changed what, and why"),
    "metrics": Command("", "print counts and lock times, as OpenMetrics"),
    "register": Command("TYPE", "add an agent to the registries before it starts"),
    "report": Command("AGENT", "set the status or the progress of an agent"),
    "workspaces": Command("", "print which workspaces the commands take, and why"),
    "completion": Command("SHELL", "print a script that completes commands and ids"),
    "config": Command("", "create, check or print the settings file"),
    "help": Command("[COMMAND]", "print the help page of a command"),
    "demo": Command("", "try the monitor on a temporary workspace"),
}
"""All commands, in the order of the help. Each command is a module in `commands`.

The monitor, which needs no command, is the module `commands.monitor`.
"""


class CommandModule(Protocol):
    """The contents of a command's module."""

    PAGE: Page

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments to its parser."""

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        """Runs the command; returns the exit code."""


def module_of(command: str) -> CommandModule:
    """Imports and returns the module of a command in the table."""
    return cast(CommandModule, importlib.import_module(f"tui.cli.commands.{command or 'monitor'}"))


def page_of(command: str) -> Page:
    """Returns the help page of a command; the monitor's page lists all commands."""
    return module_of(command).PAGE if command else overview(COMMANDS)


def parser_of(command: str) -> argparse.ArgumentParser:
    """Returns the parser of a command, or of the monitor if the name is empty."""
    return make_parser(command, page_of(command), module_of(command).add_arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs muster.

    Args:
        arguments: The command line without the program's name; `sys.argv` if None.

    Returns:
        The exit code: 0 done, 1 not all done, 2 wrong usage or nothing found. For `doctor`:
        0 healthy, 1 findings, 2 unknown. After a signal: 128 plus the signal's number.
    """
    _hold_standard_descriptors()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with harmless_output():
        try:
            return _run(given)
        except Exception:
            import traceback

            # Printed here, because the interpreter would print the traceback after the block,
            # without the escapes of `harmless_output`.
            traceback.print_exc()
            return NOT_ALL_DONE


def _run(given: list[str]) -> int:
    """Runs a command line; returns the exit code."""
    try:
        command, options = _parsed(given)
    except UsageError as error:
        complain(*lines_of(error))
        return USAGE
    try:
        if not options.opens_screen:
            _raise_interrupts()
            stop_between_readings()
        code = module_of(command).run(options)
        sys.stdout.flush()
    except (UsageError, RegistryError) as error:
        complain(*lines_of(error))
        # After such an error (a lock, a full disk), the same command may succeed later.
        again = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        return NOT_ALL_DONE if again else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            discard_output()
            return int(options.code_without_reader)
        if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
            complain(
                "the current directory was removed, so relative paths lead nowhere",
                "Go to another directory (cd), or name all paths by absolute paths",
            )
            return USAGE
        discard_output()
        complain(*lines_of(error))
        return NOT_ALL_DONE
    return code


def _parsed(given: list[str]) -> tuple[str, argparse.Namespace]:
    """Returns the command of a command line, and its options.

    Raises:
        UsageError: There is no such command, or it does not take these arguments.
    """
    command = take_command(given, COMMANDS)
    words = take_words(given) if command == "completion" else None
    if not command and (problem := mistaken_command(first_word(given), COMMANDS)) is not None:
        raise UsageError(problem)
    options = parse(parser_of(command), given)
    options.words = words
    return command, options


def _is_nowhere() -> bool:
    """Returns whether the current directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _raise_interrupts() -> None:
    """Makes an interrupt raise KeyboardInterrupt, so that cleanup code runs."""
    if threading.current_thread() is threading.main_thread():  # noqa: SIM102
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _hold_standard_descriptors() -> None:
    """Opens /dev/null for each closed standard stream, so that no other file gets its number."""
    while (fd := os.open(os.devnull, os.O_RDONLY)) <= 2:
        name = ("stdin", "stdout", "stderr")[fd]
        setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", encoding="utf-8"))
    os.close(fd)
