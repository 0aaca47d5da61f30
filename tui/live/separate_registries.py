"""Reads the registries of several workspaces, each workspace in its own thread.

A file system may stop answering, for example if its network server is down. Then only the
workspaces on this file system are delayed. Their last state is shown with an error. A workspace is
read again when the access that hangs returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass, field, replace
from registry.schema import GlobalRecord, UnreadDatabase, Workspace
from registry.storage import Instant
from tui.host.asker import PATIENCE, Asker, NoAnswerError
from tui.host.directory_identity import Watched, identified
from tui.live.registry_cache import NEVER, Branch, Registries
from tui.live.state_keeper import StateKeeper
from tui.model.roll import TaskState
from tui.model.spellings import Spellings
from tui.progress import ProgressCallback, no_progress

NO_ANSWER = "its file system does not answer"
"""The error of a workspace whose file system does not answer."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result of the last reading of a workspace.

    Attributes:
        branches: The workspace, as one branch.
        databases: The databases that list, or may list, agents that no registry lists.
        sees_all: Whether the workspace was read completely.
        known_until: The last moment at which the content was known to be current.
        busy: Whether any registry could not be read because of a writer.
        watched: The directories to watch.
        roots: The watched directories of which all new entries are reported.
        is_whole: Whether all tasks were read.
        has_recovered: Whether an interrupted commit was recovered.
        globals_: The content of the global registry by its path, if it was read.
    """

    branches: tuple[Branch, ...]
    databases: tuple[UnreadDatabase, ...] = ()
    sees_all: bool = False
    known_until: Instant = NEVER
    busy: bool = False
    watched: frozenset[Watched] = frozenset()
    roots: frozenset[Path] = frozenset()
    is_whole: bool = False
    has_recovered: bool = False
    globals_: Mapping[Path, GlobalRecord] = field(default_factory=dict)

    @property
    def paths(self) -> frozenset[Path]:
        """The registries of the workspace's tasks."""
        return frozenset(state.registry for branch in self.branches for state in branch.states)

    def unanswered(self) -> _Reading:
        """Returns this reading with the error that the file system does not answer."""
        return replace(
            self,
            branches=tuple(map(self._unanswered, self.branches)),
            sees_all=False,
            busy=False,
            # A watch of these directories could hang too.
            watched=frozenset(),
            roots=frozenset(),
            is_whole=True,
        )

    def _unanswered(self, branch: Branch) -> Branch:
        states = tuple(
            replace(state, error=NO_ANSWER, read_at=self.known_until.by_clock())
            for state in branch.states
        )
        return replace(branch, states=states, error=NO_ANSWER)


def _read(registries: Registries, *, is_whole: bool, has_recovered: bool = False) -> _Reading:
    directories, roots = registries.directories()
    return _Reading(
        tuple(registries.branches()),
        registries.databases(),
        registries.sees_all(),
        registries.known_until(),
        registries.busy,
        identified(directories),
        frozenset(roots),
        is_whole,
        has_recovered,
        registries.global_records(),
    )


