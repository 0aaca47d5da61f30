"""Writes the audit log of a kill: the sessions that the kill ends, and the results."""

from __future__ import annotations

from pathlib import Path

from registry.audit import KILLED, Audit, EndedSession, Entry, State
from registry.dataclass import dataclass, field
from registry.errors import AuditError, RegistryError
from registry.sources import Dialect
from tui.actions.evidence.record_permission import log_of_step, registry_of_step, why_not_written
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step


@dataclass(slots=True)
class KillRecord:
    """The audit log entries of a kill: one for each session, with the result.

    If an entry cannot be written, a problem is reported, but the session is ended anyway.
    Otherwise a full disk would prevent the kill of the agent that fills the disk. Exceptions: the
    session is not ended if this user has no permission to write the log or the registry, or if
    the agent is in a database, and another program has the database's lock or the entry cannot be
    written.

    Attributes:
        plan: The plan that is executed.
        audit: The writer of the entries.
        entries: Maps each step to the path of its log and the log entry.
        problems: The keys are messages about entries that could not be written.
        locked: Maps registries to the reasons why their change cannot begin.
    """

    plan: Plan
    audit: Audit
    entries: dict[Step, tuple[Path, Entry]] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)
    locked: dict[Path, str] = field(default_factory=dict)

    def begin(self, step: Step, ending: EndedSession) -> str | None:
        """Logs that muster is about to end a session.

        Returns:
            Why the session must not be ended, or None.
        """
        registry = registry_of_step(step)
        why = None if registry is None else why_not_written(registry) or self._locked(step)
        if why is not None:
            return f"nothing was ended, because {why}"
        log = log_of_step(self.plan, step)
        if log is None:
            return None
        try:
            self.entries[step] = (log, self.audit.begin(log, session=ending))
        except RegistryError as error:
            is_denied = isinstance(error, AuditError) and error.is_denied
            if is_denied or _changes_database(step):
                return f"nothing was ended, because the kill cannot be logged: {error.brief}"
            self.problems[f"the kill is not logged: {error.brief}"] = None
        return None

    def _locked(self, step: Step) -> str | None:
        """Returns why the change of a step's registry cannot begin; None if it can begin."""
        registry = registry_of_step(step)
        if registry is None or step.source is None:
            return None
        # Each step looks again, because a program may have taken the lock meanwhile. But muster
        # waits only once for a registry.
        if registry not in self.locked and (why := step.source.why_locked()) is not None:
            self.locked[registry] = why
        return self.locked.get(registry)

    def end(self, step: Step, outcome: StepOutcome) -> None:
        """Logs the result of a step."""
        if step not in self.entries:
            return
        log, entry = self.entries[step]
        try:
            self.audit.end(log, entry, _STATES[outcome.result], outcome.detail)
        except RegistryError as error:
            self.problems[f"the result of the kill is not logged: {error.brief}"] = None

    def not_recorded(self, step: Step, why: str) -> None:
        """Logs that a session was ended, but the agent did not get its new status.

        The entry is separate, because the kill itself was done.
        """
        log = log_of_step(self.plan, step)
        if log is None:
            return
        try:
            entry = self.audit.begin(log, final=KILLED)
            self.audit.end(log, entry, State.FAILED, f"{step.label}: {why}")
        except RegistryError as error:
            self.problems[f"the result of the kill is not logged: {error.brief}"] = None


def _changes_database(step: Step) -> bool:
    return step.writes and step.source is not None and step.source.dialect is Dialect.SQLITE


_STATES = {Result.DONE: State.DONE, Result.LEFT: State.VOID, Result.FAILED: State.FAILED}
