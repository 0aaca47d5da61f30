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
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.workspace import (
    GLOBAL_REGISTRY,
    TASK_REGISTRY,
    Workspace,
    last_reports,
)
from tui.absences import (
    Absences,
    expected_sessions,
    follow_renamed,
    is_proven_missing,
    note_absences,
)
from tui.host import host_name
from tui.host.deaths import DeathWatch
from tui.host.elsewhere import look_elsewhere, owners_of
from tui.host.sessions import Answer, Session, TmuxState
from tui.host.tmux import Tmux
from tui.host.watch import DirectoryWatcher
from tui.progress import Progress, untold
from tui.registries import Registries
from tui.renamed import Suspect, find_renamed
from tui.roll import Policy, RollCall, TaskRoll, TaskState, Verdict, WorkspaceRoll
from tui.rollcall import call_task, find_mass_death, find_orphans
from tui.vicinity import Vicinity

_log = logging.getLogger(__name__)

SWEEP = 3.0
"""Seconds between two questions to tmux while nothing happens."""

RESCAN = 5.0
"""Seconds between two looks at everything, for changes that no event told of."""

BUSY_RESCAN = 0.25
"""Seconds until a registry is looked at again that a writer was found at."""

_BUSY_AT_MOST = 2.5

# Seconds after which every agent is judged again although nothing is new.
_RECALL = 10.0

# Seconds until other servers are asked again for sessions that they may have: twice as
# long each time, up to the second.
_LOOK_AGAIN = 0.5
_LOOK_RARELY = 10.0

# tmux needs a moment to notice the end of a pane that the kernel told us of.
_AFTER_DEATH = 0.03
_NOT_NOTICED = 0.1


