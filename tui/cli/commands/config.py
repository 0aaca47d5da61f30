"""`muster config`: the settings file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from registry.text import shown_name
from tui.cli.help import Page
from tui.cli.output import DONE, say
from tui.cli.parser import add_settings
from tui.errors import UsageError

PAGE = Page(
    """\
The settings: colours, keys, named views, notifications and their commands, the times that
verdicts need, and read-only mode. The settings file is
$XDG_CONFIG_HOME/muster/config.toml, by default ~/.config/muster/config.toml.
--config FILE or MUSTER_CONFIG names another file.

--init creates the file with the default and an explanation of each setting. --init never
replaces a file. --print prints the text that --init writes.
--check reports every error in a file. If the file is invalid, only commands that use no
settings can run, such as `register` and `report`.""",
    (
        ("muster config --init", "create the file"),
        ("muster config --check", "check the file after every change"),
    ),
    "0 the file is valid, or does not exist; 2 the file cannot be used",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--init", action="store_true", help="create the file with all defaults")
    what.add_argument("--print", action="store_true", help="print a file with all defaults")
    what.add_argument("--path", action="store_true", help="print the path of the file")
    what.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="FILE",
        help="report the errors in the settings file, or in FILE",
    )
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster config`.

    Raises:
        SettingsError: The checked file has errors.
    """
    # The screen defines the keys that the file can set.
    from tui.app.keymap import documented, key_problems, view_problems
    from tui.config.load import SettingsError, load_settings, settings_path
    from tui.config.template import default_text

    if options.print:
        print(default_text(documented()), end="")
        return DONE
    path, must_be_there = settings_path(os.environ, options.check or options.config)
    if path is None:
        raise UsageError(
            f"user {os.geteuid()} has no home directory for a settings file: set HOME, or name a "
            "file with --config"
        )
    if options.path:
        say([str(path)])
        return DONE
    if options.init:
        return _make(path, default_text(documented()))
    if not must_be_there and not path.exists():
        say([f"{shown_name(path)} does not exist: the defaults are used"])
        return DONE
    try:
        settings = load_settings(os.environ, str(path))
        problems = key_problems(settings.keys, settings.views) + view_problems(settings.views)
    except SettingsError as error:
        problems = (
            *error.problems,
            *key_problems(error.keys, error.views),
            *view_problems(error.views),
        )
    if problems:
        raise SettingsError(path, problems)
    say([f"{shown_name(path)} is valid"])
    return DONE


def _make(path: Path, text: str) -> int:
    """Creates the settings file atomically; never replaces an existing file."""
    from registry.storage import create_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            create_whole(path.name, folder, text.encode(), lambda _: None, mode=0o666)
        finally:
            os.close(folder)
    except FileExistsError:
        raise UsageError(f"{shown_name(path)} exists already; it was not changed") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    say([f"{shown_name(path)} was created"])
    return DONE
