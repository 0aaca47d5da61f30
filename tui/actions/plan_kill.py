"""Working out what would be done to whom. Pure.

Plans are made of a roll call alone; carrying them out is `tui.actions.execute`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.audit import EndedSession
from registry.schema import is_active, tmux_name
from registry.text import shown_name
from tui.actions.evidence import evidence_of_roll
from tui.actions.plan import Plan, Step, Verb, agent_step, usual_session
from tui.actions.preconditions import FROM_ROLL, first_reason
from tui.actions.questions import with_questions
from tui.host.tmux_types import Session
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.model.hierarchy import beneath
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict
from tui.text.sanitize import some


def plan_kill(
    roll: RollCall,
    rows: Iterable[AgentRow],
    orphans: Iterable[Session] = (),
    *,
    whole: bool = False,
    unfinished: Collection[EndedSession] = (),
    ended_orphans: Iterable[EndedSession] = (),
) -> Plan:
    """Plans to end sessions with all their processes, and to record it.

    Live and stalled agents lose their session and become terminated, zombies
    only the latter, leaked agents and orphans only the former. Children come before
    their parents, who might start them anew.

    Args:
        roll: The roll call.
        rows: Which agents.
        orphans: Which orphaned sessions.
        whole: The agents are all of a tree or a task, so that those who are through are
            passed over, not refused, as long as anybody is left.
        unfinished: Sessions that earlier kills may not have ended with all processes.
        ended_orphans: Those of them that were orphans and are to be finished.
    """
    chosen = sorted({row.key: row for row in rows}.values(), key=lambda row: -row.level)
    orphans = tuple(orphans)
    tasks = {task.state.registry: task for task in roll.tasks()}
    killing = _Killing(roll, tasks, frozenset(row.key for row in chosen), tuple(unfinished))
    evidence = evidence_of_roll(
        roll,
        [*(row.session for row in chosen if row.session is not None), *orphans],
        alone=len(chosen) == 1 and not whole,
    )
    steps: dict[tuple[object, str | None], Step] = {}
    refused: list[tuple[str, str]] = []
    through: list[tuple[str, str]] = []
    drafts = (*map(killing.draft, chosen), *(killing.draft_orphan(each) for each in orphans))
    for step in drafts:
        if _is_through(step):
            passed_over = through if whole else refused
            passed_over.append((step.label, "is finished; there is nothing to kill"))
        elif (why := first_reason(FROM_ROLL, step, evidence)) is not None:
            refused.append((step.label, why))
        else:
            # The same agent may be in its registry twice.
            agent = step.row and (step.row.key.registry, step.row.key.id)
            steps.setdefault((agent, step.expected_session), step)
    made = list(steps.values())
    made += [
        Step(ended.name, None, ended.name, None, None, False, _LEFT_OVER, ended)
        for ended in ended_orphans
    ]
    own = tuple(workspace.path for workspace in roll.workspaces)
    answer = roll.answer
    plan = Plan(
        Verb.KILL,
        "terminated",
        tuple(made),
        tuple(refused if made or refused else through),
        answer.socket,
        answer.server_pid,
        own[0] if own else None,
        server_started=answer.server_started,
        nearby=NearbyWorkspaces(own, roll.nearby_workspaces),
    )
    return with_questions(plan, roll)


def _is_through(step: Step) -> bool:
    finished = step.row is not None and step.row.verdict is Verdict.FINISHED
    return finished and step.earlier is None


_LEFT_OVER = "its session was ended before, but maybe not all of its processes; end them"


@dataclass(frozen=True, slots=True)
class _Killing:
    """What killing some agents of a roll means for each."""

    roll: RollCall
    tasks: Mapping[Path, TaskRoll]
    chosen: frozenset[AgentKey]
    unfinished: tuple[EndedSession, ...]

    def draft(self, row: AgentRow) -> Step:
        """What would be done to an agent, if nothing speaks against it."""
        earlier = self._earlier(row)
        writes, says = self._meaning(row, earlier)
        return agent_step(row, self.tasks[row.key.registry], writes, says, earlier)

    def draft_orphan(self, session: Session) -> Step:
        """What would be done to an orphaned session."""
        own = (workspace.path for workspace in self.roll.workspaces)
        read = ", ".join(shown_name(path) for path in (*own, *self.roll.nearby_workspaces))
        says = (
            f"in none of the registries read: {read}; end the session and its processes "
            "(an agent of a workspace elsewhere looks the same)"
        )
        return Step(session.name, session, session.name, None, None, False, says)

    def _meaning(self, row: AgentRow, earlier: EndedSession | None) -> tuple[bool, str]:
        """Whether killing an agent changes its registry, and what it means in words."""
        if earlier is not None:
            writes = row.verdict is Verdict.ZOMBIE
            return writes, f"{_LEFT_OVER}; mark it terminated" if writes else _LEFT_OVER
        if row.verdict is Verdict.LEAKED:
            return False, f"end its session{_called(row)}; it is through already"
        if row.verdict is Verdict.ZOMBIE:
            return True, "its session is gone; mark it terminated"
        known = is_active(row.record.status)
        says = f"end its session{_called(row)} and processes; "
        says += "mark it terminated" if known else f"its status {row.record.status!r} stays"
        return known, says + self._going_on(row)

    def _earlier(self, row: AgentRow) -> EndedSession | None:
        if row.verdict not in (Verdict.ZOMBIE, Verdict.FINISHED) or not row.record.tmux_session:
            return None
        name, socket = tmux_name(row.record.tmux_session), str(self.roll.answer.socket)
        for each in reversed(self.unfinished):
            if (each.agent, each.name, each.socket) == (row.key.id, name, socket):
                return each
        return None

    def _going_on(self, row: AgentRow) -> str:
        """What to say of the agents beneath one that is killed, who have their own sessions."""
        count = sum(
            each.session is not None and each.key not in self.chosen
            for each in beneath(self.tasks[row.key.registry], row)
        )
        if not count:
            return ""
        return f"; {some(count, 'agent')} beneath it {'goes' if count == 1 else 'go'} on"


def _called(row: AgentRow) -> str:
    """How to add what a session is called, where that is not as an agent's is."""
    if row.session is None or tmux_name(row.session.name) == usual_session(row):
        return ""
    now = "" if row.session.name == tmux_name(row.record.tmux_session or "") else " now"
    return f" (called {shown_name(row.session.name)}{now}, not {shown_name(usual_session(row))})"
