"""The sources of workspaces that have a SQLite database, and of the tasks in the database.

This version of muster reads databases, and never writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from registry import agent_output
from registry import audit as auditing
from registry.database import Limits
from registry.dataclass import dataclass, field, replace
from registry.errors import (
    NotSupportedError,
    RegistryError,
    RegistryNotFoundError,
)
from registry.schema.database_records import LastReport, newest_of
from registry.schema.layout import (
    DATABASE,
    PROGRESS_FOLDER,
    TASK_REGISTRY,
    UnreadDatabase,
    Workspace,
    find_database,
    last_reports,
)
from registry.schema.records import (
    ORCHESTRATOR,
    GlobalRecord,
    GlobalTask,
    TaskRecord,
)
from registry.snapshots import Signature, Snapshot, read_task, signature_of
from registry.sources.database_state import DatabaseCache, agent_fields
from registry.sources.json_source import JsonTask, JsonWorkspace
from registry.sources.source import Dialect, NamedFile, TaskSource, WorkspaceSource
from registry.storage.codec import MAX_BYTES
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.safe_open import is_safe_name
from registry.text import shown_name

if TYPE_CHECKING:
    from registry.agent_output.files import AgentFile, FileFacts
    from registry.agent_output.history import TraceReader
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

READ_ONLY = "this version of muster only reads databases"
"""The reason why no change is made in a database."""


@dataclass(frozen=True, slots=True)
class SqliteTask:
    """The source of a task that is in a workspace's database.

    Attributes:
        database: The path of the database.
        task_id: The id of the task.
        cache: The content of the database, shared by the tasks of the workspace.
    """

    database: Path
    task_id: str
    cache: DatabaseCache = field(compare=False, repr=False)

    @property
    def dialect(self) -> Dialect:
        """See `Source.dialect`."""
        return Dialect.SQLITE

    @property
    def path(self) -> Path:
        """The path of the registry that the orchestrator leaves in the task's directory.

        This file identifies the task. The file contains the data of the task's creation, and may
        be missing.
        """
        return self.directory / TASK_REGISTRY

    @property
    def directory(self) -> Path:
        """See `Source.directory`."""
        workspace = self.database.parent.parent
        # An id that cannot be a name leads to a place that cannot exist: below a file.
        return (workspace if self.problem is None else self.database) / _folder(self.task_id)

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """See `Source.files`."""
        return (NamedFile("database", self.database),)

    @property
    def audit_log(self) -> Path:
        """See `Source.audit_log`."""
        return auditing.log_in(self.database.parent.parent)

    @property
    def audit_name(self) -> str:
        """See `TaskSource.audit_name`."""
        return auditing.name_in(self.audit_log, self.path)

    @property
    def global_registry(self) -> Path | None:
        """None: the database lists the task's agents, not a global registry."""
        return None

    @property
    def lies_elsewhere(self) -> bool:
        """See `TaskSource.lies_elsewhere`."""
        return False

    @property
    def problem(self) -> str | None:
        """See `TaskSource.problem`."""
        if is_safe_name(self.task_id):
            return None
        name = shown_name(self.task_id, 80)
        return f"its task_id {name} in the database cannot be the name of a directory"

    def unread_database(self) -> UnreadDatabase | None:
        """See `Source.unread_database`."""
        return self.cache.unread()

    def stamp(self) -> Signature | None:
        """See `Source.stamp`."""
        stamp = self.cache.stamp()
        json = signature_of(self.path) if self.problem is None else None
        return None if stamp is None else _signature(stamp, json)

    def is_cut_off(self) -> bool:
        """False: SQLite recovers an interrupted commit itself."""
        return False

    def recover(self, timeout: float) -> bool:
        """False: SQLite recovers an interrupted commit itself."""
        return False

    def read(self, largest: int = MAX_BYTES) -> Snapshot[TaskRecord]:
        """See `TaskSource.read`."""
        state = self.cache.read()
        record = state.record.tasks.get(self.task_id)
        if record is None:
            raise RegistryNotFoundError(self.path)
        beside = self._beside(min(largest, MAX_BYTES))
        signature = _signature(state.signature, None if beside is None else beside.signature)
        if beside is not None and beside.record.agents:
            ids = [agent.id for agent in (*record.agents, *beside.record.agents)]
            record = newest_of(record, beside.record, self._reports(ids))
        return Snapshot(self.path, record, signature)

    def _beside(self, largest: int) -> Snapshot[TaskRecord] | None:
        """Returns the task's JSON registry; None if there is none."""
        try:
            return read_task(self.path, largest)
        except RegistryNotFoundError as error:
            hand_on(error)
            return None

    def _reports(self, agent_ids: Iterable[str]) -> dict[str, LastReport]:
        """Returns the last report of each agent that has reported a status."""
        reports: dict[str, LastReport] = {}
        for agent_id in agent_ids:
            progress = self.output(agent_id, agent_output.PROGRESS)
            with tolerating(RegistryError, ValueError), progress:
                for line in progress.last(1).records:
                    if line.at is not None and line.timestamp is not None:
                        reports[agent_id] = LastReport(
                            line.at, line.timestamp, line.status, line.progress
                        )
        return reports

    def entry(self, agent_id: str, ordinal: int = 0) -> Json | None:
        """See `TaskSource.entry`."""
        if ordinal:
            return None
        fields = agent_fields(self.database, self.task_id, agent_id)
        if fields is None and self._is_beside(agent_id):
            return self._json().entry(agent_id)
        return fields

    def _is_beside(self, agent_id: str) -> bool:
        beside = self._beside(MAX_BYTES)
        return beside is not None and any(agent.id == agent_id for agent in beside.record.agents)

    def _json(self) -> JsonTask:
        return JsonTask(self.path)

    def listed_entry(self, agent_id: str) -> Json | None:
        """None: the global registry of the workspace lists no agents of the database."""
        return None

    def last_reports(self, agent_ids: Iterable[str]) -> dict[str, float]:
        """See `TaskSource.last_reports`."""
        if self.problem is not None:
            return {}
        wanted = tuple(agent_ids)
        times = last_reports(self.path, wanted, agent_output.ARCHIVE)
        for agent_id, time in last_reports(self.path, wanted, PROGRESS_FOLDER).items():
            times[agent_id] = max(time, times.get(agent_id, time))
        return times

    def reported_ends(
        self, started: Mapping[str, float], written_after: float = 0.0
    ) -> dict[str, ReportedEnd]:
        """See `TaskSource.reported_ends`."""
        if self.problem is not None:
            return {}
        return agent_output.reported_ends(self.path, started, written_after, self.database)

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """See `TaskSource.output`."""
        return agent_output.ArchivedAgentFile(self.directory, agent_id, kind)

    def output_facts(self, agent_id: str) -> tuple[FileFacts, ...]:
        """See `TaskSource.output_facts`."""
        return agent_output.archived_facts_of(self.directory, agent_id)

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
        """Raises `NotSupportedError`."""
        self._refuse("the status of an agent cannot be changed")

    def report(
        self, agent_id: str, *, status: str | None, progress: float | None, message: str
    ) -> Reported:
        """Raises `NotSupportedError`."""
        self._refuse("the progress of an agent cannot be recorded")

    def register(
        self,
        agent_type: str,
        *,
        parent: str = ORCHESTRATOR,
        agent_id: str | None = None,
        reuse: bool = False,
        prompt: str = "",
    ) -> Registration:
        """Raises `NotSupportedError`."""
        why = "the orchestrator registers the agents of this task itself"
        raise NotSupportedError(self.database, why, "Start the agent with the orchestrator")

    def withdraw(self, agent_id: str) -> Withdrawal:
        """Raises `NotSupportedError`."""
        self._refuse("an agent cannot be removed")

    def repair(
        self,
        planned: Sequence[Issue],
        *,
        on_record: AuditContext | None,
        reader: TraceReader | None = None,
    ) -> Made[Fixed]:
        """Raises `NotSupportedError`."""
        self._refuse("issues cannot be repaired")

    def preview_revert(self, step: Undoable, before: dict[Path, Json]) -> Reverted:
        """Raises `NotSupportedError`."""
        self._refuse("a change of this task cannot be taken back")

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """Raises `NotSupportedError`."""
        self._refuse("a change of this task cannot be taken back")

    def _refuse(self, what: str) -> NoReturn:
        raise NotSupportedError(
            self.database, f"{what}: {READ_ONLY}", "Use the orchestrator for this change"
        )


