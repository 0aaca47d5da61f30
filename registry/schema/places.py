"""Looks at the places where the workspaces for a command line may be."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from registry import database
from registry.dataclass import dataclass
from registry.errors import RegistryError, RegistryNotFoundError, ReplacedWorkspaceError
from registry.schema.layout import (
    DATABASE,
    GLOBAL_FOLDER,
    GLOBAL_REGISTRY,
    TASK_REGISTRY,
    WORKSPACE_NAME,
    Workspace,
)
from registry.schema.trust import why_foreign, why_not_ours, why_unexamined
from registry.schema.workspaces_around import FOLDER, default_paths, may_be_path
from registry.storage.files.anchor import open_resolved
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on
from registry.storage.files.presence import is_kind, may_exist
from registry.storage.files.safe_open import is_safe_name
from registry.text import shown_name, typed_word

ENVIRONMENT_VARIABLE = "MUSTER_WORKSPACES"
"""The environment variable with the workspaces to open by default, separated by colons."""

_LIST = "global_registry.sqlite3"

_SILENT = "the file system does not answer; check its server, or unmount it"

_GONE = "does not exist"

_UNKNOWN = "the workspaces that the orchestrator knows cannot be read"

_SMALL = 4 << 20
_SHORT = 1.0

Result = TypeVar("Result")


class Origin(StrEnum):
    """The reason why muster looks for a workspace at a path."""

    ARGUMENT = "argument"
    """The user named the path."""
    VARIABLE = "variable"
    """The variable `MUSTER_WORKSPACES` has the path."""
    NEAREST = "nearest"
    """The path is in, or above, the current directory."""
    DEFAULT = "default"
    """The orchestrator keeps tasks there by default; see `default_paths`."""
    KNOWN = "known"
    """The orchestrator's list of workspaces has the path."""


class PlaceState(StrEnum):
    """The result of the look at a path."""

    WORKSPACE = "workspace"
    """A workspace that can be used."""
    GONE = "gone"
    """There is no directory."""
    FOREIGN = "foreign"
    """Another user may have created the workspace, and the user did not name it."""
    UNREADABLE = "unreadable"
    """The directory cannot be examined."""
    SILENT = "silent"
    """The file system does not answer."""
    OTHER = "other"
    """The path leads to something that is not a workspace."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path at which muster looked for a workspace.

    Attributes:
        path: The absolute path.
        origin: Why muster looked there.
        state: What muster found.
        why: Why the path is not used, as words that can follow "this directory"; None for a
            workspace.
        workspace: The workspace; None in all other states.
    """

    path: Path
    origin: Origin
    state: PlaceState
    why: str | None = None
    workspace: Workspace | None = None

    @property
    def location(self) -> Path:
        """The path of the workspace, with symlinks resolved; else `path`."""
        return self.path if self.workspace is None else self.workspace.path

    @property
    def skipped(self) -> str | None:
        """The message that the path is skipped; None if no message is needed."""
        if self.state is PlaceState.SILENT:
            return f"skipped {shown_name(self.path)}: {self.why}"
        if self.origin in (Origin.ARGUMENT, Origin.VARIABLE) and self.workspace is None:
            return f"skipped {shown_name(self.path)}: this path {self.why}"
        if self.state not in (PlaceState.FOREIGN, PlaceState.UNREADABLE):
            return None
        typed = typed_word(str(self.path))
        return (
            f"skipped {shown_name(self.path)}: this directory {self.why}; to use this directory "
            "anyway, name it" + ("" if typed is None else f": {ENVIRONMENT_VARIABLE}={typed}")
        )


class Ask(Protocol):
    """Calls functions that may hang because a file system does not answer."""

    def __call__(self, calls: Sequence[Callable[[], Result]], /) -> Sequence[Result | None]:
        """Returns the result of each function; None for a function that does not return in time.

        Raises:
            Exception: A function raised this exception.
        """


def ask_directly(calls: Sequence[Callable[[], Result]]) -> Sequence[Result | None]:
    """Calls the functions one after another, and waits for each; see `Ask`."""
    return [call() for call in calls]


