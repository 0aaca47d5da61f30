"""`muster config`: the settings file."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path

from registry.text import shown_name
from tui.app.keymap import documented, key_problems
from tui.cli.context import DONE, say
from tui.config.load import SettingsError, load_settings, settings_path
from tui.config.template import default_text
from tui.errors import UsageError


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


def _make(path: Path) -> int:
    """Makes the file with all defaults, where there is none: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(default_text(documented()))
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
