"""Collects registries and sessions, and delivers a roll call after each change.

Besides the thread of the screen, three threads run. One watches files, one queries tmux, and one
reads changed registries and builds the roll call. A slow thread does not delay the others. Changes
that arrive while a roll call is built are handled together.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass, field, replace
from registry.schema import Workspace
from tui.host.file_watch import DirectoryWatcher
from tui.host.process.exit_watch import ExitWatcher
from tui.host.tmux import Tmux
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.agent_processes import noted_processes
from tui.live.builder import RollBuilder
from tui.live.other_servers import OtherServers
from tui.live.separate_registries import SeparateRegistries
from tui.model.clock_jumps import ClockJump, ClockReading, next_jumps
from tui.model.evidence import (
    Evidence,
    ProcessEvidence,
    expected_processes,
    expected_sessions,
    follow_renamed,
    next_proof,
    note_absences,
)
from tui.model.policy import Policy
from tui.model.roll import RollCall
from tui.model.spellings import Spellings
from tui.progress import ProgressCallback, no_progress

_log = logging.getLogger(__name__)

SWEEP = 3.0
"""Seconds between two queries of tmux; the end of a pane's process causes an earlier query."""

RESCAN = 5.0
"""Seconds between two scans of all registries. A scan also finds changes without a file event."""

# After this many seconds without a change, queries and scans have longer intervals.
_QUIET_AFTER = 30.0
_QUIET_SWEEP = 6.0
_QUIET_RESCAN = 15.0

BUSY_RESCAN = 0.25
"""Seconds after which a registry is read again if a writer prevented the last reading."""

# The number of tasks in the first roll call, so that a large workspace is visible at once.
_AT_FIRST = 10

# The longest wait, in seconds, for a listener of the first roll call.
_NOBODY_LISTENS = 1.0

# Seconds that tmux needs to notice the end of a pane's process after the kernel reports it.
_AFTER_DEATH = 0.03

# Seconds until tmux is queried again, if a query failed, or if tmux has not noticed yet that a
# process ended. The pause doubles each time.
_ASK_AGAIN = 0.1


def _is_new(before: Evidence, evidence: Evidence) -> bool:
    """Returns whether two pieces of evidence differ, apart from their times."""
    snapshot = replace(evidence.snapshot, asked_at=before.snapshot.asked_at)
    same_time = replace(evidence, snapshot=snapshot, missing_since=before.missing_since)
    return same_time != before


@dataclass(slots=True)
class _Changes:
    """The changes that the last roll call does not contain.

    Attributes:
        paths: Changed registries.
        rescan: Whether to scan all registries.
        answer: Whether tmux has given a new answer.
    """

    paths: set[Path] = field(default_factory=set)
    rescan: bool = True
    answer: bool = False

    def __bool__(self) -> bool:
        return bool(self.paths) or self.rescan or self.answer


