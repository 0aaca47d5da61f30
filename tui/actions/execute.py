"""Carrying out what an operator confirmed, and checking that it is done.

The same for the screen and for the command line. Registries are changed only
after tmux was asked again, and no lock is held while it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audit import KILLED, Audit, AuditContext
from registry.errors import RegistryError
from registry.operations import FinishReport
from registry.schema import Deployment
from registry.storage import durable_commits
from tui.actions.evidence import evidence_now
from tui.actions.kill import end_sessions
from tui.actions.outcome import Outcome, Result, StepOutcome
from tui.actions.plan import EndStatus, Plan, Step, Verb
from tui.actions.preconditions import COMPLETE, TaskEvidence, database_was_known, refusal
from tui.progress import ProgressCallback, untold

if TYPE_CHECKING:
    from registry.sources import TaskSource
    from tui.host.tmux import Tmux

__all__ = ["KILL_REASON", "Outcome", "Result", "StepOutcome", "carry_out", "complete"]

KILL_REASON = "killed by operator"


def carry_out(plan: Plan, tmux: Tmux, reason: str, progress: ProgressCallback = untold) -> Outcome:
    """Does what a plan says, on record first, and checks that it is done. Blocks.

    A registry is not changed where that cannot be put on record.

    Args:
        plan: A confirmed plan.
        tmux: The server that the plan is about.
        reason: Why, in the operator's words; empty for a default.
        progress: Told how far it is.
    """
    with durable_commits():
        if plan.verb is Verb.KILL:
            return _kill(plan, tmux, reason, progress)
        return complete(plan, tmux, reason, Audit(plan.verb.value, reason), progress)


def _kill(plan: Plan, tmux: Tmux, reason: str, progress: ProgressCallback) -> Outcome:
    audit = Audit(plan.verb.value, reason)
    outcomes, unrecorded = end_sessions(plan, tmux, audit, progress)
    ended = {
        step: outcome.detail
        for step, outcome in outcomes.items()
        if outcome.result is Result.DONE and step.writes
    }
    written, problems = _record(ended, plan, reason or KILL_REASON, outcomes, audit, progress)
    said = (*unrecorded, *problems)
    return Outcome(plan.verb, tuple(outcomes[step] for step in plan.steps), written, said)


def complete(
    plan: Plan, tmux: Tmux, reason: str, audit: Audit, progress: ProgressCallback = untold
) -> Outcome:
    """Writes agents down as through, but none that is back from the dead. Blocks.

    Args:
        plan: A confirmed plan to complete, whichever end it is.
        tmux: The server that the plan is about; asked again.
        reason: What the registries are told; may be empty.
        audit: What it is put on record as.
        progress: Told how far it is.
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
    return Outcome(plan.verb, tuple(outcomes[step] for step in plan.steps), written, problems)


def _record(
    steps: dict[Step, str],
    plan: Plan,
    reason: str,
    outcomes: dict[Step, StepOutcome],
    audit: Audit,
    progress: ProgressCallback,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Writes the registries, one locked pass a task, and corrects the outcomes.

    Those whose sessions were ended have a pass of their own: it cannot be undone.
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
            )
        except (RegistryError, OSError) as error:
            for step in group:
                said = f"{steps[step]}; " if steps[step] else ""
                outcomes[step] = StepOutcome(
                    step.label, Result.FAILED, f"{said}not recorded: {error}"
                )
            continue
        written |= dict.fromkeys(report.written)
        problems += report.problems
        for step in group:
            outcomes[step] = _recorded(step, plan.status, steps[step], report)
    return tuple(written), tuple(problems)


def _judged(steps: Iterable[Step]) -> dict[str, frozenset[Deployment]]:
    found: dict[str, frozenset[Deployment]] = {}
    for step in steps:
        found[step.label] = found.get(step.label, frozenset()) | step.judged
    return found


def _recorded(step: Step, status: EndStatus, said: str, report: FinishReport) -> StepOutcome:
    prefix = f"{said}; " if said else ""
    change = {each.agent_id: each for each in report.changed}.get(step.label)
    if change is not None and change.status == status:
        before = change.previous or "no status"
        return StepOutcome(step.label, Result.DONE, f"{prefix}{before} -> {status}")
    if change is not None:
        why = f"is {change.status!r} already"
    else:
        why = report.untouched.get(step.label, "is as it was")
    # Somebody else was quicker: what was wanted is so, or the agent is gone.
    return StepOutcome(step.label, Result.LEFT, f"{prefix}{why}")
