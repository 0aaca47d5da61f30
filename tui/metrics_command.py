"""`muster metrics`; apart, since no other command needs what it imports."""

from __future__ import annotations

import argparse
import sys

from registry.metrics_file import read_metrics
from tui.config import policy_of
from tui.console import DONE, find, tmux_of
from tui.live import take_roll
from tui.openmetrics import exposition


def show_metrics(options: argparse.Namespace) -> int:
    """`muster metrics`."""
    workspaces = find(options)
    roll = take_roll(workspaces, tmux_of(options), policy_of(options))
    sys.stdout.write(exposition(roll, read_metrics(each.path for each in workspaces)))
    return DONE
