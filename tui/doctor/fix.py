"""Repairs the findings that an operator confirmed; the audit log records the repairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from registry.audit import MISSING, Audit, AuditContext, Made, restore
from registry.checks import Fixed, Issue, IssueKind
from registry.errors import RegistryError
from registry.operations import GONE
from registry.storage import durable_commits, recover_registry
from registry.text import shown_name
from tui.actions.execute import Outcome, Result, StepOutcome, complete, on_record
from tui.actions.plan import Verb
from tui.doctor.describe import label, repair
from tui.doctor.examine import Examination

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

_RECOVERY_TIMEOUT = 10.0


class _Fix(Protocol):
    def __call__(self, planned: tuple[Issue, ...], *, on_record: AuditContext) -> Made[Fixed]: ...


class _Results:
    """The outcomes so far."""

    def __init__(self) -> None:
        self.steps: list[StepOutcome] = []
        self.written: dict[Path, None] = {}
        self.problems: list[str] = []

    def fix(self, fix: _Fix, findings: tuple[Issue, ...], audit: Audit) -> None:
        """Repairs the findings in one registry, or in a task's and the global registry."""
        if not findings:
            return
        try:
            made = fix(findings, on_record=AuditContext(audit))
        except (RegistryError, OSError) as error:
            reason = str(error)
            self.steps += [
                StepOutcome(label(finding), Result.FAILED, reason) for finding in findings
            ]
            return
        self.written |= dict.fromkeys(made.written)
        self.problems += made.problems
        for finding in made.result.done:
            self.steps.append(StepOutcome(label(finding), Result.DONE, _done(finding)))
        for finding, reason in made.result.left:
            self.steps.append(StepOutcome(label(finding), Result.LEFT, reason))

    def add(self, outcome: Outcome) -> None:
        """Adds the outcome of another action."""
        self.steps += outcome.steps
        self.written |= dict.fromkeys(outcome.written)
        self.problems += outcome.problems


def _done(finding: Issue) -> str:
    if finding.kind in (IssueKind.COUNTER, IssueKind.STATUS):
        before = "none" if finding.found is MISSING else repr(finding.found)[:80]
        return f"{finding.field} {before} -> {finding.fix!r}"
    return repair(finding)


def carry_out_fix(examination: Examination, tmux: Tmux, reason: str) -> Outcome:
    """Repairs the findings that are still present; logs each pass first. Blocks.

    The order is:

    1. hot journals, because they block all writes;
    2. broken registries of which a whole state is kept;
    3. each task together with the global registry;
    4. counters that only the global registry has;
    5. zombies, whose new status changes the counters, which are correct by then.

    Args:
        examination: The confirmed examination.
        tmux: The server of the roll call. It is queried again before zombies are repaired.
        reason: The operator's reason; may be empty.
    """
    results = _Results()
    audit = Audit(Verb.FIX.value, on_record(examination.zombies, reason))
    with durable_commits():
        for finding in examination.files:
            if finding.kind is IssueKind.JOURNAL and finding.file is not None:
                _recover(finding, finding.file, results)
        for finding in examination.files:
            if finding.kind is IssueKind.UNREADABLE and finding.fixable and finding.file:
                _restore(finding, finding.file, audit, results)
        for job in examination.tasks:
            results.fix(job.source.repair, job.fixable, audit)
        for job in examination.globals_:
            results.fix(job.source.repair, job.fixable, audit)
        if examination.zombies.steps:
            results.add(complete(examination.zombies, tmux, GONE, audit))
    return Outcome(Verb.FIX, tuple(results.steps), tuple(results.written), tuple(results.problems))


def _restore(finding: Issue, path: Path, audit: Audit, results: _Results) -> None:
    try:
        restored = restore(path, audit)
    except (RegistryError, OSError) as error:
        results.steps.append(StepOutcome(label(finding), Result.FAILED, str(error)))
        return
    results.written[path] = None
    results.problems += restored.problems
    detail = f"kept state put in place of the broken text, now in {shown_name(restored.aside)}"
    results.steps.append(StepOutcome(label(finding), Result.DONE, detail))


def _recover(finding: Issue, path: Path, results: _Results) -> None:
    try:
        if recover_registry(path, _RECOVERY_TIMEOUT):
            results.written[path] = None
            detail = "the commit was completed or rolled back"
        else:
            detail = "another process recovered the commit first"
        outcome = StepOutcome(label(finding), Result.DONE, detail)
    except (RegistryError, OSError) as error:
        outcome = StepOutcome(label(finding), Result.FAILED, str(error))
    results.steps.append(outcome)
