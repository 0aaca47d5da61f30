"""`muster config`: the settings file."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path

from registry.text import shown_name
from tui.cli.help import Page
from tui.cli.output import DONE, say
from tui.cli.parser import add_settings
from tui.errors import UsageError

PAGE = Page(
    """\
The settings: colours, keys, notes and the commands they run, when a verdict is sure
enough, read-only. They lie in $XDG_CONFIG_HOME/muster/config.toml, or else in
~/.config/muster/config.toml; --config FILE or MUSTER_CONFIG names another file.

--init makes the file, which says of each setting what it does and what it is by
default, where there is none; --print prints it.
--check names everything that is wrong with a file. With a file that is wrong nothing
runs but `register`, `report` and what needs no settings.""",
    (
        ("muster config --init", "to begin with"),
        ("muster config --check", "after every change"),
    ),
    "0 it is fine, or there is none; 2 it cannot be used",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
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
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """`muster config`.

    Raises:
        SettingsError: The file that is checked is not fine.
    """
    # The keys that a file can set are those of the screen.
    from tui.app.keymap import documented, key_problems
    from tui.config.load import SettingsError, load_settings, settings_path
    from tui.config.template import default_text

    if options.print:
        print(default_text(documented()), end="")
        return DONE
    path, must_be_there = settings_path(os.environ, options.check or options.config)
    if options.path:
        say([str(path)])
        return DONE
    if options.init:
        return _make(path, default_text(documented()))
    if not must_be_there and not path.exists():
        say([f"{shown_name(path)} is not there: the defaults hold"])
        return DONE
    try:
        problems = key_problems(load_settings(os.environ, str(path)).keys)
    except SettingsError as error:
        problems = (*error.problems, *key_problems(error.keys))
    if problems:
        raise SettingsError(path, problems)
    say([f"{shown_name(path)} is fine"])
    return DONE


def _make(path: Path, text: str) -> int:
    """Makes the file with all defaults, where there is none: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(text)
        # A link, and not a rename: that would replace a file that is there.
        os.link(beside, path)
    except FileExistsError:
        raise UsageError(f"{shown_name(path)} is there already; it was left as it is") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)
    say([f"{shown_name(path)} is made"])
    return DONE
