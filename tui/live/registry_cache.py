"""A cache of the registries of workspaces; reads a registry again only if the file changed."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass, replace
from registry.errors import BusyRegistryError, RegistryError
from registry.schema import (
    GlobalRecord,
    GlobalTask,
    Instant,
    TaskRecord,
    UnreadDatabase,
    Workspace,
)
from registry.snapshots import BUSY_TIMEOUT, Snapshot
from registry.sources import Dialect, Source, TaskSource, WorkspaceSource, workspace_source
from registry.storage import MAX_BYTES, may_exist
from tui.model.roll import TaskState
from tui.model.spellings import Spellings
from tui.progress import ProgressCallback, no_progress

NEVER = Instant(0.0, 0.0)
"""A moment before any reading; stands for "not known"."""


@dataclass(slots=True)
class Bounds:
    """The limits of one reading of registries.

    Attributes:
        largest: The largest size of one registry, in bytes.
        left: The number of bytes that further registries may have together.
        until: When the reading must stop, in seconds of the monotonic clock.
    """

    largest: int = MAX_BYTES
    left: float = math.inf
    until: float = math.inf

    @property
    def are_limits(self) -> bool:
        """Whether the time of the reading is limited."""
        return self.until < math.inf

    @property
    def are_reached(self) -> bool:
        """Whether no further registry may be read."""
        return self.left <= 0 or time.monotonic() >= self.until

    def count(self, snapshot: Snapshot[TaskRecord] | Snapshot[GlobalRecord] | None) -> None:
        """Subtracts the size of a registry from `left`."""
        self.left -= 0 if snapshot is None else snapshot.signature.size


@dataclass(slots=True)
class _File:
    """One registry: its last valid content, and the current error.

    Attributes:
        source: The access to the file.
        snapshot: The last valid content, or None.
        read_at: When the content was read, seconds since the epoch.
        known_until: When the content was last known to be current.
        error: Why the file cannot be read now, or None.
        busy_since: Since when a writer has prevented all readings, in monotonic seconds; None if
            no writer prevented the last reading.
        hot_journal: A message about an interrupted commit that no process has recovered yet,
            or None.
        recovered_at: When muster last tried to recover an interrupted commit, in monotonic
            seconds.
    """

    source: Source
    snapshot: Snapshot[TaskRecord] | Snapshot[GlobalRecord] | None = None
    read_at: float = 0.0
    known_until: Instant = NEVER
    error: str | None = None
    busy_since: float | None = None
    hot_journal: str | None = None
    recovered_at: float = 0.0

    def read(self, known_until: Instant) -> None:
        """Records a successful reading."""
        self.read_at, self.known_until = time.time(), known_until
        self.error = self.busy_since = None

    def failed(self, error: Exception, message: str) -> None:
        """Records a failed reading.

        If a writer prevented the reading, this is an error only after `BUSY_TIMEOUT`, or if the
        file was never read.
        """
        now = time.monotonic()
        if not isinstance(error, BusyRegistryError):
            self.error, self.busy_since = message, None
            return
        if self.busy_since is None:
            self.busy_since = now
        if self.snapshot is None or now - self.busy_since > BUSY_TIMEOUT:
            self.error = message


CUT_OFF = (
    "a commit was interrupted; the monitor or the next writer completes the commit, or rolls "
    "the commit back"
)

NO_LOCKS = (
    "its file system refuses locks: muster reads the registry without a lock, and never writes it"
)

_RECOVERY_TIMEOUT = 0.5


def _reason(error: RegistryError | OSError) -> str:
    """Returns the text of an error without the path; the screen shows the path separately."""
    if isinstance(error, RegistryError):
        return error.reason or str(error)
    return error.strerror or str(error)


def _named_reason(error: RegistryError | OSError, shown: Path) -> str:
    """Returns the text of an error, with the name of its file unless that is the shown one."""
    path = getattr(error, "path", None)
    if isinstance(path, Path) and path != shown:
        return f"{path.name}: {_reason(error)}"
    return _reason(error)


def _with_warning(snapshot: Snapshot[TaskRecord]) -> Snapshot[TaskRecord]:
    """Adds a warning to a task if the file system of its registry refuses locks."""
    if snapshot.has_locks:
        return snapshot
    record = replace(snapshot.record, warnings=(NO_LOCKS, *snapshot.record.warnings))
    return replace(snapshot, record=record)


@dataclass(slots=True)
class _Branch:
    """One workspace with the access to its tasks.

    Attributes:
        source: The access to the workspace.
        tasks: The access to each task of the workspace.
        error: Why the workspace's directory or global registry cannot be read, or None.
        listed: Whether the last scan found all tasks of the workspace.
        database: A database with agents that no registry lists, or None.
        in_database: The tasks of the workspace's database at the last look; see `WorkspaceSource`.
    """

    source: WorkspaceSource
    tasks: tuple[TaskSource, ...] = ()
    error: str | None = None
    listed: bool = False
    database: UnreadDatabase | None = None
    in_database: Mapping[Path, object] | None = None


def _database_of(branch: _Branch, task: TaskSource) -> UnreadDatabase | None:
    """Returns the unread database of the workspace that contains a task, or None."""
    return task.unread_database() if task.lies_elsewhere else branch.database


@dataclass(frozen=True, slots=True)
class Branch:
    """One workspace with the content of its tasks.

    Attributes:
        path: The path of the workspace.
        states: The content of the workspace's tasks.
        error: Why the workspace's directory or global registry cannot be read, or None.
        hot_journal: A message about an interrupted commit of the global registry, or None.
        database: A database with agents that are in no registry, or None.
    """

    path: Path
    states: tuple[TaskState, ...]
    error: str | None
    hot_journal: str | None
    database: UnreadDatabase | None


class Registries:
    """All registries of the given workspaces, with the last valid content of each registry.

    Reads only changed files. Not thread-safe.

    Args:
        workspaces: The workspaces.
        among: All workspaces that are shown; None if these are `workspaces`. A task in the
            directory of another shown workspace is left to that workspace.
    """

    def __init__(
        self, workspaces: Sequence[Workspace], among: Sequence[Workspace] | None = None
    ) -> None:
        self._branches = [_Branch(workspace_source(workspace)) for workspace in workspaces]
        self._among = workspaces if among is None else among
        self._files: dict[Path, _File] = {}
        self._states: dict[Path, TaskState] = {}
        self._places: dict[Path, tuple[_Branch, TaskSource]] = {}
        self._scanned_at = NEVER
        self._looked_at = NEVER

    def rescan(
        self,
        progress: ProgressCallback = no_progress,
        at_most: int | None = None,
        bounds: Bounds | None = None,
    ) -> bool:
        """Finds new and removed registries, and reads changed ones.

        Args:
            progress: Called with the progress.
            at_most: The largest number of tasks that are read of one workspace; None for no limit.
            bounds: The limits of this reading, or None.

        Returns:
            Whether all tasks were read.
        """
        bounds = bounds or Bounds()
        scanned_at = self._looked_at = Instant.now()
        seen: set[Path] = set()
        whole = True
        for branch in self._branches:
            if bounds.are_limits:
                branch.source.limit_database(int(bounds.left), bounds.until)
            with branch.source.one_look():
                whole &= self._scan(branch, seen, progress, at_most, bounds)
            seen.update(task.path for task in branch.tasks)
        progress("Reading registries", 0, 0)
        globals_ = {branch.source.path for branch in self._branches}
        for gone in self._files.keys() - seen - globals_:
            del self._files[gone]
            self._states.pop(gone, None)
        self._places = {
            task.path: (branch, task) for branch in self._branches for task in branch.tasks
        }
        self._scanned_at = scanned_at
        return whole

    def _scan(
        self,
        branch: _Branch,
        seen: Collection[Path],
        progress: ProgressCallback,
        at_most: int | None,
        bounds: Bounds,
    ) -> bool:
        """Scans one workspace; see `rescan`.

        Args:
            branch: The workspace.
            seen: The tasks of the workspaces before this one.
            progress: See `rescan`.
            at_most: See `rescan`.
            bounds: See `rescan`.
        """
        whole = True
        branch.database = branch.source.unread_database()
        self._read_global(branch, bounds)
        try:
            listed = self._listed(branch)
            branch.listed = not bounds.are_limits or _are_all_in(branch, listed)
            # Following the path of another user's task may take any time.
            tasks = branch.source.tasks({} if bounds.are_limits else listed)
            branch.in_database = branch.source.in_database()
            whole &= branch.listed
        except OSError as error:
            branch.listed = False
            branch.error = f"cannot list the directory: {_reason(error)}"
            branch.in_database = None
            tasks = branch.tasks if not isinstance(error, FileNotFoundError) else ()
        if at_most is not None and len(tasks) > at_most:
            tasks, branch.listed, whole = tasks[:at_most], False, False
        branch.tasks = tuple(
            task
            for task in tasks
            if task.path not in seen and not self._is_in_other_workspace(task, branch)
        )
        for number, task in enumerate(branch.tasks):
            if bounds.are_reached:
                branch.tasks, branch.listed, whole = branch.tasks[:number], False, False
                break
            progress("Reading registries", number, len(branch.tasks))
            self._read_task(branch, task, bounds)
        return whole

    def _is_in_other_workspace(self, task: TaskSource, branch: _Branch) -> bool:
        """Returns whether a task that a workspace lists is in another shown workspace."""
        return task.lies_elsewhere and any(
            other.path != branch.source.directory
            and other.path == task.directory.parent
            and other.only is None
            for other in self._among
        )

    def known_until(self) -> Instant:
        """Returns the last moment at which all contents were known to be current.

        If a registry cannot be read now, its content is known only until the last successful
        reading.
        """
        stale = (
            file.known_until
            for file in self._files.values()
            if file.error is not None or file.busy_since is not None
        )
        return min(stale, default=self._scanned_at)

    def reread(self, paths: Collection[Path]) -> bool:
        """Reads the registries and databases at the given paths, if they changed.

        Returns:
            False if a scan is needed, because more than the content of known tasks has changed.
        """
        self._looked_at = Instant.now()
        for path in paths:
            if (place := self._places.get(path)) is not None:
                self._read_task(*place, Bounds())
        return all(
            self._reread_database(branch)
            for branch in self._branches
            if not branch.source.database_files.isdisjoint(paths)
        )

    def _reread_database(self, branch: _Branch) -> bool:
        """Reads the changed tasks of a workspace's database; returns the result of `reread`."""
        with branch.source.one_look():
            before, now = branch.in_database, branch.source.in_database()
            if before is None or now is None or before.keys() != now.keys():
                return False
            listed = self._listed(branch)
            self._read_global(branch, Bounds())
            if self._listed(branch) != listed:
                return False
            for path, stamp in now.items():
                place = self._places.get(path)
                if place is not None and (stamp != before[path] or self._is_uncertain(path)):
                    self._read_task(*place, Bounds())
            branch.in_database = now
        return True

    def _known_now(self, source: Source) -> Instant:
        """Returns until when a content is known that was just read."""
        # All tasks of a database have the content of the beginning of the look.
        return self._looked_at if source.dialect is Dialect.SQLITE else Instant.now()

    def _is_uncertain(self, path: Path) -> bool:
        """Returns whether the last reading of a registry failed."""
        file = self._files[path]
        return file.error is not None or file.busy_since is not None

    def knows(self, paths: Iterable[Path]) -> bool:
        """Returns whether all paths are existing registries of known tasks, or of databases."""
        return all(
            self._is_of_database(path) or (path in self._places and may_exist(path))
            for path in paths
        )

    def _is_of_database(self, path: Path) -> bool:
        return any(path in branch.source.database_files for branch in self._branches)

    def _listed(self, branch: _Branch) -> Mapping[str, GlobalTask]:
        snapshot = self._file(branch.source).snapshot
        record = snapshot.record if snapshot else None
        return record.tasks if isinstance(record, GlobalRecord) else {}

    def _file(self, source: Source) -> _File:
        file = self._files.get(source.path)
        if file is None:
            file = self._files[source.path] = _File(source)
        file.source = source
        return file

    def _read_global(self, branch: _Branch, bounds: Bounds) -> None:
        file = self._file(branch.source)
        self._read_global_file(branch, file, bounds)
        bounds.count(file.snapshot)

    def _read_global_file(self, branch: _Branch, file: _File, bounds: Bounds) -> None:
        branch.error = None
        if not self._has_changed(file):
            file.known_until = self._known_now(file.source)
            return
        try:
            file.snapshot = branch.source.listed(bounds.largest)
            file.read(self._known_now(file.source))
        except FileNotFoundError:
            file.snapshot = None
            file.read(self._known_now(file.source))
        except (RegistryError, OSError) as error:
            file.failed(error, _named_reason(error, branch.source.directory))
        branch.error = file.error

    def _has_changed(self, file: _File) -> bool:
        """Returns whether a file must be read, and notes an interrupted commit of the file."""
        look = file.source.look()
        file.hot_journal = (file.hot_journal or CUT_OFF) if look.is_cut_off else None
        return (
            file.snapshot is None
            or file.error is not None
            or file.busy_since is not None
            or look.stamp != file.snapshot.signature
        )

    def _read_task(self, branch: _Branch, task: TaskSource, bounds: Bounds) -> None:
        file = self._file(task)
        if not task.is_readable:
            file.error = task.problem
        elif not self._has_changed(file):
            file.known_until = self._known_now(file.source)
        else:
            try:
                file.snapshot = _with_warning(task.read(bounds.largest))
                file.read(self._known_now(file.source))
            except (RegistryError, OSError) as error:
                file.failed(error, _named_reason(error, task.path))
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
            identity=file.snapshot.signature.identity if file.snapshot else None,
            has_locks=file.snapshot is None or file.snapshot.has_locks,
        )
        # An equal state keeps its identity, so its verdicts are not computed again.
        if self._states.get(task.path) != state:
            self._states[task.path] = state

    def states(self) -> tuple[TaskState, ...]:
        """Returns all tasks, in the order of the workspaces."""
        return tuple(self._states[task.path] for branch in self._branches for task in branch.tasks)

    def global_registries(self) -> tuple[Path, ...]:
        """Returns the paths of the global registries, which may not exist."""
        return tuple(branch.source.path for branch in self._branches)

    def paths(self) -> Iterable[Path]:
        """Returns the paths of the registries of all tasks."""
        return (task.path for branch in self._branches for task in branch.tasks)

    def branches(self) -> Iterable[Branch]:
        """Yields all workspaces with the content of their tasks."""
        for branch in self._branches:
            states = tuple(self._states[task.path] for task in branch.tasks)
            hot_journal = self._file(branch.source).hot_journal
            path, error = branch.source.directory, branch.error
            yield Branch(path, states, error, hot_journal, branch.database)

    @property
    def busy(self) -> bool:
        """Whether a writer prevented the last reading of any registry."""
        return any(file.busy_since is not None for file in self._files.values())

    @property
    def has_hot_journal(self) -> bool:
        """Whether a commit of any registry was interrupted, and is not recovered yet."""
        return any(file.hot_journal is not None for file in self._files.values())

    @property
    def awaits_first(self) -> bool:
        """Whether a registry was never read, because it is being written."""
        files = self._files.values()
        return any(file.busy_since is not None and file.snapshot is None for file in files)

    def recover(self) -> bool:
        """Recovers interrupted commits. If a recovery fails, `hot_journal` gives the reason.

        All recoveries together take about `_RECOVERY_TIMEOUT` seconds at most. The commit whose
        last try is the oldest comes first.

        Returns:
            Whether a commit was recovered, or any `hot_journal` changed.
        """
        changed = False
        until = time.monotonic() + _RECOVERY_TIMEOUT
        hot = (file for file in self._files.values() if file.hot_journal is not None)
        for number, file in enumerate(sorted(hot, key=lambda file: file.recovered_at)):
            if number and time.monotonic() >= until:
                break
            file.recovered_at = time.monotonic()
            message = "an interrupted commit was completed, but its journal cannot be removed"
            try:
                file.source.recover(_RECOVERY_TIMEOUT)
                if not file.source.is_cut_off():
                    changed = True
                    continue
            except (RegistryError, OSError) as error:
                message = f"cannot recover an interrupted commit: {error}"
            changed |= file.hot_journal != message
            file.hot_journal = message
        return changed

    def sees_all(self) -> bool:
        """Returns whether all workspaces were read completely.

        If not, a registry or database that was not read may list further sessions.
        """
        return all(
            not branch.source.is_single_task
            and branch.listed
            and branch.database is None
            # A global registry that was never read may list tasks in other directories.
            and not self._is_unread(branch.source)
            for branch in self._branches
        ) and all(state.record is None or state.record.is_whole for state in self.states())

    def databases(self) -> tuple[UnreadDatabase, ...]:
        """Returns the databases with agents that are in no registry."""
        databases = (branch.database for branch in self._branches)
        return tuple(database for database in databases if database is not None)

    def _is_unread(self, source: Source) -> bool:
        file = self._file(source)
        return file.snapshot is None and file.error is not None

    def listed_sessions(self) -> tuple[frozenset[str] | None, ...]:
        """Returns the names that the sessions of each global registry may have in tmux.

        Returns:
            For each global registry that was read, the names. None instead of the names if any
            name in tmux is not certain.
        """
        return tuple(self.listed_by_path().values())

    def listed_by_path(self) -> Mapping[Path, frozenset[str] | None]:
        """Maps the path of each global registry to its sessions; see `listed_sessions`."""
        return {path: record.tmux_sessions for path, record in self.global_records().items()}

    def spellings(self) -> Spellings:
        """Returns the replaced spellings of the session names in all registries."""
        tasks = (state.record for state in self.states() if state.record is not None)
        return Spellings.of((*tasks, *self.global_records().values()))

    def global_records(self) -> Mapping[Path, GlobalRecord]:
        """Maps the path of each global registry that was read to its content."""
        sources = [branch.source for branch in self._branches]
        snapshots = {source.path: self._file(source).snapshot for source in sources}
        return {
            path: snapshot.record
            for path, snapshot in snapshots.items()
            if snapshot is not None and isinstance(snapshot.record, GlobalRecord)
        }

    def directories(self) -> tuple[set[Path], set[Path]]:
        """Returns the directories to watch for changes.

        Returns:
            All these directories, and those in which every new entry counts as a change.
        """
        roots = {branch.source.directory for branch in self._branches}
        watched = set(roots)
        for branch in self._branches:
            watched |= branch.source.directories()
            watched.update(task.directory for task in branch.tasks)
        return watched, roots

    def watched_names(self) -> tuple[str, ...]:
        """Returns the names of the files whose changes are reported."""
        names = (name for branch in self._branches for name in branch.source.watched_names)
        return tuple(dict.fromkeys(names))


def _are_all_in(branch: _Branch, listed: Mapping[str, GlobalTask]) -> bool:
    """Returns whether the paths of all listed tasks are in the workspace of the registry."""
    home = branch.source.directory
    return all(
        not task.elsewhere or Path(task.elsewhere).is_relative_to(home) for task in listed.values()
    )
