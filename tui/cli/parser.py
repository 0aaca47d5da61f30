"""What can stand on the command line: finding the command, and what commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from registry.text import quoted_name
from tui.cli.help import Page, epilog
from tui.cli.output import NOT_ALL_DONE
from tui.text.sanitize import harmless

_TAKES_VALUE = {"-L", "-S", "-w", "--workspace", "--config"}

_COMPLAINT = 600


def take_command(given: list[str], names: Collection[str]) -> str:
    """Takes the command's name out of the arguments; the monitor, the empty name, is the default.

    Args:
        given: The command line; the name is removed from it.
        names: Of all commands.
    """
    index = _first(given)
    if index is not None and given[index] in names:
        return given.pop(index)
    return ""


def first_word(given: Sequence[str]) -> str:
    """The first word that is neither an option nor its value; empty if there is none."""
    index = _first(given)
    return "" if index is None else given[index]


def _first(given: Sequence[str]) -> int | None:
    skip = False
    for index, word in enumerate(given):
        if skip or word in _TAKES_VALUE:
            skip = not skip
        elif not word.startswith("-"):
            return index
    return None


def take_words(given: list[str]) -> list[str] | None:
    """Takes ``--words`` and all behind it out of the arguments; None if it is not there.

    For the completion scripts: that is the line so far, of which a ``--`` is a word too.
    """
    if "--words" not in given:
        return None
    index = given.index("--words")
    words = given[index + 1 :]
    del given[index:]
    return words


def parse(parser: argparse.ArgumentParser, given: Sequence[str]) -> argparse.Namespace:
    """Reads the arguments of a command: options and words in any order."""
    # `report AGENT --progress 40 half done` needs that. What stands behind `--`
    # that way of parsing does not leave alone.
    if "--" in given:
        return parser.parse_args(given)
    return parser.parse_intermixed_args(joined(given))


def joined(given: Sequence[str]) -> list[str]:
    """The arguments with each ``--where`` and its value as one.

    A filter may begin with a minus, which would be taken for an option.
    """
    words: list[str] = []
    for word in given:
        if words and words[-1] == "--where":
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints hold arguments that are cut, and on one line."""

    def error(self, message: str) -> NoReturn:
        super().error(harmless(message, _COMPLAINT))


def make_parser(
    command: str, page: Page, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> argparse.ArgumentParser:
    """The parser of a command.

    Args:
        command: Its name; empty for the monitor.
        page: What its help says.
        add_arguments: Adds what it takes.
    """
    from tui import __version__

    parser = _Parser(
        prog=f"muster {command}".strip(),
        description=page.text,
        epilog=epilog(page),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Later versions of argparse colour what they print; colours do not get through.
    vars(parser)["color"] = False
    # A command that only reads has done its work once its reader has read enough.
    parser.set_defaults(opens_screen=False, code_without_reader=NOT_ALL_DONE)
    parser.add_argument("--version", action="version", version=f"muster {__version__}")
    add_arguments(parser)
    return parser


# What several commands take


def add_settings(parser: argparse.ArgumentParser) -> None:
    """``--config``."""
    parser.add_argument("--config", metavar="FILE", help="settings file; see `muster config`")


def add_socket(parser: argparse.ArgumentParser) -> None:
    """``-L`` and ``-S``, also where tmux is not asked: an alias may have them in front."""
    socket = parser.add_mutually_exclusive_group()
    socket.add_argument("-L", dest="socket_name", metavar="NAME", help="tmux socket name")
    socket.add_argument("-S", dest="socket_path", metavar="PATH", help="tmux socket path")


def add_screen(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that open a screen."""
    parser.add_argument("--ascii", action="store_true", help="nothing beyond ASCII is shown")
    parser.add_argument("--read-only", action="store_true", help="nothing can be changed")
    parser.set_defaults(opens_screen=True)


def add_workspaces(parser: argparse.ArgumentParser) -> None:
    """Workspaces as words, where no other words can stand."""
    parser.add_argument("workspaces", nargs="*", metavar="WORKSPACE", help="see `muster --help`")


def add_workspace_option(parser: argparse.ArgumentParser, dest: str = "workspaces") -> None:
    """``-w``."""
    parser.add_argument(
        "-w",
        "--workspace",
        dest=dest,
        action="append",
        default=[],
        metavar="WORKSPACE",
        help="where to look; may be given more than once",
    )


def add_where(parser: argparse.ArgumentParser) -> None:
    """``--where``."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FILTER",
        help="only these, for example 'verdict:zombie -task:old'; may be given more than once",
    )


def add_asking(parser: argparse.ArgumentParser, *, of_deaths: bool = True) -> None:
    """Options of the commands that change something: these ask first and record a reason.

    Args:
        parser: Of the command.
        of_deaths: Whether the command changes agents because they are dead.
    """
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept on record")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, do nothing")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    if of_deaths:
        parser.add_argument(
            "--mass-death",
            action="store_true",
            help="go ahead also where most agents died at once; --yes alone does not",
        )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def whole_number(text: str) -> int:
    """The value of an option that counts."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {quoted_name(text, 80)}")
    return int(text)
