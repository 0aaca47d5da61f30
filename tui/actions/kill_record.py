"""Which sessions a kill ends, and how that went, on record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from registry.audit import Audit, EndedSession, Entry, State, log_in
from registry.errors import RegistryError
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step


@dataclass(slots=True)
class KillRecord:
    """Puts on record which sessions end, and how that went.

    A session is ended even where that fails, and this is said: a full disk must not
    keep anybody from ending what fills it.

    Attributes:
        plan: What is carried out.
        audit: What puts it on record.
        entries: The entries that were begun, and the logs that they are in.
        problems: What could not be put on record.
    """

    plan: Plan
    audit: Audit
    entries: dict[Step, tuple[Path, Entry]] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)

    def begin(self, step: Step, ending: EndedSession) -> None:
        """Puts on record that a session is about to end."""
        log = log_in(self.plan.home) if self.plan.home is not None else None
        if step.source is not None:
            log = step.source.audit_log
        if log is None:
            return
        try:
            self.entries[step] = (log, self.audit.begin(log, session=ending))
        except RegistryError as error:
            self.problems[f"not on record: {error}"] = None

    def end(self, step: Step, outcome: StepOutcome) -> None:
        """Puts on record how that went."""
        if step not in self.entries:
            return
        log, entry = self.entries[step]
        try:
            self.audit.end(log, entry, _STATES[outcome.result], outcome.detail)
        except RegistryError as error:
            self.problems[f"how it ended is not on record: {error}"] = None


_STATES = {Result.DONE: State.DONE, Result.LEFT: State.VOID, Result.FAILED: State.FAILED}
