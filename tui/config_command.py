"""`muster config`: the settings file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tui.config import SettingsError, load_settings, settings_path
from tui.console import DONE, UsageError, say
from tui.keys import documented, key_problems
from tui.settings_text import default_text


def config(options: argparse.Namespace) -> int:
    """`muster config`.

    Raises:
        SettingsError: The file that is checked is not fine.
    """
    if options.print:
        print(default_text(documented()), end="")
        return DONE
    path, must_be_there = settings_path(os.environ, options.check or options.config)
    if options.path:
        say([str(path)])
        return DONE
    if options.init:
        return _make(path)
    if not must_be_there and not path.exists():
        say([f"{path} is not there: the defaults hold"])
        return DONE
    try:
        problems = key_problems(load_settings(os.environ, str(path)).keys)
    except SettingsError as error:
        problems = (*error.problems, *key_problems(error.keys))
    if problems:
        raise SettingsError(path, problems)
    say([f"{path} is fine"])
    return DONE


def _make(path: Path) -> int:
    """Makes the file with all defaults, where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(default_text(documented()))
    except FileExistsError:
        raise UsageError(f"{path} is there already; it was left as it is") from None
    say([f"{path} is made"])
    return DONE
