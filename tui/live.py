"""Gathering: registries and sessions in, one frozen roll call after another out.

Three threads, none of them the screen's: one that watches files, one that asks
tmux, one that reads what changed and calls the roll. A slow answer delays none
of the others, and what comes in meanwhile is taken together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry import reading
from registry.errors import RegistryError
from registry.reading import Snapshot
from registry.records import GlobalRecord, GlobalTask, TaskRecord
from registry.workspace import (
    GLOBAL_REGISTRY,
    TASK_REGISTRY,
    TaskPlace,
    Workspace,
    task_places,
)
from tui.host.processes import DeathWatch, host_name
from tui.host.sessions import Answer, Session, TmuxState
from tui.host.tmux import Tmux
from tui.host.watch import DirectoryWatcher
from tui.rollcall import (
    Absences,
    Policy,
    RollCall,
    TaskRoll,
    TaskState,
    Verdict,
    WorkspaceRoll,
    call_task,
    expected_sessions,
    find_orphans,
    is_proven_missing,
    note_absences,
)

_log = logging.getLogger(__name__)

SWEEP = 3.0
"""Seconds between two questions to tmux while nothing happens."""

RESCAN = 5.0
"""Seconds between two looks at everything, for changes that no event told of."""

# tmux needs a moment to notice the end of a pane that the kernel told us of.
_AFTER_DEATH = 0.03


@dataclass(slots=True)
class _File:
    """One registry file: its last good state, and why it cannot be read now."""

    snapshot: Snapshot[TaskRecord] | Snapshot[GlobalRecord] | None = None
    read_at: float = 0.0
    error: str | None = None


def _reason(error: RegistryError) -> str:
    """What is wrong, without the path that is shown beside it: there is little room."""
    return error.reason or str(error)


@dataclass(slots=True)
class _Branch:
    """One workspace: where its tasks lie, and what is wrong with it as a whole.

    Attributes:
        listed: Whether its directory could be listed the last time.
    """

    workspace: Workspace
    places: tuple[TaskPlace, ...] = ()
    error: str | None = None
    listed: bool = False


class Registries:
    """All registries of some workspaces, with the last good state of each.

    Reads only what changed; not for several threads at once.
    """

    def __init__(self, workspaces: Sequence[Workspace]) -> None:
        self._branches = [_Branch(workspace) for workspace in workspaces]
        self._files: dict[Path, _File] = {}
        self._states: dict[Path, TaskState] = {}

    def rescan(self) -> None:
        """Looks for new and vanished registries, and reads what changed."""
        seen: set[Path] = set()
        for branch in self._branches:
            workspace = branch.workspace
            self._read_global(branch)
            try:
                places = task_places(workspace, self._listed(workspace))
                branch.listed = True
            except OSError as error:
                branch.listed = False
                branch.error = f"cannot list it: {error.strerror}"
                places = branch.places if not isinstance(error, FileNotFoundError) else ()
            branch.places = tuple(p for p in places if p.registry not in seen)
            seen.update(place.registry for place in branch.places)
            for place in branch.places:
                self._read_task(branch, place)
        globals_ = {branch.workspace.global_registry for branch in self._branches}
        for gone in self._files.keys() - seen - globals_:
            del self._files[gone]
            self._states.pop(gone, None)

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
        if not self._is_stale(file, path):
            return
        try:
            file.snapshot = reading.read_global(path)
            file.error = None
            file.read_at = time.time()
        except FileNotFoundError:
            file.snapshot = None
            file.error = None
        except RegistryError as error:
            file.error = f"{path.name} {_reason(error)}"
        branch.error = file.error

    def _is_stale(self, file: _File, path: Path) -> bool:
        return (
            file.snapshot is None
            or file.error is not None
            or reading.changed_since(path, file.snapshot.signature)
        )

    def _read_task(self, branch: _Branch, place: TaskPlace) -> None:
        file = self._file(place.registry)
        if place.problem is not None:
            file.error = place.problem
        elif self._is_stale(file, place.registry):
            try:
                file.snapshot = reading.read_task(place.registry)
                file.read_at = time.time()
                file.error = None
            except RegistryError as error:
                file.error = _reason(error)
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
        )
        # An equal state keeps its identity: nothing is worked out anew for it.
        if self._states.get(place.registry) != state:
            self._states[place.registry] = state

    def states(self) -> tuple[TaskState, ...]:
        """Every task, in the order of the workspaces."""
        return tuple(
            self._states[place.registry] for branch in self._branches for place in branch.places
        )

    def branches(self) -> Iterable[tuple[Path, tuple[TaskState, ...], str | None]]:
        """Every workspace with its tasks and what is wrong with it."""
        for branch in self._branches:
            states = tuple(self._states[place.registry] for place in branch.places)
            yield branch.workspace.path, states, branch.error

    def sees_all(self) -> bool:
        """Whether whole workspaces are seen, and not single tasks or parts of them."""
        return all(
            branch.workspace.only is None
            and branch.listed
            # One that was never read may list tasks that lie elsewhere.
            and not self._is_unread(branch.workspace.global_registry)
            for branch in self._branches
        )

    def _is_unread(self, path: Path) -> bool:
        file = self._file(path)
        return file.snapshot is None and file.error is not None

    def listed_sessions(self) -> frozenset[str]:
        """Session names of all agents in the global registries."""
        found: set[str] = set()
        for branch in self._branches:
            snapshot = self._file(branch.workspace.global_registry).snapshot
            if snapshot is not None and isinstance(snapshot.record, GlobalRecord):
                found |= snapshot.record.sessions
        return frozenset(found)

    def directories(self) -> tuple[set[Path], set[Path]]:
        """What to watch, and those of it where any entry counts."""
        roots = {branch.workspace.path for branch in self._branches}
        watched = set(roots)
        for branch in self._branches:
            watched.add(branch.workspace.global_registry.parent)
            watched.update(place.directory for place in branch.places)
        return watched, roots


class Caller:
    """Calls the roll from registries and answers; keeps what did not change."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._host = host_name()
        self._rolls: dict[Path, TaskRoll] = {}
        self._answer: Answer | None = None
        self._absences: Absences = {}

    def call(
        self, registries: Registries, answer: Answer, absences: Absences, now: float
    ) -> RollCall:
        """One frozen roll call of what is known now."""
        fresh = answer is not self._answer or absences != self._absences
        self._answer, self._absences = answer, absences
        rolls: dict[Path, TaskRoll] = {}
        workspaces = []
        counts = dict.fromkeys(Verdict, 0)
        for path, states, error in registries.branches():
            tasks = []
            for state in states:
                roll = self._rolls.get(state.registry)
                if fresh or roll is None or roll.state is not state:
                    again = call_task(state, answer, absences, self._policy, now)
                    roll = roll if roll == again else again
                rolls[state.registry] = roll
                tasks.append(roll)
                for verdict, count in roll.counts.items():
                    counts[verdict] += count
            workspaces.append(WorkspaceRoll(path, tuple(tasks), error))
        self._rolls = rolls
        orphans: tuple[Session, ...] = ()
        if registries.sees_all():
            listed = registries.listed_sessions()
            orphans = find_orphans(registries.states(), listed, answer, self._policy, now)
        counts[Verdict.ORPHAN] = len(orphans)
        return RollCall(self._host, answer, tuple(workspaces), orphans, counts)


