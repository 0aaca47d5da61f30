"""The sources of tasks and workspaces that are stored in JSON files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from registry import agent_output, checks, operations, storage
from registry import audit as auditing

# Packages import their names at the first use, because most programs only read.
from registry.dataclass import dataclass
from registry.errors import NotSupportedError, RegistryError
from registry.schema.layout import (
    GLOBAL_REGISTRY,
    TASK_REGISTRY,
    TaskPlace,
    UnreadDatabase,
    Workspace,
    database_beside,
    find_database,
    last_reports,
    task_places,
)
from registry.schema.records import (
    ORCHESTRATOR,
    GlobalRecord,
    GlobalTask,
    TaskRecord,
)
from registry.snapshots import (
    Signature,
    Snapshot,
    read_agent_fields,
    read_global,
    read_task,
    signature_of,
    when_free,
)
from registry.sources.source import Dialect, Look, NamedFile, TaskSource
from registry.storage.codec import MAX_BYTES
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import folder_of
from registry.storage.hot_journal import is_hot
from registry.text import shown_name

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
    from registry.storage.codec import Json


class _JsonSource:
    """The common part of the sources of tasks and workspaces in JSON files."""

    __slots__ = ()

    @property
    def path(self) -> Path:
        """The path of the registry."""
        raise NotImplementedError

    @property
    def dialect(self) -> Dialect:
        """The storage format: JSON."""
        return Dialect.JSON

    def stamp(self) -> Signature | None:
        """See `Source.stamp`."""
        return signature_of(self.path)

    def is_cut_off(self) -> bool:
        """See `Source.is_cut_off`."""
        return is_hot(self.path)

    def look(self) -> Look:
        """See `Source.look`."""
        path = self.path
        try:
            with folder_of(path) as folder:
                stamp = signature_of(path, folder)
                return Look(stamp, is_hot(path, folder))
        except (RegistryError, OSError) as error:
            hand_on(error)
            return Look(None, is_cut_off=False)

    def recover(self, timeout: float) -> bool:
        """See `Source.recover`."""
        return storage.recover_registry(self.path, timeout)

    def preview_revert(self, step: Undoable, before: dict[Path, Json]) -> Reverted:
        """See `Source.preview_revert`."""
        return auditing.preview(step, before)

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """See `Source.revert`."""
        return auditing.take_back(step, audit)


@dataclass(frozen=True, slots=True)
class JsonTask(_JsonSource):
    """The source of a task whose registry is a JSON file.

    Attributes:
        registry: The path of the task's registry.
        global_registry: The path of the global registry that lists the task, or None.
        lies_elsewhere: Whether the task is outside the workspace whose global registry lists the
            task.
        problem: Why the task must not be opened; None if it may be opened.
    """

    registry: Path
    global_registry: Path | None = None
    lies_elsewhere: bool = False
    problem: str | None = None

    @classmethod
    def at(cls, place: TaskPlace) -> JsonTask:
        """Creates the source for the location of a task's registry."""
        elsewhere = place.listed_by is not None
        return cls(place.registry, place.global_registry, elsewhere, place.problem)

    @property
    def path(self) -> Path:
        """The path of the task's registry."""
        return self.registry

    @property
    def is_readable(self) -> bool:
        """See `TaskSource.is_readable`."""
        return self.problem is None

    @property
    def directory(self) -> Path:
        """See `Source.directory`."""
        return self.registry.parent

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """See `Source.files`."""
        own = NamedFile("registry", self.registry)
        if self.global_registry is None:
            return (own,)
        return own, NamedFile("global registry", self.global_registry)

    @property
    def listing(self) -> tuple[Path, ...]:
        """See `TaskSource.listing`."""
        return (self.registry,)

    @property
    def audit_log(self) -> Path:
        """See `Source.audit_log`."""
        return auditing.log_of(self.registry)

    @property
    def audit_name(self) -> str:
        """See `TaskSource.audit_name`."""
        return auditing.name_in(self.audit_log, self.registry)

    def unread_database(self) -> UnreadDatabase | None:
        """See `Source.unread_database`."""
        return database_beside(self.registry)

    def read(self, largest: int = MAX_BYTES) -> Snapshot[TaskRecord]:
        """See `TaskSource.read`."""
        return read_task(self.registry, largest)

    def entry(self, agent_id: str, ordinal: int = 0) -> Json | None:
        """See `TaskSource.entry`."""
        return _entry(self.registry, agent_id, ordinal)

    def listed_entry(self, agent_id: str) -> Json | None:
        """See `TaskSource.listed_entry`."""
        if self.global_registry is None:
            return None
        return _entry(self.global_registry, agent_id, 0)

    def last_reports(self, agent_ids: Iterable[str]) -> dict[str, float]:
        """See `TaskSource.last_reports`."""
        return last_reports(self.registry, agent_ids)

    def newest_reports(
        self,
        agent_ids: Iterable[str],
        before: Mapping[str, LastReport] = MappingProxyType({}),
    ) -> dict[str, LastReport]:
        """See `TaskSource.newest_reports`."""
        return agent_output.read_last_reports(self.directory, agent_ids, before)

    def reported_ends(
        self, started: Mapping[str, float], written_after: float = 0.0
    ) -> dict[str, ReportedEnd]:
        """See `TaskSource.reported_ends`."""
        return agent_output.reported_ends(self.registry, started, written_after)

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """See `TaskSource.output`."""
        return agent_output.ArchivedAgentFile(self.directory, agent_id, kind)

    def output_facts(self, agent_id: str) -> tuple[FileFacts, ...]:
        """See `TaskSource.output_facts`."""
        return agent_output.archived_facts_of(self.directory, agent_id)

    def why_unwritable(self) -> str | None:
        """See `TaskSource.why_unwritable`."""
        return None

    def why_locked(self) -> str | None:
        """See `TaskSource.why_locked`."""
        return None

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
        """See `TaskSource.finish`."""
        return operations.finish_agents(
            self.registry,
            self.global_registry,
            agent_ids,
            status=status,
            reason=reason,
            on_record=on_record,
            judged=judged,
            owner=owner,
            ends=ends,
        )

    def report(
        self, agent_id: str, *, status: str | None, progress: float | None, message: str
    ) -> Reported:
        """See `TaskSource.report`."""
        return operations.report_progress(
            self.registry,
            self.global_registry,
            agent_id,
            status=status,
            progress=progress,
            message=message,
        )

    def register(
        self,
        agent_type: str,
        *,
        parent: str = ORCHESTRATOR,
        agent_id: str | None = None,
        reuse: bool = False,
        prompt: str = "",
    ) -> Registration:
        """See `TaskSource.register`.

        Raises:
            NotSupportedError: The registry lists no agents, because they were deployed to a
                database, which is missing or lacks the task.
        """
        deployment = agent_output.find_database_deployment(self.directory)
        if deployment is not None and not self.read().record.agents:
            raise NotSupportedError(
                self.registry,
                "the agents of this task were deployed to a database, by "
                f"{shown_name(deployment)}, and the database is missing or lacks the task",
                "Put the database back, and start the agent with the orchestrator",
            )
        return operations.register_agent(
            self.registry,
            self.global_registry,
            agent_type,
            parent=parent,
            agent_id=agent_id,
            reuse=reuse,
            prompt=prompt,
        )

    def withdraw(self, agent_id: str) -> Withdrawal:
        """See `TaskSource.withdraw`."""
        return operations.withdraw_agent(self.registry, self.global_registry, agent_id)

    def repair(
        self,
        planned: Sequence[Issue],
        *,
        on_record: AuditContext | None,
        reader: TraceReader | None = None,
    ) -> Made[Fixed]:
        """See `Source.repair`."""
        return checks.fix_task(
            self.registry, self.global_registry, planned, on_record=on_record, reader=reader
        )


