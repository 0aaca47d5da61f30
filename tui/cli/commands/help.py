"""`muster help`: prints the help page of a command, or the list of all commands."""

from __future__ import annotations

import argparse

from tui.cli.help import Page
from tui.cli.main import COMMANDS, parser_of
from tui.cli.output import DONE
from tui.cli.parser import ALIASES, add_settings, add_socket
from tui.cli.suggest import mistaken_command
from tui.errors import UsageError

PAGE = Page(
    """\
Prints the help page of a command, as `muster COMMAND --help` does. Without a COMMAND,
lists all commands.""",
    (("muster help kill", ""),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    parser.add_argument("topic", nargs="?", default="", metavar="COMMAND", help="the command")
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster help`."""
    command = ALIASES.get(options.topic, options.topic)
    if command and command not in COMMANDS:
        problem = mistaken_command(command, COMMANDS)
        raise UsageError(problem or "there is no such command; `muster help` lists the commands")
    parser_of(command).print_help()
    return DONE
