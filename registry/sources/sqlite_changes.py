"""The changes of a task that is in a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from registry import agent_output, operations
from registry.dataclass import replace
from registry.errors import NotSupportedError, RegistryError, RegistryNotFoundError
from registry.schema.database_records import LastReport, newest_of
from registry.schema.records import ORCHESTRATOR, AgentRecord, TaskRecord
from registry.snapshots import Snapshot, read_task
from registry.sources.json_source import JsonTask
from registry.storage.codec import MAX_BYTES
from registry.storage.files.interruption import hand_on, tolerating

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

    def _json(self) -> JsonTask:
        return JsonTask(self.path)

    def _newest(self, agents: Iterable[AgentRecord]) -> Mapping[str, AgentRecord]:
        """Returns the newest data of agents that are in the database, by their ids."""
        agents = tuple(agents)
        ids = {agent.id for agent in agents}
        beside = self._beside()
        if beside is not None and beside.record.agents:
            json = replace(
                beside.record,
                agents=tuple(agent for agent in beside.record.agents if agent.id in ids),
            )
            agents = newest_of(replace(json, agents=agents), json, self._reports(ids)).agents
        return {agent.id: agent for agent in agents}

    @property
    def place(self) -> operations.DatabaseTask:
        """The task, as the functions that change databases name it."""
        return operations.DatabaseTask(self.database, self.task_id, self.directory, self._newest)

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
        return operations.finish_in_database(
            self.place,
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
        """Raises `NotSupportedError`."""
        self._refuse("the progress of an agent cannot be recorded", "Use the orchestrator")

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
        """Raises `NotSupportedError`."""
        self._refuse("a change of this task cannot be taken back", "Use the orchestrator")

    def revert(self, step: Undoable, audit: Audit) -> Made[Reverted]:
        """Raises `NotSupportedError`."""
        self._refuse("a change of this task cannot be taken back", "Use the orchestrator")

    def _refuse(self, why: str, remedy: str) -> NoReturn:
        raise NotSupportedError(self.database, why, remedy)
