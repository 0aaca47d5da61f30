"""`muster metrics`: the roll's counts and lock times, as OpenMetrics."""

from __future__ import annotations

import argparse
import sys

from tui.cli.context import find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE
from tui.cli.parser import add_settings, add_socket, add_workspaces

PAGE = Page(
    """\
Prints the roll's counts, and what happened to the registries' locks, in the
OpenMetrics text format: waits, timeouts, recoveries, corrupt reads.""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """`muster metrics`."""
    from registry.metrics_file import read_metrics
    from tui.cli.openmetrics import exposition
    from tui.live.collector import take_roll

    workspaces = find(options)
    roll = take_roll(workspaces, tmux_of(options), policy_of(options))
    sys.stdout.write(exposition(roll, read_metrics(each.path for each in workspaces)))
    return DONE
