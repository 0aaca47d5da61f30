"""Planning to write agents down as through; carrying it out is `tui.actions.execute`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from registry.schema import is_active, tmux_name
from tui.actions.evidence import evidence_of_roll, looked_at
from tui.actions.plan import EndStatus, Plan, Step, Verb, agent_step
from tui.actions.preconditions import (
    COMPLETE,
    ActionEvidence,
    checked,
    first_reason,
    is_listed_once,
    registry_can_be_read,
    status_is_current,
)
from tui.actions.questions import with_questions
from tui.model.roll import AgentRow, RollCall, Verdict


def plan_complete(
    roll: RollCall,
    rows: Iterable[AgentRow],
    status: EndStatus = "completed",
    *,
    by_verdict: bool = False,
) -> Plan:
    """Plans to write active agents down as through, without touching any session.

    Args:
        roll: The roll call.
        rows: Which agents.
        status: What they become.
        by_verdict: They were chosen for their verdict, and not named by the operator.
    """
    rows = tuple(rows)
    alone = len(rows) == 1 and not by_verdict
    evidence = evidence_of_roll(roll, (), alone=alone)
    tasks = {task.state.registry: task for task in roll.tasks()}
    steps: list[Step] = []
    refused: list[tuple[str, str]] = []
    for row in rows:
        name = tmux_name(row.record.tmux_session or "")
        doubt = roll.evidence.renamed.get(name)
        if doubt is None and row.verdict is Verdict.UNKNOWN and name in roll.evidence.unasked:
            doubt = f"{roll.evidence.elsewhere[name]}."
        step = agent_step(row, tasks[row.key.registry], True, _says(row, status, doubt))
        why = first_reason((registry_can_be_read, status_is_current), step, evidence)
        if row.verdict in (Verdict.FINISHED, Verdict.LEAKED):
            why = f"is {row.record.status!r} already"
        elif why is not None:
            pass
        elif doubt is not None and not alone:
            note = f"{row.note} If you know that it is not its own, complete this agent alone"
            why = f"cannot be judged: {note}"
        elif row.verdict is Verdict.UNKNOWN and row.name_reused_by is None and doubt is None:
            why = f"cannot be judged: {row.note}"
        elif not is_active(row.record.status):
            why = f"{row.record.status!r} is no known status"
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
    )
    return with_questions(plan, roll)


def checked_complete(
    roll: RollCall,
    rows: Iterable[AgentRow],
    status: EndStatus = "completed",
    *,
    by_verdict: bool = False,
) -> Plan:
    """Plans as `plan_complete` does, but for agents whose processes may run on. Blocks.

    An agent that the operator named alone stays in the plan, which says so: it may be known
    that what runs is not its own.
    """
    rows = tuple(rows)
    plan = plan_complete(roll, rows, status, by_verdict=by_verdict)
    evidence = looked_at(plan, evidence_of_roll(roll, ()))
    if len(rows) == 1 and not by_verdict:
        plan = _though_left_over(plan, evidence)
    return with_questions(checked(plan, COMPLETE, evidence), roll)


def _though_left_over(plan: Plan, evidence: ActionEvidence) -> Plan:
    """A plan that says what may still run of its agents, and completes them all the same."""
    steps = tuple(
        replace(step, says=f"{step.says}, though {left.why}", may_run=True)
        if (left := evidence.leftovers.get(step)) is not None
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def _says(row: AgentRow, status: EndStatus, doubt: str | None) -> str:
    """What completing an agent means, in words."""
    if row.verdict is Verdict.ZOMBIE:
        return f"its session is gone; mark it {status}"
    if doubt is not None:
        return f"mark it {status}, though {doubt} No session is touched"
    if row.name_reused_by is not None:
        return f"mark it {status}; the session that has its name now is not touched"
    return f"mark it {status}; its session goes on, and will be called leaked"
