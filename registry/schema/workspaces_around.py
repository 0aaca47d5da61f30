"""Finds the workspaces that may list a session: those above a directory, and the default ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from registry.schema.layout import GLOBAL_FOLDER, GLOBAL_REGISTRY, WORKSPACE_NAME, Workspace
from registry.storage.files.interruption import hand_on

DEFAULT_VARIABLE = "CLAUDE_ORCHESTRATOR_WORKSPACE"
"""The environment variable with the workspace in which an orchestrator keeps all tasks."""

FOLDER = ".claude-orchestrator"
"""The directory of the orchestrator in the home directory of a user."""


_DEFAULT = "workspaces"

_LONGEST = 4096


def user_environment() -> Mapping[str, str]:
    """Returns the environment of this process, also with `HOME` if this variable is not set."""
    return {"HOME": os.path.expanduser("~"), **os.environ}


def default_paths(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Returns the paths where an orchestrator may keep tasks of any project; reads no file.

    These are the value of the variable `CLAUDE_ORCHESTRATOR_WORKSPACE`, and
    `~/.claude-orchestrator/workspaces`.

    Args:
        environment: The environment of the orchestrator, or of a process that the orchestrator
            started. A relative path is left out: it refers to an unknown directory.
    """
    named = [environment.get(DEFAULT_VARIABLE, "")]
    if home := environment.get("HOME"):
        named.append(os.path.join(home, FOLDER, _DEFAULT))
    return tuple(dict.fromkeys(Path(path) for path in named if may_be_path(path)))


def may_be_path(name: str) -> bool:
    """Returns whether a text can be an absolute path."""
    return os.path.isabs(name) and "\0" not in name and len(os.fsencode(name)) <= _LONGEST


def default_workspaces(environment: Mapping[str, str]) -> frozenset[Path]:
    """Returns the workspaces where an orchestrator may keep tasks of any project.

    Args:
        environment: See `default_paths`.

    Returns:
        The paths of the workspaces that exist or cannot be examined, with symlinks resolved.
    """
    return resolved_default(default_paths(environment))


def resolved_default(paths: Iterable[Path]) -> frozenset[Path]:
    """Returns those of the default paths at which a workspace exists, or cannot be examined.

    Args:
        paths: See `default_paths`.

    Returns:
        The paths, with symlinks resolved.
    """
    return frozenset(Path(os.path.realpath(path)) for path in paths if _may_keep_tasks(path))


def workspaces_above(directory: Path) -> frozenset[Path]:
    """Returns the workspaces in or above a directory, with symlinks resolved.

    Examines the directory, all its parent directories, and the `.agent-workspace` in each of these
    directories.

    Raises:
        OSError: One of the directories is not accessible, so the result cannot be known.
    """
    workspaces = set()
    for parent in (directory, *directory.parents):
        inside = parent / WORKSPACE_NAME
        if _has_mode(inside, stat.S_ISDIR):
            workspaces.add(inside.resolve())
        named = parent.name == WORKSPACE_NAME and _has_mode(parent, stat.S_ISDIR)
        if named or _keeps_tasks(parent):
            workspaces.add(parent.resolve())
    return frozenset(workspaces)


def _keeps_tasks(directory: Path) -> bool:
    """Returns whether a directory contains a database or a global registry, as a workspace does.

    Raises:
        OSError: The directory is not accessible.
    """
    return Workspace(directory).has_database or _has_mode(
        directory / GLOBAL_FOLDER / GLOBAL_REGISTRY, stat.S_ISREG
    )


def _may_keep_tasks(directory: Path) -> bool:
    try:
        if directory.name == WORKSPACE_NAME and _has_mode(directory, stat.S_ISDIR):
            return True
        return _keeps_tasks(directory)
    except OSError as error:
        hand_on(error)
        return True


def _has_mode(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        return False
