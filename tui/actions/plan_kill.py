"""Makes plans to kill from the data of a roll call; `tui.actions.execute` executes them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from registry.audit import EndedSession
from registry.dataclass import dataclass
from registry.schema import is_active, spellings
from registry.text import shown_name
from tui.actions.evidence.collect import evidence_of_roll
from tui.actions.plan import (
    Plan,
    Step,
    Verb,
    agent_step,
    processes_without_session,
    usual_session,
)
from tui.actions.preconditions import FROM_ROLL, first_reason
from tui.actions.questions import with_questions
from tui.host.process.socket_path import is_logged_socket
from tui.host.tmux_types import Session
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.model.hierarchy import descendants_of
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict
from tui.model.verdict import JUST_ENDED
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
    """Makes a plan to end sessions with all their processes, and to change agents' statuses.

    - For live and stalled agents, the session is ended, and the status becomes terminated.
    - For zombies, the status becomes terminated.
    - For leaked agents and orphans, the session is ended.

    Children come before their parents in the plan, because a parent might start its children
    again.

    Args:
        roll: The roll call.
        rows: The agents to kill.
        orphans: The orphaned sessions to end.
        whole: Whether `rows` are all agents of a tree or task, or all leaked agents. If so, the
            plan lists finished agents as refused only if all agents are finished.
        unfinished: The sessions that earlier kills ended, if some of their processes may still
            run.
        ended_orphans: The orphans among these sessions whose remaining processes the plan ends.
    """
    chosen = sorted({row.key: row for row in rows}.values(), key=lambda row: -row.level)
    orphans = tuple(orphans)
    tasks = {task.state.registry: task for task in roll.tasks()}
    killing = _Killing(roll, tasks, frozenset(row.key for row in chosen), tuple(unfinished))
    evidence = evidence_of_roll(
        roll,
        [*(row.session for row in chosen if row.session is not None), *orphans],
        chosen,
        alone=len(chosen) == 1 and not whole,
    )
    steps: dict[tuple[object, str | None], Step] = {}
    refused: list[tuple[str, str]] = []
    skipped: list[tuple[str, str]] = []
    drafts = (*map(killing.draft, chosen), *map(killing.draft_orphan, orphans))
    for step in drafts:
        if _is_over(step):
            finished = skipped if whole else refused
            finished.append((step.label, _why_over(step)))
        elif (why := first_reason(FROM_ROLL, step, evidence)) is not None:
            refused.append((step.label, why))
        else:
            # The registry may list the same agent twice.
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
        tuple(refused if made or refused else skipped),
        answer.socket,
        answer.server_pid,
        own[0] if own else None,
        server_started=answer.server_started,
        nearby=NearbyWorkspaces(own, roll.nearby_workspaces),
        set_aside=roll.evidence.set_aside,
        known_processes=processes_without_session(roll.agents()),
    )
    return with_questions(plan, roll)


def _is_over(step: Step) -> bool:
    over = step.row is not None and step.row.verdict.is_over
    return over and step.earlier is None


def _why_over(step: Step) -> str:
    if step.row is not None and step.row.note == JUST_ENDED:
        return f"{JUST_ENDED}; kill it when it is leaked"
    state = (
        "has failed"
        if step.row is not None and step.row.verdict is Verdict.FAILED
        else "is finished"
    )
    return f"{state}; there is nothing to kill"


_NAMED = 6
"""The largest number of workspaces that a text names."""

_TERMINATE = "set its status to terminated"
_LEFT_OVER = (
    "an earlier kill ended its session, but perhaps not all processes of the session; "
    "end these processes"
)


@dataclass(frozen=True, slots=True)
class _Killing:
    """The data from which the steps of a kill are made."""

    roll: RollCall
    tasks: Mapping[Path, TaskRoll]
    chosen: frozenset[AgentKey]
    unfinished: tuple[EndedSession, ...]

    def draft(self, row: AgentRow) -> Step:
        """Returns the step for an agent, before any checks."""
        earlier = self._earlier(row)
        writes, says = self._meaning(row, earlier)
        return agent_step(row, self.tasks[row.key.registry], writes, says, earlier)

    def draft_orphan(self, session: Session) -> Step:
        """Returns the step for an orphaned session, before any checks."""
        own = (workspace.path for workspace in self.roll.workspaces)
        paths = (*own, *self.roll.nearby_workspaces)
        read = ", ".join(map(shown_name, paths[:_NAMED]))
        if len(paths) > _NAMED:
            read += f", and {some(len(paths) - _NAMED, 'further workspace')}"
        says = (
            f"not in the registries of {read}; end the session and its processes "
            "(the session may belong to an agent of another workspace)"
        )
        return Step(session.name, session, session.name, None, None, False, says)

    def _meaning(self, row: AgentRow, earlier: EndedSession | None) -> tuple[bool, str]:
        """Returns whether a kill of an agent changes the registry, and a text about the kill."""
        if earlier is not None:
            writes = row.verdict is Verdict.ZOMBIE
            return writes, f"{_LEFT_OVER}; {_TERMINATE}" if writes else _LEFT_OVER
        if row.record.pid is not None:
            return self._meaning_of_process(row)
        if row.verdict is Verdict.LEAKED:
            return False, f"end its session{_called(row)}; its status is already terminal"
        if row.verdict is Verdict.ZOMBIE:
            if row.session is not None:
                says = f"{row.note}; end its session{_called(row)} and processes; {_TERMINATE}"
                return True, says
            return True, f"its session is gone; {_TERMINATE}"
        known = is_active(row.record.meaning)
        says = f"end its session{_called(row)} and processes; "
        says += _TERMINATE if known else f"its status {row.record.status!r} is not changed"
        return known, says + self._descendants(row)

    def _meaning_of_process(self, row: AgentRow) -> tuple[bool, str]:
        """Returns the same as `_meaning`, for an agent without a session."""
        if row.process is None:
            return True, f"{row.note}; {_TERMINATE}"
        says = f"end its process {row.process.pid} and the processes that it has started; "
        if row.verdict is Verdict.LEAKED:
            return False, says + "its status is already terminal"
        return True, says + _TERMINATE + self._descendants(row)

    def _earlier(self, row: AgentRow) -> EndedSession | None:
        gone = row.verdict is Verdict.ZOMBIE or row.verdict.is_over
        if not gone or not row.record.tmux_session:
            return None
        if row.session is not None:
            return None
        names, socket = spellings(row.record.tmux_session), self.roll.answer.socket
        log = str(self.tasks[row.key.registry].state.source.audit_log)
        for ended in reversed(self.unfinished):
            # The log of another workspace may belong to another user.
            is_own = ended.log in ("", log) and ended.name in names
            if is_own and ended.agent == row.key.id and is_logged_socket(ended.socket, socket):
                return ended
        return None

    def _descendants(self, row: AgentRow) -> str:
        """Returns a text about the agent's descendants whose sessions the plan does not end."""
        count = sum(
            (agent.session is not None or agent.process is not None)
            and not agent.verdict.is_over
            and agent.key not in self.chosen
            for agent in descendants_of(self.tasks[row.key.registry], row)
        )
        if not count:
            return ""
        verb = "continues" if count == 1 else "continue"
        return f"; {some(count, 'descendant')} of the agent {verb}"


def _called(row: AgentRow) -> str:
    """Returns the name of an agent's session in parentheses; empty for the usual name."""
    if row.session is None or row.session.name in spellings(usual_session(row)):
        return ""
    now = "" if row.session.name in spellings(row.record.tmux_session or "") else " now"
    return f" (called {shown_name(row.session.name)}{now}, not {shown_name(usual_session(row))})"
