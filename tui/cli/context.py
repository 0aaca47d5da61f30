"""Finds the workspaces, tmux server, settings, policy and filter that a command's options name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.dataclass import replace
from registry.schema import Workspace, find_workspaces, named_by, user_environment
from registry.text import shown_name
from tui.cli.output import complain
from tui.errors import UsageError

# Every command imports this module, so the other imports are in the functions that use them.
if TYPE_CHECKING:
    from tui.config.settings import Settings
    from tui.host.tmux import Tmux
    from tui.host.tmux_types import SetAside
    from tui.model.policy import Policy
    from tui.model.roll import TaskState
    from tui.view.filter import Filter


def find(
    options: argparse.Namespace, missing: Callable[[str], object] = complain
) -> tuple[Workspace, ...]:
    """Returns the workspaces that a command line names; prints each skipped path with the reason.

    Args:
        options: The command line.
        missing: Called with a message for each path that is skipped.

    Raises:
        WorkspaceNotFoundError: No path is a workspace.
        SilentWorkspaceError: A file system does not answer, and no workspace was found.
    """
    return _found(options, missing, missing)


def find_all(options: argparse.Namespace) -> tuple[Workspace, ...]:
    """Returns the workspaces that a command line names, for a command that changes files.

    Raises:
        WorkspaceNotFoundError: A named path is not a workspace, or there is no workspace.
        SilentWorkspaceError: The file system of a named path does not answer.
    """
    return _found(options, complain, None)


def _found(
    options: argparse.Namespace,
    passed_over: Callable[[str], object],
    missing: Callable[[str], object] | None,
) -> tuple[Workspace, ...]:
    """Finds workspaces like `find_workspaces`; waits for no file system that does not answer."""
    from tui.host.asker import ask_each

    environment = user_environment()
    return find_workspaces(
        options.workspaces,
        environment,
        current_directory(options.workspaces, environment),
        passed_over,
        missing=missing,
        ask=ask_each,
    )


def current_directory(paths: Sequence[str], environment: Mapping[str, str]) -> Path:
    """Returns the directory where the search for workspaces starts.

    Args:
        paths: The workspaces that the command line names.
        environment: The environment variables.

    Raises:
        FileNotFoundError: The directory was removed, and not all named paths are absolute.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        named = paths or named_by(environment)
        if named and all(map(os.path.isabs, map(os.path.expanduser, named))):
            # Nothing is there.
            return Path(os.readlink("/proc/self/cwd"))
        raise


def task_states(
    options: argparse.Namespace,
) -> tuple[tuple[TaskState, ...], tuple[Path, ...]]:
    """Returns all tasks of the workspaces that a command line names, and the workspaces' paths."""
    from tui.live.registry_cache import Registries

    workspaces = find(options)
    registries = Registries(workspaces)
    registries.rescan()
    return registries.states(), tuple(workspace.path for workspace in workspaces)


def socket_of(options: argparse.Namespace) -> Path:
    """Returns the path of the tmux socket that a command line names.

    Raises:
        UsageError: The options do not give a valid path.
    """
    from tui.host.tmux_types import socket_path

    try:
        return socket_path(options.socket_name, options.socket_path, os.environ)
    except ValueError as error:
        raise UsageError(str(error)) from None


def tmux_of(options: argparse.Namespace) -> Tmux:
    """Returns the tmux server that a command line names."""
    from tui.host.tmux import Tmux

    return Tmux(socket_of(options), set_aside=set_aside_of(options, settings_of(options)))


def set_aside_of(options: argparse.Namespace, settings: Settings) -> SetAside:
    """Returns the tmux servers without agents that the settings and the options name."""
    from tui.host.tmux_types import SetAside

    return SetAside(frozenset((*settings.without_agents, *options.without_agents)))


def settings_of(options: argparse.Namespace) -> Settings:
    """Returns the settings from the settings file and the options of a command line.

    Raises:
        SettingsError: The settings file cannot be used.
    """
    from tui.config.load import load_settings

    settings = load_settings(os.environ, options.config)
    # Only commands that open a screen have the options --ascii and --read-only.
    given = {name: getattr(options, name, None) for name in ("ascii", "read_only")}
    return replace(settings, **{name: value for name, value in given.items() if value})


def policy_of(options: argparse.Namespace) -> Policy:
    """Returns the policy from the settings of a command line and from environment variables."""
    from tui.config.load import policy_from

    return policy_from(os.environ, settings_of(options).policy)


def refuse_if_read_only(options: argparse.Namespace) -> None:
    """Stops a command if the settings are read-only and the command is not a dry run.

    Raises:
        UsageError: `read_only` is set, and the command is not a dry run.
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
    """Returns the filter of all ``--where`` options; an agent must match all of them.

    Raises:
        UsageError: A key is unknown, or a value is missing.
    """
    from tui.view.filter import Filter, parse

    # Each option is parsed alone, so that a quote without its end does not reach the next option.
    filters = [parse(text) for text in where]
    problems = [problem for parsed in filters for problem in parsed.problems]
    problems += [
        f"--where {part!r}: the value is missing"
        for parsed in filters
        for part in parsed.unfinished
    ]
    if problems:
        raise UsageError(*problems)
    return Filter(tuple(term for parsed in filters for term in parsed.terms))
