"""The protocols of tasks and workspaces, independent of their storage format. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from registry.schema.records import ORCHESTRATOR

if TYPE_CHECKING:
    from registry.agent_output.files import AgentFile, FileFacts
    from registry.agent_output.lines import Line
    from registry.agent_output.lines import Source as OutputKind
    from registry.audit.diff import Reverted
    from registry.audit.log import Audit
    from registry.audit.transaction import AuditContext, Made
    from registry.audit.undo import Undoable
    from registry.checks.issue import Issue
    from registry.checks.repair import Fixed
    from registry.operations.finish import FinishReport, Judged
    from registry.operations.register import Registration, Withdrawal
    from registry.operations.report import Reported
    from registry.schema.layout import UnreadDatabase
    from registry.schema.records import GlobalRecord, GlobalTask, TaskRecord
    from registry.snapshots import Signature, Snapshot
    from registry.storage.codec import Json


class Dialect(StrEnum):
    """The storage format of a task, or of a workspace's list of tasks."""

    JSON = "json"


class NamedFile(NamedTuple):
    """A file of a source.

    Attributes:
        name: The name of the file for the user, for example "global registry".
        path: The path of the file; the file may be missing.
    """

    name: str
    path: Path


class Source(Protocol):
    """The common protocol of tasks and workspaces."""

    @property
    def dialect(self) -> Dialect:
        """The storage format."""

    @property
    def path(self) -> Path:
        """The path that identifies the source, also in messages; for JSON, its registry."""

    @property
    def directory(self) -> Path:
        """The directory of the task, or of the workspace."""

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """The files that a change of the source writes; the source's own file comes first."""

    @property
    def audit_log(self) -> Path:
        """The path of the audit log for changes of the source."""

    def stamp(self) -> Signature | None:
        """Returns the signature of the present state, without reading the content.

        Returns:
            The signature. It equals the signature of a snapshot as long as the source has not
            changed after the snapshot. None if a change could go unnoticed, or if the state cannot
            be examined.
        """

    def is_cut_off(self) -> bool:
        """Returns whether a commit was interrupted, and no process has recovered it yet.

        Raises:
            RegistryError: The source does not exist, or is not accessible.
        """

    def recover(self, timeout: float) -> bool:
        """Finishes or drops an interrupted commit.

        Args:
            timeout: How long to wait for the lock, in seconds.

        Returns:
            Whether there was an interrupted commit.

        Raises:
            RegistryError: The commit cannot be finished or dropped.
        """

    def unread_database(self) -> UnreadDatabase | None:
        """Returns a database that may contain newer data of the source's agents, or None."""

    def repair(self, planned: Sequence[Issue], *, on_record: AuditContext | None) -> Made[Fixed]:
        """Repairs the planned issues that still exist under the lock.

        Raises:
            AuditError: The audit log cannot be written; nothing was changed.
            RegistryError: The source cannot be locked or read; nothing was changed.
        """

    def preview_revert(self, step: Undoable, before: dict[Path, Json]) -> Reverted:
        """Returns the result of taking a step back now; locks and writes nothing.

        Args:
            step: The step to take back.
            before: The decoded registries, in the state after the steps that are taken back before
                this step. This call adds registries to the mapping, and changes them.

        Raises:
            RegistryError: A registry cannot be read now.
        """

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """Takes a step back in one commit, and logs this first.

        Raises:
            AuditError: The audit log cannot be written; nothing was changed.
            RegistryError: The source cannot be locked or read; nothing was changed.
        """


