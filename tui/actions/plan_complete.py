"""Makes plans to give agents a terminal status; `tui.actions.execute` executes the plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from registry.dataclass import replace
from registry.schema import SESSION_PREFIX, is_active, spellings
from tui.actions.evidence.action_evidence import ActionEvidence
from tui.actions.evidence.collect import evidence_of_roll, looked_at
from tui.actions.evidence.reported_ends import ends_of
from tui.actions.plan import EndStatus, Plan, Step, Verb, agent_step, processes_without_session
from tui.actions.preconditions import (
    COMPLETE,
    checked,
    first_reason,
    is_listed_once,
    processes_can_be_seen,
    registry_can_be_locked,
    registry_can_be_read,
    status_is_current,
)
from tui.actions.questions import with_questions
from tui.host.tmux_types import TmuxState
from tui.model.roll import AgentKey, AgentRow, RollCall, Verdict
from tui.model.verdict import ENDING

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd

_FROM_ROLL = (
    registry_can_be_read,
    registry_can_be_locked,
    status_is_current,
)
"""The checks of an agent's registry that need only the roll call."""


def plan_complete(
    roll: RollCall,
    rows: Iterable[AgentRow],
    status: EndStatus = "completed",
    *,
    by_verdict: bool = False,
    ends: Mapping[AgentKey, ReportedEnd] = MappingProxyType({}),
) -> Plan:
    """Makes a plan to give active agents a terminal status; sessions are not changed.

    Args:
        roll: The roll call.
        rows: The agents.
        status: The new status of the agents that are not in `ends`.
        by_verdict: Whether the agents were chosen by their verdict, and not named by the operator.
        ends: Maps agents to the ends that they themselves reported, and that they get.
    """
    rows = tuple(rows)
    alone = len(rows) == 1 and not by_verdict
    evidence = evidence_of_roll(roll, (), alone=alone)
    tasks = {task.state.registry: task for task in roll.tasks()}
    steps: list[Step] = []
    refused: list[tuple[str, str]] = []
    for row in rows:
        name = row.record.tmux_session or ""
        doubt = roll.evidence.renamed.get(name)
        if doubt is None and row.verdict is Verdict.UNKNOWN and name in roll.evidence.unasked:
            doubt = f"{roll.evidence.elsewhere[name]}."
        if doubt is None and row.verdict is Verdict.UNKNOWN:
            doubt = _unseen(row, roll) or _nameless(row, roll)
        end = ends.get(row.key)
        change = f"set its status to {status}"
        if end is not None:
            change = f"set its status to {end.status}, as the agent reported"
        says = _says(row, change, doubt)
        step = agent_step(row, tasks[row.key.registry], True, says, end=end)
        why = first_reason(_FROM_ROLL, step, evidence)
        if row.verdict is Verdict.LEAKED or row.verdict.is_over:
            why = f"its status is already {row.record.status!r}"
        elif why is not None:
            pass
        elif row.note == ENDING:
            why = ENDING
        elif doubt is not None and not alone:
            why = f"its state is unknown: {row.note}{_remedy(row)}"
        elif row.verdict is Verdict.UNKNOWN and row.name_reused_by is None and doubt is None:
            why = f"its state is unknown: {row.note}"
        elif not is_active(row.record.meaning):
            why = f"its status {row.record.status!r} is not a known status"
        else:
            why = is_listed_once(step, evidence)
        if why is None:
            steps.append(step)
        else:
            refused.append((row.key.id, why))
    answer = roll.answer
    plan = Plan(
        Verb.COMPLETE,
        status,
        tuple(steps),
        tuple(refused),
        answer.socket,
        answer.server_pid,
        server_started=answer.server_started,
        set_aside=roll.evidence.set_aside,
        known_processes=processes_without_session(roll.agents()),
    )
    return with_questions(plan, roll)


def _unseen(row: AgentRow, roll: RollCall) -> str | None:
    """Returns why muster cannot see the process of an agent without a session, or None."""
    process = roll.evidence.processes.seen.get(row.record.pid or 0)
    return f"{process.unseen}." if process is not None and process.unseen is not None else None


def checked_complete(
    roll: RollCall,
    rows: Iterable[AgentRow],
    status: EndStatus = "completed",
    *,
    by_verdict: bool = False,
    as_reported: bool = False,
) -> Plan:
    """Makes a plan like `plan_complete`, but refuses agents whose processes may still run. Blocks.

    If the operator named exactly one agent, this agent stays in the plan, with a remark. The
    operator may know that the processes do not belong to the agent.

    Args:
        roll: See `plan_complete`.
        rows: See `plan_complete`.
        status: See `plan_complete`.
        by_verdict: See `plan_complete`.
        as_reported: Whether an agent that is gone, and that itself reported its end, gets this end
            instead of `status`.
    """
    rows = tuple(rows)
    ends = ends_of(roll, rows) if as_reported else {}
    plan = plan_complete(roll, rows, status, by_verdict=by_verdict, ends=ends)
    sessions = [step.session for step in plan.steps if step.session is not None]
    evidence = looked_at(plan, evidence_of_roll(roll, sessions))
    if len(rows) == 1 and not by_verdict:
        plan = _with_remarks(plan, evidence)
    return with_questions(checked(plan, COMPLETE, evidence), roll)


def _with_remarks(plan: Plan, evidence: ActionEvidence) -> Plan:
    """Adds a remark to each step whose agent may still have running processes."""

    def remarked(step: Step) -> Step:
        left = evidence.leftovers.get(step)
        why = left.why if left is not None else processes_can_be_seen(step, evidence)
        if why is None:
            return step
        return replace(step, says=f"{step.says}, although {why}", may_run=True)

    return replace(plan, steps=tuple(map(remarked, plan.steps)))


def _nameless(row: AgentRow, roll: RollCall) -> str | None:
    """Returns why muster cannot see whether an agent without a session and a pid runs, or None."""
    record = row.record
    if record.tmux_session is not None or record.pid is not None or not is_active(record.meaning):
        return None
    if roll.answer.state is TmuxState.UNKNOWN:
        return None
    name = SESSION_PREFIX + record.id
    if not spellings(name).isdisjoint(roll.answer.sessions):
        # The agent may run in this session, although its entry does not say so.
        return None
    return "its entry names neither a session nor a pid, so muster cannot see whether it runs."


def _remedy(row: AgentRow) -> str:
    if row.record.tmux_session is None:
        return ". If you know that the agent has ended, complete this agent alone"
    return " If that session is not the agent's, complete this agent alone"


def _says(row: AgentRow, change: str, doubt: str | None) -> str:
    """Returns the description of a step that completes an agent."""
    if row.verdict is Verdict.ZOMBIE:
        is_session = row.session is None and row.record.pid is None
        gone = "its session is gone" if is_session else row.note
        return f"{gone}; {change}"
    if doubt is not None:
        return f"{change}, although {doubt} No session is ended"
    if row.name_reused_by is not None:
        return f"{change}; the other agent's session, which now has the name, is not ended"
    what = "session" if row.record.pid is None else f"process {row.record.pid}"
    return f"{change}; its {what} is not ended, so the agent becomes leaked"
