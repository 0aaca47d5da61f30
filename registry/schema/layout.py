"""Defines the paths of the files of workspaces, tasks and agents.

A path that a registry contains is checked before it is used: the `workspace` field may contain a
path of another machine or an unexpanded variable.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.dataclass import dataclass
from registry.errors import LinkedRegistryError, RegistryError
from registry.schema.records import GlobalTask
from registry.schema.trust import why_foreign_task
from registry.schema.unread_database import DATABASE as DATABASE
from registry.schema.unread_database import UnreadDatabase as UnreadDatabase
from registry.schema.unread_database import database_beside as database_beside
from registry.schema.unread_database import find_database as find_database
from registry.storage.files.anchor import open_anchor
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.file_age import written_at
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.presence import is_absence, is_kind, may_exist
from registry.storage.files.safe_open import is_safe_name, open_folder, target_of
from registry.storage.partner import GLOBAL_FOLDER as GLOBAL_FOLDER
from registry.storage.partner import GLOBAL_REGISTRY as GLOBAL_REGISTRY
from registry.storage.partner import TASK_REGISTRY as TASK_REGISTRY

WORKSPACE_NAME = ".agent-workspace"

PROGRESS_FOLDER = "progress"

ARCHIVE = "archive"
"""The name of the folder, in a task's directory, to which orchestrators move output files."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory of tasks.

    Attributes:
        path: The absolute path of the workspace, with symlinks resolved.
        only: The registry of the one task that the user named; None for all tasks.
    """

    path: Path
    only: Path | None = None

    @property
    def global_registry(self) -> Path:
        """The path of the workspace's global registry; this file may be missing."""
        return self.path / GLOBAL_FOLDER / GLOBAL_REGISTRY

    @property
    def has_database(self) -> bool:
        """Whether agents of the workspace are, or may be, in a database instead of JSON files."""
        return find_database(self.path) is not None


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """The location of one task's registry.

    Attributes:
        registry: The path of the file.
        listed_by: The global registry that lists the task, if the task's registry is in another
            workspace than this global registry; otherwise None.
        problem: Why the file must not be opened; None if it may be opened.
    """

    registry: Path
    listed_by: Path | None = None
    problem: str | None = None

    @property
    def directory(self) -> Path:
        """The task's directory."""
        return self.registry.parent

    @property
    def home_global(self) -> Path:
        """The path of the global registry in the task's own workspace."""
        return self.registry.parent.parent / GLOBAL_FOLDER / GLOBAL_REGISTRY

    @property
    def global_registry(self) -> Path | None:
        """The path of the global registry that also lists the agents of this task, or None.

        This is the global registry in the task's own workspace. If that file does not exist, the
        value is `listed_by`.
        """
        # A symlink, or a file that cannot be examined, counts as existing: opening the file
        # raises an error.
        home = self.home_global
        if may_exist(home) or os.path.islink(home.parent):
            return home
        return self.listed_by


def task_places(workspace: Workspace, listed: Mapping[str, GlobalTask]) -> tuple[TaskPlace, ...]:
    """Returns the locations of the registries of a workspace's tasks.

    The tasks in the workspace's directory come first, sorted by the names of the tasks'
    directories. Then come tasks in other workspaces that the workspace's global registry lists.

    Args:
        workspace: The workspace.
        listed: The tasks in the workspace's global registry; empty if that file cannot be read.

    Raises:
        OSError: The workspace's directory cannot be read.
    """
    if workspace.only is not None:
        return (TaskPlace(workspace.only),)
    places: dict[Path, TaskPlace] = {}
    for name, linked, mode in _folders_in(workspace.path):
        if name == GLOBAL_FOLDER:
            continue
        # A missing registry is shown as an error if the global registry lists the task. A
        # registry that cannot be examined is shown as an error if the name may be a task's.
        if name not in listed and (mode is None or not (mode or is_safe_name(name))):
            continue
        registry = workspace.path / name / TASK_REGISTRY
        link = registry.parent if linked else registry if stat.S_ISLNK(mode or 0) else None
        problem = None
        if link is not None:
            problem = LinkedRegistryError(registry, link, target_of(link)).reason
        places[registry] = TaskPlace(registry, problem=problem)
    for task in listed.values():
        elsewhere = _elsewhere(task, workspace)
        if elsewhere is not None and elsewhere not in places:
            places[elsewhere] = TaskPlace(
                elsewhere, workspace.global_registry, why_foreign_task(elsewhere, workspace.path)
            )
    return tuple(places.values())


