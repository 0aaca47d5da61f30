"""The record of one issue in a registry. Pure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from registry.audit.diff import MISSING
from registry.dataclass import dataclass

BY_HAND = "the right value cannot be known: repair the registry by hand"
"""The advice for an issue that muster cannot repair."""

_REPORTED = ("status", "progress", "last_update", "completed_at")
"""The fields of an agent's entry that the agent's reports change."""


class IssueKind(StrEnum):
    """The kind of an issue."""

    UNREADABLE = "unreadable"
    """A registry or database cannot be read, so further issues cannot be known."""
    DAMAGED = "damaged"
    """A database can be read, but its pages are damaged."""
    JOURNAL = "hot_journal"
    """A commit was interrupted, and is neither finished nor dropped yet."""
    SHAPE = "shape"
    """A field has the wrong type, or a required field is missing."""
    DUPLICATE = "duplicate_id"
    """Several entries have the same id."""
    LOOP = "loop"
    """An agent is its own ancestor."""
    PARENT = "parent_missing"
    """The parent of an agent is not in the registry."""
    LOST = "lost_agent"
    """An agent has files, but no registry lists the agent."""
    HIERARCHY = "hierarchy"
    """`agent_hierarchy` and `parent` differ."""
    NOT_LISTED = "task_not_listed"
    """The global registry, or the database, does not list a task."""
    TASK_MISSING = "task_missing"
    """The global registry, or the database, lists a task whose registry does not exist."""
    NOT_IN_GLOBAL = "not_in_global"
    """The global registry does not list an agent of a task."""
    NOT_IN_TASK = "not_in_task"
    """The global registry lists an agent that the task's registry does not list."""
    STATUS = "status"
    """Two registries, or the database and a newer report, have different statuses for an agent."""
    UNKNOWN_STATUS = "unknown_status"
    """Agents have a status that is not a known word."""
    COUNTER = "counter"
    """A counter is wrong."""
    ZOMBIE = "zombie"
    """An active agent has no session."""
    STALLED = "stalled"
    """An active agent has not reported for too long."""
    LEAKED = "leaked"
    """An agent with a terminal status still has a session."""
    ORPHAN = "orphan"
    """A session belongs to no agent."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue in a registry.

    Attributes:
        kind: The kind of the issue.
        file: The path of the registry or database; None for a session that belongs to none.
        agent: The id of the agent; None if the issue is not about an agent.
        field: The name of the field, with the table in a database; None if the issue is about the
            whole file or a session.
        found: The present value, or `MISSING`.
        says: The problem, as the end of a sentence about the agent, field or file.
        fix: The right value, or `MISSING`.
        advice: Why muster cannot repair the issue, and what the user can do; empty if muster can
            repair the issue.
        reported: Whether the right value of a status is the end that the agent itself reported.
    """

    kind: IssueKind
    file: Path | None
    agent: str | None
    field: str | None
    found: Any
    says: str
    fix: Any = MISSING
    advice: str = ""
    reported: bool = False

    @property
    def fixable(self) -> bool:
        """Whether muster can repair the issue."""
        return not self.advice

    @property
    def place(self) -> tuple[object, ...]:
        """A key of the issue: the kind, file, agent and field."""
        return self.kind, self.file, self.agent, self.field

    @property
    def identity(self) -> tuple[object, ...]:
        """A key that is equal for equal issues.

        If the right value is an agent's entry, the key does not depend on fields that the agent's
        reports change. So a new report does not make the issue a different one.
        """
        # The text of a value is compared, because 1, 1.0 and True are equal in Python.
        fix = self.fix
        if isinstance(fix, dict):
            fix = {name: value for name, value in fix.items() if name not in _REPORTED}
        return *self.place, repr(self.found), repr(fix), self.fixable
