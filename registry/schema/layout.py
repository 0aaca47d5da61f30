"""Finds workspaces, and defines the paths of the files of tasks and agents.

A path that a registry contains is checked before it is used: the `workspace` field may contain a
path of another machine or an unexpanded variable.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from registry import database
from registry.dataclass import dataclass
from registry.errors import (
    InaccessibleRegistryError,
    LinkedRegistryError,
    RegistryError,
    ReplacedWorkspaceError,
    WorkspaceNotFoundError,
)
from registry.schema.records import GlobalTask
from registry.storage.files.anchor import open_anchor, open_resolved, status_of
from registry.storage.files.descriptor import Descriptor, close_read, open_owned
from registry.storage.files.file_age import written_at
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.mounts import owner_of
from registry.storage.files.path_walk import step_at
from registry.storage.files.permissions import Access, is_unmapped, user_called
from registry.storage.files.presence import is_absence, is_kind, may_exist
from registry.storage.files.safe_open import is_safe_name, look, open_folder, target_of
from registry.storage.files.writers import Writers, writers_of_task
from registry.storage.partner import GLOBAL_FOLDER as GLOBAL_FOLDER
from registry.storage.partner import GLOBAL_REGISTRY as GLOBAL_REGISTRY
from registry.storage.partner import TASK_REGISTRY as TASK_REGISTRY
from registry.storage.partner import workspace_of
from registry.text import command_line, shown_name, typed_word

WORKSPACE_NAME = ".agent-workspace"
PROGRESS_FOLDER = "progress"

ARCHIVE = "archive"
"""The name of the folder, in a task's directory, to which orchestrators move output files."""

DATABASE = "state.sqlite3"
"""The name of the database that some orchestrators use instead of JSON files.

The database is in the `registry` folder of the workspace.
"""

ENVIRONMENT_VARIABLE = "MUSTER_WORKSPACES"
"""The environment variable with the workspaces to open by default, separated by colons."""

DEFAULT_VARIABLE = "CLAUDE_ORCHESTRATOR_WORKSPACE"
"""The environment variable with the workspace in which an orchestrator keeps all tasks."""

_DEFAULT_FOLDERS = (".claude-orchestrator", "workspaces")


@dataclass(frozen=True, slots=True)
class UnreadDatabase:
    """A workspace's database that may have newer data than the JSON registries.

    Attributes:
        path: The database.
        problem: Why the database cannot be read, or why its existence cannot be checked; None if
            the database exists and was not opened.
    """

    path: Path
    problem: str | None = None

    def __str__(self) -> str:
        if self.problem is None:
            message = "agents are in a database, which this version of muster does not write"
            return f"{message}: {shown_name(self.path)}"
        message = "agents may be in a database that muster cannot read"
        return f"{message}: {shown_name(self.path)}: {self.problem}"


def find_database(workspace: Path) -> UnreadDatabase | None:
    """Returns the database of a workspace; None if the database certainly does not exist.

    The database is never opened. Any file with the database's name counts as the database, also a
    symlink, a directory or a device.
    """
    path = workspace / GLOBAL_FOLDER / DATABASE
    try:
        try:
            look(path)
        except LinkedRegistryError as error:
            hand_on(error)
            # The folder is a symlink. Its target is not used, but may contain the agents.
            os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        return None
    except InaccessibleRegistryError as error:
        hand_on(error)
        return UnreadDatabase(path, os.strerror(error.errno or 0))
    except OSError as error:
        hand_on(error)
        return UnreadDatabase(path, error.strerror)
    return UnreadDatabase(path)


def database_beside(registry: Path) -> UnreadDatabase | None:
    """Returns a database that may have newer data of a registry's agents, or None.

    The database of a workspace has newer data of the tasks that it lists, and of the global
    registry. A database that cannot be read may have newer data of each task.

    Args:
        registry: A task's registry or the global registry.
    """
    found = find_database(workspace_of(registry))
    if found is None or found.problem is not None or registry.name == GLOBAL_REGISTRY:
        return found
    try:
        folder = registry.parent
        nameless = folder.name in ("", "..")
        name = os.path.basename(os.path.realpath(folder)) if nameless else folder.name
        return found if database.lists_task(found.path, name) else None
    except RegistryError as error:
        hand_on(error)
        return UnreadDatabase(found.path, error.reason or str(error))


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


