"""All registries of some workspaces, read only when they changed, the last good state kept."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry import snapshots as reading
from registry.errors import BusyRegistryError, RegistryError
from registry.schema.layout import (
    TaskPlace,
    UnreadDatabase,
    Workspace,
    database_beside,
    find_database,
    task_places,
)
from registry.schema.records import GlobalRecord, GlobalTask, TaskRecord
from registry.snapshots import Snapshot
from registry.storage import recovery
from tui.model.roll import TaskState
from tui.progress import ProgressCallback, untold


@dataclass(slots=True)
class _File:
    """One registry file: its last good state, and why it cannot be read now.

    Attributes:
        busy_since: When a writer was first found at it, in monotonic seconds, if that
            is why it could not be read the last time.
        known_until: When it was last found to be as it was read.
        hot_journal: What is to be said of a commit that nobody has finished yet.
    """

    snapshot: Snapshot[TaskRecord] | Snapshot[GlobalRecord] | None = None
    read_at: float = 0.0
    known_until: float = 0.0
    error: str | None = None
    busy_since: float | None = None
    hot_journal: str | None = None

    def read(self) -> None:
        """Notes that it could be read."""
        self.read_at = self.known_until = time.time()
        self.error = self.busy_since = None

    def failed(self, error: RegistryError, said: str) -> None:
        """Notes that it could not; a writer at work is no error for a while."""
        now = time.monotonic()
        if not isinstance(error, BusyRegistryError):
            self.error, self.busy_since = said, None
            return
        if self.busy_since is None:
            self.busy_since = now
        if self.snapshot is None or now - self.busy_since > reading.BUSY_TIMEOUT:
            self.error = said


CUT_OFF = "a commit was cut off here; the monitor, or the next writer, finishes or drops it"

_RECOVERY_TIMEOUT = 0.5


def _reason(error: RegistryError) -> str:
    """What is wrong, without the path that is shown beside it: there is little room."""
    return error.reason or str(error)


@dataclass(slots=True)
class _Branch:
    """One workspace: where its tasks lie, and what is wrong with it as a whole.

    Attributes:
        listed: Whether its directory could be listed the last time.
        database: What has agents of it that are in no registry, or None.
    """

    workspace: Workspace
    places: tuple[TaskPlace, ...] = ()
    error: str | None = None
    listed: bool = False
    database: UnreadDatabase | None = None


def _database_of(branch: _Branch, place: TaskPlace) -> UnreadDatabase | None:
    """The database of the workspace that a task lies in."""
    if place.listed_by is None:
        return branch.database
    return database_beside(place.registry)


@dataclass(frozen=True, slots=True)
class Branch:
    """One workspace as it is now.

    Attributes:
        error: Why its directory or its global registry cannot be read, or None.
        hot_journal: As `TaskState.hot_journal`, of its global registry.
        database: What has agents of it that are in no registry, or None.
    """

    path: Path
    states: tuple[TaskState, ...]
    error: str | None
    hot_journal: str | None
    database: UnreadDatabase | None


class Registries:
    """All registries of some workspaces, with the last good state of each.

    Reads only what changed; not for several threads at once.
    """

    def __init__(self, workspaces: Sequence[Workspace]) -> None:
        self._branches = [_Branch(workspace) for workspace in workspaces]
        self._files: dict[Path, _File] = {}
        self._states: dict[Path, TaskState] = {}
        self._scanned_at = 0.0

    def rescan(self, progress: ProgressCallback = untold, at_most: int | None = None) -> bool:
        """Looks for new and vanished registries, and reads what changed.

        Args:
            progress: Told how far it is.
            at_most: So many tasks of a workspace are looked at, and the others taken for
                not there; None for all.

        Returns:
            Whether that were all.
        """
        scanned_at = time.time()
        seen: set[Path] = set()
        whole = True
        for branch in self._branches:
            workspace = branch.workspace
            branch.database = find_database(workspace.path)
            self._read_global(branch)
            try:
                places = task_places(workspace, self._listed(workspace))
                branch.listed = True
            except OSError as error:
                branch.listed = False
                branch.error = f"cannot list it: {error.strerror}"
                places = branch.places if not isinstance(error, FileNotFoundError) else ()
            if at_most is not None and len(places) > at_most:
                places, branch.listed, whole = places[:at_most], False, False
            branch.places = tuple(p for p in places if p.registry not in seen)
            seen.update(place.registry for place in branch.places)
            for number, place in enumerate(branch.places):
                progress("Reading registries", number, len(branch.places))
                self._read_task(branch, place)
        progress("Reading registries", 0, 0)
        globals_ = {branch.workspace.global_registry for branch in self._branches}
        for gone in self._files.keys() - seen - globals_:
            del self._files[gone]
            self._states.pop(gone, None)
        self._scanned_at = scanned_at
        return whole

    def known_until(self) -> float:
        """Until when everything that they say is known; seconds since the epoch.

        One that cannot be read now may have been written to since it was.
        """
        stale = (
            file.known_until
            for file in self._files.values()
            if file.error is not None or file.busy_since is not None
        )
        return min(stale, default=self._scanned_at)

    def reread(self, paths: Collection[Path]) -> None:
        """Reads those of the registries that changed."""
        for branch in self._branches:
            for place in branch.places:
                if place.registry in paths:
                    self._read_task(branch, place)

    def knows(self, paths: Iterable[Path]) -> bool:
        """Whether all of the paths are registries of tasks that are known, and still there."""
        return all(path in self._states and path.exists() for path in paths)

    def _listed(self, workspace: Workspace) -> Mapping[str, GlobalTask]:
        snapshot = self._file(workspace.global_registry).snapshot
        record = snapshot.record if snapshot else None
        return record.tasks if isinstance(record, GlobalRecord) else {}

    def _file(self, path: Path) -> _File:
        return self._files.setdefault(path, _File())

    def _read_global(self, branch: _Branch) -> None:
        path = branch.workspace.global_registry
        file = self._file(path)
        branch.error = None
        self._look_for_journal(file, path)
        if not self._is_stale(file, path):
            file.known_until = time.time()
            return
        try:
            file.snapshot = reading.read_global(path)
            file.read()
        except FileNotFoundError:
            file.snapshot = None
            file.read()
        except RegistryError as error:
            file.failed(error, f"{path.name} {_reason(error)}")
        branch.error = file.error

    def _is_stale(self, file: _File, path: Path) -> bool:
        return (
            file.snapshot is None
            or file.error is not None
            or file.busy_since is not None
            or reading.changed_since(path, file.snapshot.signature)
        )

    def _read_task(self, branch: _Branch, place: TaskPlace) -> None:
        file = self._file(place.registry)
        if place.problem is not None:
            file.error = place.problem
        else:
            self._look_for_journal(file, place.registry)
        if place.problem is None and not self._is_stale(file, place.registry):
            file.known_until = time.time()
        elif place.problem is None:
            try:
                file.snapshot = reading.read_task(place.registry)
                file.read()
            except RegistryError as error:
                file.failed(error, _reason(error))
        record = file.snapshot.record if file.snapshot else None
        listed = self._listed(branch.workspace).get(place.directory.name)
        state = TaskState(
            workspace=branch.workspace.path,
            registry=place.registry,
            global_registry=place.global_registry,
            record=record if isinstance(record, TaskRecord) else None,
            read_at=file.read_at,
            error=file.error,
            listed_description=listed.description if listed else "",
            hot_journal=file.hot_journal,
            database=_database_of(branch, place),
            owner=file.snapshot.signature.owner if file.snapshot else None,
        )
        # An equal state keeps its identity: nothing is worked out anew for it.
        if self._states.get(place.registry) != state:
            self._states[place.registry] = state

    def states(self) -> tuple[TaskState, ...]:
        """Every task, in the order of the workspaces."""
        return tuple(
            self._states[place.registry] for branch in self._branches for place in branch.places
        )

    def branches(self) -> Iterable[Branch]:
        """Every workspace with its tasks and what is wrong with it."""
        for branch in self._branches:
            states = tuple(self._states[place.registry] for place in branch.places)
            hot_journal = self._file(branch.workspace.global_registry).hot_journal
            path, error = branch.workspace.path, branch.error
            yield Branch(path, states, error, hot_journal, branch.database)

    @property
    def busy(self) -> bool:
        """Whether a writer kept any of them from being read the last time."""
        return any(file.busy_since is not None for file in self._files.values())

    def _look_for_journal(self, file: _File, path: Path) -> None:
        try:
            hot = recovery.is_hot(path)
        except RegistryError:
            # Reading the registry says why it cannot be had.
            hot = False
        file.hot_journal = (file.hot_journal or CUT_OFF) if hot else None

    def recover(self) -> bool:
        """Finishes or drops commits that were cut off; says where it cannot.

        Returns:
            Whether there was one, and something is to be read anew.
        """
        found = False
        for path, file in self._files.items():
            if file.hot_journal is None:
                continue
            said = "a commit was cut off here; it is finished, but its journal cannot be removed"
            try:
                recovery.recover_registry(path, _RECOVERY_TIMEOUT)
                if not recovery.is_hot(path):
                    found = True
                    continue
            except RegistryError as error:
                said = f"a commit was cut off here and cannot be finished: {error}"
            found |= file.hot_journal != said
            file.hot_journal = said
        return found

    def sees_all(self) -> bool:
        """Whether whole workspaces are seen, and not single tasks or parts of them."""
        return all(
            branch.workspace.only is None
            and branch.listed
            and branch.database is None
            # One that was never read may list tasks that lie elsewhere.
            and not self._is_unread(branch.workspace.global_registry)
            for branch in self._branches
        )

    def databases(self) -> tuple[UnreadDatabase, ...]:
        """What whole workspaces have agents in that are in no registry."""
        found = (branch.database for branch in self._branches)
        return tuple(each for each in found if each is not None)

    def _is_unread(self, path: Path) -> bool:
        file = self._file(path)
        return file.snapshot is None and file.error is not None

    def listed_sessions(self) -> tuple[frozenset[str] | None, ...]:
        """What tmux calls the sessions of all agents in each of the global registries."""
        paths = (branch.workspace.global_registry for branch in self._branches)
        snapshots = (self._file(path).snapshot for path in paths)
        return tuple(
            snapshot.record.tmux_sessions
            for snapshot in snapshots
            if snapshot is not None and isinstance(snapshot.record, GlobalRecord)
        )

    def directories(self) -> tuple[set[Path], set[Path]]:
        """What to watch, and those of it where any entry counts."""
        roots = {branch.workspace.path for branch in self._branches}
        watched = set(roots)
        for branch in self._branches:
            watched.add(branch.workspace.global_registry.parent)
            watched.update(place.directory for place in branch.places)
        return watched, roots
