"""The changes of a task that is in a database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from registry import agent_output, database, operations
from registry.dataclass import replace
from registry.errors import (
    BusyRegistryError,
    NotSupportedError,
    RegistryError,
    RegistryNotFoundError,
    UnwritableDatabaseError,
)
from registry.schema.database_records import Believed, LastReport, newest_of
from registry.schema.layout import GLOBAL_REGISTRY
from registry.schema.records import ORCHESTRATOR, AgentRecord, TaskRecord
from registry.snapshots import BUSY_TIMEOUT, Snapshot, read_task, when_free
from registry.sources.json_source import JsonTask
from registry.storage.codec import MAX_BYTES
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.writers import is_believed

if TYPE_CHECKING:
    from registry.agent_output.files import AgentFile
    from registry.agent_output.lines import Line
    from registry.agent_output.lines import Source as OutputKind
    from registry.agent_output.reported_end import ReportedEnd
    from registry.audit.diff import Reverted
    from registry.audit.log import Audit
    from registry.audit.transaction import AuditContext, Made
    from registry.audit.undo import Undoable
    from registry.operations.finish import FinishReport, Judged
    from registry.operations.register import Registration, Withdrawal
    from registry.operations.report import Reported
    from registry.storage.codec import Json


_BY_HAND = "Correct the row by hand, while no orchestrator runs"


class SqliteChanges:
    """The part of `SqliteTask` that changes the task."""

    __slots__ = ()

    database: Path
    task_id: str

    @property
    def path(self) -> Path:
        """The path of the task's JSON registry."""
        raise NotImplementedError

    @property
    def directory(self) -> Path:
        """The directory of the task."""
        raise NotImplementedError

    @property
    def problem(self) -> str | None:
        """See `TaskSource.problem`."""
        raise NotImplementedError

    @property
    def listing(self) -> tuple[Path, ...]:
        """See `TaskSource.listing`."""
        raise NotImplementedError

    def output(self, agent_id: str, kind: OutputKind[Line]) -> AgentFile[Line]:
        """See `TaskSource.output`."""
        raise NotImplementedError

    def _beside(self, largest: int = MAX_BYTES) -> Snapshot[TaskRecord] | None:
        """Returns the task's JSON registry; None if there is none."""
        try:
            return read_task(self.path, largest)
        except RegistryNotFoundError as error:
            hand_on(error)
            return None

    def _readable_beside(self) -> Snapshot[TaskRecord] | None:
        """Returns the task's JSON registry; None if there is none, or if it cannot be read.

        The database has the task's agents, so a damaged registry prevents no change of them.

        Raises:
            BusyRegistryError: Another process is writing the registry.
        """
        try:
            return when_free(self._beside)
        except BusyRegistryError:
            raise
        except RegistryError as error:
            hand_on(error)
            return None

    def is_in_json(self) -> bool:
        """Returns whether the task's JSON registry lists agents, too.

        Raises:
            RegistryError: The registry cannot be read.
        """
        beside = self._beside()
        return beside is not None and bool(beside.record.agents)

    def last_lines(self, agent_ids: Iterable[str]) -> dict[str, LastReport]:
        """Returns the last line of each agent's progress file, also of an archived file.

        Returns:
            Maps the id of each agent to the line; a line without a valid time is left out.
        """
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

    def believed_lines(self, agent_ids: Iterable[str]) -> dict[str, LastReport]:
        """Returns the lines of `last_lines` that only certain users can have written.

        These are the users who can also change each list of the task's agents.
        """
        return self.last_lines(filter(self._has_own_reports, agent_ids))

    def _has_own_reports(self, agent_id: str) -> bool:
        return all(
            is_believed(facts.path, path)
            for facts in agent_output.archived_facts_of(self.directory, agent_id)
            if facts.name == agent_output.PROGRESS.name and facts.size is not None
            for path in self.listing
        )

    @property
    def believed(self) -> Believed:
        """Whether the database or the JSON registry counts for an agent that is in both."""
        if not is_believed(self.database, self.path):
            return Believed.JSON
        return Believed.BOTH if is_believed(self.path, self.database) else Believed.DATABASE

    def _json(self) -> JsonTask:
        return JsonTask(self.path)

    @property
    def place(self) -> operations.DatabaseTask:
        """The task, as the functions that change databases name it.

        Raises:
            BusyRegistryError: Another process is writing the task's JSON registry.
            UnwritableDatabaseError: The task has no directory for the files of its agents.
        """
        if self.problem is not None:
            why = f"is not written for this task: {self.problem}"
            raise UnwritableDatabaseError(self.database, why, _BY_HAND)
        # Read before the database is locked: for a moment, another process may write the file.
        beside = self._readable_beside()
        newest = partial(self._newest, None if beside is None else beside.record)
        return operations.DatabaseTask(self.database, self.task_id, newest)

    def _newest(
        self, json: TaskRecord | None, agents: Iterable[AgentRecord]
    ) -> Mapping[str, AgentRecord]:
        """Returns the newest data of agents that are in the database, by their ids.

        Args:
            json: The task's JSON registry, or None.
            agents: The agents, as they are in the database.
        """
        agents = tuple(agents)
        ids = {agent.id for agent in agents}
        if json is not None and json.agents:
            both = tuple(agent for agent in json.agents if agent.id in ids)
            json = replace(json, agents=both)
            lines, own = self.believed_lines(ids), replace(json, agents=agents)
            agents = newest_of(own, json, lines, believed=self.believed).agents
        return {agent.id: agent for agent in agents}

    def why_unwritable(self) -> str | None:
        """See `TaskSource.why_unwritable`."""
        if self.problem is not None:
            return f"{self.problem}: correct the row by hand"
        return database.why_unwritable(self.database)

    def why_locked(self) -> str | None:
        """See `TaskSource.why_locked`."""
        return database.why_locked(self.database, BUSY_TIMEOUT)

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
        ids = tuple(agent_ids)
        json = self._only_in_json(ids)
        rest = [agent_id for agent_id in ids if agent_id not in json]
        report = operations.FinishReport((), {}, (), ())
        if rest:
            report = operations.finish_in_database(
                self.place,
                rest,
                status=status,
                reason=reason,
                on_record=on_record,
                judged=judged,
                owner=owner,
                ends=ends,
            )
        if json:
            try:
                in_json = self._finish_in_json(json, status, reason, on_record, judged, ends)
            except RegistryError as error:
                hand_on(error)
                if not report.written:
                    raise
                in_json = operations.FinishReport((), dict.fromkeys(json, error.brief), (), ())
            report = operations.FinishReport(
                (*report.changed, *in_json.changed),
                {**report.untouched, **in_json.untouched},
                (*report.written, *in_json.written),
                (*report.problems, *in_json.problems),
                report.ended | in_json.ended,
            )
        return report

    def _only_in_json(self, agent_ids: Collection[str]) -> Mapping[str, AgentRecord]:
        """Returns the agents that the task's JSON registry lists and the database does not."""
        beside = self._readable_beside()
        if beside is None or not beside.record.agents:
            return {}
        wanted = [agent for agent in beside.record.agents if agent.id in agent_ids]
        tables = database.read_tables(self.database, [agent.id for agent in wanted])
        return {agent.id: agent for agent in wanted if agent.id not in tables.rows}

    def _finish_in_json(
        self,
        agents: Mapping[str, AgentRecord],
        status: Literal["completed", "terminated"],
        reason: str | None,
        on_record: AuditContext | None,
        judged: Judged | None,
        ends: Mapping[str, ReportedEnd] | None,
    ) -> FinishReport:
        """Finishes agents that only the JSON registry lists."""
        # Readers take the newest of the registry and the agent's last report. So the change must
        # not seem older than the report.
        now = operations.newest_time(None)
        for report in self.last_lines(agents).values():
            now = operations.newest_time(report.timestamp, now)
        return operations.finish_agents(
            self.path,
            self.database.with_name(GLOBAL_REGISTRY),
            agents,
            status=status,
            reason=reason,
            fields={"last_update": now},
            on_record=on_record,
            judged=judged,
            ends=ends,
        )

    def report(
        self, agent_id: str, *, status: str | None, progress: float | None, message: str
    ) -> Reported:
        """See `TaskSource.report`."""
        if self._only_in_json((agent_id,)):
            json = JsonTask(self.path, self.database.with_name(GLOBAL_REGISTRY))
            return json.report(agent_id, status=status, progress=progress, message=message)
        return operations.report_in_database(
            self.place, agent_id, status=status, progress=progress, message=message
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
        """Raises `NotSupportedError`."""
        why = "the orchestrator registers the agents of this task itself"
        self._refuse(why, "Start the agent with the orchestrator")

    def withdraw(self, agent_id: str) -> Withdrawal:
        """Raises `NotSupportedError`."""
        why = "the orchestrator removes the agents of this task itself"
        self._refuse(why, "If the agent did not start, complete it (muster complete)")

    def preview_revert(self, step: Undoable, before: dict[Path, Json]) -> Reverted:
        """See `Source.preview_revert`."""
        if step.task == self.database:
            return operations.preview_in_database(self.database, step, before)
        return self._json().preview_revert(step, before)

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """See `Source.revert`."""
        if step.task == self.database:
            return operations.take_back_in_database(self.database, step, audit)
        return self._json().revert(step, audit)

    def _refuse(self, why: str, remedy: str) -> NoReturn:
        raise NotSupportedError(self.database, why, remedy)
