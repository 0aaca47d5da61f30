"""The sources of workspaces that have a SQLite database, and of the tasks in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from registry import agent_output
from registry import audit as auditing
from registry.database import Limits
from registry.dataclass import dataclass, field, replace
from registry.errors import BusyRegistryError, RegistryError, RegistryNotFoundError
from registry.schema.database_records import newest_of
from registry.schema.layout import (
    DATABASE,
    TASK_REGISTRY,
    UnreadDatabase,
    Workspace,
    find_database,
    last_reports,
)
from registry.schema.records import GlobalRecord, GlobalTask, TaskRecord
from registry.snapshots import Signature, Snapshot, signature_of
from registry.sources.database_state import DatabaseCache, agent_fields
from registry.sources.json_source import JsonWorkspace
from registry.sources.source import Dialect, Look, NamedFile, TaskSource, WorkspaceSource
from registry.sources.sqlite_changes import SqliteChanges
from registry.storage.codec import MAX_BYTES
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.presence import may_exist
from registry.storage.files.safe_open import is_safe_name
from registry.text import shown_name

if TYPE_CHECKING:
    from registry.agent_output.files import AgentFile, FileFacts
    from registry.agent_output.history import TraceReader
    from registry.agent_output.last_report import LastReport
    from registry.agent_output.lines import Line
    from registry.agent_output.lines import Source as OutputKind
    from registry.agent_output.reported_end import ReportedEnd
    from registry.audit.transaction import AuditContext, Made
    from registry.checks.issue import Issue
    from registry.checks.repair import Fixed
    from registry.storage.codec import Json


@dataclass(frozen=True, slots=True)
class SqliteTask(SqliteChanges):
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
        return self.cache.places_of(self.task_id)[1]

    @property
    def directory(self) -> Path:
        """See `Source.directory`."""
        return self.cache.places_of(self.task_id)[0]

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """See `Source.files`."""
        return (NamedFile("database", self.database),)

    @property
    def listing(self) -> tuple[Path, ...]:
        """See `TaskSource.listing`."""
        json = self.problem is None and may_exist(self.path)
        return (self.database, self.path) if json else (self.database,)

    @property
    def audit_log(self) -> Path:
        """See `Source.audit_log`."""
        return auditing.log_in(self.database.parent.parent)

    @property
    def audit_name(self) -> str:
        """See `TaskSource.audit_name`."""
        return auditing.name_in(self.audit_log, self.database)

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

    @property
    def is_readable(self) -> bool:
        """True: the task is in the database, not in the files of the task."""
        return True

    def unread_database(self) -> UnreadDatabase | None:
        """See `Source.unread_database`."""
        return self.cache.unread()

    def stamp(self) -> Signature | None:
        """See `Source.stamp`."""
        stamp = self.cache.stamp_of(self.task_id)
        json = signature_of(self.path) if self.problem is None else None
        return None if stamp is None else _signature(stamp, json)

    def is_cut_off(self) -> bool:
        """False: SQLite recovers an interrupted commit itself."""
        return False

    def look(self) -> Look:
        """See `Source.look`."""
        return Look(self.stamp(), is_cut_off=False)

    def recover(self, timeout: float) -> bool:
        """False: SQLite recovers an interrupted commit itself."""
        return False

    def read(self, largest: int = MAX_BYTES) -> Snapshot[TaskRecord]:
        """See `TaskSource.read`."""
        state = self.cache.read()
        record = state.record.tasks.get(self.task_id)
        if record is None:
            raise RegistryNotFoundError(self.path)
        own = state.signatures[self.task_id]
        if self.problem is not None:
            warnings = (self.problem, *record.warnings)
            return Snapshot(self.path, replace(record, warnings=warnings), own)
        json = signature_of(self.path)
        try:
            beside = self._beside(min(largest, MAX_BYTES))
        except BusyRegistryError:
            raise
        except RegistryError as error:
            hand_on(error)
            record = _without_json(record, error.reason or str(error))
            return Snapshot(self.path, record, _signature(own, json))
        if beside is not None and beside.record.agents:
            self.cache.mixed.add(self.task_id)
            own = state.signature
            ids = [agent.id for agent in (*record.agents, *beside.record.agents)]
            record = newest_of(
                record,
                beside.record,
                self.believed_lines(ids),
                believed=self.believed,
            )
        signature = _signature(own, None if beside is None else beside.signature)
        return Snapshot(self.path, record, signature)

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

    def listed_entry(self, agent_id: str) -> Json | None:
        """None: the global registry of the workspace lists no agents of the database."""
        return None

    def last_reports(self, agent_ids: Iterable[str]) -> dict[str, float]:
        """See `TaskSource.last_reports`."""
        if self.problem is not None:
            return {}
        return last_reports(self.path, agent_ids)

    def newest_reports(
        self,
        agent_ids: Iterable[str],
        before: Mapping[str, LastReport] = MappingProxyType({}),
    ) -> dict[str, LastReport]:
        """See `TaskSource.newest_reports`."""
        if self.problem is not None:
            return {}
        return agent_output.read_last_reports(self.directory, agent_ids, before)

    def reported_ends(
        self, started: Mapping[str, float], written_after: float = 0.0
    ) -> dict[str, ReportedEnd]:
        """See `TaskSource.reported_ends`."""
        if self.problem is not None:
            return {}
        return agent_output.reported_ends(
            self.path, started, written_after, about=self.listing, in_database=True
        )

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """See `TaskSource.output`."""
        return agent_output.ArchivedAgentFile(self.directory, agent_id, kind)

    def output_facts(self, agent_id: str) -> tuple[FileFacts, ...]:
        """See `TaskSource.output_facts`."""
        return agent_output.archived_facts_of(self.directory, agent_id)

    def repair(
        self,
        planned: Sequence[Issue],
        *,
        on_record: AuditContext | None,
        reader: TraceReader | None = None,
    ) -> Made[Fixed]:
        """See `Source.repair`."""
        # Imported here, because most programs only read.
        from registry.sources.database_repair import repair_task

        return repair_task(self, planned, on_record=on_record)


class SqliteWorkspace(JsonWorkspace):
    """The source of a workspace that may have a database.

    A task that the database lists is read from the database. Each other task of the workspace is
    read from its JSON registry. Without a database this is a `JsonWorkspace`.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._cache = DatabaseCache(self.path.with_name(DATABASE))
        log = self.path.with_name(f"{DATABASE}-wal")
        self._database_files = self._cache.path, log
        self._last_listed: GlobalRecord | None = None

    @property
    def dialect(self) -> Dialect:
        """See `Source.dialect`."""
        return Dialect.JSON if find_database(self.directory) is None else Dialect.SQLITE

    @property
    def watched_names(self) -> tuple[str, ...]:
        """See `WorkspaceSource.watched_names`."""
        return *super().watched_names, *(path.name for path in self._database_files)

    @property
    def database_files(self) -> frozenset[Path]:
        """See `WorkspaceSource.database_files`."""
        return frozenset(self._database_files)

    def one_look(self) -> AbstractContextManager[None]:
        """See `WorkspaceSource.one_look`."""
        return self._cache.one_look()

    def in_database(self) -> Mapping[Path, object] | None:
        """See `WorkspaceSource.in_database`."""
        stamps = self._cache.stamps() if self._cache.is_there() else None
        if stamps is None:
            return None
        return {self._cache.places_of(task_id)[1]: stamps[task_id] for task_id in stamps}

    def stamp(self) -> Signature | None:
        """See `Source.stamp`."""
        json = super().stamp()
        if not self._cache.is_there():
            return json
        stamp = self._cache.stamp()
        return None if stamp is None else _signature(stamp, json)

    def look(self) -> Look:
        """See `Source.look`."""
        look = super().look()
        return Look(self.stamp(), look.is_cut_off) if self._cache.is_there() else look

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
        # An equal record keeps its identity, so what was derived from it is not computed again.
        if record == self._last_listed:
            record = self._last_listed
        self._last_listed = record
        return Snapshot(
            self.path,
            record,
            _signature(state.signature, None if json is None else json.signature),
        )


def _without_json(record: TaskRecord, why: str) -> TaskRecord:
    """Returns the task in a database whose JSON registry exists, but cannot be read."""
    warning = f"{TASK_REGISTRY} is not read, which may list further agents: {why}"
    return replace(record, warnings=(warning, *record.warnings), is_whole=False)


def _listed(
    database: Mapping[str, GlobalTask], json: Mapping[str, GlobalTask]
) -> Mapping[str, GlobalTask]:
    """Returns the tasks of the database.

    Two values come from the JSON list: a description that the database lacks, and the other
    workspace whose registry may list sessions.
    """
    return {
        task_id: replace(
            task,
            description=task.description or json[task_id].description,
            elsewhere=json[task_id].elsewhere,
        )
        if task_id in json
        else task
        for task_id, task in database.items()
    }


def _signature(database: Signature, json: Signature | None) -> Signature:
    """Returns the signature of a database's task or list, and of the JSON registry beside it.

    The signature has the identity of the JSON registry, because each task has its own.
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