def _folders_in(workspace: Path) -> list[tuple[str, bool, int | None]]:
    """Returns the directories in a workspace.

    Returns:
        For each directory: its name, whether it is a symlink, and the file mode of the registry in
        this directory. The mode is None if the registry does not exist, and 0 if the registry
        cannot be examined.

    Raises:
        OSError: The workspace's directory cannot be read.
    """
    anchor = open_anchor(workspace)
    try:
        opened = open_owned(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=anchor.fileno())
    finally:
        close_read(anchor)
    try:
        with os.scandir(opened.fileno()) as entries:
            folders = sorted(
                (entry.name, entry.is_symlink()) for entry in entries if _is_directory(entry)
            )
        # For speed, each directory needs only one call, and no Path object.
        within = opened.fileno()
        return [
            (name, linked, _mode_of(f"{name}/{TASK_REGISTRY}", within)) for name, linked in folders
        ]
    finally:
        close_read(opened)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        hand_on(error)
        # A symlink to itself is not a directory. An entry that cannot be examined may be a
        # directory.
        return not is_absence(error) and error.errno != errno.ELOOP


def _mode_of(path: str, folder: int) -> int | None:
    """Returns the mode of a file or a symlink below a directory.

    Returns:
        The mode; None if the file does not exist; 0 if the file cannot be examined.
    """
    try:
        return os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError as error:
        hand_on(error)
        return None if is_absence(error) or error.errno == errno.ELOOP else 0


def _elsewhere(task: GlobalTask, workspace: Workspace) -> Path | None:
    """Returns the path of a task's registry in another workspace; None if no such file exists."""
    if not task.elsewhere or not is_safe_name(task.task_id):
        return None
    base = Path(task.elsewhere)
    if not base.is_absolute():
        return None
    for directory in (base, base / task.task_id, base / WORKSPACE_NAME / task.task_id):
        registry = directory / TASK_REGISTRY
        try:
            if directory.name == task.task_id and is_kind(registry, stat.S_ISREG):
                resolved = registry.resolve()
                return None if resolved.is_relative_to(workspace.path) else resolved
        except (OSError, ValueError) as error:
            hand_on(error)
            return None
    return None


def agent_file(agent_id: str, suffix: str) -> str:
    """Returns ``<agent id>_<suffix>.jsonl``. Does not check whether the id is safe in a path."""
    return f"{agent_id}_{suffix}.jsonl"


def last_reports(task_registry: Path, agent_ids: Iterable[str]) -> dict[str, float]:
    """Returns when a line was last appended to the progress file of each agent.

    An archived file counts if the agent has no other: every later line is in a new file.

    Args:
        task_registry: The task's registry.
        agent_ids: The agents; an id that cannot be part of a file name is skipped.

    Returns:
        Maps the id of each agent that has a progress file to a time in seconds since the epoch. A
        time in the future is replaced by the time when this process first saw the file in this
        state.
    """
    wanted = tuple(agent_ids)
    times = _last_reports(task_registry, wanted, PROGRESS_FOLDER)
    archived = [agent_id for agent_id in wanted if agent_id not in times]
    return times | _last_reports(task_registry, archived, ARCHIVE) if archived else times


def _last_reports(
    task_registry: Path, agent_ids: Iterable[str], folder_name: str
) -> dict[str, float]:
    times: dict[str, float] = {}
    try:
        folder = open_folder(task_registry.parent, (folder_name,))
    except RegistryError as error:
        hand_on(error)
        return times
    try:
        for agent_id in agent_ids:
            if is_safe_name(agent_id):
                name = agent_file(agent_id, "progress")
                with tolerating(OSError):
                    status = os.stat(name, dir_fd=folder.fileno(), follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        times[agent_id] = written_at(status)
    finally:
        close_read(folder)
    return times
