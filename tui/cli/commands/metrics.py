"""`muster metrics`: prints counts of agents and lock times as OpenMetrics."""

from __future__ import annotations

import argparse
import sys

from tui.cli.context import find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, NOT_ALL_DONE, complain, lines_of
from tui.cli.parser import add_settings, add_socket, add_workspaces

PAGE = Page(
    """\
Prints metrics in the OpenMetrics text format: the number of agents with each verdict, and
the lock waits, timeouts, recoveries and corrupt reads of each registry.""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster metrics`."""
    from registry.metrics_file import read_each
    from tui.cli.openmetrics import exposition
    from tui.live.once import take_roll

    workspaces = find(options)
    roll = take_roll(workspaces, tmux_of(options), policy_of(options))
    metrics, errors = read_each(workspace.path for workspace in workspaces)
    sys.stdout.write(exposition(roll, metrics))
    for error in errors:
        complain(*lines_of(error))
    return NOT_ALL_DONE if errors else DONE