def named_by(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the paths in the environment variable that names workspaces."""
    return tuple(part for part in environment.get(ENVIRONMENT_VARIABLE, "").split(":") if part)


def named_places(
    arguments: Iterable[str],
    environment: Mapping[str, str],
    here: Path,
    ask: Ask = ask_directly,
) -> tuple[Place, ...]:
    """Looks at the paths that the user named; else at those in `MUSTER_WORKSPACES`.

    Raises:
        ReplacedWorkspaceError: A workspace was replaced by a symlink during the call.
    """
    origin, named = Origin.ARGUMENT, tuple(arguments)
    if not named:
        origin, named = Origin.VARIABLE, named_by(environment)
    paths = [(here / os.path.expanduser(text), origin) for text in named]
    return _look_at(paths, _named_place, ask)


def _look_at(
    paths: Sequence[tuple[Path, Origin]], look: Callable[[Path, Origin], Place], ask: Ask
) -> tuple[Place, ...]:
    answers = ask([partial(look, path, origin) for path, origin in paths])
    return tuple(
        Place(path, origin, PlaceState.SILENT, _SILENT) if place is None else place
        for (path, origin), place in zip(paths, answers, strict=True)
    )


def _named_place(path: Path, origin: Origin) -> Place:
    workspace = _named(path)
    if workspace is None:
        why = "is not a workspace and contains no workspace"
        return Place(path, origin, PlaceState.OTHER, why)
    return Place(path, origin, PlaceState.WORKSPACE, None, _pinned(workspace))


def kept_places(
    environment: Mapping[str, str], ask: Ask = ask_directly
) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """Looks at the default workspaces of the orchestrator, and at those that it knows.

    Args:
        environment: The environment variables; see `default_paths`.
        ask: Calls functions that may hang.

    Returns:
        The places, each path once; and messages about the list of known workspaces, if it cannot
        be used.
    """
    origins = dict.fromkeys(default_paths(environment), Origin.DEFAULT)
    (found,) = ask([partial(_trusted_paths, environment)])
    known = found or KnownPaths((), f"{_UNKNOWN}: {_SILENT}", is_whole=False)
    for path in known.paths:
        origins.setdefault(path, Origin.KNOWN)
    places = _look_at(tuple(origins.items()), _kept_place, ask)
    return places, () if known.note is None else (known.note,)


class KnownPaths(NamedTuple):
    """The paths of the workspaces that the orchestrator of a user knows.

    Attributes:
        paths: The paths, the last used one first.
        note: A message if not all of them are known; otherwise None.
        is_whole: Whether these are all paths of the list, or the list does not exist.
    """

    paths: tuple[Path, ...] = ()
    note: str | None = None
    is_whole: bool = True


def known_paths(environment: Mapping[str, str], *, of_process: bool = False) -> KnownPaths:
    """Returns the paths of the workspaces that the orchestrator knows; does not examine them.

    The list may belong to any user: an entry in it can only protect a session. `kept_places`
    returns the workspaces that muster may use.

    Args:
        environment: The environment variables; `HOME` has the orchestrator's list.
        of_process: Whether the environment is that of a process, which may name any file. Then
            the reading of the list has small limits.
    """
    path = _list_in(environment)
    if path is None or not may_exist(path):
        return KnownPaths()
    try:
        small = database.Limits(_SMALL, seconds=_SHORT) if of_process else database.USUAL
        known = database.read_known_workspaces(path, small)
    except RegistryNotFoundError as error:
        hand_on(error)
        return KnownPaths()
    except RegistryError as error:
        hand_on(error)
        problem = f"{_UNKNOWN}: {shown_name(path)} {error.reason or error}"
        return KnownPaths((), problem, is_whole=False)
    note = None
    if not known.is_whole:
        limit = database.KNOWN_AT_MOST
        note = f"only the last {limit} workspaces that the orchestrator used are examined"
    paths = tuple(Path(name) for name in known.paths if may_be_path(name))
    return KnownPaths(paths, note, known.is_whole)


def _list_in(environment: Mapping[str, str]) -> Path | None:
    """Returns the path of the orchestrator's list; None if `HOME` has no absolute path."""
    home = environment.get("HOME", "")
    if not os.path.isabs(home):
        return None
    # The user named this directory, by HOME. So a symlink to it is followed.
    return Path(os.path.realpath(os.path.join(home, FOLDER))) / _LIST


def _trusted_paths(environment: Mapping[str, str]) -> KnownPaths:
    """Returns the result of `known_paths` for a list of this user or root."""
    path = _list_in(environment)
    if path is not None and may_exist(path) and (why := why_foreign(path.parent)) is not None:
        problem = f"{_UNKNOWN}: {shown_name(path.parent)} {why}"
        return KnownPaths((), problem, is_whole=False)
    return known_paths(environment)


def _kept_place(path: Path, origin: Origin) -> Place:
    """Looks for a workspace that the user did not name, at exactly this path."""
    is_directory = is_kind(path, stat.S_ISDIR)
    if is_directory is False:
        why = "is not a directory" if may_exist(path) else _GONE
        return Place(path, origin, PlaceState.GONE, why)
    if is_directory is None:
        return Place(path, origin, PlaceState.UNREADABLE, "cannot be examined")
    # The orchestrator creates its default workspace before the first task.
    if origin is Origin.KNOWN and not _looks_like_workspace(path):
        return Place(path, origin, PlaceState.OTHER, "is not a workspace")
    try:
        return _unnamed_place(path, origin)
    except ReplacedWorkspaceError as error:
        hand_on(error)
        return Place(path, origin, PlaceState.UNREADABLE, why_unexamined(error))


def _unnamed_place(path: Path, origin: Origin) -> Place:
    """Examines a workspace that the user did not name: another user may have created it.

    Raises:
        ReplacedWorkspaceError: The workspace was replaced by a symlink during the call.
    """
    workspace = _pinned(Workspace(Path(os.path.realpath(path))))
    try:
        why = why_not_ours(path) or why_not_ours(workspace.path)
        folder = workspace.path / GLOBAL_FOLDER
        if why is None and path.name != WORKSPACE_NAME and may_exist(folder):
            # The content makes the directory a workspace. Another user may have created it.
            why = why_not_ours(folder)
            why = why and f"is a workspace only because of its {GLOBAL_FOLDER}/, which {why}"
    except OSError as error:
        hand_on(error)
        return Place(path, origin, PlaceState.UNREADABLE, why_unexamined(error))
    if why is not None:
        return Place(path, origin, PlaceState.FOREIGN, why)
    return Place(path, origin, PlaceState.WORKSPACE, None, workspace)


def nearest_places(here: Path, ask: Ask = ask_directly) -> tuple[Place, ...]:
    """Looks for a workspace in a directory and the directories above it, up to the first one.

    The last of the places has a workspace, if there is one. If a file system does not answer, the
    only place is `here`.

    Raises:
        ReplacedWorkspaceError: A workspace was replaced by a symlink during the call.
    """
    (places,) = ask([partial(_nearest, here)])
    if places is None:
        return (Place(here, Origin.NEAREST, PlaceState.SILENT, _SILENT),)
    return places


def _nearest(here: Path) -> tuple[Place, ...]:
    places: list[Place] = []
    for directory in (here, *here.parents):
        is_one = _looks_like_workspace(directory)
        candidate = directory if is_one else directory / WORKSPACE_NAME
        exists = is_one or is_kind(candidate, stat.S_ISDIR)
        if exists is False:
            place = Place(candidate, Origin.NEAREST, PlaceState.GONE, _GONE)
        elif exists is None:
            place = Place(candidate, Origin.NEAREST, PlaceState.UNREADABLE, "cannot be examined")
        else:
            place = _unnamed_place(candidate, Origin.NEAREST)
        places.append(place)
        if place.workspace is not None:
            break
    return tuple(places)


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
        if has_inside is None and _looks_like_workspace(resolved.parent):
            return Workspace(resolved.parent, only=resolved / TASK_REGISTRY)
        if has_inside is None:
            # The directory cannot be searched, so it is treated as the directory of a project.
            return Workspace(inside)
        if _looks_like_workspace(resolved):
            return Workspace(resolved)
        if is_kind(resolved / TASK_REGISTRY, stat.S_ISREG) or _is_in_database(resolved):
            return Workspace(resolved.parent, only=resolved / TASK_REGISTRY)
        if _may_have_tasks(resolved):
            return Workspace(resolved)
        return _only_workspace_in(resolved)
    return None


def _is_in_database(directory: Path) -> bool:
    """Returns whether the database of the directory above lists a task of this name."""
    path = directory.parent / GLOBAL_FOLDER / DATABASE
    if not may_exist(path):
        return False
    try:
        return database.lists_task(path, directory.name)
    except RegistryError as error:
        hand_on(error)
        # The directory may be a task's. The task then shows the error of the database.
        return is_safe_name(directory.name) and directory.name != GLOBAL_FOLDER


def _only_workspace_in(directory: Path) -> Workspace | None:
    """Returns the only workspace in a directory; None if there is none, or more than one.

    The workspace may have any name: it has a database or a global registry. The user did not name
    the workspace itself, so another user must not have created it.
    """
    with os.scandir(directory) as entries:
        paths = [directory / entry.name for entry in entries]
    found = [path for path in paths if not path.is_symlink() and _looks_like_workspace(path)]
    if len(found) != 1:
        return None
    return _unnamed_place(found[0], Origin.ARGUMENT).workspace


def _may_have_tasks(directory: Path) -> bool:
    """Returns whether a directory has tasks; True also if the directory cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        hand_on(error)
        return True
    return any(is_kind(directory / name / TASK_REGISTRY, stat.S_ISREG) for name in names)
