"""`muster` without a command: opens the monitor."""

from __future__ import annotations

import argparse
import os

from tui.cli.context import find, set_aside_of, settings_of, socket_of
from tui.cli.output import need_screen
from tui.cli.parser import add_screen, add_settings, add_socket, add_workspaces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `muster` without a command."""
    add_settings(parser)
    add_screen(parser)
    add_socket(parser)
    add_workspaces(parser)


def run(options: argparse.Namespace) -> int:
    """Opens the monitor.

    Raises:
        UsageError: muster does not run on a terminal, or a setting is invalid.
    """
    notices: list[str] = []
    workspaces = find(options, notices.append)
    socket = socket_of(options)
    need_screen("the monitor", "use `muster list`")
    from tui.config.load import policy_from

    settings = settings_of(options)
    policy = policy_from(os.environ, settings.policy)
    from tui.app.run import run_monitor

    set_aside = set_aside_of(options, settings)
    return run_monitor(workspaces, socket, policy, settings, notices=notices, set_aside=set_aside)