def why_foreign(workspace: Path, *, trusted: Iterable[int] = ()) -> str | None:
    """Returns why a workspace that the user did not name may belong to another user.

    Args:
        workspace: The workspace's directory, or a symlink to it.
        trusted: The ids of further trusted users, besides this user and root.

    Returns:
        The reason. None if all of these are true: a trusted user owns the directory, a trusted
        user owns the symlink to the directory (if any), and the directory is not writable for
        every user.
    """
    try:
        link = step_at(str(workspace))
        with open_anchor(workspace) as directory:
            return _why_untrusted(directory, trusted, link.owner)
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, ReplacedWorkspaceError) else error.strerror
        return f"cannot be examined: {why}"


def _why_untrusted(
    directory: Descriptor, trusted: Iterable[int], link_owner: int = 0
) -> str | None:
    """Returns why an untrusted user may have created a directory or a symlink to it, or None.

    Args:
        directory: The open directory.
        trusted: The ids of further trusted users, besides this user and root.
        link_owner: The id of the user that owns the symlink; 0 if there is no symlink.

    Raises:
        OSError: The directory cannot be examined.
    """
    ours = {os.geteuid(), 0, *trusted}
    for owner in (link_owner, owner_of(directory.fileno())):
        if owner not in ours or is_unmapped(owner):
            return f"belongs to {user_called(owner)}"
    if os.fstat(directory.fileno()).st_mode & stat.S_IWOTH:
        return "is writable for every user"
    return None


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
                elsewhere, workspace.global_registry, _foreign(elsewhere, workspace)
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


def _foreign(registry: Path, workspace: Workspace) -> str | None:
    """Returns why a task in another workspace must not be opened, and the remedy; or None."""
    why = _why_place_untrusted(registry, workspace) or _why_listing_untrusted(registry, workspace)
    if why is None:
        return None
    command = command_line("muster", names=(str(registry),))
    typed = "" if command is None else f": {command}"
    return f"{why}; to show this task, name its registry{typed}"


def _why_place_untrusted(registry: Path, workspace: Workspace) -> str | None:
    """Returns why a task in another workspace may belong to an untrusted user, or None."""
    trusted: list[int] = []
    with tolerating(OSError):
        trusted.append(status_of(workspace.path).st_uid)
    for directory in (registry.parent.parent, registry.parent):
        if directory == registry.parent:
            why = _why_task_foreign(directory, trusted)
        else:
            why = why_foreign(directory, trusted=trusted)
        if why is not None:
            return f"is in {shown_name(directory)}, which {why}"
    return None


def _why_listing_untrusted(registry: Path, workspace: Workspace) -> str | None:
    """Returns why the global registry that lists a task elsewhere is not trusted, or None.

    Each user that may write or replace the global registry must also be able to write the task's
    registry. Otherwise, such a user could make muster change the task of another user.
    """
    names = (".", GLOBAL_FOLDER, f"{GLOBAL_FOLDER}/{GLOBAL_REGISTRY}")
    try:
        able = writers_of_task(registry)
        with open_anchor(workspace.path) as home:
            for name in names:
                other = Writers((Access.at(home.fileno(), name),)).outsider(able=able)
                if other is not None:
                    place = workspace.path / name
                    return f"is listed by {shown_name(place)}, which {other} may write"
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        return f"cannot be examined: {why}"
    return None


def _why_task_foreign(directory: Path, trusted: Iterable[int]) -> str | None:
    """Returns why a task's directory may belong to an untrusted user, or None.

    The directory is opened below the workspace directory that this process opened first.
    """
    try:
        folder = open_folder(directory)
    except RegistryError as error:
        hand_on(error)
        return f"cannot be examined: {error.reason or error}"
    try:
        return _why_untrusted(folder, trusted)
    finally:
        close_read(folder)


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
