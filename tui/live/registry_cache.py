"""All registries of some workspaces, read only when they changed, the last good state kept."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import BusyRegistryError, RegistryError
from registry.schema import GlobalRecord, GlobalTask, TaskRecord, UnreadDatabase, Workspace
from registry.snapshots import BUSY_TIMEOUT, Snapshot
from registry.sources import Source, TaskSource, WorkspaceSource, workspace_source
from registry.storage import MAX_BYTES
from tui.model.roll import TaskState
from tui.progress import ProgressCallback, untold


@dataclass(slots=True)
class Bounds:
    """How much is read; what is left out is not known.

    Attributes:
        largest: Bytes of one registry.
        left: Bytes of all registries together that may still be kept.
        until: When no more is read; seconds of the monotonic clock.
    """

    largest: int = MAX_BYTES
    left: float = math.inf
    until: float = math.inf

    @property
    def are_reached(self) -> bool:
        """Whether nothing more may be read."""
        return self.left <= 0 or time.monotonic() >= self.until

    def count(self, snapshot: Snapshot[TaskRecord] | Snapshot[GlobalRecord] | None) -> None:
        """Counts what is kept of a registry."""
        self.left -= 0 if snapshot is None else snapshot.signature.size


@dataclass(slots=True)
class _File:
    """One registry: its last good state, and why it cannot be read now.

    Attributes:
        source: Where it is read.
        busy_since: When a writer was first found at it, in monotonic seconds, if that
            is why it could not be read the last time.
        known_until: When it was last found to be as it was read.
        hot_journal: What is to be said of a commit that nobody has finished yet.
    """

    source: Source
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
        if self.snapshot is None or now - self.busy_since > BUSY_TIMEOUT:
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

    source: WorkspaceSource
    tasks: tuple[TaskSource, ...] = ()
    error: str | None = None
    listed: bool = False
    database: UnreadDatabase | None = None


def _database_of(branch: _Branch, task: TaskSource) -> UnreadDatabase | None:
    """The database of the workspace that a task lies in."""
    return task.unread_database() if task.lies_elsewhere else branch.database


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
        self._branches = [_Branch(workspace_source(each)) for each in workspaces]
        self._files: dict[Path, _File] = {}
        self._states: dict[Path, TaskState] = {}
        self._scanned_at = 0.0

    def rescan(
        self,
        progress: ProgressCallback = untold,
        at_most: int | None = None,
        bounds: Bounds | None = None,
    ) -> bool:
        """Looks for new and vanished registries, and reads what changed.

        Args:
            progress: Told how far it is.
            at_most: So many tasks of a workspace are looked at, and the others taken for
                not there; None for all.
            bounds: After how much no more is read, if there is a limit.

        Returns:
            Whether that were all.
        """
        bounds = bounds or Bounds()
        scanned_at = time.time()
        seen: set[Path] = set()
        whole = True
        for branch in self._branches:
            branch.database = branch.source.unread_database()
            self._read_global(branch, bounds)
            try:
                tasks = branch.source.tasks(self._listed(branch))
                branch.listed = True
            except OSError as error:
                branch.listed = False
                branch.error = f"cannot list it: {error.strerror}"
                tasks = branch.tasks if not isinstance(error, FileNotFoundError) else ()
            if at_most is not None and len(tasks) > at_most:
                tasks, branch.listed, whole = tasks[:at_most], False, False
            branch.tasks = tuple(
                each
                for each in tasks
                if each.path not in seen and not self._is_anothers(each, branch)
            )
            for number, task in enumerate(branch.tasks):
                if bounds.are_reached:
                    branch.tasks, branch.listed, whole = branch.tasks[:number], False, False
                    break
                progress("Reading registries", number, len(branch.tasks))
                self._read_task(branch, task, bounds)
            seen.update(task.path for task in branch.tasks)
        progress("Reading registries", 0, 0)
        globals_ = {branch.source.path for branch in self._branches}
        for gone in self._files.keys() - seen - globals_:
            del self._files[gone]
            self._states.pop(gone, None)
        self._scanned_at = scanned_at
        return whole

    def _is_anothers(self, task: TaskSource, branch: _Branch) -> bool:
        """Whether another of the workspaces holds a task that a global registry only lists."""
        return task.lies_elsewhere and any(
            each is not branch
            and each.source.directory == task.directory.parent
            and not each.source.is_single_task
            for each in self._branches
        )

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
            for task in branch.tasks:
                if task.path in paths:
                    self._read_task(branch, task, Bounds())

    def knows(self, paths: Iterable[Path]) -> bool:
        """Whether all of the paths are registries of tasks that are known, and still there."""
        return all(path in self._states and path.exists() for path in paths)

    def _listed(self, branch: _Branch) -> Mapping[str, GlobalTask]:
        snapshot = self._file(branch.source).snapshot
        record = snapshot.record if snapshot else None
        return record.tasks if isinstance(record, GlobalRecord) else {}

    def _file(self, source: Source) -> _File:
        file = self._files.setdefault(source.path, _File(source))
        file.source = source
        return file

    def _read_global(self, branch: _Branch, bounds: Bounds) -> None:
        file = self._file(branch.source)
        self._read_global_file(branch, file, bounds)
        bounds.count(file.snapshot)

    def _read_global_file(self, branch: _Branch, file: _File, bounds: Bounds) -> None:
        branch.error = None
        self._look_for_journal(file)
        if not self._is_stale(file):
            file.known_until = time.time()
            return
        try:
            file.snapshot = branch.source.listed(bounds.largest)
            file.read()
        except FileNotFoundError:
            file.snapshot = None
            file.read()
        except RegistryError as error:
            file.failed(error, f"{branch.source.path.name} {_reason(error)}")
        branch.error = file.error

    def _is_stale(self, file: _File) -> bool:
        return (
            file.snapshot is None
            or file.error is not None
            or file.busy_since is not None
            or file.source.stamp() != file.snapshot.signature
        )

    def _read_task(self, branch: _Branch, task: TaskSource, bounds: Bounds) -> None:
        file = self._file(task)
        if task.problem is not None:
            file.error = task.problem
        else:
            self._look_for_journal(file)
        if task.problem is None and not self._is_stale(file):
            file.known_until = time.time()
        elif task.problem is None:
            try:
                file.snapshot = task.read(bounds.largest)
                file.read()
            except RegistryError as error:
                file.failed(error, _reason(error))
        bounds.count(file.snapshot)
        record = file.snapshot.record if file.snapshot else None
        listed = self._listed(branch).get(task.directory.name)
        state = TaskState(
            workspace=branch.source.directory,
            source=task,
            record=record if isinstance(record, TaskRecord) else None,
            read_at=file.read_at,
            error=file.error,
            listed_description=listed.description if listed else "",
            hot_journal=file.hot_journal,
            database=_database_of(branch, task),
            owner=file.snapshot.signature.owner if file.snapshot else None,
        )
        # An equal state keeps its identity: nothing is worked out anew for it.
        if self._states.get(task.path) != state:
            self._states[task.path] = state

    def states(self) -> tuple[TaskState, ...]:
        """Every task, in the order of the workspaces."""
        return tuple(self._states[task.path] for branch in self._branches for task in branch.tasks)

    def branches(self) -> Iterable[Branch]:
        """Every workspace with its tasks and what is wrong with it."""
        for branch in self._branches:
            states = tuple(self._states[task.path] for task in branch.tasks)
            hot_journal = self._file(branch.source).hot_journal
            path, error = branch.source.directory, branch.error
            yield Branch(path, states, error, hot_journal, branch.database)

    @property
    def busy(self) -> bool:
        """Whether a writer kept any of them from being read the last time."""
        return any(file.busy_since is not None for file in self._files.values())

    def _look_for_journal(self, file: _File) -> None:
        try:
            hot = file.source.is_cut_off()
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
        for file in self._files.values():
            if file.hot_journal is None:
                continue
            said = "a commit was cut off here; it is finished, but its journal cannot be removed"
            try:
                file.source.recover(_RECOVERY_TIMEOUT)
                if not file.source.is_cut_off():
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
            not branch.source.is_single_task
            and branch.listed
            and branch.database is None
            # One that was never read may list tasks that lie elsewhere.
            and not self._is_unread(branch.source)
            for branch in self._branches
        )

    def databases(self) -> tuple[UnreadDatabase, ...]:
        """What whole workspaces have agents in that are in no registry."""
        found = (branch.database for branch in self._branches)
        return tuple(each for each in found if each is not None)

    def _is_unread(self, source: Source) -> bool:
        file = self._file(source)
        return file.snapshot is None and file.error is not None

    def listed_sessions(self) -> tuple[frozenset[str] | None, ...]:
        """What tmux calls the sessions of all agents in each of the global registries."""
        snapshots = (self._file(branch.source).snapshot for branch in self._branches)
        return tuple(
            snapshot.record.tmux_sessions
            for snapshot in snapshots
            if snapshot is not None and isinstance(snapshot.record, GlobalRecord)
        )

    def directories(self) -> tuple[set[Path], set[Path]]:
        """What to watch, and those of it where any entry counts."""
        roots = {branch.source.directory for branch in self._branches}
        watched = set(roots)
        for branch in self._branches:
            watched |= branch.source.directories()
            watched.update(task.directory for task in branch.tasks)
        return watched, roots

    def watched_names(self) -> tuple[str, ...]:
        """The names of the files there whose change counts."""
        names = (name for branch in self._branches for name in branch.source.watched_names)
        return tuple(dict.fromkeys(names))