def _unproven(absences: Absences, answer: Answer, policy: Policy) -> float | None:
    """When, in monotonic seconds, the next absence can be proven; None if none waits."""
    waiting = [
        since
        for name, since in absences.items()
        if not is_proven_missing(name, absences, answer, policy)
    ]
    return min(waiting) + policy.proof if waiting else None


def take_roll(workspaces: Sequence[Workspace], tmux: Tmux, policy: Policy) -> RollCall:
    """Calls the roll once; asks tmux a second time only if somebody is missing."""
    registries = Registries(workspaces)
    answer = tmux.ask()
    registries.rescan()
    absences = note_absences({}, answer, expected_sessions(registries.states()))
    again_at = _unproven(absences, answer, policy)
    if again_at is not None:
        time.sleep(max(0.0, again_at - time.monotonic()))
        answer = tmux.ask()
        registries.rescan()
        absences = note_absences(absences, answer, expected_sessions(registries.states()))
    return Caller(policy).call(registries, answer, absences, time.time())


@dataclass(slots=True)
class _News:
    """What came in since the roll was last called."""

    paths: set[Path] = field(default_factory=set)
    rescan: bool = True
    answer: bool = False

    def anything(self) -> bool:
        return bool(self.paths) or self.rescan or self.answer


class LiveRoll:
    """Calls the roll again whenever something changed, until it is stopped.

    Args:
        workspaces: What to follow.
        tmux: The server to ask.
        policy: When a verdict is sure enough.
        on_roll: Called with each roll call, in a thread of this object.
    """

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        tmux: Tmux,
        policy: Policy,
        on_roll: Callable[[RollCall], None],
    ) -> None:
        self._registries = Registries(workspaces)
        self._tmux = tmux
        self._policy = policy
        self._on_roll = on_roll
        self._change = threading.Condition()
        self._news = _News()
        self._answer = Answer(TmuxState.UNKNOWN, "asking tmux …", tmux.socket, {}, 0.0)
        self._absences: Absences = {}
        self._expected: frozenset[str] = frozenset()
        self._rescan_at = 0.0
        self._stopped = False
        self._deaths = DeathWatch()
        self._watcher = DirectoryWatcher(self._files_changed, (TASK_REGISTRY, GLOBAL_REGISTRY))
        self._threads = [
            threading.Thread(target=self._ask_on, name="muster-ask", daemon=True),
            threading.Thread(target=self._gather_on, name="muster-gather", daemon=True),
        ]

    def start(self) -> None:
        """Starts gathering."""
        for thread in self._threads:
            thread.start()
        self._watcher.start()

    def stop(self) -> None:
        """Ends all threads; waits for none longer than a moment."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        self._deaths.wake()
        self._watcher.stop()
        for thread in self._threads:
            thread.join(timeout=1.0)
        if not self._threads[0].is_alive():
            self._deaths.close()

    def refresh(self) -> None:
        """Looks at everything again, now."""
        self._tell(rescan=True)
        self._deaths.wake()

    def _files_changed(self, paths: Collection[Path]) -> None:
        self._tell(paths=paths, rescan=not paths)

    def _tell(
        self, paths: Collection[Path] = (), rescan: bool = False, answer: bool = False
    ) -> None:
        with self._change:
            self._news.paths.update(paths)
            self._news.rescan |= rescan
            self._news.answer |= answer
            self._change.notify_all()

    def _ask_on(self) -> None:
        while not self._stopped:
            answer = self._tmux.ask()
            with self._change:
                self._answer = answer
                self._absences = note_absences(self._absences, answer, self._expected)
                again_at = _unproven(self._absences, answer, self._policy)
            self._tell(answer=True)
            self._deaths.watch(
                pid
                for session in answer.sessions.values()
                if session.name in self._expected
                for pid in session.pids
            )
            pause = SWEEP
            if again_at is not None:
                pause = min(SWEEP, max(0.0, again_at - time.monotonic()))
            if self._deaths.wait(pause) and not self._stopped:
                time.sleep(_AFTER_DEATH)

    def _gather_on(self) -> None:
        caller = Caller(self._policy)
        while (news := self._wait_for_news()) is not None:
            try:
                if news.rescan or not self._registries.knows(news.paths):
                    self._registries.rescan()
                    self._watcher.watch(*self._registries.directories())
                else:
                    self._registries.reread(news.paths)
                self._expect(expected_sessions(self._registries.states()))
                with self._change:
                    answer, absences = self._answer, self._absences
                self._on_roll(caller.call(self._registries, answer, absences, time.time()))
            except Exception:
                # Whatever it is, the next change must still be seen.
                _log.exception("the roll could not be called")
                with self._change:
                    self._change.wait_for(lambda: self._stopped, timeout=1.0)

    def _wait_for_news(self) -> _News | None:
        with self._change:
            if not self._stopped and not self._news.anything():
                self._change.wait(max(0.0, self._rescan_at - time.monotonic()))
            if self._stopped:
                return None
            news, self._news = self._news, _News(rescan=False)
            # Whatever else came in: an answer of tmux does not tell of files.
            news.rescan |= time.monotonic() >= self._rescan_at
            if news.rescan:
                self._rescan_at = time.monotonic() + RESCAN
            return news

    def _expect(self, names: frozenset[str]) -> None:
        with self._change:
            new = names - self._expected - self._answer.sessions.keys()
            self._expected = names
        if new:
            self._deaths.wake()
