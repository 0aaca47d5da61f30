"""`muster` without a command: opens the monitor."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from registry.dataclass import replace
from tui.cli.context import filter_of, find, set_aside_of, settings_of, socket_of
from tui.cli.output import need_screen
from tui.cli.parser import add_screen, add_settings, add_socket, add_where, add_workspaces
from tui.errors import UsageError

if TYPE_CHECKING:
    from tui.view.view import View

ORDERS = ("tree", "urgency", "age", "progress", "cpu", "memory", "heard", "status")
"""The orders of `tui.view.view.Sort`, whose import takes long."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `muster` without a command."""
    add_settings(parser)
    add_screen(parser)
    add_socket(parser)
    add_workspaces(parser)
    add_where(parser)
    parser.add_argument("--sort", choices=ORDERS, help="the order at the start (default: tree)")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="ignore what you set in the last run: theme, filter, order and panel; keep nothing",
    )


def run(options: argparse.Namespace) -> int:
    """Opens the monitor.

    Raises:
        UsageError: muster does not run on a terminal, or a setting is invalid.
    """
    notices: list[str] = []
    workspaces = find(options, notices.append)
    socket = socket_of(options)
    need_screen("the monitor", "use `muster list`")
    from tui.app.screen_state import Keeper
    from tui.config.load import policy_from
    from tui.config.state_file import StateFile, state_path

    path = None if options.fresh else state_path(os.environ)
    keeper = Keeper(None if path is None else StateFile(path))
    view = view_of(options, keeper.kept.view)
    settings = settings_of(options)
    policy = policy_from(os.environ, settings.policy)
    from tui.app.run import run_monitor

    set_aside = set_aside_of(options, settings)
    return run_monitor(
        workspaces,
        socket,
        policy,
        settings,
        notices=notices,
        set_aside=set_aside,
        view=view,
        keeper=keeper,
    )


def view_of(options: argparse.Namespace, kept: View | None = None) -> View:
    """Returns the view that the options ``--where`` and ``--sort`` describe.

    A filter of the command line shows all that match it, also what the operator had hidden.

    Args:
        options: The command line.
        kept: The view of the last run; None for the default view.

    Raises:
        UsageError: A filter cannot be understood.
    """
    from tui.view.view import Sort, View

    wanted = filter_of(options.where)
    view = kept or View()
    if options.where:
        view = View(" ".join(options.where), view.sort, reverse=view.reverse)
        if view.wanted != wanted:
            # The field of the monitor shows one filter, in which the quote would not end.
            raise UsageError("a --where has a quote without its end")
    if options.sort:
        view = replace(view, sort=Sort.named(options.sort), reverse=False)
    return view
