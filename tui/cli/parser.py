"""Parses the command line: finds the command, and adds arguments that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NoReturn

from registry.text import quoted_name
from tui.cli.help import Page, epilog
from tui.cli.output import NOT_ALL_DONE, terminal_columns
from tui.errors import UsageError
from tui.text.sanitize import harmless

# The options of all commands that take a value. So a value is not taken for the command.
_TAKES_VALUE = {
    "-L", "-S", "-n", "-w", "--as", "--color", "--columns", "--config", "--id", "--only",
    "--parent", "--progress", "--prompt", "--reason", "--sort", "--status", "--task", "--where",
    "--without-agents", "--workspace",
}  # fmt: skip

# An option that takes a value, except for this command.
_FLAG_OF = {"--task": "kill"}

_COMPLAINT = 600

# The words of argparse, and what muster says instead.
_BETTER_WORDS = {
    "the following arguments are required:": "missing:",
    "unrecognized arguments:": "too many arguments:",
}

ALIASES = {"ls": "list", "ps": "list"}
"""Other names of commands."""

# The columns that argparse leaves free on the right.
_MARGIN = 2


def take_command(given: list[str], names: Collection[str]) -> str:
    """Removes the command's name from the arguments, and returns it; empty for the monitor.

    Args:
        given: The command line, which is changed.
        names: The names of all commands.
    """
    index = _first(given)
    if index is None:
        return ""
    name = ALIASES.get(given[index], given[index])
    if name not in names:
        return ""
    del given[index]
    return name


def first_word(given: Sequence[str]) -> str:
    """Returns the first word that is not an option or an option's value; empty if none exists."""
    index = _first(given)
    return "" if index is None else given[index]


def _first(given: Sequence[str]) -> int | None:
    option = ""
    for index, word in enumerate(given):
        if option and _FLAG_OF.get(option) != word:
            option = ""
        elif word in _TAKES_VALUE:
            option = word
        elif word == "--":
            return None
        elif not word.startswith("-"):
            return index
    return None


def take_words(given: list[str]) -> list[str] | None:
    """Removes ``--words`` and the words after it from the arguments; returns the words after it.

    Returns None if ``--words`` is missing. The completion scripts pass the typed command line, up
    to the cursor, after ``--words``. This line may contain ``--``.
    """
    if "--words" not in given:
        return None
    index = given.index("--words")
    words = given[index + 1 :]
    del given[index:]
    return words


