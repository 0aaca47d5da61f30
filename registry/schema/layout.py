"""Finding workspaces, and where each file of a task and of an agent lies.

Where a file lies is trusted; what a registry says about where it lies is not:
`workspace` may hold a path of another machine or an unexpanded variable.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import (
    InaccessibleRegistryError,
    LinkedRegistryError,
    RegistryError,
    ReplacedWorkspaceError,
    WorkspaceNotFoundError,
)
from registry.schema.records import GlobalTask
from registry.storage.anchor import open_anchor, open_resolved, status_of
from registry.storage.descriptor import close_read, open_owned
from registry.storage.file_age import written_at
from registry.storage.interruption import hand_on, tolerating
from registry.storage.partner import GLOBAL_FOLDER as GLOBAL_FOLDER
from registry.storage.partner import GLOBAL_REGISTRY as GLOBAL_REGISTRY
from registry.storage.partner import TASK_REGISTRY as TASK_REGISTRY
from registry.storage.partner import workspace_of
from registry.storage.permissions import Access, is_unmapped, other_writer, user_called
from registry.storage.safe_open import is_safe_name, look, open_folder
from registry.text import command_line, shown_name, typed_word

WORKSPACE_NAME = ".agent-workspace"
PROGRESS_FOLDER = "progress"
DATABASE = "state.sqlite3"
"""In the global folder: where an orchestrator keeps its agents in place of JSON files."""

ENVIRONMENT_VARIABLE = "MUSTER_WORKSPACES"
"""Workspaces to open when none is named, separated by colons."""

DEFAULT_VARIABLE = "CLAUDE_ORCHESTRATOR_WORKSPACE"
"""Where an orchestrator keeps the tasks of every project, if it is set."""

_DEFAULT_FOLDERS = (".claude-orchestrator", "workspaces")


@dataclass(frozen=True, slots=True)
class UnreadDatabase:
    """A database with agents of a workspace, which this version does not read.

    Attributes:
        path: The database.
        problem: Why it cannot be seen whether the database is there; None if it is.
    """

    path: Path
    problem: str | None = None

    def __str__(self) -> str:
        if self.problem is None:
            said = "agents are in a database that this version of muster cannot read"
            return f"{said}: {shown_name(self.path)}"
        said = "agents may be in a database that muster cannot look for"
        return f"{said}: {shown_name(self.path)}: {self.problem}"


def find_database(workspace: Path) -> UnreadDatabase | None:
    """The database of a workspace, or None if there certainly is none. Never opens it.

    Whatever has its name counts, be it a link, a directory or a device.

    Args:
        workspace: The workspace.
    """
    path = workspace / GLOBAL_FOLDER / DATABASE
    try:
        try:
            look(path)
        except LinkedRegistryError as error:
            hand_on(error)
            # What the folder's link leads to is not used, and yet may hold the agents.
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
    """As `find_database`, of the workspace that a registry lies in.

    Args:
        registry: A task's registry, or the global one.
    """
    return find_database(workspace_of(registry))


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory of tasks.

    Attributes:
        path: The workspace itself, absolute, symlinks resolved.
        only: If set, the one task's registry in it that was asked for.
    """

    path: Path
    only: Path | None = None

    @property
    def global_registry(self) -> Path:
        """Where its global registry lies, whether or not it is there."""
        return self.path / GLOBAL_FOLDER / GLOBAL_REGISTRY

    @property
    def has_database(self) -> bool:
        """Whether agents of it are, or may be, in a database: JSON alone is not the truth."""
        return find_database(self.path) is not None


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Where one task's registry lies.

    Attributes:
        registry: The file.
        listed_by: The global registry that led here, or None if it lies in the workspace.
        problem: Why it must not be opened, or None.
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
        """The global registry of the workspace the task lies in."""
        return self.registry.parent.parent / GLOBAL_FOLDER / GLOBAL_REGISTRY

    @property
    def global_registry(self) -> Path | None:
        """The global registry that follows this task's, if there is one.

        The one beside it; for a task that lies elsewhere and has none there,
        the one that points to it.
        """
        # A link is not followed: whoever opens it is told so.
        home = self.home_global
        if os.path.lexists(home) or home.parent.is_symlink():
            return home
        return self.listed_by


