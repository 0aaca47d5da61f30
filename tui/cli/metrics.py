"""`muster metrics`; apart, since no other command needs what it imports."""

from __future__ import annotations

import argparse
import sys

from registry.metrics_file import read_metrics
from tui.cli.context import DONE, find, tmux_of
from tui.cli.openmetrics import exposition
from tui.config.load import policy_of
from tui.live.collector import take_roll


def show_metrics(options: argparse.Namespace) -> int:
    """`muster metrics`."""
    workspaces = find(options)
    roll = take_roll(workspaces, tmux_of(options), policy_of(options))
    sys.stdout.write(exposition(roll, read_metrics(each.path for each in workspaces)))
    return DONE
