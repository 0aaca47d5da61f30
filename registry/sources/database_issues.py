"""Finds the issues of workspaces' databases, and of the tasks in the databases.

Each database is read anew, in one transaction. Nothing is written, and no lock is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from registry import database
from registry.agent_output.deployments import find_database_deployment
from registry.audit.diff import MISSING
from registry.checks.database import (
    STATUS,
    TaskRows,
    damage_finding,
    gone_finding,
    missing_finding,
    name_finding,
    row_findings,
    rows_of_tasks,
    unlisted_finding,
)
from registry.checks.issue import Issue, IssueKind
from registry.checks.statuses import WrittenStatus
from registry.dataclass import replace
from registry.errors import RegistryError, RegistryNotFoundError, UnreadableDatabaseError
from registry.schema.layout import DATABASE, GLOBAL_FOLDER, find_database
from registry.schema.statuses import is_terminal
from registry.schema.unread_database import database_problem
from registry.sources.database_repair import status_issues
from registry.sources.found import Found, Job, unreadable
from registry.sources.source import TaskSource, WorkspaceSource
from registry.sources.sqlite_source import SqliteTask
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.presence import may_exist
from registry.text import shown_name

CHECK_TIME = 2.0
"""How long the check of a database's pages may take, in seconds."""


def add_database_issues(
    found: Found,
    workspaces: Iterable[WorkspaceSource],
    tasks: Iterable[TaskSource],
    decoded: Mapping[Path, Json],
) -> list[WrittenStatus]:
    """Adds the issues of databases to other issues.

    Args:
        found: The issues so far; changed in place.
        workspaces: The workspaces that the user named.
        tasks: All tasks of these workspaces, in each storage format.
        decoded: Maps the paths of JSON registries to the decoded registries.

    Returns:
        The statuses of all agents in the databases.
    """
    in_database: dict[Path, list[SqliteTask]] = {}
    in_json: dict[Path, list[TaskSource]] = {}
    for workspace in workspaces:
        place = find_database(workspace.directory)
        if place is not None:
            in_database.setdefault(place.path, [])
    for task in tasks:
        if isinstance(task, SqliteTask):
            in_database.setdefault(task.database, []).append(task)
        else:
            in_json.setdefault(task.directory.parent, []).append(task)
    statuses: list[WrittenStatus] = []
    for path, listed in in_database.items():
        rows = _read(path, found)
        if rows is None:
            continue
        for task in listed:
            if task.task_id in rows:
                findings = tuple(_task_findings(task, rows[task.task_id], found))
                found.tasks.append(Job(task, findings))
                statuses += _statuses(rows[task.task_id])
        for other, deployment in _deployed(in_json.pop(path.parent.parent, ()), decoded):
            found.files.append(unlisted_finding(path, other.directory.name, deployment))
    for workspace_path, others in in_json.items():
        deployed = [] if find_database(workspace_path) else list(_deployed(others, decoded))
        if deployed:
            path = workspace_path / GLOBAL_FOLDER / DATABASE
            found.files.append(gone_finding(path, deployed[0][1], len(deployed)))
    return statuses


def _read(path: Path, found: Found) -> Mapping[str, TaskRows] | None:
    """Reads a database; None if this is not possible. Adds the issues of the whole database."""
    try:
        rows = database.read_rows(path, reports=True)
        damages = database.find_damage(path, CHECK_TIME)
    except RegistryNotFoundError as error:
        hand_on(error)
        return None
    except RegistryError as error:
        hand_on(error)
        found.files.append(unreadable_database(path, error))
        return None
    if damages:
        found.files.append(damage_finding(path, damages))
    elif damages is None:
        took = f"a check of its pages takes longer than {CHECK_TIME:g} s"
        found.unchecked.append(f"not examined completely: {shown_name(path)}: {took}")
    return rows_of_tasks(rows)


def unreadable_database(path: Path, error: RegistryError) -> Issue:
    """Returns the issue of a database that cannot be read."""
    reason = database_problem(path, error)
    field, says, remedy = None, f"cannot be read: {reason}", "repair the file by hand"
    if isinstance(error, UnreadableDatabaseError):
        field, says = error.field, reason
        remedy = error.remedy[:1].lower() + error.remedy[1:]
    advice = f"{remedy}; until then --fix repairs no registry of the workspace"
    return Issue(IssueKind.UNREADABLE, path, None, field, MISSING, says, advice=advice)


def _task_findings(task: SqliteTask, rows: TaskRows, found: Found) -> Iterator[Issue]:
    if task.problem is not None:
        yield name_finding(task.database, task.task_id, task.problem)
        yield from row_findings(rows, is_alone=False)
        return
    missing = next((path for path in (task.directory, task.path) if not may_exist(path)), None)
    if missing is not None:
        yield missing_finding(task.database, task.task_id, missing)
    try:
        is_alone = not task.is_in_json()
    except RegistryError as error:
        hand_on(error)
        found.files.append(unreadable(task.path, error.reason or str(error)))
        is_alone = False
    yield from row_findings(rows, is_alone=is_alone)
    if is_alone:
        yield from _status_findings(task, rows)


def _status_findings(task: SqliteTask, rows: TaskRows) -> Iterator[Issue]:
    issues = [finding.issue for finding in status_issues(task, rows)]
    why = task.why_unwritable() if any(issue.fixable for issue in issues) else None
    for issue in issues:
        yield replace(issue, advice=why) if issue.fixable and why is not None else issue


def _statuses(rows: TaskRows) -> Iterator[WrittenStatus]:
    for id_, agent in rows.by_id.items():
        # An agent that counts as ended needs no action, in whatever word its end is written.
        if agent.status and not is_terminal(agent.meaning):
            yield WrittenStatus(rows.file, STATUS, id_, agent.status)


def _deployed(
    tasks: Iterable[TaskSource], decoded: Mapping[Path, Json]
) -> Iterator[tuple[TaskSource, Path]]:
    """Yields the tasks whose agents are missing, although they were deployed to a database.

    Yields:
        Each such task whose JSON registry lists no agents, and the record of a deployment.
    """
    for task in tasks:
        registry = decoded.get(task.path)
        if registry is not None and not registry.get("agents"):
            deployment = find_database_deployment(task.directory)
            if deployment is not None:
                yield task, deployment
