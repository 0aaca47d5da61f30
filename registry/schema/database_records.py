"""Frozen records of the rows of a workspace's database. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from operator import itemgetter
from typing import Any

from registry.database import EMPTY, Chunk, Row, Rows, Table, Values, as_rows
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


_TABLES = ("tasks", "agents", "agent_hierarchy", "phases", "task_config")
_AGENTS = _TABLES.index("agents")

TaskRows = tuple[tuple[tuple[str, ...], list[Values]], ...]
"""The rows of a task in each of the tables `_TABLES`: the names of the columns, and the values."""


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """The content of a workspace's database.

    Attributes:
        tasks: Maps the id of each task to its content, in the order of the database.
        listed: Maps the id of each task to the task, as a global registry would list it.
        sessions: The names of the sessions of all agents.
        rows: Maps the id of each task to the rows of the task.
    """

    tasks: Mapping[str, TaskRecord]
    listed: Mapping[str, GlobalTask]
    sessions: frozenset[str]
    rows: Mapping[str, TaskRows] = field(default_factory=dict, compare=False, repr=False)


def workspace_record(rows: Rows, before: WorkspaceRecord | None = None) -> WorkspaceRecord:
    """Returns the record of the rows of a database; never raises an error.

    Args:
        rows: The rows.
        before: The record of an earlier reading, or None. The record of a task, or of an agent,
            whose rows have not changed is the same object.
    """
    tables = [rows.tables.get(name, EMPTY) for name in _TABLES]
    tables[_AGENTS] = _with_report_times(rows)
    groups = [_by_task(table) for table in tables]
    own, agents = groups[:2]
    # A task of which only agents are listed is shown too.
    of_task: dict[str, TaskRows] = {
        task_id: tuple(
            (table.columns, group.get(task_id, []))
            for table, group in zip(tables, groups, strict=True)
        )
        for task_id in dict.fromkeys((*own, *agents))
    }
    tasks = {
        task_id: before.tasks[task_id]
        if before is not None and before.rows.get(task_id) == entries
        else _task_record(task_id, entries, _known_agents(before, task_id, entries))
        for task_id, entries in of_task.items()
    }
    listed = {
        task_id: GlobalTask(task_id, task.description, task.status, None)
        for task_id, task in tasks.items()
    }
    return WorkspaceRecord(tasks, listed, _sessions(tasks, before), of_task)


def _with_report_times(rows: Rows) -> Table:
    """Returns the agents; without `last_update`, the time of the last report is added."""
    table, reports = rows.tables.get("agents", EMPTY), rows.agent_progress_latest
    if not reports or "last_update" in table.columns:
        return table
    times = {(row["task_id"], row["agent_id"]): row["timestamp"] for row in reports}
    columns = (*table.columns, "last_update")
    keys = itemgetter(columns.index("task_id"), columns.index("agent_id"))
    values = tuple((*row, times.get(keys(row))) for row in table.values)
    return Table(columns, (Chunk.of(columns, values, 0, None),))


def _sessions(tasks: Mapping[str, TaskRecord], before: WorkspaceRecord | None) -> frozenset[str]:
    """Returns the sessions of all tasks; the object of an earlier reading if it is equal."""
    known = {} if before is None else before.tasks
    if before is not None and tasks.keys() == known.keys():
        changed = [task_id for task_id, task in tasks.items() if known[task_id] is not task]
        if all(tasks[task_id].sessions == known[task_id].sessions for task_id in changed):
            return before.sessions
    return frozenset().union(*(task.sessions for task in tasks.values()))


def rows_by_task(rows: Rows, table: str) -> dict[str, tuple[Row, ...]]:
    """Maps the id of each task to its rows of a table, in order. A value that is no id is ""."""
    found = rows.tables.get(table, EMPTY)
    by_task = _by_task(found).items()
    return {task_id: tuple(as_rows(found.columns, values)) for task_id, values in by_task}


def _by_task(table: Table) -> dict[str, list[Values]]:
    groups: dict[str, list[Values]] = {}
    for task_id, values in table.by_task().items():
        groups.setdefault(text_of(task_id) or "", []).extend(values)
    return groups


def _known_agents(
    before: WorkspaceRecord | None, task_id: str, entries: TaskRows
) -> dict[int, AgentRecord]:
    """Maps the `id()` of each row of a task's agents at an earlier reading to its record."""
    if before is None or task_id not in before.rows:
        return {}
    columns, values = before.rows[task_id][_AGENTS]
    if columns != entries[_AGENTS][0]:
        return {}
    # `before` has the rows, so no other object has the same `id()`.
    return dict(zip(map(id, values), before.tasks[task_id].agents, strict=True))


def _task_record(
    task_id: str, entries: TaskRows, known_agents: Mapping[int, AgentRecord]
) -> TaskRecord:
    tasks, hierarchy, phases, configs = (
        list(as_rows(*entry)) for number, entry in enumerate(entries) if number != _AGENTS
    )
    columns, agents = entries[_AGENTS]
    task = tasks[-1] if tasks else None
    config = configs[-1] if configs else {}
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
        agents=tuple(
            known_agents.get(id(values)) or database_agent(dict(zip(columns, values, strict=True)))
            for values in agents
        ),
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
