"""Setting right what an operator confirmed of an examination, on record."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from registry import recovery
from registry.audit import Audit
from registry.differences import MISSING
from registry.durability import durable_commits
from registry.errors import RegistryError
from registry.finding import Finding, Kind
from registry.finishing import finish_agents
from registry.fixing import Fixed, fix_global, fix_task
from registry.health import GONE
from registry.recorded import Made, OnRecord
from tui.actions import Outcome, Result, StepOutcome
from tui.doctor import Examination
from tui.host.sessions import TmuxState
from tui.planning import Step, Verb
from tui.remedies import label, remedy

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

_RECOVERY_TIMEOUT = 10.0


class _Doing:
    """What became of it so far."""

    def __init__(self) -> None:
        self.steps: list[StepOutcome] = []
        self.written: dict[Path, None] = {}
        self.problems: list[str] = []

    def failed(self, findings: Iterable[Finding], error: Exception) -> None:
        self.steps += [StepOutcome(label(each), Result.FAILED, str(error)) for each in findings]

    def fixed(self, made: Made[Fixed]) -> None:
        self.written |= dict.fromkeys(made.written)
        self.problems += made.problems
        for each in made.result.done:
            self.steps.append(StepOutcome(label(each), Result.DONE, _done(each)))
        for each, why in made.result.left:
            self.steps.append(StepOutcome(label(each), Result.LEFT, why))


def _done(finding: Finding) -> str:
    if finding.kind in (Kind.COUNTER, Kind.STATUS):
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
            if each.kind is Kind.JOURNAL and each.file is not None:
                _recover(each, each.file, doing)
        for job in examination.tasks:
            if job.fixable:
                try:
                    doing.fixed(
                        fix_task(
                            job.registry,
                            job.global_registry,
                            job.fixable,
                            on_record=OnRecord(audit),
                        )
                    )
                except (RegistryError, OSError) as error:
                    doing.failed(job.fixable, error)
        for job in examination.globals_:
            if job.fixable:
                try:
                    doing.fixed(fix_global(job.registry, job.fixable, on_record=OnRecord(audit)))
                except (RegistryError, OSError) as error:
                    doing.failed(job.fixable, error)
        _bury(examination, tmux, audit, doing)
    return Outcome(Verb.FIX, tuple(doing.steps), tuple(doing.written), tuple(doing.problems))


def _recover(finding: Finding, path: Path, doing: _Doing) -> None:
    try:
        if recovery.recover_registry(path, _RECOVERY_TIMEOUT):
            doing.written[path] = None
            outcome = StepOutcome(
                label(finding), Result.DONE, "the commit was finished or dropped"
            )
        else:
            outcome = StepOutcome(label(finding), Result.DONE, "somebody else was quicker")
    except (RegistryError, OSError) as error:
        outcome = StepOutcome(label(finding), Result.FAILED, str(error))
    doing.steps.append(outcome)


def _bury(examination: Examination, tmux: Tmux, audit: Audit, doing: _Doing) -> None:
    """Writes zombies down as terminated, but none whose session is back."""
    steps = examination.zombies.steps
    if not steps:
        return
    answer = tmux.ask()
    if answer.state is TmuxState.UNKNOWN:
        said = f"tmux: {answer.detail}"
        doing.steps += [StepOutcome(step.label, Result.FAILED, said) for step in steps]
        return
    by_task: dict[tuple[Path, Path | None], list[Step]] = {}
    for step in steps:
        if step.expected_session in answer.sessions:
            doing.steps.append(StepOutcome(step.label, Result.LEFT, "its session is back"))
        elif step.row is not None:
            place = (step.row.key.registry, step.global_registry)
            by_task.setdefault(place, []).append(step)
    for (task, global_), group in by_task.items():
        ids = [step.label for step in group]
        try:
            report = finish_agents(
                task,
                global_,
                ids,
                status="terminated",
                reason=GONE,
                on_record=OnRecord(audit),
            )
        except (RegistryError, OSError) as error:
            doing.steps += [StepOutcome(id_, Result.FAILED, str(error)) for id_ in ids]
            continue
        doing.written |= dict.fromkeys(report.written)
        doing.problems += report.problems
        changed = {each.agent_id: each for each in report.changed}
        for id_ in dict.fromkeys(ids):
            change = changed.get(id_)
            if change is not None:
                detail = f"{change.previous or 'no status'} -> {change.status}"
                doing.steps.append(StepOutcome(id_, Result.DONE, detail))
            else:
                why = report.untouched.get(id_, "is as it was")
                doing.steps.append(StepOutcome(id_, Result.LEFT, why))