class JsonWorkspace(_JsonSource):
    """The source of a workspace whose registries are JSON files."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        # Every change of any task uses this path.
        self._path = workspace.global_registry

    @property
    def path(self) -> Path:
        """The path of the global registry; this file may be missing."""
        return self._path

    @property
    def directory(self) -> Path:
        """See `Source.directory`."""
        return self.workspace.path

    @property
    def is_single_task(self) -> bool:
        """See `WorkspaceSource.is_single_task`."""
        return self.workspace.only is not None

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """See `Source.files`."""
        return (NamedFile("global registry", self.path),)

    @property
    def audit_log(self) -> Path:
        """See `Source.audit_log`."""
        return auditing.log_in(self.directory)

    @property
    def watched_names(self) -> tuple[str, ...]:
        """See `WorkspaceSource.watched_names`."""
        return TASK_REGISTRY, GLOBAL_REGISTRY

    def unread_database(self) -> UnreadDatabase | None:
        """See `Source.unread_database`."""
        return find_database(self.directory)

    def limit_database(self, largest: int, give_up_at: float) -> None:
        """See `WorkspaceSource.limit_database`; this source reads no database."""

    def tasks(self, listed: Mapping[str, GlobalTask]) -> tuple[TaskSource, ...]:
        """See `WorkspaceSource.tasks`."""
        return tuple(map(JsonTask.at, task_places(self.workspace, listed)))

    def listed(self, largest: int = MAX_BYTES) -> Snapshot[GlobalRecord]:
        """See `WorkspaceSource.listed`."""
        return read_global(self.path, largest)

    def one_look(self) -> AbstractContextManager[None]:
        """See `WorkspaceSource.one_look`; this source reads no database."""
        return nullcontext()

    @property
    def database_files(self) -> frozenset[Path]:
        """See `WorkspaceSource.database_files`."""
        return frozenset()

    def in_database(self) -> Mapping[Path, object] | None:
        """See `WorkspaceSource.in_database`."""
        return None

    def directories(self) -> frozenset[Path]:
        """See `WorkspaceSource.directories`."""
        return frozenset({self.directory, self.path.parent})

    def repair(
        self,
        planned: Sequence[Issue],
        *,
        on_record: AuditContext | None,
        reader: TraceReader | None = None,
    ) -> Made[Fixed]:
        """See `Source.repair`."""
        return checks.fix_global(self.path, planned, on_record=on_record)


def _entry(registry: Path, agent_id: str, ordinal: int) -> Json | None:
    return when_free(lambda: read_agent_fields(registry, agent_id, ordinal))
