"""One thing that is wrong with a registry: where, what is there, what belongs there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from registry.audit.diff import MISSING

BY_HAND = "nobody can tell what was meant: mend it by hand"
"""What to do about what muster cannot set right."""


class IssueKind(StrEnum):
    """What sort of thing is wrong."""

    UNREADABLE = "unreadable"
    """A registry cannot be read, so nobody can tell what else is wrong."""
    JOURNAL = "hot_journal"
    """A commit was cut off and nobody has finished or dropped it yet."""
    SHAPE = "shape"
    """A field has a type that nobody can work with."""
    DUPLICATE = "duplicate_id"
    LOOP = "loop"
    """Agents that are each other's parents, all around."""
    PARENT = "parent_missing"
    """A parent that no agent is."""
    HIERARCHY = "hierarchy"
    """`agent_hierarchy` and `parent` disagree."""
    NOT_LISTED = "task_not_listed"
    """A task that the global registry does not list."""
    TASK_MISSING = "task_missing"
    """A task that the global registry lists, and whose registry is not there."""
    NOT_IN_GLOBAL = "not_in_global"
    NOT_IN_TASK = "not_in_task"
    STATUS = "status"
    """The two registries have different statuses of an agent."""
    COUNTER = "counter"
    ZOMBIE = "zombie"
    STALLED = "stalled"
    LEAKED = "leaked"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong.

    Attributes:
        file: The registry that it is wrong in; None for a session of no registry.
        agent: Whom it is about, or None.
        field: Which field, or None where it is the file or a session itself.
        found: What is there, or `MISSING`.
        says: What is wrong, in a sentence.
        fix: What is to be written in its place, or `MISSING` where nothing is.
        advice: Why it cannot be set right here, and what can be done; empty where it can.
    """

    kind: IssueKind
    file: Path | None
    agent: str | None
    field: str | None
    found: Any
    says: str
    fix: Any = MISSING
    advice: str = ""

    @property
    def fixable(self) -> bool:
        """Whether it can be set right without anybody's judgement."""
        return not self.advice

    @property
    def place(self) -> tuple[object, ...]:
        """What it is about, whatever is there."""
        return self.kind, self.file, self.agent, self.field

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two that say the same: 1, 1.0 and true are the same to Python only."""
        return *self.place, repr(self.found), repr(self.fix), self.fixable
