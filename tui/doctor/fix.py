"""Setting right what an operator confirmed of an examination, on record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from registry.audit import MISSING, Audit, AuditContext, Made
from registry.checks import Fixed, Issue, IssueKind
from registry.errors import RegistryError
from registry.operations import GONE
from registry.storage import durable_commits, recover_registry
from tui.actions.execute import Outcome, Result, StepOutcome, complete
from tui.actions.plan import Verb
from tui.doctor.describe import label, remedy
from tui.doctor.examine import Examination

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

_RECOVERY_TIMEOUT = 10.0


class _Fix(Protocol):
    def __call__(self, planned: tuple[Issue, ...], *, on_record: AuditContext) -> Made[Fixed]: ...


class _Doing:
    """What became of it so far."""

    def __init__(self) -> None:
        self.steps: list[StepOutcome] = []
        self.written: dict[Path, None] = {}
        self.problems: list[str] = []

    def fix(self, fix: _Fix, findings: tuple[Issue, ...], audit: Audit) -> None:
        """Sets right what was found in one registry, or in a task's and the global one."""
        if not findings:
            return
        try:
            made = fix(findings, on_record=AuditContext(audit))
        except (RegistryError, OSError) as error:
            said = str(error)
            self.steps += [StepOutcome(label(each), Result.FAILED, said) for each in findings]
            return
        self.written |= dict.fromkeys(made.written)
        self.problems += made.problems
        for each in made.result.done:
            self.steps.append(StepOutcome(label(each), Result.DONE, _done(each)))
        for each, why in made.result.left:
            self.steps.append(StepOutcome(label(each), Result.LEFT, why))

    def buried(self, outcome: Outcome) -> None:
        """Takes up what became of the dead."""
        self.steps += outcome.steps
        self.written |= dict.fromkeys(outcome.written)
        self.problems += outcome.problems


def _done(finding: Issue) -> str:
    if finding.kind in (IssueKind.COUNTER, IssueKind.STATUS):
        before = "none" if finding.found is MISSING else repr(finding.found)[:80]
        return f"{finding.field} {before} -> {finding.fix!r}"
    return remedy(finding)


def carry_out_fix(examination: Examination, tmux: Tmux, reason: str) -> Outcome:
    """Sets right what was found, if it still is so, each pass on record first. Blocks.

    Hot journals first, since nothing can be written before; then each task with the
    global registry, then what only the global one counts, and the dead at the end,
    so that counters that are right by then move with them.

    Args:
        examination: What was confirmed.
        tmux: The server that the roll was called with; asked again about the dead.
        reason: Why, in the operator's words; may be empty.
    """
    doing = _Doing()
    audit = Audit(Verb.FIX.value, reason)
    with durable_commits():
        for each in examination.files:
            if each.kind is IssueKind.JOURNAL and each.file is not None:
                _recover(each, each.file, doing)
        for job in examination.tasks:
            doing.fix(job.source.repair, job.fixable, audit)
        for job in examination.globals_:
            doing.fix(job.source.repair, job.fixable, audit)
        if examination.zombies.steps:
            doing.buried(complete(examination.zombies, tmux, GONE, audit))
    return Outcome(Verb.FIX, tuple(doing.steps), tuple(doing.written), tuple(doing.problems))


def _recover(finding: Issue, path: Path, doing: _Doing) -> None:
    try:
        if recover_registry(path, _RECOVERY_TIMEOUT):
            doing.written[path] = None
            outcome = StepOutcome(
                label(finding), Result.DONE, "the commit was finished or dropped"
            )
        else:
            outcome = StepOutcome(label(finding), Result.DONE, "somebody else was quicker")
    except (RegistryError, OSError) as error:
        outcome = StepOutcome(label(finding), Result.FAILED, str(error))
    doing.steps.append(outcome)
