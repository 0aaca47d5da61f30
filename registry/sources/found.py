"""The issues of tasks and workspaces, by their sources."""

from __future__ import annotations

from pathlib import Path

from registry.audit.diff import MISSING
from registry.checks.issue import Issue, IssueKind
from registry.dataclass import dataclass, field
from registry.sources.source import Source


@dataclass(frozen=True, slots=True)
class Job:
    """The issues of one task, or of one workspace's global registry or database.

    Attributes:
        source: The source of the task or of the workspace.
        findings: All issues, including issues that muster cannot repair.
    """

    source: Source
    findings: tuple[Issue, ...]

    @property
    def fixable(self) -> tuple[Issue, ...]:
        """The issues that muster can repair."""
        return tuple(issue for issue in self.findings if issue.fixable)


@dataclass(slots=True)
class Found:
    """The issues of tasks and workspaces.

    Attributes:
        files: The issues of whole files: unreadable and damaged files, files with an interrupted
            commit, and words that occur in many files.
        tasks: The issues of each task.
        globals_: The issues of each workspace's global registry or database.
        unchecked: Messages about parts that were not checked, each with the reason.
    """

    files: list[Issue] = field(default_factory=list)
    tasks: list[Job] = field(default_factory=list)
    globals_: list[Job] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Issue]:
        """All issues."""
        jobs = (*self.tasks, *self.globals_)
        return [*self.files, *(issue for job in jobs for issue in job.findings)]


def unreadable(path: Path, why: str) -> Issue:
    """Returns the issue of a file or directory that cannot be read, with the reason `why`."""
    return Issue(
        IssueKind.UNREADABLE,
        path,
        None,
        None,
        MISSING,
        f"cannot be read: {why}",
        advice="repair the file by hand, or restore a copy; until then muster does not write to "
        "the file",
    )
