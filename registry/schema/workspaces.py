"""Finds the workspaces for a command line, and the workspaces that may list a session."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from registry.errors import ReplacedWorkspaceError, WorkspaceNotFoundError
from registry.schema.layout import (
    DATABASE,
    GLOBAL_FOLDER,
    GLOBAL_REGISTRY,
    TASK_REGISTRY,
    WORKSPACE_NAME,
    Workspace,
)
from registry.schema.trust import why_foreign
from registry.storage.files.anchor import open_resolved
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on
from registry.storage.files.presence import is_kind, may_exist
from registry.text import shown_name, typed_word

ENVIRONMENT_VARIABLE = "MUSTER_WORKSPACES"
"""The environment variable with the workspaces to open by default, separated by colons."""

DEFAULT_VARIABLE = "CLAUDE_ORCHESTRATOR_WORKSPACE"
"""The environment variable with the workspace in which an orchestrator keeps all tasks."""

_DEFAULT_FOLDERS = (".claude-orchestrator", "workspaces")


def named_by(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the paths in the environment variable that names workspaces."""
    return tuple(part for part in environment.get(ENVIRONMENT_VARIABLE, "").split(":") if part)


def find_workspaces(
    arguments: Iterable[str],
    environment: Mapping[str, str],
    here: Path,
    passed_over: Callable[[str], object] = str,
    *,
    missing: Callable[[str], object] | None = None,
) -> tuple[Workspace, ...]:
    """Finds the workspaces for a command line.

    Args:
        arguments: The paths that the user named. Each path leads to a `.agent-workspace`, to a
            directory with a `.agent-workspace`, to a task's directory, or to a registry.
        environment: The environment variables; `MUSTER_WORKSPACES` is used.
        here: The directory where an upward search starts if no workspace is named.
        passed_over: A function that receives a message for each workspace that the search skips
            because another user could have created the workspace.
        missing: A function that receives a message for each named path that is not a workspace.
            Such a path is an error if `missing` is None, or if no named path is a workspace.

    Raises:
        WorkspaceNotFoundError: A named path is not a workspace, or the search found no workspace.
        ReplacedWorkspaceError: A workspace was replaced by a symlink during the call.
    """
    named = tuple(arguments)
    if not named:
        named = named_by(environment)
        origin = f"Correct {ENVIRONMENT_VARIABLE}, or name a workspace: muster WORKSPACE"
    else:
        origin = (
            "Name a .agent-workspace, a directory that contains one, or a registry file; "
            "or try `muster demo`."
        )
    if named:
        workspaces: list[Workspace] = []
        wrong: list[Path] = []
        for path in (here / os.path.expanduser(text) for text in named):
            workspace = _named(path)
            if workspace is None:
                wrong.append(path)
            else:
                workspaces.append(_pinned(workspace))
        if wrong and (missing is None or not workspaces):
            looked = (place for path in wrong for place in (path, path / WORKSPACE_NAME))
            raise WorkspaceNotFoundError(tuple(looked), origin)
        for path in wrong:
            assert missing is not None
            missing(
                f"skipped {shown_name(path)}: this path is not a workspace and contains no "
                "workspace"
            )
        return tuple(dict.fromkeys(workspaces))
    return (_nearest(here, passed_over),)


def _pinned(workspace: Workspace) -> Workspace:
    """Returns the workspace, after this process has opened the workspace's directory.

    From then on, the process notices if the path leads to another directory.

    Raises:
        ReplacedWorkspaceError: The path was replaced by a symlink.
    """
    try:
        close_read(open_resolved(workspace.path))
    except ReplacedWorkspaceError:
        raise
    except OSError as error:
        # If the directory does not exist or is not accessible, a later read reports this.
        hand_on(error)
    return workspace


def _looks_like_workspace(path: Path) -> bool:
    """Returns whether a directory is a workspace, by its name or by its content."""
    if path.name == WORKSPACE_NAME:
        return is_kind(path, stat.S_ISDIR) is not False
    if Workspace(path).has_database:
        return is_kind(path, stat.S_ISDIR) is True
    return is_kind(path / GLOBAL_FOLDER / GLOBAL_REGISTRY, stat.S_ISREG) is True


