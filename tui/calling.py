"""One roll call after another out of what is known: only what may differ is judged again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from registry.workspace import last_reports
from tui.absences import Absences
from tui.host import host_name
from tui.host.sessions import Answer, Session
from tui.registries import Registries
from tui.renamed import Suspect, find_renamed
from tui.roll import Policy, RollCall, TaskRoll, TaskState, Verdict, WorkspaceRoll
from tui.rollcall import call_task, find_mass_death, find_orphans
from tui.vicinity import Vicinity

# Seconds after which every agent is judged again although nothing is new.
_RECALL = 10.0


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
