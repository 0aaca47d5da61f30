"""Executes a confirmed plan, and checks the result. The monitor and the commands use this module.

Registries are changed only after tmux was queried again. No lock is held during the query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audit import KILLED, Audit, AuditContext
from registry.errors import RegistryError
from registry.operations import FinishReport
from registry.schema import Deployment
from registry.storage import durable_commits
from tui.actions.evidence.action_evidence import TaskEvidence
from tui.actions.evidence.collect import evidence_now
from tui.actions.evidence.leftovers import completing
from tui.actions.kill import end_sessions
from tui.actions.kill_record import KillRecord
from tui.actions.outcome import Outcome, Result, StepOutcome
from tui.actions.plan import Plan, Step, Verb
from tui.actions.preconditions import (
    COMPLETE,
    database_was_known,
    refusal,
    takes_for_dead,
)
from tui.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from registry.sources import TaskSource
    from tui.host.tmux import Tmux

__all__ = ["KILL_REASON", "Outcome", "Result", "StepOutcome", "carry_out", "complete", "on_record"]

KILL_REASON = "killed by operator"


def carry_out(
    plan: Plan, tmux: Tmux, reason: str, progress: ProgressCallback = no_progress
) -> Outcome:
    """Logs and executes a plan, and checks the result. Blocks.

    A registry is not changed if the change cannot be logged.

    Args:
        plan: A confirmed plan.
        tmux: The tmux server of the plan.
        reason: The reason in the operator's words; empty for a default.
        progress: Called with the progress.
    """
    with durable_commits():
        if plan.verb is Verb.KILL:
            return _kill(plan, tmux, reason, progress)
        return complete(
            plan, tmux, reason, Audit(plan.verb.value, on_record(plan, reason)), progress
        )


def on_record(plan: Plan, reason: str) -> str:
    """Returns the reason of a plan for the audit log.

    If a step assumes that a session is gone, the reason also names the tmux servers that muster
    did not consider, because the operator says that they have none of the agents.

    Args:
        plan: The plan.
        reason: The reason in the operator's words; may be empty.
    """
    servers = ", ".join(sorted(plan.set_aside.tokens))
    if not servers or not any(map(takes_for_dead, plan.steps)):
        return reason
    exclusion = f"the operator says that tmux server {servers} has none of the agents"
    return f"{reason} ({exclusion})" if reason else exclusion


def _kill(plan: Plan, tmux: Tmux, reason: str, progress: ProgressCallback) -> Outcome:
    audit = Audit(plan.verb.value, on_record(plan, reason))
    record = KillRecord(plan, audit)
    outcomes = end_sessions(plan, tmux, record, progress)
    ended = {
        step: outcome.detail
        for step, outcome in outcomes.items()
        if outcome.result is Result.DONE and step.writes
    }
    written, problems = _record(ended, plan, reason or KILL_REASON, outcomes, audit, progress)
    for step in ended:
        if outcomes[step].result is Result.FAILED:
            record.not_recorded(step, outcomes[step].detail)
    return _outcome(plan, outcomes, written, (*record.problems, *problems))


def complete(
    plan: Plan, tmux: Tmux, reason: str, audit: Audit, progress: ProgressCallback = no_progress
) -> Outcome:
    """Checks the steps of a plan again, and gives the agents their new status. Blocks.

    An agent whose step fails a check is not changed.

    Args:
        plan: A confirmed plan. `Plan.status_of` is the new status of each agent.
        tmux: The tmux server of the plan, which is queried again.
        reason: The reason for the registries; may be empty. The reason for an agent that itself
            reported its end is the agent's message.
        audit: Logs the change.
        progress: Called with the progress.
    """
    evidence = evidence_now(plan, tmux.ask())
    outcomes: dict[Step, StepOutcome] = {}
    ready: dict[Step, str] = {}
    for step in plan.steps:
        refused = refusal(COMPLETE, step, evidence)
        if refused is None:
            ready[step] = ""
        outcomes[step] = refused or StepOutcome(step.label, Result.DONE, "")
    written, problems = _record(ready, plan, reason, outcomes, audit, progress)
    return _outcome(plan, outcomes, written, problems)


def _outcome(
    plan: Plan,
    outcomes: Mapping[Step, StepOutcome],
    written: tuple[Path, ...],
    problems: tuple[str, ...],
) -> Outcome:
    done = {
        step.row.key
        for step, outcome in outcomes.items()
        if step.row is not None and outcome.result is Result.DONE
    }
    notes = tuple(note.text for note in plan.notes if note.agents <= done)
    return Outcome(
        plan.verb, tuple(outcomes[step] for step in plan.steps), written, problems, notes
    )


def _record(
    steps: dict[Step, str],
    plan: Plan,
    reason: str,
    outcomes: dict[Step, StepOutcome],
    audit: Audit,
    progress: ProgressCallback,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Writes the new statuses to the registries, and updates the outcomes.

    The changes of one task are written together. Only agents whose sessions were ended are written
    separately, because the end of a session cannot be undone.

    Returns:
        The registries that were written, and messages about problems.
    """
    ending = frozenset(plan.ending)
    by_task: dict[tuple[TaskSource, bool], list[Step]] = {}
    for step in steps:
        if step.source is not None:
            by_task.setdefault((step.source, step in ending), []).append(step)
    written: dict[Path, None] = {}
    problems: list[str] = []
    for number, ((task, killed), planned) in enumerate(by_task.items()):
        progress("Writing registries", number, len(by_task))
        now = TaskEvidence(None, database=task.unread_database())
        group = []
        for step in planned:
            why = database_was_known(step, now)
            if why is None:
                group.append(step)
            else:
                outcomes[step] = StepOutcome(step.label, Result.LEFT, why)
        if not group:
            continue
        ids = [step.label for step in group]
        on_record = AuditContext(audit, final=KILLED if killed else None)
        try:
            report = task.finish(
                ids,
                status=plan.status,
                reason=reason or None,
                on_record=on_record,
                judged=_judged(group),
                owner=next((step.owner for step in group if step.owner is not None), None),
                ends={step.label: step.end for step in group if step.end is not None},
            )
        except (RegistryError, OSError) as error:
            for step in group:
                why = _not_recorded(step, plan, steps[step], error)
                outcomes[step] = StepOutcome(step.label, Result.FAILED, why)
            continue
        written |= dict.fromkeys(report.written)
        problems += report.problems
        for step in group:
            outcomes[step] = _recorded(step, plan.status_of(step), outcomes[step], report)
    return tuple(written), tuple(problems)