class Caller:
    """Calls the roll from registries and answers; keeps what did not change."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._host = host_name()
        self._rolls: dict[Path, TaskRoll] = {}
        self._answer: Answer | None = None
        self._absences: Absences = {}
        self._again_at = 0.0
        self._undecided = False
        self._vicinity = Vicinity()
        self._renamed: Mapping[str, Suspect] = {}
        self._begun: dict[tuple[str, int], float | None] = {}

    def call(
        self, registries: Registries, answer: Answer, absences: Absences, now: float
    ) -> RollCall:
        """One frozen roll call of what is known now."""
        renamed = self._find_renamed(registries, answer, absences)
        fresh = self._is_news(answer, absences, now) or renamed != self._renamed
        self._answer, self._absences, self._renamed = answer, absences, renamed
        if renamed:
            whys = {name: suspect.why for name, suspect in renamed.items()}
            answer = replace(answer, elsewhere={**whys, **answer.elsewhere})
        if fresh:
            # An agent may have stalled although nothing is new.
            self._again_at = now + min(_RECALL, self._policy.stall_after / 20)
        rolls: dict[Path, TaskRoll] = {}
        workspaces = []
        counts = dict.fromkeys(Verdict, 0)
        for branch in registries.branches():
            tasks = []
            for state in branch.states:
                roll = self._rolls.get(state.registry)
                if fresh or roll is None or roll.state is not state:
                    again = self._call_task(state, answer, absences, now)
                    # An equal one keeps its identity: nothing is drawn anew for it.
                    if roll is None or roll.state is not state or roll != again:
                        roll = again
                rolls[state.registry] = roll
                tasks.append(roll)
                for verdict, count in roll.counts.items():
                    counts[verdict] += count
            workspaces.append(
                WorkspaceRoll(branch.path, tuple(tasks), branch.error, branch.cut_off)
            )
        self._rolls = rolls
        self._undecided = counts[Verdict.UNKNOWN] > 0
        orphans: tuple[Session, ...] | None = None
        if registries.sees_all():
            listed = registries.listed_sessions()
            as_of = min(now, registries.known_until())
            orphans = find_orphans(registries.states(), listed, answer, self._policy, as_of)
        own = [each.path for each in workspaces]
        suspected = {each.session.id for each in renamed.values()}
        nobodys = tuple(each for each in orphans or () if each.id not in suspected)
        judged = self._vicinity.judge(nobodys, answer, own, self._policy, now)
        counts[Verdict.ORPHAN] = len(judged.orphans)
        return RollCall(
            self._host,
            answer,
            tuple(workspaces),
            judged.orphans,
            counts,
            orphans_known=orphans is not None and not judged.unsure,
            beside=judged.read,
            mass_death=find_mass_death(rolls.values(), absences, self._policy),
        )

    def _find_renamed(
        self, registries: Registries, answer: Answer, absences: Absences
    ) -> Mapping[str, Suspect]:
        """Which of the missing sessions may be there by another name."""
        missing = absences.keys() - answer.sessions.keys()
        begun: dict[tuple[str, int], float | None] = {}
        if not missing:
            return {}

        def begun_in(session: Session) -> Iterable[float]:
            # Not at the top: a look at the roll has no use for it as a rule.
            from tui.host import processes

            for pid in session.pids:
                key = session.id, pid
                # No look at a process is taken twice.
                begun[key] = self._begun[key] if key in self._begun else processes.begun(pid)
            return [time for pid in session.pids if (time := begun[session.id, pid]) is not None]

        states, listed = registries.states(), registries.listed_sessions()
        found = find_renamed(missing, states, listed, answer.sessions.values(), begun_in)
        self._begun = begun
        return found

    def _call_task(
        self, state: TaskState, answer: Answer, absences: Absences, now: float
    ) -> TaskRoll:
        roll = call_task(state, answer, absences, self._policy, now)
        silent = [row.key.id for row in roll.agents if row.verdict is Verdict.STALLED]
        # Only they are worth a look at their files.
        if reported := last_reports(state.registry, silent):
            return call_task(state, answer, absences, self._policy, now, reported)
        return roll

    def _is_news(self, answer: Answer, absences: Absences, now: float) -> bool:
        """Whether verdicts may change that no registry has a part in."""
        before = self._answer
        return (
            before is None
            or self._undecided
            # Also when the clock was set back.
            or not 0 < self._again_at - now <= _RECALL
            or absences != self._absences
            or replace(answer, asked_at=before.asked_at) != before
        )


def _unproven(absences: Absences, answer: Answer, proofs: Mapping[str, float]) -> float | None:
    """When, in monotonic seconds, the next absence can be proven; None if none waits."""
    waiting = [
        since + proofs[name]
        for name, since in absences.items()
        if name in proofs and not is_proven_missing(name, absences, answer, proofs[name])
    ]
    return min(waiting, default=None)


class _Elsewhere:
    """Whether missing sessions are on another server; looks only at what is news."""

    def __init__(self, workspaces: Iterable[Workspace]) -> None:
        self._paths = [workspace.path for workspace in workspaces]
        self._cleared: set[tuple[str, float]] = set()
        self._found: Mapping[str, str] = {}
        self._again_at = 0.0
        self._pause = 0.0

    def noted(self, answer: Answer, absences: Absences) -> tuple[Answer, Absences]:
        """The answer, with what may be elsewhere; the absences, for proof. May block.

        A session that is not elsewhere any more is missing from now on only.
        """
        missing = set(absences.items())
        self._cleared &= missing
        self._found = {name: why for name, why in self._found.items() if name in absences}
        unclear = {name for name, _ in missing - self._cleared}
        new = unclear - self._found.keys()
        again = bool(unclear) and time.monotonic() >= self._again_at
        if answer.state is not TmuxState.UNKNOWN and (new or again):
            before = self._found
            self._found = look_elsewhere(unclear, answer, owners_of(self._paths))
            gone = (before.keys() & unclear) - self._found.keys()
            absences = {**absences, **dict.fromkeys(gone, answer.asked_at)}
            self._cleared |= {(name, absences[name]) for name in new - self._found.keys()}
            self._pause = min(2 * self._pause, _LOOK_RARELY) if not new else _LOOK_AGAIN
            self._again_at = time.monotonic() + self._pause
        return (replace(answer, elsewhere=self._found) if self._found else answer), absences


def take_roll(workspaces: Sequence[Workspace], tmux: Tmux, policy: Policy) -> RollCall:
    """Calls the roll once; asks tmux a second time only if somebody is missing."""
    registries = Registries(workspaces)
    elsewhere = _Elsewhere(workspaces)
    answer = tmux.ask()
    registries.rescan()
    give_up_at = time.monotonic() + _BUSY_AT_MOST
    while registries.busy and time.monotonic() < give_up_at:
        time.sleep(BUSY_RESCAN / 5)
        registries.rescan()
    proofs = expected_sessions(registries.states(), policy, time.time())
    answer, absences = elsewhere.noted(answer, note_absences({}, answer, proofs))
    while (again_at := _unproven(absences, answer, proofs)) is not None:
        time.sleep(max(0.0, again_at - time.monotonic()))
        answer = tmux.ask()
        if answer.state is TmuxState.UNKNOWN:
            break
        registries.rescan()
        expected = expected_sessions(registries.states(), policy, time.time())
        # No newcomers: who is missing only now would be waited for without end.
        proofs = {name: proof for name, proof in expected.items() if name in absences}
        absences = note_absences(absences, answer, proofs)
        answer, absences = elsewhere.noted(answer, absences)
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
        recover: Whether commits that were cut off are finished: that writes.
        progress: Told how far the first reading is, in a thread of this object.
    """

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        tmux: Tmux,
        policy: Policy,
        on_roll: Callable[[RollCall], None],
        *,
        recover: bool = True,
        progress: Progress = untold,
    ) -> None:
        self._registries = Registries(workspaces)
        self._elsewhere = _Elsewhere(workspaces)
        self._tmux = tmux
        self._policy = policy
        self._on_roll = on_roll
        self._recover = recover
        self._progress = progress
        self._change = threading.Condition()
        self._news = _News()
        self._answer = Answer(TmuxState.UNKNOWN, "asking tmux …", tmux.socket, {}, 0.0)
        self._absences: Absences = {}
        self._expected: Mapping[str, float] = {}
        self._seen: Mapping[str, Session] = {}
        self._server: tuple[int | None, int] = (None, 0)
        self._rescan_at = 0.0
        self._stopped = False
        self._ended: frozenset[int] = frozenset()
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
                answer = self._recognize(answer)
                absences = note_absences(self._absences, answer, self._expected)
            # Before anybody is called dead on this answer, and with nothing held up.
            answer, absences = self._elsewhere.noted(answer, absences)
            with self._change:
                self._answer, self._absences = answer, absences
                again_at = _unproven(absences, answer, self._expected)
            self._tell(answer=True)
            ended = self._deaths.watch(
                pid
                for name, session in answer.sessions.items()
                if name in self._expected
                for pid in session.pids
            )
            pause = SWEEP
            if again_at is not None:
                pause = min(SWEEP, max(0.0, again_at - time.monotonic()))
            if ended - self._ended:
                # The kernel told of it sooner than tmux noticed.
                pause = min(pause, _NOT_NOTICED)
            self._ended = ended
            if self._deaths.wait(pause) and not self._stopped:
                time.sleep(_AFTER_DEATH)

    def _recognize(self, answer: Answer) -> Answer:
        """Finds again, by their ids, the sessions of agents that were renamed meanwhile."""
        if answer.state is TmuxState.UNKNOWN:
            return answer
        if (answer.server_pid, answer.server_started) != self._server:
            # Another server counts its ids anew.
            self._server, self._seen = (answer.server_pid, answer.server_started), {}
        answer = follow_renamed(answer, self._seen)
        self._seen = {
            name: answer.sessions[name] for name in self._expected if name in answer.sessions
        }
        return answer

    def _gather_on(self) -> None:
        caller = Caller(self._policy)
        while (news := self._wait_for_news()) is not None:
            try:
                if news.rescan or not self._registries.knows(news.paths):
                    self._registries.rescan(self._progress)
                    self._progress = untold
                    self._watcher.watch(*self._registries.directories())
                else:
                    self._registries.reread(news.paths)
                states = self._registries.states()
                self._expect(expected_sessions(states, self._policy, time.time()))
                with self._change:
                    answer, absences = self._answer, self._absences
                self._on_roll(caller.call(self._registries, answer, absences, time.time()))
                if self._recover and self._registries.recover():
                    self._tell(rescan=True)
                if self._registries.busy:
                    self._rescan_at = min(self._rescan_at, time.monotonic() + BUSY_RESCAN)
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

    def _expect(self, proofs: Mapping[str, float]) -> None:
        with self._change:
            # Also who is there already: its processes are not watched yet.
            new = proofs.keys() - self._expected.keys()
            self._expected = proofs
        if new:
            self._deaths.wake()
