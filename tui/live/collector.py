"""Gathering: registries and sessions in, one frozen roll call after another out.

Three threads, none of them the screen's: one that watches files, one that asks
tmux, one that reads what changed and calls the roll. A slow answer delays none
of the others, and what comes in meanwhile is taken together.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.schema import Workspace
from registry.snapshots import while_busy
from tui.host.exit_watch import ExitWatcher
from tui.host.file_watch import DirectoryWatcher
from tui.host.tmux import Tmux
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.builder import RollBuilder
from tui.live.other_servers import OtherServers
from tui.live.registry_cache import Registries
from tui.model.evidence import (
    Evidence,
    expected_sessions,
    follow_renamed,
    is_proven_missing,
    note_absences,
)
from tui.model.policy import Policy
from tui.model.roll import RollCall
from tui.progress import ProgressCallback, untold

_log = logging.getLogger(__name__)

SWEEP = 3.0
"""Seconds between two questions to tmux while no death is told of."""

RESCAN = 5.0
"""Seconds between two looks at everything, for changes that no event told of."""

# Seconds without any change after which both are further apart, and how far.
_QUIET_AFTER = 30.0
_QUIET_SWEEP = 6.0
_QUIET_RESCAN = 15.0

BUSY_RESCAN = 0.25
"""Seconds until a registry is looked at again that a writer was found at."""

# Tasks that are read before the first roll call, so that a large workspace shows something at
# once; and the seconds that the others are put off for until somebody listens.
_AT_FIRST = 10
_NOBODY_LISTENS = 1.0

# tmux needs a moment to notice the end of a pane that the kernel told us of.
_AFTER_DEATH = 0.03

# Seconds until tmux is asked again when it could not tell, or does not know of a death yet:
# twice as long each time.
_ASK_AGAIN = 0.1


def _unproven(evidence: Evidence, proofs: Mapping[str, float]) -> float | None:
    """When, in monotonic seconds, the next absence can be proven; None if none waits."""
    waiting = [
        since + proofs[name]
        for name, since in evidence.missing_since.items()
        if name in proofs and not is_proven_missing(name, evidence, proofs[name])
    ]
    return min(waiting, default=None)


def _is_news(before: Evidence, evidence: Evidence) -> bool:
    """Whether tmux servers say something else than they said before."""
    snapshot = replace(evidence.snapshot, asked_at=before.snapshot.asked_at)
    same_time = replace(evidence, snapshot=snapshot, missing_since=before.missing_since)
    return same_time != before


def take_roll(workspaces: Sequence[Workspace], tmux: Tmux, policy: Policy) -> RollCall:
    """Calls the roll once; asks tmux a second time only if somebody is missing."""
    registries = Registries(workspaces)
    elsewhere = OtherServers(workspaces)
    answer = tmux.ask()
    for _ in while_busy(lambda: registries.busy):
        registries.rescan()
    proofs = expected_sessions(registries.states(), policy, time.time())
    evidence = elsewhere.noted(
        Evidence(answer, note_absences({}, answer, proofs)), registries.paths()
    )
    while (again_at := _unproven(evidence, proofs)) is not None:
        time.sleep(max(0.0, again_at - time.monotonic()))
        answer = tmux.ask()
        if answer.state is TmuxState.UNKNOWN:
            evidence = Evidence(answer, evidence.missing_since)
            break
        registries.rescan()
        expected = expected_sessions(registries.states(), policy, time.time())
        # No newcomers: who is missing only now would be waited for without end.
        proofs = {
            name: proof for name, proof in expected.items() if name in evidence.missing_since
        }
        missing_since = note_absences(evidence.missing_since, answer, proofs)
        evidence = elsewhere.noted(Evidence(answer, missing_since), registries.paths())
    return RollBuilder(policy).call(registries, evidence, time.time())


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
        recover: Whether commits that were cut off are finished: that writes.

    Attributes:
        tmux: The server that is asked.
        latest: The newest roll call; None before the first.
    """

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        tmux: Tmux,
        policy: Policy,
        *,
        recover: bool = True,
    ) -> None:
        self._registries = Registries(workspaces)
        self._elsewhere = OtherServers(workspaces)
        self.tmux = tmux
        self.latest: RollCall | None = None
        self._policy = policy
        self._recover = recover
        self._on_roll: Callable[[RollCall], None] | None = None
        self._progress: ProgressCallback = untold
        self._handing = threading.Lock()
        self._change = threading.Condition()
        self._news = _News()
        asking = TmuxSnapshot(TmuxState.UNKNOWN, "asking tmux …", tmux.socket, {}, 0.0)
        self._evidence = Evidence(asking)
        self._expected: Mapping[str, float] = {}
        self._seen: Mapping[str, Session] = {}
        self._server: tuple[int | None, int] = (None, 0)
        self._rescan_at = 0.0
        self._changed_at = time.monotonic()
        self._stopped = False
        self._open_questions: frozenset[int | None] = frozenset()
        self._ask_again = _ASK_AGAIN
        self._deaths = ExitWatcher()
        self._watcher = DirectoryWatcher(self._files_changed, self._registries.watched_names())
        self._threads = [
            threading.Thread(target=self._ask_on, name="muster-ask", daemon=True),
            threading.Thread(target=self._gather_on, name="muster-gather", daemon=True),
        ]

    def listen(
        self, on_roll: Callable[[RollCall], None], progress: ProgressCallback = untold
    ) -> None:
        """Hands out the newest roll call, if there is one, and each that comes from now on.

        Args:
            on_roll: Called with a roll call, mostly in a thread of this object; one call is
                over before the next begins.
            progress: Told how far the first reading is, in a thread of this object.
        """
        with self._handing:
            self._on_roll, self._progress = on_roll, progress
            if self.latest is not None:
                on_roll(self.latest)
        with self._change:
            self._change.notify_all()

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
            if paths:
                self._changed_at = time.monotonic()
            self._news.paths.update(paths)
            self._news.rescan |= rescan
            self._news.answer |= answer
            self._change.notify_all()

    def _ask_on(self) -> None:
        while not self._stopped:
            try:
                self._ask_once()
            except Exception:
                # Whatever it is, the next death must still be seen.
                _log.exception("tmux could not be asked")
                self._deaths.wait(1.0)

    def _ask_once(self) -> None:
        answer = self.tmux.ask()
        with self._change:
            answer = self._recognize(answer)
            missing_since = note_absences(self._evidence.missing_since, answer, self._expected)
        # Before anybody is called dead on this answer, and with nothing held up.
        evidence = self._elsewhere.noted(Evidence(answer, missing_since), self._registries.paths())
        with self._change:
            if _is_news(self._evidence, evidence):
                self._changed_at = time.monotonic()
            self._evidence = evidence
            again_at = _unproven(evidence, self._expected)
        self._tell(answer=True)
        pause = _QUIET_SWEEP if self._is_quiet() else SWEEP
        if again_at is not None:
            pause = min(pause, max(0.0, again_at - time.monotonic()))
        pause = min(pause, self._unsettled(answer))
        if self._deaths.wait(pause) and not self._stopped:
            time.sleep(_AFTER_DEATH)

    def _unsettled(self, answer: TmuxSnapshot) -> float:
        """Watches the processes of an answer; seconds until what it leaves open is asked again."""
        unknown = answer.state is TmuxState.UNKNOWN
        open_questions: frozenset[int | None] = frozenset([None])
        if not unknown:
            # The kernel told of these sooner than tmux noticed, which may take it long.
            open_questions = self._deaths.watch(
                pid
                for name, session in answer.sessions.items()
                if name in self._expected
                for pid in session.pids
            )
        new = open_questions - self._open_questions
        self._open_questions = open_questions
        if not open_questions:
            return math.inf
        self._ask_again = _ASK_AGAIN if new else min(2 * self._ask_again, _QUIET_SWEEP)
        return self._ask_again

    def _recognize(self, answer: TmuxSnapshot) -> TmuxSnapshot:
        """Finds again, by their ids, the sessions of agents that were renamed meanwhile."""
        if answer.state is TmuxState.UNKNOWN:
            return answer
        if answer.server != self._server:
            # Another server counts its ids anew.
            self._server, self._seen = answer.server, {}
        answer = follow_renamed(answer, self._seen)
        self._seen = {
            name: answer.sessions[name] for name in self._expected if name in answer.sessions
        }
        return answer

    def _gather_on(self) -> None:
        caller = RollBuilder(self._policy)
        self._begin(caller)
        first = True
        while (news := self._wait_for_news()) is not None:
            try:
                if news.rescan or not self._registries.knows(news.paths):
                    self._registries.rescan(self._tell_progress if first else untold)
                    first = False
                    self._watcher.watch(*self._registries.directories())
                else:
                    self._registries.reread(news.paths)
                states = self._registries.states()
                self._expect(expected_sessions(states, self._policy, time.time()))
                self._call(caller)
                if self._recover and self._registries.recover():
                    self._tell(rescan=True)
                if self._registries.busy:
                    self._rescan_at = min(self._rescan_at, time.monotonic() + BUSY_RESCAN)
            except Exception:
                # Whatever it is, the next change must still be seen.
                _log.exception("the roll could not be called")
                with self._change:
                    self._change.wait_for(lambda: self._stopped, timeout=1.0)
                    # What was news then is so still.
                    self._news.rescan = True

    def _begin(self, caller: RollBuilder) -> None:
        """Calls the roll of the first tasks; the others wait until that can be shown.

        Not for somebody who listens already, and so is as quick to hear of all.
        """
        try:
            if self._on_roll is not None or self._registries.rescan(at_most=_AT_FIRST):
                return
            self._call(caller, whole=False)
        except Exception:
            _log.exception("the roll of the first tasks could not be called")
        with self._change:
            self._change.wait_for(lambda: self._on_roll or self._stopped, _NOBODY_LISTENS)

    def _call(self, caller: RollBuilder, *, whole: bool = True) -> None:
        with self._change:
            evidence = self._evidence
        roll = caller.call(self._registries, evidence, time.time())
        self._elsewhere.doubt(roll.evidence.renamed)
        if not whole:
            roll = replace(roll, whole=False)
        with self._handing:
            self.latest = roll
            if self._on_roll is not None:
                self._on_roll(roll)

    def _tell_progress(self, what: str, done: int, of: int) -> None:
        # Whoever listens may have come meanwhile.
        self._progress(what, done, of)

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
                pause = _QUIET_RESCAN if self._is_quiet() else RESCAN
                self._rescan_at = time.monotonic() + pause
            return news

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._changed_at > _QUIET_AFTER

    def _expect(self, proofs: Mapping[str, float]) -> None:
        with self._change:
            # Also who is there already: its processes are not watched yet.
            new = proofs.keys() - self._expected.keys()
            self._expected = proofs
        if new:
            self._deaths.wake()
