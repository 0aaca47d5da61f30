"""Repairs the statuses of agents in a database.

Nothing else is repaired. The orchestrator writes `agent_hierarchy` only when it deploys an agent,
and never reads this table. A row that muster wrote later would change nothing, would have a wrong
time, and could be taken back only by removing it. The other issues need values that cannot be
known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from registry import database, operations
from registry.audit.transaction import AuditContext, Made
from registry.checks.database import (
    StatusIssue,
    TaskRows,
    may_differ,
    rows_of_tasks,
    status_findings,
)
from registry.checks.issue import Issue
from registry.checks.repair import Fixed, still_present

if TYPE_CHECKING:
    from registry.sources.sqlite_source import SqliteTask


def status_issues(task: SqliteTask, rows: TaskRows) -> Iterator[StatusIssue]:
    """Yields the agents of a task whose status in the database differs from a newer report.

    Args:
        task: The source of a task whose JSON registry lists no agents. Some orchestrators kept
            agents in both formats, and copied them to the database from time to time. In such a
            task, rows may be older than the agents' files.
        rows: The rows of the task.
    """
    records = rows.by_id
    lines, now = task.last_lines(may_differ(rows, task.last_reports(records))), time.time()
    # Most agents do not differ, and it takes long to find out who may have written a line.
    ids = [finding.issue.agent or "" for finding in status_findings(rows, lines, {}, now)]
    started = {id_: start for id_ in ids if (start := records[id_].started) is not None}
    if ids:
        yield from status_findings(rows, lines, task.reported_ends(started), now)


def repair_task(
    task: SqliteTask, planned: Sequence[Issue], *, on_record: AuditContext | None
) -> Made[Fixed]:
    """Gives agents the ends that they themselves reported, in one transaction.

    An agent is not changed if it was deployed again, or sent a report, after the issues were
    found.

    Args:
        task: The source of the task.
        planned: The issues to repair.
        on_record: The context for the audit log; None to write no log entry.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: The database cannot be read or written; nothing was changed.
    """
    rows = rows_of_tasks(database.read_rows(task.database, reports=True)).get(task.task_id)
    is_alone = rows is not None and not task.is_in_json()
    found = list(status_issues(task, rows)) if rows is not None and is_alone else []
    present, left = still_present(planned, [finding.issue for finding in found])
    ends = {
        finding.issue.agent: finding.end
        for finding in found
        if finding.issue in present and finding.end is not None
    }
    records = rows.by_id if rows is not None else {}
    ids = [agent_id for agent_id in ends if agent_id is not None]
    if not ids:
        return Made(Fixed((), tuple(left)), (), ())
    report = operations.finish_in_database(
        task.place,
        ids,
        status="terminated",
        on_record=on_record,
        judged={id_: {records[id_].deployment} for id_ in ids},
        last_updates={id_: records[id_].last_update for id_ in ids},
        ends={id_: end for id_, end in ends.items() if id_ is not None},
    )
    changed = {change.agent_id for change in report.changed}
    done = tuple(issue for issue in present if issue.agent in changed)
    left += [
        (issue, f"the agent {report.untouched.get(issue.agent or '', 'was changed meanwhile')}")
        for issue in present
        if issue.agent not in changed
    ]
    return Made(Fixed(done, tuple(left)), report.written, report.problems)