class TaskSource(Source, Protocol):
    """One task: reads and changes its registry."""

    @property
    def global_registry(self) -> Path | None:
        """The global registry that lists the task and repeats its agents, or None."""

    @property
    def lies_elsewhere(self) -> bool:
        """Whether the task is outside the workspace that shows it."""

    @property
    def problem(self) -> str | None:
        """Why the task must not be opened, or None."""

    @property
    def audit_name(self) -> str:
        """The name of the task's registry in its audit log."""

    def read(self, largest: int = ...) -> Snapshot[TaskRecord]:
        """Returns a complete state of the task, never an incomplete write.

        Args:
            largest: The largest size, in bytes, of a registry that is read.

        Raises:
            RegistryError: The task cannot be read; `BusyRegistryError` while it is being
                written.
        """

    def entry(self, agent_id: str, ordinal: int = 0) -> Json | None:
        """Returns all fields of one agent, or None if it is not listed. Waits for busy writers.

        Args:
            agent_id: The id of the agent.
            ordinal: The position among the entries with this id; 0 is the first.

        Raises:
            RegistryError: The task cannot be read.
        """

    def listed_entry(self, agent_id: str) -> Json | None:
        """Returns all fields of one agent in the workspace's list, or None.

        Raises:
            RegistryError: The list cannot be read.
        """

    def last_reports(self, agent_ids: Iterable[str]) -> dict[str, float]:
        """Returns when agents last appended to their progress files: seconds since the epoch."""

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """Returns a reader for one of an agent's output files."""

    def output_facts(self, agent_id: str) -> tuple[FileFacts, ...]:
        """Returns the sizes and times of an agent's output files."""

    def finish(
        self,
        agent_ids: Iterable[str],
        *,
        status: Literal["completed", "terminated"],
        reason: str | None = None,
        on_record: AuditContext | None = None,
        judged: Judged | None = None,
        owner: int | None = None,
    ) -> FinishReport:
        """Gives a terminal status to those of the agents that are active.

        Args:
            agent_ids: The agents.
            status: The new status.
            reason: The reason in the operator's words.
            on_record: The context for the audit log; None to not log.
            judged: Maps an agent's id to the deployments that may be changed; None for all. An
                agent that was deployed again meanwhile is not changed.
            owner: The id of the user that owned the task's registry when the caller chose the
                agents; None to skip this check.

        Raises:
            AuditError: The audit log cannot be written; nothing was changed.
            RegistryError: The task cannot be locked or read; nothing was changed.
        """

    def report(
        self, agent_id: str, *, status: str | None, progress: float | None, message: str
    ) -> Reported:
        """Records the progress of an agent.

        Args:
            agent_id: The id of the agent.
            status: An active or terminal status; None to keep the present status.
            progress: The progress in percent, 0 to 100; None to keep the present value.
            message: A message for the user.

        Raises:
            RegistryError: The task cannot be written; nothing was changed.
        """

    def register(
        self,
        agent_type: str,
        *,
        parent: str = ORCHESTRATOR,
        agent_id: str | None = None,
        reuse: bool = False,
        prompt: str = "",
    ) -> Registration:
        """Adds an agent.

        Args:
            agent_type: The type of the agent; the first part of a new id.
            parent: The id of the agent that starts the new agent.
            agent_id: The id of the new agent; None to create an id.
            reuse: Whether to return an active agent of the same type instead, if one exists.
            prompt: The instructions for the agent.

        Raises:
            RegistryError: The task cannot be written, or a limit does not allow another agent.
        """

    def withdraw(self, agent_id: str) -> Withdrawal:
        """Removes an agent that was never started.

        Raises:
            RegistryError: The task cannot be written; nothing was changed.
        """


class WorkspaceSource(Source, Protocol):
    """One workspace: its tasks, and the list of tasks and sessions in its global registry."""

    @property
    def is_single_task(self) -> bool:
        """Whether the user named one task of the workspace instead of the whole workspace."""

    def tasks(self, listed: Mapping[str, GlobalTask]) -> tuple[TaskSource, ...]:
        """Returns the workspace's tasks, sorted by name, then listed tasks of other workspaces.

        Args:
            listed: The tasks in the workspace's list when it was last read; empty if the list
                cannot be read.

        Raises:
            OSError: The workspace's directory cannot be read.
        """

    def listed(self, largest: int = ...) -> Snapshot[GlobalRecord]:
        """Returns the workspace's list of tasks and sessions.

        Args:
            largest: The largest size, in bytes, of a list that is read.

        Raises:
            RegistryNotFoundError: The workspace has no list.
            RegistryError: The list cannot be read; `BusyRegistryError` while it is being
                written.
        """

    def directories(self) -> frozenset[Path]:
        """Returns the directories to watch, besides the directories of the workspace's tasks."""

    @property
    def watched_names(self) -> tuple[str, ...]:
        """The names of the files to watch in these directories."""