class LiveRoll:
    """A source of roll calls: delivers a new one after each change, from `start` to `stop`.

    Args:
        workspaces: The workspaces to follow.
        tmux: The server to query.
        policy: The times that a verdict needs.
        recover: Whether this object may write files: to recover interrupted commits, and to save
            copies of registries.

    Attributes:
        tmux: The queried server.
        latest: The newest roll call; None before the first one.
    """

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        tmux: Tmux,
        policy: Policy,
        *,
        recover: bool = True,
    ) -> None:
        self._registries = SeparateRegistries(workspaces, self._files_answered)
        self._elsewhere = OtherServers(workspaces, tmux.set_aside)
        self.tmux = tmux
        self.latest: RollCall | None = None
        self._policy = policy
        self._recover = recover
        self._on_roll: Callable[[RollCall], None] | None = None
        self._progress: ProgressCallback = no_progress
        self._delivery = threading.Lock()
        self._change = threading.Condition()
        self._changes = _Changes()
        asking = TmuxSnapshot(TmuxState.UNKNOWN, "querying tmux …", tmux.socket, {}, 0.0)
        self._evidence = Evidence(asking)
        self._expected: Mapping[str, float] = {}
        self._expected_pids: Mapping[int, float] = {}
        self._spellings = Spellings()
        self._seen: Mapping[str, Session] = {}
        self._server: tuple[int | None, int] = (None, 0)
        self._jumps: tuple[ClockJump, ...] = ()
        self._reading: ClockReading | None = None
        self._rescan_at = 0.0
        self._changed_at = time.monotonic()
        self._stopped = False
        self._open_questions: frozenset[int | None] = frozenset()
        self._ask_again = _ASK_AGAIN
        self._deaths = ExitWatcher()
        self._watcher = DirectoryWatcher(self._files_changed, self._registries.watched_names())
        self._threads = [
            threading.Thread(target=self._query_loop, name="muster-ask", daemon=True),
            threading.Thread(target=self._build_loop, name="muster-gather", daemon=True),
        ]

    def listen(
        self, on_roll: Callable[[RollCall], None], progress: ProgressCallback = no_progress
    ) -> None:
        """Sets the function that receives the newest and all later roll calls.

        Args:
            on_roll: Called with each roll call. If a roll call already exists, it is delivered at
                once, in the caller's thread. All later ones are delivered in a thread of this
                object. Calls never overlap.
            progress: Called with the progress of the first reading, in a thread of this object.
        """
        with self._delivery:
            self._on_roll, self._progress = on_roll, progress
            if self.latest is not None:
                on_roll(self.latest)
        with self._change:
            self._change.notify_all()

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()
        self._watcher.start()

    def stop(self) -> None:
        """Ends all threads; waits at most a second for each."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        self._deaths.wake()
        self._watcher.stop()
        for thread in self._threads:
            thread.join(timeout=1.0)
        self._registries.stop()
        if not self._threads[0].is_alive():
            self._deaths.close()

    def refresh(self) -> None:
        """Scans all registries and queries tmux now."""
        self._add_changes(rescan=True)
        self._deaths.wake()

    def _files_answered(self) -> None:
        """Causes a scan of all registries, because a file system answers again."""
        self._add_changes(rescan=True)

    def _files_changed(self, paths: Collection[Path]) -> None:
        self._add_changes(paths=paths, rescan=not paths)

    def _add_changes(
        self, paths: Collection[Path] = (), rescan: bool = False, answer: bool = False
    ) -> None:
        with self._change:
            if paths:
                self._changed_at = time.monotonic()
            self._changes.paths.update(paths)
            self._changes.rescan |= rescan
            self._changes.answer |= answer
            self._change.notify_all()

    def _query_loop(self) -> None:
        while not self._stopped:
            try:
                self._query_once()
            except Exception:
                # The thread must survive, to notice when the next process ends.
                _log.exception("cannot query tmux")
                self._deaths.wait(1.0)

    def _query_once(self) -> None:
        answer = self.tmux.ask()
        with self._change:
            before, pids = self._evidence.processes, self._expected_pids
        processes = noted_processes(before, pids)
        with self._change:
            answer = self._follow_renamed(self._spellings.resolve(answer))
            missing_since = note_absences(self._evidence.missing_since, answer, self._expected)
        # Other servers are searched before a verdict uses this answer, and without the lock.
        evidence = self._elsewhere.noted(
            Evidence(answer, missing_since, processes=processes), self._registries.paths()
        )
        with self._change:
            if _is_new(self._evidence, evidence):
                self._changed_at = time.monotonic()
            self._evidence = evidence
            again_at = next_proof(evidence, self._expected, self._expected_pids)
        self._add_changes(answer=True)
        pause = _QUIET_SWEEP if self._is_quiet() else SWEEP
        if again_at is not None:
            pause = min(pause, max(0.0, again_at - time.monotonic()))
        pause = min(pause, self._seconds_until_query(answer, processes))
        if self._deaths.wait(pause) and not self._stopped:
            time.sleep(_AFTER_DEATH)

    def _seconds_until_query(self, answer: TmuxSnapshot, processes: ProcessEvidence) -> float:
        """Watches for the end of the processes of active agents.

        Returns:
            The seconds until the next query of tmux, if the last query failed, or if tmux has not
            noticed the end of a process yet. Otherwise infinity.
        """
        unknown = answer.state is TmuxState.UNKNOWN
        open_questions: frozenset[int | None] = frozenset([None])
        if not unknown:
            of_agents = {pid for pid, process in processes.seen.items() if process.began}
            # Processes that have ended although tmux still lists them.
            open_questions = self._deaths.watch(
                of_agents.union(
                    pid
                    for name, session in answer.sessions.items()
                    if name in self._expected
                    for pid in session.pids
                )
            )
        new = open_questions - self._open_questions
        self._open_questions = open_questions
        if not open_questions:
            return math.inf
        self._ask_again = _ASK_AGAIN if new else min(2 * self._ask_again, _QUIET_SWEEP)
        return self._ask_again

    def _follow_renamed(self, answer: TmuxSnapshot) -> TmuxSnapshot:
        """Adds the old names of renamed sessions to an answer of tmux.

        A renamed session is recognized by its id.
        """
        if answer.state is TmuxState.UNKNOWN:
            return answer
        if answer.server != self._server:
            # A new server assigns the same ids again.
            self._server, self._seen = answer.server, {}
        answer = follow_renamed(answer, self._seen)
        self._seen = {
            name: answer.sessions[name] for name in self._expected if name in answer.sessions
        }
        return answer

    def _build_loop(self) -> None:
        builder = RollBuilder(self._policy, self._files_answered)
        self._show_first_tasks(builder)
        first = True
        while (changes := self._wait_for_changes()) is not None:
            try:
                if changes.rescan:
                    self._registries.rescan(self._report_progress if first else no_progress)
                    first = False
                else:
                    self._registries.update(changes.paths)
                self._watcher.watch(*self._registries.directories())
                states = self._registries.states()
                proofs = expected_sessions(states, self._policy, time.time())
                pids = expected_processes(states, self._policy, time.time())
                self._set_expected(proofs, pids, self._registries.spellings())
                self._deliver(builder)
                if self._recover and self._registries.recover():
                    self._add_changes(rescan=True)
                if self._recover and changes.rescan:
                    self._registries.keep()
                if self._registries.busy:
                    self._rescan_at = min(self._rescan_at, time.monotonic() + BUSY_RESCAN)
            except Exception:
                # The thread must survive, to notice the next change.
                _log.exception("cannot build the roll call")
                with self._change:
                    self._change.wait_for(lambda: self._stopped, timeout=1.0)
                    # The changes have not been handled yet.
                    self._changes.rescan = True

    def _show_first_tasks(self, builder: RollBuilder) -> None:
        """Builds a roll call of only the first tasks, and waits a moment for a listener.

        Does nothing if a listener already exists, or if the workspaces have only these tasks.
        """
        try:
            if self._on_roll is not None or self._registries.rescan(at_most=_AT_FIRST):
                return
            self._deliver(builder, whole=False)
        except Exception:
            _log.exception("cannot build the roll call of the first tasks")
        with self._change:
            self._change.wait_for(lambda: self._on_roll or self._stopped, _NOBODY_LISTENS)

    def _deliver(self, builder: RollBuilder, *, whole: bool = True) -> None:
        reading = ClockReading(time.time(), time.monotonic())
        self._jumps = next_jumps(self._jumps, self._reading, reading)
        self._reading = reading
        with self._change:
            evidence = replace(self._evidence, jumps=self._jumps)
        roll = builder.call(self._registries, evidence, reading.wall)
        self._elsewhere.doubt(roll.evidence.renamed)
        if not whole or self._registries.awaits_first:
            awaits = self._registries.awaits_first
            roll = replace(roll, whole=whole, awaits_first=awaits)
        with self._delivery:
            self.latest = roll
            if self._on_roll is not None:
                self._on_roll(roll)

    def _report_progress(self, what: str, done: int, of: int) -> None:
        # `_progress` is read at each call, because `listen` may be called during the reading.
        self._progress(what, done, of)

    def _wait_for_changes(self) -> _Changes | None:
        with self._change:
            if not self._stopped and not self._changes:
                self._change.wait(max(0.0, self._rescan_at - time.monotonic()))
            if self._stopped:
                return None
            changes, self._changes = self._changes, _Changes(rescan=False)
            # Also after a new answer of tmux, a scan takes place when it is due.
            changes.rescan |= time.monotonic() >= self._rescan_at
            if changes.rescan:
                pause = _QUIET_RESCAN if self._is_quiet() else RESCAN
                self._rescan_at = time.monotonic() + pause
            return changes

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._changed_at > _QUIET_AFTER

    def _set_expected(
        self, proofs: Mapping[str, float], pids: Mapping[int, float], spellings: Spellings
    ) -> None:
        with self._change:
            # Existing sessions count too, because their processes are not watched yet.
            new = proofs.keys() - self._expected.keys() or pids.keys() - self._expected_pids.keys()
            self._expected, self._expected_pids, self._spellings = proofs, pids, spellings
        if new:
            self._deaths.wake()
