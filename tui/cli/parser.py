"""What can stand on the command line, command by command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from registry.schema.records import ACTIVE_STATUSES, ORCHESTRATOR, TERMINAL_STATUSES
from registry.text import quoted_name
from tui.cli.help import COMMANDS, epilog, text_of
from tui.text.sanitize import harmless

_TAKES_VALUE = {"-L", "-S", "-w", "--workspace", "--config"}

_WITH_WORKSPACES = ("", "list", "log", "metrics", "doctor", "watch")
_WITH_ACTIONS = ("kill", "complete", "undo")
_WITHOUT_JSON = ("", "metrics", "demo", "completion", "config")

_COMPLAINT = 600

_LONGEST = 64
"""Characters of the longest word that may be a command, mistyped."""

SHELLS = ("bash", "zsh", "fish")


def take_command(given: list[str]) -> str:
    """Takes the command's name out of the arguments; the monitor is the default."""
    index = _first_word(given)
    if index is not None and given[index] in COMMANDS:
        return given.pop(index)
    return ""


def _first_word(given: Sequence[str]) -> int | None:
    skip = False
    for index, word in enumerate(given):
        if skip or word in _TAKES_VALUE:
            skip = not skip
        elif not word.startswith("-"):
            return index
    return None


def mistaken_command(given: Sequence[str]) -> str | None:
    """What to say of a first word that is neither a command nor there; None if it is."""
    index = _first_word(given)
    word = "" if index is None else given[index]
    if not word or len(word) > _LONGEST or "/" in word or os.path.lexists(word):
        return None
    import difflib  # Only for who mistyped: it takes longer than all the rest here.

    near = difflib.get_close_matches(word, COMMANDS, 2)
    if not near:
        return None
    return f"there is no command {quoted_name(word)}; did you mean {' or '.join(near)}?"


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


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints hold arguments that are cut, and on one line."""

    def error(self, message: str) -> NoReturn:
        super().error(harmless(message, _COMPLAINT))


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command; of the monitor for an empty name."""
    from tui import __version__

    parser = _Parser(
        prog=f"muster {command}".strip(),
        description=text_of(command),
        epilog=epilog(command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Later versions of argparse colour what they print; colours do not get through.
    vars(parser)["color"] = False
    parser.add_argument("--version", action="version", version=f"muster {__version__}")
    if command != "completion":
        parser.add_argument("--config", metavar="FILE", help="settings file; see `muster config`")
    if command in ("", "demo"):
        parser.add_argument("--ascii", action="store_true", help="nothing beyond ASCII is shown")
        parser.add_argument("--read-only", action="store_true", help="nothing can be changed")
    if command == "demo":
        return parser
    if command == "config":
        _add_config(parser)
        return parser
    if command == "completion":
        parser.add_argument("shell", nargs="?", choices=SHELLS, help="which shell")
        parser.set_defaults(words=None)
        return parser
    # Also where tmux is not asked: an alias may have them in front of every command.
    socket = parser.add_mutually_exclusive_group()
    socket.add_argument("-L", dest="socket_name", metavar="NAME", help="tmux socket name")
    socket.add_argument("-S", dest="socket_path", metavar="PATH", help="tmux socket path")
    if command in _WITH_WORKSPACES:
        parser.add_argument(
            "workspaces", nargs="*", metavar="WORKSPACE", help="see `muster --help`"
        )
    if command in ("register", "report"):
        _add_reporting(parser, command)
    if command in _WITH_ACTIONS:
        _add_action(parser, command)
    if command == "complete":
        parser.add_argument("--zombies", action="store_true", help="all zombies")
        parser.add_argument(
            "--as",
            dest="status",
            choices=("completed", "terminated"),
            default="completed",
            help="what they become (default: completed)",
        )
    if command == "doctor":
        _add_workspace(parser, "named")
        parser.add_argument("--fix", action="store_true", help="set right what can be")
        _add_asking(parser)
    if command in ("list", "watch"):
        _add_selecting(parser, command)
    if command in ("show", "tail"):
        _add_reading(parser, command)
    if command == "log":
        parser.add_argument("--follow", "-f", action="store_true", help="go on as it grows")
        parser.add_argument("--all", action="store_true", help="all that is kept")
        parser.add_argument(
            "-n", dest="number", type=_positive, default=20, help="the last N (default: 20)"
        )
    if command not in _WITHOUT_JSON:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--init", action="store_true", help="make the file, with all defaults")
    what.add_argument("--print", action="store_true", help="print such a file")
    what.add_argument("--path", action="store_true", help="print where the file lies")
    what.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="FILE",
        help="say what is wrong with the file, or with that one",
    )


def _add_selecting(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FILTER",
        help="only these, for example 'verdict:zombie -task:old'; may be given more than once",
    )
    if command != "list":
        return
    parser.add_argument(
        "--sort",
        choices=("urgency", "age", "progress", "id"),
        help="in this order, not by who started whom",
    )
    parser.set_defaults(hide_finished=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", dest="hide_finished", action="store_false", help="all (default)")
    which.add_argument("--hide-finished", action="store_true", help="without finished agents")


def _add_reading(parser: argparse.ArgumentParser, command: str) -> None:
    _add_workspace(parser)
    parser.add_argument("agent", metavar="AGENT", help="an agent's whole id")
    parser.add_argument("--task", metavar="ID", help="which task, if several have such an agent")
    if command == "show":
        return
    parser.add_argument("--follow", "-f", action="store_true", help="go on as they grow")
    parser.add_argument(
        "-n", dest="number", type=_count, default=10, help="the last N of each (default: 10)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=("progress", "findings", "log"),
        help="one of the three; may be given more than once",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {quoted_name(text, 80)}")
    return int(text)


def _add_reporting(parser: argparse.ArgumentParser, command: str) -> None:
    _add_workspace(parser)
    parser.add_argument("--task", metavar="ID", help="which task")
    if command == "register":
        parser.add_argument("type", metavar="TYPE", help="what the agent does")
        parser.add_argument(
            "--parent", default=ORCHESTRATOR, metavar="AGENT", help="who starts it"
        )
        parser.add_argument("--id", metavar="ID", help="its id (default: a new one)")
        parser.add_argument("--prompt", default="", metavar="TEXT", help="what it is told")
        parser.add_argument(
            "--reuse",
            action="store_true",
            help="take one of the type that the registry calls active, if there is one",
        )
        return
    parser.add_argument("agent", metavar="AGENT", help="an agent's whole id")
    parser.add_argument("message", nargs="*", metavar="MESSAGE", help="in words")
    statuses = sorted(ACTIVE_STATUSES | TERMINAL_STATUSES)
    parser.add_argument("--status", choices=statuses, help="its status (default: as it is)")
    parser.add_argument("--progress", type=_percent, metavar="PERCENT", help="0 to 100")


def _percent(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(
            f"must be a number from 0 to 100, not {quoted_name(text, 80)}"
        )
    return int(number) if number.is_integer() else number


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(
            f"must be a whole number above 0, not {quoted_name(text, 80)}"
        )
    return int(text)


def _add_workspace(parser: argparse.ArgumentParser, dest: str = "workspaces") -> None:
    parser.add_argument(
        "-w",
        "--workspace",
        dest=dest,
        action="append",
        default=[],
        metavar="WORKSPACE",
        help="where to look; may be given more than once",
    )


def _add_action(parser: argparse.ArgumentParser, command: str) -> None:
    _add_workspace(parser)
    if command == "kill":
        parser.add_argument("names", nargs="*", metavar="NAME", help="whole ids; see above")
        many = parser.add_mutually_exclusive_group()
        many.add_argument("--tree", action="store_true", help="with all agents beneath them")
        many.add_argument("--task", action="store_true", help="NAMEs are ids of tasks")
        many.add_argument("--leaked", action="store_true", help="all leaked sessions")
        many.add_argument("--orphans", action="store_true", help="all orphaned sessions")
        parser.add_argument(
            "--unusual-names",
            action="store_true",
            help="also end sessions that are not called as an agent's; --yes alone does not",
        )
        parser.add_argument(
            "--foreign-registry",
            action="store_true",
            help="also end what another user's registry lists; --yes alone does not",
        )
    elif command == "undo":
        parser.add_argument("action_id", nargs="?", metavar="ID", help="which action")
    else:
        parser.add_argument("agents", nargs="*", metavar="AGENT", help="an agent's whole id")
    _add_asking(parser, of_deaths=command != "undo")


def _add_asking(parser: argparse.ArgumentParser, *, of_deaths: bool = True) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept on record")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, do nothing")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    if of_deaths:
        parser.add_argument(
            "--mass-death",
            action="store_true",
            help="go ahead also where most agents died at once; --yes alone does not",
        )
