"""Reads the registries of several workspaces, each workspace in its own thread.

A file system may stop answering, for example if its network server is down. Then only the
workspaces on this file system are delayed. muster shows the last known content of these workspaces
with an error. It reads a workspace again when the file system answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass, field, replace
from registry.schema import GlobalRecord, Instant, UnreadDatabase, Workspace
from registry.sources import Dialect
from tui.host.asker import PATIENCE, Asker, NoAnswerError
from tui.host.directory_identity import Watched, identified
from tui.live.registry_cache import NEVER, Branch, Registries
from tui.live.state_keeper import StateKeeper
from tui.model.roll import TaskState
from tui.model.spellings import Spellings
from tui.progress import ProgressCallback, no_progress

NO_ANSWER = "its file system does not answer"
"""The error of a workspace whose file system does not answer."""


# While registries change all the time, one thread reads them all.
_IDLE = 1.0


@dataclass(frozen=True, slots=True)
class _Layout:
    """The facts about a workspace that only a scan of the workspace can change.

    Attributes:
        paths: The paths of the registries of the workspace's tasks.
        watched: The directories to watch.
        roots: The watched directories in which every new entry counts as a change.
    """

    paths: frozenset[Path] = frozenset()
    watched: frozenset[Watched] = frozenset()
    roots: frozenset[Path] = frozenset()

    @classmethod
    def of(cls, registries: Registries) -> _Layout:
        """Returns the layout that the last scan of a workspace found."""
        directories, roots = registries.directories()
        return cls(frozenset(registries.paths()), identified(directories), frozenset(roots))


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result of the last reading of a workspace.

    Attributes:
        branches: The workspace with the content of its tasks, as one item.
        databases: The databases with agents that may be in no registry.
        sees_all: Whether the workspace was read completely.
        known_until: The last moment at which the content was known to be current.
        busy: Whether a writer prevented the last reading of any registry.
        awaits_first: Whether a registry was never read, because it is being written.
        has_hot_journal: Whether an interrupted commit of any registry is not recovered yet.
        layout: The paths of the tasks, and the directories to watch.
        is_whole: Whether all tasks were read.
        has_recovered: Whether a commit was recovered; see `Registries.recover`.
        globals_: Maps the path of the global registry to its content; empty if it was not read.
    """

    branches: tuple[Branch, ...]
    databases: tuple[UnreadDatabase, ...] = ()
    sees_all: bool = False
    known_until: Instant = NEVER
    busy: bool = False
    awaits_first: bool = False
    has_hot_journal: bool = False
    layout: _Layout = field(default_factory=_Layout)
    is_whole: bool = False
    has_recovered: bool = False
    globals_: Mapping[Path, GlobalRecord] = field(default_factory=dict)

    def unanswered(self) -> _Reading:
        """Returns this reading with the error that the file system does not answer."""
        return replace(
            self,
            branches=tuple(map(self._unanswered, self.branches)),
            sees_all=False,
            busy=False,
            awaits_first=False,
            # Watching these directories could hang, too.
            layout=_Layout(self.layout.paths),
            is_whole=True,
        )

    def _unanswered(self, branch: Branch) -> Branch:
        states = tuple(
            replace(state, error=NO_ANSWER, read_at=self.known_until.by_clock())
            for state in branch.states
        )
        return replace(branch, states=states, error=NO_ANSWER)


