"""Frozen records of the rows of a workspace's database. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from registry.database import Row, Rows, grouped
from registry.dataclass import dataclass, field, replace
from registry.schema.records import (
    AgentRecord,
    GlobalTask,
    Phase,
    TaskRecord,
    agent_record,
    text_of,
    usual_session,
    whole_of,
)
from registry.schema.statuses import meaning_in_database, meaning_of

# The limits of a task without own limits.
_MAX_AGENTS, _MAX_CONCURRENT, _MAX_DEPTH = 50, 20, 5


TaskRows = tuple[Row | None, list[Row], list[Row], list[Row], Row]
"""The rows of a task: its own, its agents', its hierarchy, its phases, and its configuration."""


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """The content of a workspace's database.

    Attributes:
        tasks: Maps the id of each task to its content, in the order of the database.
        listed: Maps the id of each task to the task, as a global registry would list it.
        rows: Maps the id of each task to the rows of the task.
    """

    tasks: Mapping[str, TaskRecord]
    listed: Mapping[str, GlobalTask]
    rows: Mapping[str, TaskRows] = field(default_factory=dict, compare=False, repr=False)

    @property
    def sessions(self) -> frozenset[str]:
        """The names of the sessions of all agents."""
        return frozenset(
            usual_session(agent) for task in self.tasks.values() for agent in task.agents
        )


def workspace_record(rows: Rows, before: WorkspaceRecord | None = None) -> WorkspaceRecord:
    """Returns the record of the rows of a database; never raises an error.

    Args:
        rows: The rows.
        before: The record of an earlier reading, or None. The record of a task whose rows have not
            changed is the same object.
    """
    agents = _by_task(_with_report_times(rows))
    hierarchies, phases = _by_task(rows.agent_hierarchy), _by_task(rows.phases)
    configs = _by_task(rows.task_config)
    own = {task_id: entries[-1] for task_id, entries in _by_task(rows.tasks).items()}
    # A task of which only agents are listed is shown too.
    of_task: dict[str, TaskRows] = {
        task_id: (
            own.get(task_id),
            agents.get(task_id, []),
            hierarchies.get(task_id, []),
            phases.get(task_id, []),
            (configs.get(task_id) or ({},))[-1],
        )
        for task_id in dict.fromkeys((*own, *agents))
    }
    tasks = {
        task_id: before.tasks[task_id]
        if before is not None and before.rows.get(task_id) == entries
        else _task_record(task_id, *entries)
        for task_id, entries in of_task.items()
    }
    listed = {
        task_id: GlobalTask(task_id, task.description, task.status, None)
        for task_id, task in tasks.items()
    }
    return WorkspaceRecord(tasks, listed, of_task)


def _with_report_times(rows: Rows) -> tuple[Row, ...]:
    """Returns the rows of agents; without `last_update`, the time of the last report is added."""
    if not rows.agents or not rows.agent_progress_latest or "last_update" in rows.agents[0]:
        return rows.agents
    times = {
        (row.get("task_id"), row.get("agent_id")): row.get("timestamp")
        for row in rows.agent_progress_latest
    }
    return tuple(
        {**row, "last_update": times.get((row.get("task_id"), row.get("agent_id")))}
        for row in rows.agents
    )


