"""The registries of several workspaces, each read apart: one that hangs delays only itself.

A file system may stop answering, for example of a dead network server. Then the last state of its
workspace stays, with an error. It is not read again until the hanging access returns.
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
"""The error of a workspace whose reading hangs."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was last read of a workspace.

    Attributes:
        branches: The workspace, as one branch.
        databases: The databases with agents that are in no registry.
        sees_all: Whether the workspace was read completely.
        known_until: The moment until which the content is known.
        busy: Whether a writer prevented the reading of any registry.
        watched: The directories to watch.
        roots: Those of them where each new entry counts.
        is_whole: Whether all tasks were read.
        has_recovered: Whether an interrupted commit was recovered.
        globals_: The content of its global registry by its path, if that was read.
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
        """The registries of its tasks."""
        return frozenset(state.registry for branch in self.branches for state in branch.states)

    def unanswered(self) -> _Reading:
        """Returns the same with the error that there is no answer."""
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
    """One workspace, which only its own calls touch.

    Attributes:
        asker: Reads it.
        reading: What was last read, or the same with an error.
    """

    def __init__(
        self, workspace: Workspace, among: Sequence[Workspace], on_late: Callable[[], None]
    ) -> None:
        self.asker: Asker[_Reading] = Asker(on_late)
        self._registries = Registries((workspace,), among)
        self.reading = _Reading((Branch(workspace.path, (), None, None, None),))
        self._answered = self.reading
        self._keeper = StateKeeper()
        # Apart from the reading, which never waits for it.
        self._keeping: Asker[None] = Asker()

    def keep(self) -> None:
        """Starts to keep whole states of its registries, unless that goes on, or it hangs."""
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
        """Scans it; see `Registries.rescan`."""
        return _read(self._registries, is_whole=self._registries.rescan(progress, at_most))

    def update(self, paths: Collection[Path], progress: ProgressCallback) -> _Reading:
        """Reads changed registries, or scans it if others changed."""
        if not self._registries.knows(paths):
            return self.rescan(None, progress)
        self._registries.reread(paths)
        return _read(self._registries, is_whole=True)

    def recover(self, _: ProgressCallback) -> _Reading:
        """Recovers interrupted commits."""
        recovered = self._registries.recover()
        return _read(self._registries, is_whole=True, has_recovered=recovered)

    def end(self) -> None:
        """Takes over what its call read; keeps the last state if there is no answer."""
        try:
            # One that was given up is not waited for again.
            self.reading = self._answered = self.asker.end(PATIENCE)
        except NoAnswerError:
            if self.reading is self._answered:
                self.reading = self._answered.unanswered()


class SeparateRegistries:
    """All registries of some workspaces, like `Registries`; each workspace is read apart.

    Not thread-safe.

    Args:
        workspaces: The workspaces.
        on_late: Called when a workspace answers again, in another thread.
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
        """Reads changed registries; scans the workspaces in which others changed.

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
        """Whether a path is in a workspace, or in none."""
        homes = [each for each in self._apart if _is_within(path, each)]
        return apart in homes or not homes

    def recover(self) -> bool:
        """Recovers interrupted commits; returns whether one was recovered or a message changed."""
        hot = [each for each in self._apart if _is_hot(each.reading)]
        self._read({each: each.recover for each in hot})
        return any(each.reading.has_recovered for each in hot)

    def keep(self) -> None:
        """Starts to keep whole states of registries that changed; does not wait."""
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
        """Yields all workspaces with the content of their tasks; a task of two only once."""
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
        """Whether all workspaces were read completely, so no session can be listed elsewhere."""
        return all(each.reading.sees_all for each in self._apart)

    def known_until(self) -> Instant:
        """Returns the moment until which all contents are known."""
        return min((each.reading.known_until for each in self._apart), default=NEVER)

    @property
    def busy(self) -> bool:
        """Whether a writer prevented the last reading of any registry."""
        return any(each.reading.busy for each in self._apart)

    def directories(self) -> tuple[frozenset[Watched], frozenset[Path]]:
        """Returns the directories to watch, and those of them where each new entry counts."""
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
