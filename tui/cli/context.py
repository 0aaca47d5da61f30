"""What a command line asks for: workspaces, a tmux server, settings, a policy, a filter."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.schema import Workspace, find_workspaces
from registry.text import shown_name
from tui.cli.output import complain
from tui.errors import UsageError

# Nothing else at the top: every command imports this, whatever it needs of it.
if TYPE_CHECKING:
    from tui.config.settings import Settings
    from tui.host.tmux import Tmux
    from tui.model.policy import Policy
    from tui.model.roll import TaskState
    from tui.view.filter import Filter


def find(options: argparse.Namespace) -> tuple[Workspace, ...]:
    """The workspaces that a command line asks for; says which were passed over on the way."""

    def passed_over(why: str) -> None:
        complain(why)

    return find_workspaces(options.workspaces, os.environ, Path.cwd(), passed_over)


def task_states(
    options: argparse.Namespace,
) -> tuple[tuple[TaskState, ...], tuple[Path, ...]]:
    """All tasks of the workspaces that a command line asks for, and these workspaces."""
    from tui.live.registry_cache import Registries

    workspaces = find(options)
    registries = Registries(workspaces)
    registries.rescan()
    return registries.states(), tuple(each.path for each in workspaces)


def socket_of(options: argparse.Namespace) -> Path:
    """The tmux socket that a command line asks for.

    Raises:
        UsageError: What it says cannot be a socket.
    """
    from tui.host.tmux_types import socket_path

    try:
        return socket_path(options.socket_name, options.socket_path, os.environ)
    except ValueError as error:
        raise UsageError(str(error)) from None


def tmux_of(options: argparse.Namespace) -> Tmux:
    """The tmux server that a command line asks for."""
    from tui.host.tmux import Tmux

    return Tmux(socket_of(options))


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that a command line asks for.

    Raises:
        SettingsError: The settings file cannot be used.
    """
    from tui.config.load import load_settings

    settings = load_settings(os.environ, options.config)
    # Only the commands that open a screen have these.
    given = {name: getattr(options, name, None) for name in ("ascii", "read_only")}
    return replace(settings, **{name: value for name, value in given.items() if value})


def policy_of(options: argparse.Namespace) -> Policy:
    """The policy that a command line asks for, with what the environment sets of it."""
    from tui.config.load import policy_from

    return policy_from(os.environ, settings_of(options).policy)


def refuse_if_read_only(options: argparse.Namespace) -> None:
    """Keeps a command from changing anything where the settings say so; a dry run may go on.

    Raises:
        UsageError: They do.
    """
    if options.dry_run:
        return
    settings = settings_of(options)
    if settings.read_only:
        raise UsageError(
            f"nothing is changed: read_only is set in {shown_name(settings.source)}; "
            "--dry-run shows the plan"
        )


def filter_of(where: Sequence[str]) -> Filter:
    """What ``--where`` leaves in; all of several must match.

    Raises:
        UsageError: There is no such key, or one has no value.
    """
    from tui.view.filter import Filter, parse

    # A quote that is not closed ends with its option.
    read = [parse(each) for each in where]
    problems = [problem for each in read for problem in each.problems]
    problems += [f"{part!r}: a value is missing" for each in read for part in each.unfinished]
    if problems:
        raise UsageError(*problems)
    return Filter(tuple(term for each in read for term in each.terms))