def find_workspaces(
    arguments: Iterable[str],
    environment: Mapping[str, str],
    here: Path,
    passed_over: Callable[[str], object] = str,
) -> tuple[Workspace, ...]:
    """Finds the workspaces that a command line asks for.

    Args:
        arguments: A `.agent-workspace`, a directory that holds one, a task's
            directory, or a registry file, each.
        environment: For `MUSTER_WORKSPACES`.
        here: Where to search upward from when nothing is named.
        passed_over: Told, in words, of each workspace on the way that was not taken
            because another user could have put it there.

    Raises:
        WorkspaceNotFoundError: One that was named is not there, or none was found.
        ReplacedWorkspaceError: One was replaced by a symlink in this moment.
    """
    named = tuple(arguments)
    if not named:
        named = tuple(
            part for part in environment.get(ENVIRONMENT_VARIABLE, "").split(":") if part
        )
        origin = f"Correct {ENVIRONMENT_VARIABLE}, or name a workspace: muster WORKSPACE"
    else:
        origin = (
            "Name a .agent-workspace, a directory that holds one, or a registry file; "
            "or try `muster demo`."
        )
    if named:
        found = (_named(here / os.path.expanduser(each), origin) for each in named)
        return tuple(dict.fromkeys(map(_pinned, found)))
    return (_nearest(here, passed_over),)


def _pinned(workspace: Workspace) -> Workspace:
    """The same workspace, which from now on is the directory that its path leads to."""
    # Without it, or where it must not be searched, that is said once it is read.
    with tolerating(FileNotFoundError, PermissionError):
        close_read(open_resolved(workspace.path))
    return workspace


def _looks_like_workspace(path: Path) -> bool:
    if path.name == WORKSPACE_NAME or Workspace(path).has_database:
        return path.is_dir()
    return (path / GLOBAL_FOLDER / GLOBAL_REGISTRY).is_file()


def _named(path: Path, advice: str) -> Workspace:
    resolved = Path(os.path.realpath(path))
    if resolved.name == GLOBAL_REGISTRY and resolved.is_file():
        return Workspace(resolved.parent.parent)
    if path.name == DATABASE and os.path.lexists(path):
        return Workspace(Path(os.path.realpath(path.parent.parent)))
    if resolved.is_dir():
        if (resolved / WORKSPACE_NAME).is_dir():
            return Workspace((resolved / WORKSPACE_NAME).resolve())
        if _looks_like_workspace(resolved):
            return Workspace(resolved)
        if (resolved / TASK_REGISTRY).is_file():
            resolved = resolved / TASK_REGISTRY
        elif any(resolved.glob(f"*/{TASK_REGISTRY}")):
            return Workspace(resolved)
    if resolved.is_file() and resolved.suffix == ".json":
        return Workspace(resolved.parent.parent, only=resolved)
    raise WorkspaceNotFoundError((path, path / WORKSPACE_NAME), advice)


def _nearest(here: Path, passed_over: Callable[[str], object]) -> Workspace:
    looked: list[Path] = []
    refused: list[str] = []
    for directory in (here, *here.parents):
        candidate = directory
        if not _looks_like_workspace(directory):
            candidate = directory / WORKSPACE_NAME
            looked.append(candidate)
            if not candidate.is_dir():
                continue
        workspace = _pinned(Workspace(candidate.resolve()))
        why = why_foreign(candidate) or why_foreign(workspace.path)
        if why is None and candidate.name != WORKSPACE_NAME:
            # What lies in it makes it a workspace: another user may have put that there.
            why = why_foreign(workspace.path / GLOBAL_FOLDER)
            why = why and f"is one only by its {GLOBAL_FOLDER}/, which {why}"
        if why is None:
            for each in refused:
                passed_over(each)
            return workspace
        typed = typed_word(str(candidate))
        refused.append(
            f"passed over {shown_name(candidate)}: it {why}; to use it all the same, name it"
            + ("" if typed is None else f": {ENVIRONMENT_VARIABLE}={typed}")
        )
    advice = f"Name one (muster WORKSPACE), set {ENVIRONMENT_VARIABLE}, or try `muster demo`."
    raise WorkspaceNotFoundError(tuple(looked), "\n".join((*refused, advice)))