def _folder(task_id: str) -> str:
    return task_id if is_safe_name(task_id) else task_id.encode("utf-8", "surrogateescape").hex()


class SqliteWorkspace(JsonWorkspace):
    """The source of a workspace that may have a database.

    A task that the database lists is read from the database. Each other task of the workspace is
    read from its JSON registry. Without a database this is a `JsonWorkspace`.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._cache = DatabaseCache(self.path.with_name(DATABASE))

    @property
    def dialect(self) -> Dialect:
        """See `Source.dialect`."""
        return Dialect.JSON if find_database(self.directory) is None else Dialect.SQLITE

    @property
    def watched_names(self) -> tuple[str, ...]:
        """See `WorkspaceSource.watched_names`."""
        return *super().watched_names, DATABASE, f"{DATABASE}-wal"

    def stamp(self) -> Signature | None:
        """See `Source.stamp`."""
        json = super().stamp()
        if not self._cache.is_there():
            return json
        stamp = self._cache.stamp()
        return None if stamp is None else _signature(stamp, json)

    def unread_database(self) -> UnreadDatabase | None:
        """See `Source.unread_database`."""
        return self._cache.unread() if self._cache.is_there() else None

    def limit_database(self, largest: int, give_up_at: float) -> None:
        """See `WorkspaceSource.limit_database`."""
        self._cache.limits = Limits(largest, give_up_at)

    def tasks(self, listed: Mapping[str, GlobalTask]) -> tuple[TaskSource, ...]:
        """See `WorkspaceSource.tasks`."""
        in_json = super().tasks(listed)
        record = self._cache.last_known() if self._cache.is_there() else None
        if record is None:
            return in_json
        only = self.workspace.only
        found: dict[Path, TaskSource] = {task.path: task for task in in_json}
        for task_id in record.tasks:
            task = SqliteTask(self._cache.path, task_id, self._cache)
            if only is None or task.path == only:
                found[task.path] = task
        elsewhere = [task for task in found.values() if task.lies_elsewhere]
        here = [task for task in found.values() if not task.lies_elsewhere]
        return (*sorted(here, key=lambda task: task.path), *elsewhere)

    def listed(self, largest: int = MAX_BYTES) -> Snapshot[GlobalRecord]:
        """See `WorkspaceSource.listed`."""
        if not self._cache.is_there():
            return super().listed(largest)
        json: Snapshot[GlobalRecord] | None = None
        with tolerating(RegistryNotFoundError):
            json = super().listed(largest)
        try:
            state = self._cache.read()
        except RegistryError as error:
            hand_on(error)
            if json is None:
                raise
            # `unread_database` reports the error.
            return json
        record = GlobalRecord({}, frozenset(), None, None, ()) if json is None else json.record
        record = replace(
            record,
            tasks={**record.tasks, **_listed(state.record.listed, record.tasks)},
            sessions=record.sessions | state.record.sessions,
        )
        return Snapshot(
            self.path,
            record,
            _signature(state.signature, None if json is None else json.signature),
        )


def _listed(
    database: Mapping[str, GlobalTask], json: Mapping[str, GlobalTask]
) -> Mapping[str, GlobalTask]:
    """Returns the tasks of the database; a missing description is taken from the JSON list."""
    return {
        task_id: replace(task, description=json[task_id].description)
        if not task.description and task_id in json
        else task
        for task_id, task in database.items()
    }


def _signature(database: Signature, json: Signature | None) -> Signature:
    """Returns the signature of a database's task or list, and of the JSON registry beside it.

    The identity is the identity of the JSON registry, which is another one for each task.
    """
    if json is None:
        return database
    return replace(
        database,
        device=json.device,
        inode=json.inode,
        size=json.size,
        settled=database.settled and json.settled,
        beside=(database, json),
    )


def workspace_source(workspace: Workspace) -> WorkspaceSource:
    """Returns the source of a workspace, for each of the storage formats."""
    return SqliteWorkspace(workspace)