def _named(path: Path) -> Workspace | None:
    """Returns the workspace that a path names; None if the path certainly names no workspace."""
    resolved = Path(os.path.realpath(path))
    may_be_file = is_kind(resolved, stat.S_ISREG) is not False
    if resolved.name == GLOBAL_REGISTRY and may_be_file:
        return Workspace(resolved.parent.parent)
    if path.name == DATABASE and may_exist(path):
        return Workspace(Path(os.path.realpath(path.parent.parent)))
    if resolved.suffix == ".json" and may_be_file:
        return Workspace(resolved.parent.parent, only=resolved)
    if is_kind(resolved, stat.S_ISDIR) is not False:
        inside = resolved / WORKSPACE_NAME
        has_inside = is_kind(inside, stat.S_ISDIR)
        if has_inside:
            return Workspace(Path(os.path.realpath(inside)))
        if resolved.name == WORKSPACE_NAME:
            return Workspace(resolved)
        if has_inside is None and resolved.parent.name == WORKSPACE_NAME:
            return Workspace(resolved.parent, only=resolved / TASK_REGISTRY)
        if has_inside is None:
            # The directory cannot be searched, so it is treated as the directory of a project.
            return Workspace(inside)
        if _looks_like_workspace(resolved):
            return Workspace(resolved)
        if is_kind(resolved / TASK_REGISTRY, stat.S_ISREG):
            return Workspace(resolved.parent, only=resolved / TASK_REGISTRY)
        if _may_have_tasks(resolved):
            return Workspace(resolved)
    return None


def _may_have_tasks(directory: Path) -> bool:
    """Returns whether a directory has tasks; True also if the directory cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        hand_on(error)
        return True
    return any(is_kind(directory / name / TASK_REGISTRY, stat.S_ISREG) for name in names)


def _nearest(here: Path, passed_over: Callable[[str], object]) -> Workspace:
    looked: list[Path] = []
    refused: list[str] = []
    for directory in (here, *here.parents):
        candidate = directory
        why: str | None = None
        if not _looks_like_workspace(directory):
            candidate = directory / WORKSPACE_NAME
            looked.append(candidate)
            exists = is_kind(candidate, stat.S_ISDIR)
            if exists is False:
                continue
            why = "cannot be examined" if exists is None else None
        workspace = _pinned(Workspace(Path(os.path.realpath(candidate))))
        why = why or why_foreign(candidate) or why_foreign(workspace.path)
        if why is None and candidate.name != WORKSPACE_NAME:
            # The content makes the directory a workspace. Another user may have created it.
            why = why_foreign(workspace.path / GLOBAL_FOLDER)
            why = why and f"is a workspace only because of its {GLOBAL_FOLDER}/, which {why}"
        if why is None:
            for message in refused:
                passed_over(message)
            return workspace
        typed = typed_word(str(candidate))
        refused.append(
            f"skipped {shown_name(candidate)}: this directory {why}; to use this directory "
            "anyway, name it" + ("" if typed is None else f": {ENVIRONMENT_VARIABLE}={typed}")
        )
    advice = (
        f"Name a workspace (muster WORKSPACE), set {ENVIRONMENT_VARIABLE}, or try `muster demo`."
    )
    raise WorkspaceNotFoundError(tuple(looked), "\n".join((*refused, advice)))


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


def default_workspaces(environment: Mapping[str, str]) -> frozenset[Path]:
    """Returns the workspaces where an orchestrator may keep tasks of any project.

    Args:
        environment: The environment of the orchestrator, or of a process that the orchestrator
            started.

    Returns:
        The paths of the workspaces that exist or cannot be examined, with symlinks resolved.
    """
    named = [environment.get(DEFAULT_VARIABLE, "")]
    if home := environment.get("HOME"):
        named.append(os.path.join(home, *_DEFAULT_FOLDERS))
    absolute = (Path(path) for path in named if os.path.isabs(path))
    return frozenset(Path(os.path.realpath(path)) for path in absolute if _may_keep_tasks(path))


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
