"""Finds issues in the rows of a workspace's database. Pure.

The orchestrator calculates its counters, so no counter is checked. The JSON registries beside the
database are left from the creation of the tasks, so they are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from registry.advice import restoring_database
from registry.agent_output.reported_end import ReportedEnd
from registry.audit.diff import MISSING
from registry.checks.consistency import agents_alone
from registry.checks.hierarchy import hierarchy_findings
from registry.checks.issue import BY_HAND, Issue, IssueKind
from registry.database import Row, Rows
from registry.dataclass import dataclass, replace
from registry.schema.database_records import LastReport, database_agent, rows_by_task
from registry.schema.records import ORCHESTRATOR, AgentRecord, text_of
from registry.schema.statuses import is_active, is_terminal, meaning_of, stored_status
from registry.schema.timestamps import parse_time
from registry.schema.zombies import END_DELAY
from registry.text import shown_name

LATEST = "agent_progress_latest"
"""The table with the last report of each agent."""

STATUS = "agents.status"
"""The field of a database with an agent's status, for issues."""

_HIERARCHY = "agent_hierarchy"

# An orchestrator takes the time of a report, and then writes the progress file. So the file's
# mtime is later than the time in the row, but less than this many seconds.
_WRITE_DELAY = 1.0


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The rows of one task.

    Attributes:
        file: The path of the database.
        task_id: The id of the task.
        is_listed: Whether the table `tasks` lists the task; True if there is no such table.
        agents: The rows of the task's agents.
        hierarchy: The rows of `agent_hierarchy`; None if the table does not exist.
        latest: The rows of `agent_progress_latest`.
        by_id: Maps each id that occurs once to the record of the agent.
    """

    file: Path
    task_id: str
    is_listed: bool
    agents: tuple[Row, ...]
    hierarchy: tuple[Row, ...] | None
    latest: tuple[Row, ...]
    by_id: Mapping[str, AgentRecord]


def rows_of_tasks(rows: Rows) -> Mapping[str, TaskRows]:
    """Maps the id of each task of a database to the rows of the task."""
    agents, latest = rows_by_task(rows, "agents"), rows_by_task(rows, LATEST)
    hierarchy, listed = rows_by_task(rows, _HIERARCHY), rows_by_task(rows, "tasks")
    return {
        task_id: TaskRows(
            rows.path,
            task_id,
            task_id in listed or "tasks" in rows.absent,
            agents.get(task_id, ()),
            None if _HIERARCHY in rows.absent else hierarchy.get(task_id, ()),
            latest.get(task_id, ()),
            _records(agents.get(task_id, ())),
        )
        for task_id in dict.fromkeys((*listed, *agents))
    }


def _records(agents: Iterable[Row]) -> Mapping[str, AgentRecord]:
    records = [database_agent(row) for row in agents]
    ids = Counter(record.id for record in records)
    return {record.id: record for record in records if record.id and ids[record.id] == 1}


def row_findings(task: TaskRows, *, is_alone: bool) -> Iterator[Issue]:
    """Yields the issues of a task's rows: of ids, of parents, and of `agent_hierarchy`.

    Args:
        task: The rows of the task.
        is_alone: Whether the database is the only registry with agents of the task. If not, the
            orchestrator copied agents from a JSON registry, perhaps not all, and without their
            hierarchy. So parents are not checked.
    """
    if not task.is_listed:
        name, count = shown_name(task.task_id), len(task.agents)
        yield Issue(
            IssueKind.NOT_LISTED,
            task.file,
            None,
            f"tasks[{task.task_id}]",
            MISSING,
            f"does not list task {name}, but the table agents lists {count} of its agents",
            advice="the task's fields cannot be known: add the row by hand, or remove the agents",
        )
    ids = [{"id": text_of(row.get("agent_id"))} for row in task.agents]
    for issue in agents_alone(task.file, {"agents": ids}):
        yield replace(issue, field="agents.agent_id")
    if not is_alone:
        return
    entries = [{"id": id_, "parent": agent.parent} for id_, agent in task.by_id.items()]
    in_loops: set[str] = set()
    for issue in hierarchy_findings(task.file, {"agents": entries}):
        if issue.kind is IssueKind.LOOP:
            in_loops |= set(issue.found)
        yield replace(issue, field="agents.parent")
    if task.hierarchy is not None:
        yield from _hierarchy_findings(task, task.hierarchy, in_loops)


def _hierarchy_findings(
    task: TaskRows, hierarchy: tuple[Row, ...], skipped: Collection[str]
) -> Iterator[Issue]:
    """Yields the differences between the agents' parents and `agent_hierarchy`.

    The orchestrator writes a row when it deploys an agent below another agent. It never changes a
    row, and it reads only `agents.parent`.
    """
    agents = task.by_id
    listed: dict[str, list[str]] = {}
    for row in hierarchy:
        child, parent = text_of(row.get("child_agent_id")), text_of(row.get("parent_agent_id"))
        if child and parent and parent != ORCHESTRATOR:
            listed.setdefault(child, []).append(parent)
    for id_, agent in agents.items():
        places = listed.get(id_, [])
        right = [agent.parent] if agent.parent in agents else []
        unknown = bool(agent.parent) and agent.parent not in {*agents, ORCHESTRATOR}
        if places == right or unknown or id_ in skipped:
            continue
        says = f"names {shown_name(agent.parent or ORCHESTRATOR)} as its parent, but {_HIERARCHY} "
        where = f"under {' and '.join(map(shown_name, places))}"
        says += f"lists the agent {where}" if places else "does not list the agent"
        yield _hierarchy_issue(task.file, id_, places, says)
    ids = {text_of(row.get("agent_id")) for row in task.agents}
    for id_, places in listed.items():
        if id_ not in ids:
            says = "is listed there, but the table agents has no such agent in this task"
            yield _hierarchy_issue(task.file, id_, places, says)


def _hierarchy_issue(file: Path, agent_id: str, places: list[str], says: str) -> Issue:
    # The orchestrator writes such a row only at the moment of a deployment.
    return Issue(
        IssueKind.HIERARCHY,
        file,
        agent_id,
        _HIERARCHY,
        places,
        says,
        advice=(
            "muster and the orchestrator use agents.parent, and muster never writes "
            f"{_HIERARCHY}: correct the row by hand if another program reads it"
        ),
    )


# Statuses


@dataclass(frozen=True, slots=True)
class _Report:
    """A status that was recorded besides `agents.status`.

    Attributes:
        at: The time of the report, in seconds since the epoch.
        status: The status as written.
        stored: The status that the orchestrator stores for `status`.
        place: Where the report is, in words.
        end: The end that the repair would write; None if the report cannot be used.
    """

    at: float
    status: str
    stored: str
    place: str
    end: ReportedEnd | None

    @property
    def meaning(self) -> str:
        """The known status with the meaning of `status`."""
        return meaning_of(self.stored)


@dataclass(frozen=True, slots=True)
class StatusIssue:
    """A difference between an agent's status and a newer report.

    Attributes:
        issue: The issue.
        end: The end that the agent reported, which is the right value; None if the issue is not
            fixable.
    """

    issue: Issue
    end: ReportedEnd | None


def may_differ(task: TaskRows, written: Mapping[str, float]) -> Iterator[str]:
    """Yields the ids of the agents whose progress file is newer than their rows.

    Args:
        task: The rows of the task.
        written: Maps the id of an agent to the time of the last write of its progress file.
    """
    for id_, agent in task.by_id.items():
        at = agent.recorded
        if at is not None and written.get(id_, 0.0) > at + _WRITE_DELAY:
            yield id_


def status_findings(
    task: TaskRows,
    lines: Mapping[str, LastReport],
    ends: Mapping[str, ReportedEnd],
    now: float,
) -> Iterator[StatusIssue]:
    """Yields the agents whose status differs from a newer report.

    Reports are in the table `agent_progress_latest`, and in the agent's progress file. Two active
    statuses do not differ. A report of the last `END_DELAY` seconds is not compared, because the
    orchestrator writes the file first.

    Args:
        task: The rows of the task.
        lines: Maps an agent's id to the last line of the agent's progress file.
        ends: Maps an agent's id to the end that the last line reports, if the line is trusted.
        now: The time of the check, in seconds since the epoch.
    """
    rows = {text_of(row.get("agent_id")): row for row in task.latest}
    for id_, agent in task.by_id.items():
        recorded = agent.recorded
        reports = (
            _report_in_row(rows.get(id_, {})),
            _report_in_line(lines.get(id_), ends.get(id_)),
        )
        newer = [
            report
            for report in reports
            if report is not None and recorded is not None and report.at > recorded
        ]
        report = max(newer, key=lambda report: report.at, default=None)
        if report is None or now - report.at < END_DELAY or not _differs(agent, report):
            continue
        yield _status_issue(task.file, id_, agent, report)


def _report_in_row(row: Row) -> _Report | None:
    timestamp, status = text_of(row.get("timestamp")), text_of(row.get("status"))
    at = parse_time(timestamp)
    if at is None or not timestamp or not status:
        return None
    end, stored = None, stored_status(status, row.get("progress"))
    if is_terminal(stored):
        end = ReportedEnd(stored, text_of(row.get("message")) or "", timestamp, at)
    return _Report(at, status, stored, LATEST, end)


def _report_in_line(line: LastReport | None, end: ReportedEnd | None) -> _Report | None:
    if line is None or not line.status:
        return None
    stored = stored_status(line.status, line.progress)
    place = "the last line of the agent's progress file"
    return _Report(line.at, line.status, stored, place, end)


def _differs(agent: AgentRecord, report: _Report) -> bool:
    return agent.meaning != report.meaning and (
        is_terminal(agent.meaning) or is_terminal(report.meaning)
    )


def _status_issue(file: Path, id_: str, agent: AgentRecord, report: _Report) -> StatusIssue:
    says = f"is {shown_name(agent.status)}, but {report.place} has the newer status "
    says += shown_name(report.status)
    end = report.end if is_active(agent.meaning) else None
    if end is not None and end.status == report.stored:
        issue = Issue(
            IssueKind.STATUS, file, id_, STATUS, agent.status, says, end.status, reported=True
        )
        return StatusIssue(issue, end)
    if not is_active(agent.meaning):
        advice = "muster changes only active agents: if the agent works, let it report again"
    else:
        advice = "muster cannot use this report, because another user may have written it, or "
        advice += "because it is older than the agent: use muster complete or kill"
    issue = Issue(IssueKind.STATUS, file, id_, STATUS, agent.status, says, advice=advice)
    return StatusIssue(issue, None)


# The whole database


def damage_finding(file: Path, damages: tuple[str, ...]) -> Issue:
    """Returns the issue of a database whose pages are damaged.

    Args:
        file: The path of the database.
        damages: What SQLite found; not empty.
    """
    says = f"is damaged, so its content may be wrong: {shown_name('; '.join(damages), 400)}"
    return Issue(
        IssueKind.DAMAGED,
        file,
        None,
        None,
        list(damages),
        says,
        advice=restoring_database(file),
    )


def name_finding(file: Path, task_id: str, problem: str) -> Issue:
    """Returns the issue of a task whose id cannot be the name of a directory."""
    return Issue(
        IssueKind.SHAPE,
        file,
        None,
        f"tasks[{task_id}]",
        task_id,
        problem,
        advice="muster reads no files of this task: " + BY_HAND,
    )


def missing_finding(file: Path, task_id: str, missing: Path) -> Issue:
    """Returns the issue of a task whose directory, or the registry in it, does not exist."""
    return Issue(
        IssueKind.TASK_MISSING,
        file,
        None,
        f"tasks[{task_id}]",
        str(missing),
        f"task {shown_name(task_id)} is listed, but {shown_name(missing)} does not exist",
        advice="the orchestrator cannot find the task: restore the directory; if the task is not "
        "needed, remove its row by hand, while no orchestrator runs",
    )


def unlisted_finding(file: Path, task_id: str, directory: Path) -> Issue:
    """Returns the issue of a directory whose agents are in no table of the database."""
    return Issue(
        IssueKind.NOT_LISTED,
        file,
        None,
        f"tasks[{task_id}]",
        MISSING,
        f"does not list task {shown_name(task_id)}, but the orchestrator deployed agents of this "
        f"task to the database, by {shown_name(directory)}",
        advice="the agents' fields cannot be known: end the agents' sessions by name, or "
        + restoring_database(file),
    )


def gone_finding(file: Path, deployment: Path, count: int) -> Issue:
    """Returns the issue of a database that does not exist, although agents were deployed to it.

    Args:
        file: The path of the database.
        deployment: The record of a deployment.
        count: The number of tasks with such records.
    """
    tasks = "a task" if count == 1 else f"{count} tasks"
    return Issue(
        IssueKind.UNREADABLE,
        file,
        None,
        None,
        MISSING,
        f"does not exist, but the orchestrator deployed agents of {tasks} to a database, by "
        f"{shown_name(deployment)}",
        advice="until the database is back, the agents' sessions look like orphans. If they may "
        f"be at work, {restoring_database(file)}",
    )