def _by_task(rows: tuple[Row, ...]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for task_id, entries in grouped(rows, "task_id").items():
        groups.setdefault(text_of(task_id) or "", []).extend(entries)
    return groups


def _task_record(
    task_id: str,
    task: Row | None,
    agents: Iterable[Row],
    hierarchy: Iterable[Row],
    phases: Iterable[Row],
    config: Row,
) -> TaskRecord:
    warnings = () if task is not None else ("the database has agents of this task, but no task",)
    row = task or {}
    numbered = {
        number: Phase(text_of(phase.get("name")) or "", text_of(phase.get("status")) or "")
        for phase in phases
        if (number := whole_of(phase.get("phase_index"))) is not None
    }
    return TaskRecord(
        task_id=task_id or None,
        description=text_of(row.get("description")) or "",
        status=text_of(row.get("status")) or "",
        created_at=text_of(row.get("created_at")),
        agents=tuple(map(database_agent, agents)),
        hierarchy=_hierarchy(hierarchy),
        # The orchestrator calculates its counters, and stores none.
        active_count=None,
        completed_count=None,
        total_spawned=None,
        warnings=warnings,
        max_agents=_limit(config, "max_agents", _MAX_AGENTS),
        max_depth=_limit(config, "max_depth", _MAX_DEPTH),
        max_concurrent=_limit(config, "max_concurrent", _MAX_CONCURRENT),
        phase=whole_of(row.get("current_phase_index")) if numbered else None,
        phases=dict(sorted(numbered.items())),
    )


def _limit(config: Row, name: str, usual: int) -> int:
    limit = whole_of(config.get(name))
    return usual if limit is None else limit


def _hierarchy(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    children: dict[str, list[str]] = {}
    for row in rows:
        parent, child = text_of(row.get("parent_agent_id")), text_of(row.get("child_agent_id"))
        if parent is not None and child is not None:
            children.setdefault(parent, []).append(child)
    return {parent: tuple(listed) for parent, listed in children.items()}


def database_agent(row: Mapping[str, Any]) -> AgentRecord:
    """Returns the record of a row of the table `agents`; never raises an error."""
    agent = agent_record(text_of(row.get("agent_id")), row)
    return replace(agent, known_status=_known(agent.status, row.get("progress")))


@dataclass(frozen=True, slots=True)
class LastReport:
    """The last line of an agent's progress file.

    Attributes:
        at: The time of the report, in seconds since the epoch.
        timestamp: The time as text.
        status: The reported status; empty if the line has none.
        progress: The reported percentage, or None.
    """

    at: float
    timestamp: str
    status: str
    progress: float | None


class Believed(Enum):
    """Which of a database and a JSON registry is believed about an agent that is in both.

    A file is believed about the agents of another one only if nobody else can change it.
    """

    BOTH = "both"
    DATABASE = "database"
    JSON = "json"


def newest_of(
    database: TaskRecord,
    json: TaskRecord,
    reports: Mapping[str, LastReport],
    *,
    believed: Believed = Believed.BOTH,
) -> TaskRecord:
    """Returns the newest data of a task that is in the database and in a JSON registry.

    For some days, orchestrators kept agents in both, and updated only one of them. For each agent
    the newest of three counts: the database, the JSON registry, and the agent's last report. An
    agent of the JSON registry that the database lacks is added.

    Args:
        database: The task in the database.
        json: The task in the JSON registry.
        reports: Maps an agent's id to its last report.
        believed: Which of both is believed about an agent that is in both.
    """
    beside = {agent.id: agent for agent in json.agents}
    agents = [
        _believed(agent, beside[agent.id], believed) if agent.id in beside else agent
        for agent in database.agents
    ]
    known = {agent.id for agent in database.agents}
    agents += [agent for agent in beside.values() if agent.id not in known]
    sessions = {agent.id: usual_session(agent) for agent in agents}
    others = tuple(
        agent
        for agent in (*database.agents, *json.agents)
        if usual_session(agent) != sessions[agent.id]
    )
    reported = tuple(_with_report(agent, reports.get(agent.id)) for agent in agents)
    hierarchy = {**json.hierarchy, **database.hierarchy}
    warnings = (*database.warnings, *json.warnings)
    task = database if database.phases else json
    return replace(
        database,
        agents=reported,
        other_sessions=others,
        hierarchy=hierarchy,
        warnings=warnings,
        phase=task.phase,
        phases=task.phases,
    )


def _believed(database: AgentRecord, json: AgentRecord, believed: Believed) -> AgentRecord:
    if believed is Believed.BOTH:
        return _newest(database, json)
    return database if believed is Believed.DATABASE else json


def _newest(database: AgentRecord, json: AgentRecord) -> AgentRecord:
    if json.tmux_session is not None and database.tmux_session is None:
        # Without the session's name, the session would belong to no agent.
        database = replace(database, tmux_session=json.tmux_session)
    if (json.recorded or 0.0) <= (database.recorded or 0.0):
        return database
    return replace(
        json,
        known_status=_known(json.status, json.progress),
        parent=database.parent or json.parent,
        depth=json.depth if database.depth is None else database.depth,
        tmux_session=json.tmux_session or database.tmux_session,
        phase=json.phase if database.phase is None else database.phase,
        is_reviewer=database.is_reviewer or json.is_reviewer,
        cursor_pid=json.cursor_pid or database.cursor_pid,
    )


def _with_report(agent: AgentRecord, report: LastReport | None) -> AgentRecord:
    if report is None or report.at <= (agent.recorded or 0.0):
        return agent
    status = report.status or agent.status
    progress = agent.progress if report.progress is None else report.progress
    return replace(
        agent,
        status=status,
        known_status=_known(status, progress),
        progress=progress,
        last_update=report.timestamp,
        updated=report.at,
    )


def _known(status: str, progress: object) -> str | None:
    meaning = meaning_in_database(status, progress)
    return None if meaning == meaning_of(status) else meaning