def parse(parser: argparse.ArgumentParser, given: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments of a command: options and words in any order.

    Raises:
        UsageError: The command does not take these arguments.
    """
    try:
        # `report AGENT --progress 40 half done` needs intermixed parsing, which would parse
        # the words after `--` as options.
        if "--" in given:
            return parser.parse_args(given)
        return parser.parse_intermixed_args(joined(given))
    except UsageError:
        # A mistyped option causes other errors too, for example that an argument is missing.
        if (problem := _unknown_option(parser, given)) is not None:
            raise UsageError(problem) from None
        raise


def _unknown_option(parser: argparse.ArgumentParser, given: Sequence[str]) -> str | None:
    """Returns a message about the first option that the parser does not have, or None."""
    known = [name for action in parser._actions for name in action.option_strings]
    for word in given:
        if word == "--":
            break
        name = word.partition("=")[0]
        if not name.startswith("-") or name == "-" or " " in name or name[:2] in known:
            continue
        if name.startswith("--") and any(each.startswith(name) for each in known):
            continue
        from tui.cli.suggest import similar_names

        similar = similar_names(name, known, 1)
        remedy = f"did you mean {similar[0]}?" if similar else f"see `{parser.prog} --help`"
        return f"`{parser.prog}` has no option {quoted_name(name)}; {remedy}"
    return None


def joined(given: Sequence[str]) -> list[str]:
    """Returns the arguments with each ``--where`` and its value joined by ``=``.

    Otherwise argparse would treat a filter that begins with a minus as an option.
    """
    words: list[str] = []
    for word in given:
        if words and words[-1] == "--where":
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


class _Parser(argparse.ArgumentParser):
    """A parser that raises UsageError with a short text, whatever the arguments contain."""

    def error(self, message: str) -> NoReturn:
        for words, better in _BETTER_WORDS.items():
            message = message.replace(words, better)
        raise UsageError(harmless(f"{message}; see `{self.prog} --help`", _COMPLAINT))


def make_parser(
    command: str, page: Page, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> argparse.ArgumentParser:
    """Returns the parser of a command.

    Args:
        command: The name of the command; empty for the monitor.
        page: The help page of the command.
        add_arguments: Adds the command's arguments to a parser.
    """
    from tui import __version__

    parser = _Parser(
        prog=f"muster {command}".strip(),
        description=page.text,
        epilog=epilog(page),
        formatter_class=partial(
            argparse.RawDescriptionHelpFormatter, width=terminal_columns() - _MARGIN
        ),
    )
    # Newer versions of argparse print colours, which harmless streams turn into text.
    vars(parser)["color"] = False
    # Commands that only read set DONE, because nothing is left to do when the output is closed.
    parser.set_defaults(opens_screen=False, code_without_reader=NOT_ALL_DONE)
    parser.add_argument("--version", action="version", version=f"muster {__version__}")
    add_arguments(parser)
    return parser


# Shared arguments

_AGENT_HELP = "the id of an agent, or the beginning of its id or type if only one agent matches"
"""The help of the argument AGENT of commands that change nothing."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds ``--config``."""
    parser.add_argument("--config", metavar="FILE", help="settings file; see `muster config`")


def add_socket(parser: argparse.ArgumentParser) -> None:
    """Adds ``-L``, ``-S`` and ``--without-agents``.

    Commands that do not query tmux have these options too, because a shell alias may contain them.
    """
    socket = parser.add_mutually_exclusive_group()
    socket.add_argument("-L", dest="socket_name", metavar="NAME", help="tmux socket name")
    socket.add_argument("-S", dest="socket_path", metavar="PATH", help="tmux socket path")
    parser.add_argument(
        "--without-agents",
        action="append",
        default=[],
        type=_server_token,
        metavar="SERVER",
        help="a tmux server that has none of your agents and cannot be queried; use the name in "
        "muster's message, for example 1234@56789-0a1b2c3d; may be given more than once",
    )


def add_screen(parser: argparse.ArgumentParser) -> None:
    """Adds ``--ascii`` and ``--read-only``, for commands that open a screen."""
    parser.add_argument("--ascii", action="store_true", help="show only ASCII characters")
    parser.add_argument("--read-only", action="store_true", help="disable all changes")
    parser.set_defaults(opens_screen=True)


def add_workspaces(parser: argparse.ArgumentParser) -> None:
    """Adds workspaces as positional arguments, for commands without other positional arguments."""
    parser.add_argument("workspaces", nargs="*", metavar="WORKSPACE", help="see `muster --help`")


def add_agent(parser: argparse.ArgumentParser) -> None:
    """Adds the options and the argument of a command that only looks at one agent."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("agent", metavar="AGENT", help=_AGENT_HELP)
    parser.add_argument("--task", metavar="ID", help="the task, if several list this id")


def add_workspace_option(parser: argparse.ArgumentParser, dest: str = "workspaces") -> None:
    """Adds ``-w``."""
    parser.add_argument(
        "-w",
        "--workspace",
        dest=dest,
        action="append",
        default=[],
        metavar="WORKSPACE",
        help="the workspace; may be given more than once",
    )


def add_where(parser: argparse.ArgumentParser) -> None:
    """Adds ``--where``."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FILTER",
        help="only matching agents, for example 'verdict:zombie -task:old'; may be given "
        "more than once",
    )


def add_asking(parser: argparse.ArgumentParser, *, of_deaths: bool = True) -> None:
    """Adds the options of commands that ask for a confirmation and record a reason.

    Args:
        parser: The command's parser.
        of_deaths: Whether to add ``--mass-death``, because the command changes dead agents.
    """
    parser.add_argument("--reason", default="", metavar="TEXT", help="recorded in the audit log")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    if of_deaths:
        parser.add_argument(
            "--mass-death",
            action="store_true",
            help="continue even if most agents died at once; --yes alone does not continue",
        )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def _server_token(text: str) -> str:
    from tui.host.server_token import is_token

    if not is_token(text):
        raise argparse.ArgumentTypeError(
            "must name a server as muster's messages do, for example 1234@56789-0a1b2c3d, "
            f"not {quoted_name(text, 80)}"
        )
    return text


def whole_number(text: str) -> int:
    """Parses the value of an option that takes a whole number, at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {quoted_name(text, 80)}")
    return int(text)