def why_foreign(workspace: Path, *, trusted: Iterable[int] = ()) -> str | None:
    """Why a workspace that nobody named is not to be relied on: another user may have made it.

    Args:
        workspace: Its directory, or a symlink to it.
        trusted: Ids of users who may have made it, besides this one and root.

    Returns:
        None where it belongs to one of them, and not everybody may write it.
    """
    try:
        states = os.lstat(workspace), status_of(workspace)
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, ReplacedWorkspaceError) else error.strerror
        return f"cannot be looked at: {why}"
    return _why_not_of(states, trusted)


def _why_not_of(states: Sequence[os.stat_result], trusted: Iterable[int]) -> str | None:
    """Why users who are not trusted may have made a directory, or a symlink to it; or None."""
    ours = {os.geteuid(), 0, *trusted}
    for each in states:
        if each.st_uid not in ours or is_unmapped(each.st_uid):
            return f"belongs to {user_called(each.st_uid)}"
    if any(stat.S_ISDIR(each.st_mode) and each.st_mode & stat.S_IWOTH for each in states):
        return "may be written by every user"
    return None


def workspaces_above(directory: Path) -> frozenset[Path]:
    """Every workspace that is, or lies in, a directory or one above it; symlinks resolved.

    Raises:
        OSError: Nobody can tell, because one of them must not be looked into.
    """
    found = set()
    for each in (directory, *directory.parents):
        beneath = each / WORKSPACE_NAME
        if _has_mode(beneath, stat.S_ISDIR):
            found.add(beneath.resolve())
        named = each.name == WORKSPACE_NAME and _has_mode(each, stat.S_ISDIR)
        if named or _keeps_tasks(each):
            found.add(each.resolve())
    return frozenset(found)


def default_workspaces(environment: Mapping[str, str]) -> frozenset[Path]:
    """Where an orchestrator may keep tasks of whatever project; symlinks resolved.

    Args:
        environment: That of the orchestrator, or of a process that it started.

    Returns:
        Those that are there, or may be.
    """
    named = [environment.get(DEFAULT_VARIABLE, "")]
    if home := environment.get("HOME"):
        named.append(os.path.join(home, *_DEFAULT_FOLDERS))
    absolute = (Path(each) for each in named if os.path.isabs(each))
    return frozenset(Path(os.path.realpath(each)) for each in absolute if _may_keep_tasks(each))


def _keeps_tasks(directory: Path) -> bool:
    """Whether a directory is a workspace by what lies in it.

    Raises:
        OSError: It must not be looked into.
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
    """Where the registries of a workspace's tasks lie.

    Tasks in the workspace come in the order of their names; after them those
    that its global registry lists and that lie in another workspace.

    Args:
        workspace: The workspace.
        listed: The tasks of its global registry; empty if that cannot be read.

    Raises:
        OSError: The workspace's directory cannot be read.
    """
    if workspace.only is not None:
        return (TaskPlace(workspace.only),)
    places: dict[Path, TaskPlace] = {}
    for name, linked, mode in _folders_in(workspace.path):
        if name == GLOBAL_FOLDER:
            continue
        # A task that the global registry lists and whose directory is there
        # stays on the screen without its file, as an error.
        if mode is None and name not in listed:
            continue
        registry = workspace.path / name / TASK_REGISTRY
        link = registry.parent if linked else registry if stat.S_ISLNK(mode or 0) else None
        problem = None if link is None else LinkedRegistryError(registry, link).reason
        places[registry] = TaskPlace(registry, problem=problem)
    for task in listed.values():
        elsewhere = _elsewhere(task, workspace)
        if elsewhere is not None and elsewhere not in places:
            places[elsewhere] = TaskPlace(
                elsewhere, workspace.global_registry, _foreign(elsewhere, workspace)
            )
    return tuple(places.values())


def _folders_in(workspace: Path) -> list[tuple[str, bool, int | None]]:
    """Each directory in a workspace by name, whether it is a symlink, and its registry's mode.

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
                (each.name, each.is_symlink()) for each in entries if _is_directory(each)
            )
        # One call, and no path is made, for each directory that is none of a task.
        within = opened.fileno()
        return [
            (name, linked, _mode_of(f"{name}/{TASK_REGISTRY}", within)) for name, linked in folders
        ]
    finally:
        close_read(opened)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # A symlink to itself, for example.
        hand_on(error)
        return False


def _mode_of(path: str, folder: int) -> int | None:
    """What kind of file is at a path in a directory, a symlink too; None if nothing is."""
    try:
        return os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError as error:
        hand_on(error)
        return None


