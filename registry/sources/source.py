"""The protocols for access to tasks and workspaces, independent of the storage format. Pure.

A source is an object that reads and changes one task, or one workspace's list of tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from registry.schema.records import ORCHESTRATOR

if TYPE_CHECKING:
    from registry.agent_output.files import AgentFile, FileFacts
    from registry.agent_output.history import TraceReader
    from registry.agent_output.last_report import LastReport
    from registry.agent_output.lines import Line
    from registry.agent_output.lines import Source as OutputKind
    from registry.agent_output.reported_end import ReportedEnd
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
    SQLITE = "sqlite"


class NamedFile(NamedTuple):
    """A file of a source.

    Attributes:
        name: The name of the file for the user, for example "global registry".
        path: The path of the file; the file may be missing.
    """

    name: str
    path: Path


class Look(NamedTuple):
    """The state of a source, without the content.

    Attributes:
        stamp: The result of `Source.stamp`.
        is_cut_off: The result of `Source.is_cut_off`; False also if the source is not accessible.
    """

    stamp: Signature | None
    is_cut_off: bool


class Source(Protocol):
    """The common protocol for the sources of tasks and workspaces."""

    @property
    def dialect(self) -> Dialect:
        """The storage format."""

    @property
    def path(self) -> Path:
        """The path that identifies the source; for the JSON format, the path of the registry."""

    @property
    def directory(self) -> Path:
        """The directory of the task, or of the workspace."""

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """The files that a change of the source writes. The file at `path` comes first."""

    @property
    def audit_log(self) -> Path:
        """The path of the audit log for changes of the source."""

    def stamp(self) -> Signature | None:
        """Returns the signature of the present state, without reading the content.

        Returns:
            The signature. If it equals the signature of a snapshot, the source has not changed
            after the snapshot. None if the signature could miss a change, or if the state cannot
            be examined.
        """

    def is_cut_off(self) -> bool:
        """Returns whether a commit was interrupted, and is not recovered yet (see `recover`).

        Raises:
            RegistryError: The source does not exist, or is not accessible.
        """

    def look(self) -> Look:
        """Returns the results of `stamp` and `is_cut_off`, with fewer accesses to files."""

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

    def repair(
        self,
        planned: Sequence[Issue],
        *,
        on_record: AuditContext | None,
        reader: TraceReader | None = None,
    ) -> Made[Fixed]:
        """Repairs the planned issues that still exist when the locks are held.

        Args:
            planned: The issues.
            on_record: The context for the audit log; None to write no log entry.
            reader: Reads the files of lost agents; None for a new reader.

        Raises:
            AuditError: The audit log cannot be written; nothing was changed.
            RegistryError: The source cannot be locked or read; nothing was changed.
        """

    def preview_revert(self, step: Undoable, before: dict[Path, Json]) -> Reverted:
        """Returns the result that `revert` would have now; locks and writes no file.

        Args:
            step: The step to take back.
            before: Maps paths to decoded registries. A registry that is missing in this mapping is
                read and added. The step is taken back in the decoded registries, so that the
                preview of the next step can use the same mapping.

        Raises:
            RegistryError: A registry cannot be read now.
        """

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """Takes back one step of an action in one commit, after the undo was logged.

        Raises:
            AuditError: The audit log cannot be written; nothing was changed.
            RegistryError: The source cannot be locked or read; nothing was changed.
        """


class TaskSource(Source, Protocol):
    """The protocol for reading and changing one task."""

    @property
    def global_registry(self) -> Path | None:
        """The path of the global registry that lists the task and the task's agents, or None."""

    @property
    def listing(self) -> tuple[Path, ...]:
        """The files that list the task's agents; a user who may write one may list any session."""

    @property
    def lies_elsewhere(self) -> bool:
        """Whether the task is outside the workspace whose global registry lists the task."""

    @property
    def problem(self) -> str | None:
        """Why the files of the task must not be opened; None if they may be opened."""

    @property
    def is_readable(self) -> bool:
        """Whether `read` needs no file that must not be opened; see `problem`."""

    @property
    def audit_name(self) -> str:
        """The name of the task's registry, or of its database, in the audit log."""

    def read(self, largest: int = ...) -> Snapshot[TaskRecord]:
        """Returns a complete state of the task, never an incomplete write.

        Args:
            largest: The size of the largest registry that is read, in bytes.

        Raises:
            BusyRegistryError: Another process is writing the task.
            RegistryError: The task cannot be read.
        """

    def entry(self, agent_id: str, ordinal: int = 0) -> Json | None:
        """Returns all fields of one agent; None if the task does not list the agent.

        If another process is writing the task, this method waits.

        Args:
            agent_id: The id of the agent.
            ordinal: The position of the agent's entry among the entries with this id, from 0.

        Raises:
            RegistryError: The task cannot be read.
        """

    def listed_entry(self, agent_id: str) -> Json | None:
        """Returns all fields of one agent in the global registry; None if there is no such agent.

        Raises:
            RegistryError: The global registry cannot be read.
        """

    def last_reports(self, agent_ids: Iterable[str]) -> dict[str, float]:
        """Returns when a line was last appended to each agent's progress file.

        Returns:
            Maps the id of each agent that has a progress file to seconds since the epoch.
        """

    def newest_reports(
        self, agent_ids: Iterable[str], before: Mapping[str, LastReport] = ...
    ) -> dict[str, LastReport]:
        """Returns the last report of each agent: what the agent does now, or did last.

        Args:
            agent_ids: The ids of the agents.
            before: An earlier result; a file that has not changed is not opened again.

        Returns:
            Maps the id of each agent that has a readable progress file to the report.
        """

    def reported_ends(
        self, started: Mapping[str, float], written_after: float = 0.0
    ) -> dict[str, ReportedEnd]:
        """Returns the ends that agents themselves reported after their starts.

        Only the last report of an agent counts. A report counts for nothing if a user who may not
        write the task could have written the report.

        Args:
            started: Maps the id of each agent to the agent's start, in seconds since the epoch.
            written_after: Earlier reports may be left out; a time in seconds since the epoch.

        Returns:
            Maps the id of each agent that reported its end to the end.
        """

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """Returns a reader for the agent's output file of this kind."""

    def output_facts(self, agent_id: str) -> tuple[FileFacts, ...]:
        """Returns the sizes and times of an agent's output files."""

    def why_unwritable(self) -> str | None:
        """Returns why a change of the task would certainly fail now; writes nothing.

        Returns:
            The reason; None if a change may succeed. For the JSON format the result is always
            None: `Snapshot.has_locks` and the errors of a reading have the reasons.
        """

    def why_locked(self) -> str | None:
        """Returns why a change of the task cannot begin now, for example because of a writer.

        Waits a short time for other writers. Changes no content.

        Returns:
            The reason; None if a change can begin. For the JSON format the result is always None.
        """

    def finish(
        self,
        agent_ids: Iterable[str],
        *,
        status: Literal["completed", "terminated"],
        reason: str | None = None,
        on_record: AuditContext | None = None,
        judged: Judged | None = None,
        owner: int | None = None,
        ends: Mapping[str, ReportedEnd] | None = None,
    ) -> FinishReport:
        """Gives a terminal status to each active agent whose id is in `agent_ids`.

        Args:
            agent_ids: The ids of the agents.
            status: The new status.
            reason: The reason in the operator's words.
            on_record: The context for the audit log; None to write no log entry.
            judged: Maps an agent's id to the deployments that may be changed. An agent with
                another deployment is not changed. Agents that are not in `judged` are not checked.
            owner: The id of the user that owned the task's registry when the caller chose the
                agents; None to skip this check.
            ends: Maps the id of an agent to the end that the agent itself reported. Such an agent
                gets the reported status, with the agent's message as the reason.

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
            status: An active or terminal status of the storage format; None to keep the present
                status.
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
        """Adds an agent to the task.

        Args:
            agent_type: The type of the agent; the first part of a new id.
            parent: The id of the agent that starts the new agent.
            agent_id: The id of the new agent; None to create an id.
            reuse: Whether to return an active agent of the same type instead, if such an agent
                exists.
            prompt: The instructions for the agent.

        Raises:
            RegistryError: The task cannot be written, or a limit does not allow another agent.
        """

    def withdraw(self, agent_id: str) -> Withdrawal:
        """Removes an agent whose start failed.

        Raises:
            RegistryError: The task cannot be written; nothing was changed.
        """


class WorkspaceSource(Source, Protocol):
    """The protocol for one workspace: its tasks, and the list of tasks in its global registry."""

    @property
    def is_single_task(self) -> bool:
        """Whether the user named one task of the workspace instead of the whole workspace."""

    def tasks(self, listed: Mapping[str, GlobalTask]) -> tuple[TaskSource, ...]:
        """Returns the workspace's tasks, sorted by name, and then the tasks in other workspaces.

        Tasks in other workspaces are returned if they are in `listed`.

        Args:
            listed: The tasks in the workspace's list; empty if the list cannot be read.

        Raises:
            OSError: The workspace's directory cannot be read.
        """

    def listed(self, largest: int = ...) -> Snapshot[GlobalRecord]:
        """Returns the workspace's list of tasks and sessions (the global registry).

        Args:
            largest: The size of the largest list that is read, in bytes.

        Raises:
            RegistryNotFoundError: The workspace has no list.
            BusyRegistryError: Another process is writing the list.
            RegistryError: The list cannot be read.
        """

    def limit_database(self, largest: int, give_up_at: float) -> None:
        """Limits the next readings of the workspace's database.

        Args:
            largest: The size of the largest database that is read, in bytes.
            give_up_at: When a reading must end, in seconds of the monotonic clock.
        """

    def one_look(self) -> AbstractContextManager[None]:
        """Lets this thread read the workspace's database only once during a ``with`` block.

        Then all tasks of the database have the content of the same moment.
        """

    @property
    def database_files(self) -> frozenset[Path]:
        """The files whose changes are changes of the workspace's database; they may be missing."""

    def in_database(self) -> Mapping[Path, object] | None:
        """Maps the path of each task in the workspace's database to a stamp of the task.

        A task whose stamp is equal has not changed in the database.

        Returns:
            None if the workspace has no database that can be read now.
        """

    def directories(self) -> frozenset[Path]:
        """Returns the directories to watch, besides the directories of the workspace's tasks."""

    @property
    def watched_names(self) -> tuple[str, ...]:
        """The names of the files to watch in `directories` and in the tasks' directories."""