def _read(
    registries: Registries, layout: _Layout, *, is_whole: bool, has_recovered: bool = False
) -> _Reading:
    return _Reading(
        tuple(registries.branches()),
        registries.databases(),
        registries.sees_all(),
        registries.known_until(),
        registries.busy,
        registries.awaits_first,
        registries.has_hot_journal,
        layout,
        is_whole,
        has_recovered,
        registries.global_records(),
    )


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of all workspaces.

    Attributes:
        branches: All workspaces with the content of their tasks, each task only once.
        states: All tasks, in the order of the workspaces.
        globals_: Maps the path of each global registry that was read to its content.
        spellings: The replaced spellings of the session names in all registries.
    """

    branches: tuple[Branch, ...]
    states: tuple[TaskState, ...]
    globals_: Mapping[Path, GlobalRecord]
    spellings: Spellings


class _WorkspaceReader:
    """The reader of one workspace, which uses its own thread.

    Attributes:
        asker: The thread that reads the workspace.
        reading: The result of the last reading. While a reading hangs, this result has an error.
    """

    def __init__(
        self, workspace: Workspace, among: Sequence[Workspace], on_late: Callable[[], None]
    ) -> None:
        self.asker: Asker[_Reading] = Asker(on_late, _IDLE)
        self._registries = Registries((workspace,), among)
        self.reading = _Reading((Branch(workspace.path, (), None, None, None),))
        self._answered = self.reading
        self._layout = self.reading.layout
        self._keeper = StateKeeper()
        # A reading never waits until copies of registries are saved.
        self._keeping: Asker[None] = Asker()

    def keep(self) -> None:
        """Starts to save copies of the registries in another thread.

        Does nothing while a reading, or an earlier call of this function, still runs.
        """
        if self.asker.is_hanging:
            return
        paths = [
            state.registry
            for branch in self.reading.branches
            for state in branch.states
            if state.error is None
            and not state.source.lies_elsewhere
            and state.source.dialect is Dialect.JSON
        ]
        paths += self._registries.global_registries()
        self._keeping.begin(lambda _: self._keeper.keep(paths))

    def rescan(self, at_most: int | None, progress: ProgressCallback) -> _Reading:
        """Scans the workspace; see `Registries.rescan`."""
        is_whole = self._registries.rescan(progress, at_most)
        self._layout = _Layout.of(self._registries)
        return _read(self._registries, self._layout, is_whole=is_whole)

    def update(self, paths: Collection[Path], progress: ProgressCallback) -> _Reading:
        """Reads changed registries; scans the workspace if an unknown path changed."""
        if not self._registries.knows(paths) or not self._registries.reread(paths):
            return self.rescan(None, progress)
        return _read(self._registries, self._layout, is_whole=True)

    def recover(self, _: ProgressCallback) -> _Reading:
        """Recovers interrupted commits."""
        recovered = self._registries.recover()
        return _read(self._registries, self._layout, is_whole=True, has_recovered=recovered)

    def end(self) -> None:
        """Waits for the reading, and stores its result.

        If the file system does not answer in time, adds an error to the last result.
        """
        try:
            # If an earlier call gave up waiting for this reading, this call fails at once.
            self.reading = self._answered = self.asker.end(PATIENCE)
        except NoAnswerError:
            if self.reading is self._answered:
                self.reading = self._answered.unanswered()


class SeparateRegistries:
    """The registries of some workspaces, like `Registries`; each workspace has its own thread.

    Not thread-safe.

    Args:
        workspaces: The workspaces.
        on_late: Called in another thread when a file system answers again.
    """

    def __init__(
        self, workspaces: Sequence[Workspace], on_late: Callable[[], None] = lambda: None
    ) -> None:
        self._names = tuple(dict.fromkeys(name for w in workspaces for name in _names(w)))
        self._readers = [
            _WorkspaceReader(workspace, workspaces, on_late) for workspace in workspaces
        ]
        self._content = self._merged()

    def rescan(self, progress: ProgressCallback = no_progress, at_most: int | None = None) -> bool:
        """Finds new and removed registries, and reads changed ones; see `Registries.rescan`."""
        self._read(
            {reader: functools.partial(reader.rescan, at_most) for reader in self._readers},
            progress,
        )
        return all(reader.reading.is_whole for reader in self._readers)

    def stop(self) -> None:
        """Ends all threads that do not wait for a file system."""
        for reader in self._readers:
            reader.asker.stop()

    def update(self, paths: Collection[Path]) -> None:
        """Reads changed registries; scans the workspaces in which unknown paths changed.

        Args:
            paths: The changed registries and directories.
        """
        paths_of = {
            reader: {path for path in paths if path in reader.reading.layout.paths}
            for reader in self._readers
        }
        unknown = set(paths).difference(*paths_of.values())
        for reader, known in paths_of.items():
            known |= {path for path in unknown if self._concerns(path, reader)}
        self._read(
            {
                reader: functools.partial(reader.update, known)
                for reader, known in paths_of.items()
                if known
            }
        )

    def _concerns(self, path: Path, reader: _WorkspaceReader) -> bool:
        """Returns whether a path is in the workspace of a reader, or in no known workspace."""
        homes = [other for other in self._readers if _is_within(path, other)]
        return reader in homes or not homes

    def recover(self) -> bool:
        """Recovers interrupted commits; see `Registries.recover`."""
        hot = [reader for reader in self._readers if reader.reading.has_hot_journal]
        self._read({reader: reader.recover for reader in hot})
        return any(reader.reading.has_recovered for reader in hot)

    def keep(self) -> None:
        """Starts to save copies of registries that changed; does not wait for the end."""
        for reader in self._readers:
            reader.keep()

    def _read(
        self,
        calls: dict[_WorkspaceReader, Callable[[ProgressCallback], _Reading]],
        progress: ProgressCallback = no_progress,
    ) -> None:
        if not calls:
            return
        began = [reader for reader in calls if not reader.asker.is_hanging]
        is_over = False

        def report() -> None:
            steps = [reader.asker.progress for reader in began]
            done, of = sum(done for done, _ in steps), sum(of for _, of in steps)
            if of and not is_over:
                progress("Reading registries", done, of)

        for reader in began:
            reader.asker.begin(functools.partial(_reporting, calls[reader], report))
        for reader in began:
            reader.end()
        is_over = True
        self._content = self._merged()
        progress("Reading registries", 0, 0)

    def _merged(self) -> _Content:
        """Returns the content of the last readings of all workspaces, each task only once."""
        readings = [reader.reading for reader in self._readers]
        branches: list[Branch] = []
        seen: set[Path] = set()
        for reading in readings:
            for branch in reading.branches:
                if seen.isdisjoint(reading.layout.paths):
                    branches.append(branch)
                    continue
                states = tuple(state for state in branch.states if state.registry not in seen)
                branches.append(replace(branch, states=states))
            seen |= reading.layout.paths
        states = tuple(state for branch in branches for state in branch.states)
        globals_ = {
            path: record for reading in readings for path, record in reading.globals_.items()
        }
        tasks = (state.record for state in states if state.record is not None)
        spellings = Spellings.of((*tasks, *globals_.values()))
        return _Content(tuple(branches), states, globals_, spellings)

    def branches(self) -> Iterable[Branch]:
        """Returns all workspaces with the content of their tasks, each task only once."""
        return self._content.branches

    def states(self) -> tuple[TaskState, ...]:
        """Returns all tasks, in the order of the workspaces."""
        return self._content.states

    def paths(self) -> Iterable[Path]:
        """Returns the paths of the registries of all tasks."""
        return (state.registry for state in self.states())

    def listed_sessions(self) -> tuple[frozenset[str] | None, ...]:
        """Returns the sessions that each global registry lists; see `Registries`."""
        return tuple(self.listed_by_path().values())

    def listed_by_path(self) -> Mapping[Path, frozenset[str] | None]:
        """Maps the path of each global registry to its sessions; see `listed_sessions`."""
        return {path: record.tmux_sessions for path, record in self._content.globals_.items()}

    def spellings(self) -> Spellings:
        """Returns the replaced spellings of the session names in all registries."""
        return self._content.spellings

    def sees_all(self) -> bool:
        """Returns whether all workspaces were read completely; see `Registries.sees_all`."""
        return all(reader.reading.sees_all for reader in self._readers)

    def known_until(self) -> Instant:
        """Returns the last moment at which all contents were known to be current."""
        return min((reader.reading.known_until for reader in self._readers), default=NEVER)

    @property
    def busy(self) -> bool:
        """Whether a writer prevented the last reading of any registry."""
        return any(reader.reading.busy for reader in self._readers)

    @property
    def awaits_first(self) -> bool:
        """Whether a registry was never read, because it is being written."""
        return any(reader.reading.awaits_first for reader in self._readers)

    def directories(self) -> tuple[frozenset[Watched], frozenset[Path]]:
        """Returns the directories to watch for changes; see `Registries.directories`."""
        readings = [reader.reading for reader in self._readers]
        watched = frozenset[Watched]().union(*(reading.layout.watched for reading in readings))
        return watched, frozenset[Path]().union(*(reading.layout.roots for reading in readings))

    def watched_names(self) -> tuple[str, ...]:
        """Returns the names of the files whose changes are reported."""
        return self._names


def _reporting(
    call: Callable[[ProgressCallback], _Reading],
    report: Callable[[], None],
    step: ProgressCallback,
) -> _Reading:
    """Calls `call`. After each step of its progress, calls `step` and then `report`."""

    def both(what: str, done: int, of: int) -> None:
        step(what, done, of)
        report()

    return call(both)


def _names(workspace: Workspace) -> tuple[str, ...]:
    return Registries((workspace,)).watched_names()


def _is_within(path: Path, reader: _WorkspaceReader) -> bool:
    return any(path.is_relative_to(branch.path) for branch in reader.reading.branches)
