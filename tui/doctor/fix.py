"""Repairs the findings that an operator confirmed; the audit log records the repairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from registry.agent_output import TraceReader
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
    def __call__(
        self, planned: tuple[Issue, ...], *, on_record: AuditContext, reader: TraceReader
    ) -> Made[Fixed]: ...


class _Results:
    """Collects the outcomes of the repairs."""

    def __init__(self) -> None:
        self.steps: list[StepOutcome] = []
        self.written: dict[Path, None] = {}
        self.problems: list[str] = []
        self._reader = TraceReader()

    def fix(self, fix: _Fix, findings: tuple[Issue, ...], audit: Audit) -> None:
        """Repairs findings with the given function, and adds the outcomes."""
        if not findings:
            return
        try:
            made = fix(findings, on_record=AuditContext(audit), reader=self._reader)
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
        """Adds the outcome of an action on agents."""
        self.steps += outcome.steps
        self.written |= dict.fromkeys(outcome.written)
        self.problems += outcome.problems


def _done(finding: Issue) -> str:
    if finding.kind in (IssueKind.COUNTER, IssueKind.STATUS):
        before = "none" if finding.found is MISSING else repr(finding.found)[:80]
        return f"{finding.field} {before} -> {finding.fix!r}"
    return repair(finding)


def carry_out_fix(examination: Examination, tmux: Tmux, reason: str) -> Outcome:
    """Repairs the findings that are still present. Logs each repair before it is made. Blocks.

    The order is:

    1. interrupted commits, because their journals block all writes;
    2. unreadable registries of which muster kept a valid state;
    3. the findings of each task, in the task's registry and the global registry;
    4. counters of the global registries;
    5. zombies, because a new status changes counters, which must be correct before.

    Args:
        examination: The examination; the user has confirmed the repairs.
        tmux: The server of the roll call. The server is queried before zombies are repaired.
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
    detail = f"the kept state was written; the broken text is in {shown_name(restored.aside)}"
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
