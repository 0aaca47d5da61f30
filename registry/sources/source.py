"""What a task and a workspace are asked for, whichever way they are stored. Pure."""

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
    from registry.audit.transaction import Made, OnRecord
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
    """How a task, or a workspace's list of tasks, is stored."""

    JSON = "json"


class NamedFile(NamedTuple):
    """A file that a source is kept in.

    Attributes:
        name: What it is, for people.
        path: Where it lies, whether or not it is there.
    """

    name: str
    path: Path


class Source(Protocol):
    """What a task and a workspace have in common."""

    @property
    def dialect(self) -> Dialect:
        """How it is stored."""

    @property
    def path(self) -> Path:
        """What names it among all others, also in messages: for JSON, its registry."""

    @property
    def directory(self) -> Path:
        """The directory of the task, or of the workspace."""

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """The files that it is kept in, and that a change of it writes; its own comes first."""

    @property
    def audit_log(self) -> Path:
        """Where its changes are put on record."""

    def stamp(self) -> Signature | None:
        """What tells its present state from others; cheap.

        Returns:
            Equal to the signature of a snapshot as long as nothing has changed. None where a
            change could go unnoticed, or where it cannot be looked at.
        """

    def is_cut_off(self) -> bool:
        """Whether a commit was cut off and no process has recovered it yet.

        Raises:
            RegistryError: It is not there, or not accessible.
        """

    def recover(self, timeout: float) -> bool:
        """Finishes or drops a commit that was cut off.

        Args:
            timeout: Seconds to wait for the lock.

        Returns:
            Whether there was one.

        Raises:
            RegistryError: It cannot be recovered.
        """

    def unread_database(self) -> UnreadDatabase | None:
        """What may hold newer facts about its agents and is not read, or None."""

    def repair(self, planned: Sequence[Issue], *, on_record: OnRecord | None) -> Made[Fixed]:
        """Repairs what was found, if it still is so under the lock.

        Raises:
            AuditError: It could not be put on record; nothing was changed.
            RegistryError: It could not be read or locked; nothing was changed.
        """

    def preview_revert(self, step: Undoable, before: dict[Path, Json]) -> Reverted:
        """What taking a step back would do now; nothing is locked or written.

        Args:
            step: What would be taken back.
            before: What was read for the steps before, as it would be after them.

        Raises:
            RegistryError: It cannot be read now.
        """

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """Takes a step back, in one commit, on record first.

        Raises:
            AuditError: It could not be put on record; nothing was changed.
            RegistryError: It could not be read or locked; nothing was changed.
        """


class TaskSource(Source, Protocol):
    """One task: what its registry says, and every way to change that."""

    @property
    def global_registry(self) -> Path | None:
        """The file of a workspace that lists the task as well and follows it, or None."""

    @property
    def lies_elsewhere(self) -> bool:
        """Whether it lies outside the workspace that it is shown under."""

    @property
    def problem(self) -> str | None:
        """Why it must not be opened, or None."""

    @property
    def audit_name(self) -> str:
        """What its audit log calls it."""

    def read(self, largest: int = ...) -> Snapshot[TaskRecord]:
        """One whole state of it, never half a write.

        Args:
            largest: Bytes above which it is not read.

        Raises:
            RegistryError: It cannot be read; `BusyRegistryError` while a writer is at it.
        """

    def entry(self, agent_id: str, ordinal: int = 0) -> Json | None:
        """Every field of one agent, or None if it is not there. Waits for busy writers.

        Args:
            agent_id: Which agent.
            ordinal: Tells apart entries of the same id; 0 for the first.

        Raises:
            RegistryError: It cannot be read.
        """

    def listed_entry(self, agent_id: str) -> Json | None:
        """Every field that the workspace's list has of one agent, or None.

        Raises:
            RegistryError: The list cannot be read.
        """

    def last_reports(self, agent_ids: Iterable[str]) -> dict[str, float]:
        """When agents last appended to their progress files; seconds since the epoch."""

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """One of the files that an agent writes."""

    def output_facts(self, agent_id: str) -> tuple[FileFacts, ...]:
        """Which files an agent has written."""

    def finish(
        self,
        agent_ids: Iterable[str],
        *,
        status: Literal["completed", "terminated"],
        reason: str | None = None,
        on_record: OnRecord | None = None,
        judged: Judged | None = None,
        owner: int | None = None,
    ) -> FinishReport:
        """Gives agents a terminal status; only those that are active, and as they were judged.

        Args:
            agent_ids: Which agents.
            status: The one that they get.
            reason: Why, in the operator's words.
            on_record: How to put it on record first; None does not.
            judged: By agent, the deployments that this is about.
            owner: The user whose it was when that was judged, by its number; None does not
                compare it.

        Raises:
            AuditError: It could not be put on record; nothing was changed.
            RegistryError: It could not be read or locked; nothing was changed.
        """

    def report(
        self, agent_id: str, *, status: str | None, progress: float | None, message: str
    ) -> Reported:
        """Records how far an agent is.

        Args:
            agent_id: Which agent.
            status: An active or a terminal one; None leaves it as it is.
            progress: Percent, 0 to 100; None leaves it as it is.
            message: In words, for people.

        Raises:
            RegistryError: It could not be written; nothing was changed.
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
            agent_type: What it does; the first part of its id.
            parent: The agent that starts it.
            agent_id: Its id; None makes one.
            reuse: Take an active agent of the same type, if there is one.
            prompt: What it is told.

        Raises:
            RegistryError: It could not be written, or a limit leaves no room.
        """

    def withdraw(self, agent_id: str) -> Withdrawal:
        """Removes an agent that was never started.

        Raises:
            RegistryError: It could not be written; nothing was changed.
        """


class WorkspaceSource(Source, Protocol):
    """One workspace: its tasks, and every session and task that it accounts for."""

    @property
    def is_single_task(self) -> bool:
        """Whether one task of it was asked for, and not the workspace."""

    def tasks(self, listed: Mapping[str, GlobalTask]) -> tuple[TaskSource, ...]:
        """Its tasks, in the order of their names; then those that lie elsewhere.

        Args:
            listed: The tasks of its list, as read last; empty if that cannot be read.

        Raises:
            OSError: Its directory cannot be read.
        """

    def listed(self, largest: int = ...) -> Snapshot[GlobalRecord]:
        """Every session and task that it accounts for, beside those of its tasks.

        Args:
            largest: Bytes above which the list is not read.

        Raises:
            RegistryNotFoundError: It has no list.
            RegistryError: The list cannot be read; `BusyRegistryError` while a writer is at it.
        """

    def directories(self) -> frozenset[Path]:
        """What to watch for changes of it, beside the directories of its tasks."""

    @property
    def watched_names(self) -> tuple[str, ...]:
        """The names of files in these directories whose change is a change of it."""
