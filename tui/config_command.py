"""`muster config`: the settings file."""

from __future__ import annotations

import argparse
import os

from tui.config import SettingsError, load_settings, settings_path
from tui.console import DONE, say
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
    if not must_be_there and not path.exists():
        say([f"{path} is not there: the defaults hold"])
        return DONE
    problems = key_problems(load_settings(os.environ, str(path)).keys)
    if problems:
        raise SettingsError(path, problems)
    say([f"{path} is fine"])
    return DONE