class _Apart:
    """One workspace, which is read by one thread at a time.

    Attributes:
        asker: Reads the workspace.
        reading: The result of the last reading; with an error while a reading hangs.
    """

    def __init__(
        self, workspace: Workspace, among: Sequence[Workspace], on_late: Callable[[], None]
    ) -> None:
        self.asker: Asker[_Reading] = Asker(on_late)
        self._registries = Registries((workspace,), among)
        self.reading = _Reading((Branch(workspace.path, (), None, None, None),))
        self._answered = self.reading
        self._keeper = StateKeeper()
        # Reading never waits until states are kept.
        self._keeping: Asker[None] = Asker()

    def keep(self) -> None:
        """Starts to keep the states of the registries, unless a reading or a start still runs."""
        if self.asker.is_hanging:
            return
        paths = [
            state.registry
            for branch in self.reading.branches
            for state in branch.states
            if state.error is None and not state.source.lies_elsewhere
        ]
        paths += self._registries.global_registries()
        self._keeping.begin(lambda _: self._keeper.keep(paths))

    def rescan(self, at_most: int | None, progress: ProgressCallback) -> _Reading:
        """Scans the workspace; see `Registries.rescan`."""
        return _read(self._registries, is_whole=self._registries.rescan(progress, at_most))

    def update(self, paths: Collection[Path], progress: ProgressCallback) -> _Reading:
        """Reads changed registries; scans the workspace if an unknown path changed."""
        if not self._registries.knows(paths):
            return self.rescan(None, progress)
        self._registries.reread(paths)
        return _read(self._registries, is_whole=True)

    def recover(self, _: ProgressCallback) -> _Reading:
        """Recovers interrupted commits."""
        recovered = self._registries.recover()
        return _read(self._registries, is_whole=True, has_recovered=recovered)

    def end(self) -> None:
        """Waits for the reading, and stores its result; without an answer, adds an error."""
        try:
            # The wait ends at once if this reading has already been given up.
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
        self._apart = [_Apart(workspace, workspaces, on_late) for workspace in workspaces]

    def rescan(self, progress: ProgressCallback = no_progress, at_most: int | None = None) -> bool:
        """Finds new and removed registries, and reads changed ones; see `Registries.rescan`."""
        self._read(
            {each: functools.partial(each.rescan, at_most) for each in self._apart}, progress
        )
        return all(each.reading.is_whole for each in self._apart)

    def update(self, paths: Collection[Path]) -> None:
        """Reads changed registries; scans the workspaces in which unknown paths changed.

        Args:
            paths: The changed registries and directories.
        """
        of_each = {
            each: {path for path in paths if path in each.reading.paths} for each in self._apart
        }
        unknown = set(paths).difference(*of_each.values())
        for each, known in of_each.items():
            known |= {path for path in unknown if self._concerns(path, each)}
        self._read(
            {
                each: functools.partial(each.update, known)
                for each, known in of_each.items()
                if known
            }
        )

    def _concerns(self, path: Path, apart: _Apart) -> bool:
        """Whether a path is in a workspace, or in none of the workspaces."""
        homes = [each for each in self._apart if _is_within(path, each)]
        return apart in homes or not homes

    def recover(self) -> bool:
        """Recovers interrupted commits; returns whether any was recovered or a message changed."""
        hot = [each for each in self._apart if _is_hot(each.reading)]
        self._read({each: each.recover for each in hot})
        return any(each.reading.has_recovered for each in hot)

    def keep(self) -> None:
        """Starts to keep the states of registries that changed; does not wait."""
        for each in self._apart:
            each.keep()

    def _read(
        self,
        calls: dict[_Apart, Callable[[ProgressCallback], _Reading]],
        progress: ProgressCallback = no_progress,
    ) -> None:
        began = [each for each in calls if not each.asker.is_hanging]
        is_over = False

        def report() -> None:
            steps = [each.asker.progress for each in began]
            done, of = sum(done for done, _ in steps), sum(of for _, of in steps)
            if of and not is_over:
                progress("Reading registries", done, of)

        for each in began:
            each.asker.begin(functools.partial(_reporting, calls[each], report))
        for each in began:
            each.end()
        is_over = True
        progress("Reading registries", 0, 0)

    def branches(self) -> Iterable[Branch]:
        """Yields all workspaces with the content of their tasks, each task only once."""
        seen: set[Path] = set()
        for each in self._apart:
            for branch in each.reading.branches:
                states = tuple(state for state in branch.states if state.registry not in seen)
                seen.update(state.registry for state in states)
                yield branch if states == branch.states else replace(branch, states=states)

    def states(self) -> tuple[TaskState, ...]:
        """Returns all tasks, in the order of the workspaces."""
        return tuple(state for branch in self.branches() for state in branch.states)

    def paths(self) -> Iterable[Path]:
        """The registries of all tasks."""
        return (state.registry for state in self.states())

    def listed_sessions(self) -> tuple[frozenset[str] | None, ...]:
        """Returns the sessions that each global registry lists; see `Registries`."""
        return tuple(self.listed_by_path().values())

    def listed_by_path(self) -> Mapping[Path, frozenset[str] | None]:
        """Returns the same as `listed_sessions`, by the paths of the global registries."""
        return {path: record.tmux_sessions for path, record in self._globals().items()}

    def spellings(self) -> Spellings:
        """Returns how versions of tmux spell the names of sessions; see `Registries`."""
        tasks = (state.record for state in self.states() if state.record is not None)
        return Spellings.of((*tasks, *self._globals().values()))

    def _globals(self) -> Mapping[Path, GlobalRecord]:
        readings = [each.reading.globals_ for each in self._apart]
        return {path: record for reading in readings for path, record in reading.items()}

    def sees_all(self) -> bool:
        """Whether all workspaces were read completely, so that all listed sessions are known."""
        return all(each.reading.sees_all for each in self._apart)

    def known_until(self) -> Instant:
        """Returns the last moment at which all contents were known to be current."""
        return min((each.reading.known_until for each in self._apart), default=NEVER)

    @property
    def busy(self) -> bool:
        """Whether any registry could not be read the last time because of a writer."""
        return any(each.reading.busy for each in self._apart)

    def directories(self) -> tuple[frozenset[Watched], frozenset[Path]]:
        """Returns the directories to watch, and the ones of which all new entries are reported."""
        readings = [each.reading for each in self._apart]
        watched = frozenset[Watched]().union(*(reading.watched for reading in readings))
        return watched, frozenset[Path]().union(*(reading.roots for reading in readings))

    def watched_names(self) -> tuple[str, ...]:
        """Returns the names of the files whose changes count."""
        return self._names


def _reporting(
    call: Callable[[ProgressCallback], _Reading],
    report: Callable[[], None],
    step: ProgressCallback,
) -> _Reading:
    """Makes a call whose steps are also reported."""

    def both(what: str, done: int, of: int) -> None:
        step(what, done, of)
        report()

    return call(both)


def _names(workspace: Workspace) -> tuple[str, ...]:
    return Registries((workspace,)).watched_names()


def _is_within(path: Path, apart: _Apart) -> bool:
    return any(path.is_relative_to(branch.path) for branch in apart.reading.branches)


def _is_hot(reading: _Reading) -> bool:
    return any(
        message is not None
        for branch in reading.branches
        for message in (branch.hot_journal, *(state.hot_journal for state in branch.states))
    )