def _not_recorded(step: Step, plan: Plan, done: str, error: RegistryError | OSError) -> str:
    """Returns the detail of a step whose registry was not changed.

    Args:
        step: The step.
        plan: The plan of the step.
        done: What was done before, for example the end of a session; may be empty.
        error: The error.
    """
    if not done:
        return f"not recorded: {error}"
    why = error.brief if isinstance(error, RegistryError) else str(error)
    # Without a status, the command takes the one that the agent itself reported.
    status = None if step.end is not None else plan.status_of(step)
    return f"{done}; not recorded: {why}; then {completing(step, plan.socket, status)}"


def _judged(steps: Iterable[Step]) -> dict[str, frozenset[Deployment]]:
    judged: dict[str, frozenset[Deployment]] = {}
    for step in steps:
        judged[step.label] = judged.get(step.label, frozenset()) | step.judged
    return judged


def _recorded(step: Step, status: str, before: StepOutcome, report: FinishReport) -> StepOutcome:
    """Returns the outcome of a step after its registry was written.

    Args:
        step: The step.
        status: The status of the plan.
        before: The outcome before: what was ended.
        report: The result of the write.
    """
    prefix = f"{before.detail}; " if before.detail else ""
    change = {change.agent_id: change for change in report.changed}.get(step.label)
    if change is not None and change.status == status:
        previous = change.previous or "no status"
        return StepOutcome(step.label, Result.DONE, f"{prefix}{previous} -> {status}")
    if change is not None:
        why = f"its status is already {change.status!r}"
    else:
        why = report.untouched.get(step.label, "not changed")
    # Another process has changed or removed the agent after the plan was made. A kill is done
    # nevertheless if that process has written a terminal status.
    is_over = before.has_ended and (change is not None or step.label in report.ended)
    if is_over and change is None:
        why = f"its status {why}"
    return StepOutcome(step.label, Result.DONE if is_over else Result.LEFT, f"{prefix}{why}")