def _elsewhere(task: GlobalTask, workspace: Workspace) -> Path | None:
    """The registry of a task that lies in another workspace, if it is there."""
    if not task.elsewhere or not is_safe_name(task.task_id):
        return None
    base = Path(task.elsewhere)
    if not base.is_absolute():
        return None
    for directory in (base, base / task.task_id, base / WORKSPACE_NAME / task.task_id):
        registry = directory / TASK_REGISTRY
        try:
            if directory.name == task.task_id and registry.is_file():
                resolved = registry.resolve()
                return None if resolved.is_relative_to(workspace.path) else resolved
        except (OSError, ValueError) as error:
            hand_on(error)
            return None
    return None


def _foreign(registry: Path, workspace: Workspace) -> str | None:
    """Why a task in another workspace is not followed, or None if it is."""
    why = _why_not_of_home(registry, workspace) or _why_not_listed(registry, workspace)
    if why is None:
        return None
    following = command_line("muster", names=(str(registry),))
    told = "" if following is None else f": {following}"
    return f"{why}; to follow it, name it{told}"


def _why_not_of_home(registry: Path, workspace: Workspace) -> str | None:
    """Why the place of a task in another workspace is not relied on, or None if it is."""
    trusted: list[int] = []
    with tolerating(OSError):
        trusted.append(status_of(workspace.path).st_uid)
    for each in (registry.parent.parent, registry.parent):
        inside = each == registry.parent
        why = _why_task_foreign(each, trusted) if inside else why_foreign(each, trusted=trusted)
        if why is not None:
            return f"lies in {shown_name(each)}, which {why}"
    return None


def _why_not_listed(registry: Path, workspace: Workspace) -> str | None:
    """Why a global registry's word does not lead to a task in another workspace, or None.

    Whoever may write that global registry, or put another in its place, must be able to
    write the task: otherwise that user could have the task of anybody else worked on.
    """
    names = (".", GLOBAL_FOLDER, f"{GLOBAL_FOLDER}/{GLOBAL_REGISTRY}")
    try:
        with open_anchor(workspace.path) as home, open_folder(registry.parent) as task:
            # Whoever may write a folder above it could replace it.
            targets = [Access.at(task.fileno(), name) for name in ("..", ".", registry.name)]
            targets = [_of_owner(each) if each.mode & stat.S_ISVTX else each for each in targets]
            for name in names:
                listing = Access.at(home.fileno(), name)
                others = [other_writer(listing, target) for target in targets]
                if None not in others:
                    place = workspace.path / name
                    return f"is listed by {shown_name(place)}, which {others[0]} may write"
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        return f"cannot be looked at: {why}"
    return None


def _of_owner(folder: Access) -> Access:
    """The access to a sticky folder, whose owner alone may replace what is not its own."""
    return Access(folder.owner, folder.group, 0o700)


def _why_task_foreign(directory: Path, trusted: Iterable[int]) -> str | None:
    """As `why_foreign`, of a task's directory: in the workspace that its path led to before."""
    try:
        folder = open_folder(directory)
    except RegistryError as error:
        hand_on(error)
        return f"cannot be looked at: {error.reason or error}"
    try:
        return _why_not_of((os.fstat(folder.fileno()),), trusted)
    finally:
        close_read(folder)


def agent_file(agent_id: str, suffix: str) -> str:
    """The name of one of an agent's files, unchecked: ``<agent id>_<suffix>.jsonl``."""
    return f"{agent_id}_{suffix}.jsonl"


def last_reports(task_registry: Path, agent_ids: Iterable[str]) -> dict[str, float]:
    """When lines were last appended to agents' progress files.

    Args:
        task_registry: The task's registry.
        agent_ids: Which agents; those whose id cannot name a file have none.

    Returns:
        Seconds since the epoch, of those that have such a file. A time ahead of the
        clock is replaced by that at which this process first saw it.
    """
    found: dict[str, float] = {}
    try:
        folder = open_folder(task_registry.parent, (PROGRESS_FOLDER,))
    except RegistryError as error:
        hand_on(error)
        return found
    try:
        for agent_id in agent_ids:
            if is_safe_name(agent_id):
                name = agent_file(agent_id, "progress")
                with tolerating(OSError):
                    status = os.stat(name, dir_fd=folder.fileno(), follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[agent_id] = written_at(status)
    finally:
        close_read(folder)
    return found
