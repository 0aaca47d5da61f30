"""Gives agents of a database a terminal status, row for row as the orchestrator does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.agent_output import BY_MUSTER
from registry.audit.database_change import change_rows
from registry.audit.transaction import AuditContext
from registry.database import AgentTables
from registry.dataclass import dataclass, replace
from registry.errors import WrongShapeError
from registry.operations.finish import FinishReport, Judged
from registry.operations.progress_file import append_progress
from registry.schema.arguments import distinct_ids, timestamp
from registry.schema.database_layout import task_directory
from registry.schema.database_records import database_agent
from registry.schema.edits import StatusChange
from registry.schema.records import AgentRecord, text_of
from registry.schema.statuses import is_terminal
from registry.schema.timestamps import parse_time
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.text import quoted_name, shown_name

if TYPE_CHECKING:
    from registry.agent_output.reported_end import ReportedEnd

_log = logging.getLogger(__name__)

Newest = Callable[[Iterable[AgentRecord]], Mapping[str, AgentRecord]]
"""Returns the newest data of agents in a database, by their ids.

Some orchestrators kept agents in JSON registries, too; see `newest_of`.
"""


TaskLine = tuple[str, Json]
"""The id of a task, and a line for the progress file of one of the task's agents."""


@dataclass(frozen=True, slots=True)
class DatabaseTask:
    """A task in a database.

    Attributes:
        database: The path of the database.
        task_id: The id of the task.
        newest: Returns the newest data of the task's agents.
    """

    database: Path
    task_id: str
    newest: Newest

    def agents(self, tables: AgentTables) -> Mapping[str, AgentRecord]:
        """Returns the newest data of the agents that belong to this task, by their ids."""
        rows = (row for row in tables.rows.values() if row["task_id"] == self.task_id)
        return self.newest(database_agent(row) for row in rows)


def finish_in_database(
    task: DatabaseTask,
    agent_ids: Iterable[str],
    *,
    status: Literal["completed", "terminated"],
    reason: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_record: AuditContext | None = None,
    judged: Judged | None = None,
    owner: int | None = None,
    ends: Mapping[str, ReportedEnd] | None = None,
    last_updates: Mapping[str, str | None] | None = None,
) -> FinishReport:
    """Completes or terminates agents in a database, in one transaction.

    Only agents without a terminal status are changed. An unknown status counts as active.
    After the commit, one line for each agent is appended to the agent's progress file. An agent
    that itself reported its end has this line already.

    Args:
        task: The task of the agents.
        agent_ids: The ids of the agents.
        status: "completed" also sets `completed_at` and a progress of 100.
        reason: The reason in the operator's words, for `agent_progress_latest.message`.
        timeout: How long to wait for other writers, in seconds.
        on_record: The context for the workspace's audit log; None to write no log entry.
        judged: See `finish_agents`.
        owner: The id of the user that must own the database; None to skip this check.
        ends: Maps the id of an agent that itself reported its end to this end. Such an agent gets
            the reported status and message.
        last_updates: Maps the id of an agent to the `last_update` that the caller judged. An agent
            with another value has reported since then, and is not changed.

    Raises:
        WrongShapeError: A status is not a terminal status; nothing was written.
        AuditError: The audit log cannot be written; nothing was written.
        UncertainCommitError: It is not known whether the change was written.
        RegistryError: The database cannot be written; nothing was changed.
    """
    ends = ends or {}
    if status not in ("completed", "terminated"):
        raise WrongShapeError("status", f"must be 'completed' or 'terminated', not {status!r}")
    for end in ends.values():
        if not is_terminal(end.status):
            raise WrongShapeError("status", f"must be a terminal status, not {end.status!r:.80}")
    ids = distinct_ids(agent_ids)
    now = timestamp()

    def finish(tables: AgentTables) -> tuple[FinishReport, list[TaskLine]]:
        agents = task.agents(tables)
        changed: list[StatusChange] = []
        untouched: dict[str, str] = {}
        ended: set[str] = set()
        lines: list[TaskLine] = []
        for agent_id in ids:
            record = agents.get(agent_id) if agent_id in tables.entries else None
            why = _why_untouched(task, agent_id, record, judged or {}, last_updates or {})
            if record is None or why is not None:
                untouched[agent_id] = why or ""
                if record is not None and is_terminal(record.meaning):
                    ended.add(agent_id)
                continue
            end = ends.get(agent_id)
            after = end.status if end is not None else status
            before = record.status or text_of(tables.rows[agent_id]["status"])
            message = (end.message if end is not None else reason) or _message(before, after)
            message = valid_text(message)
            line = _finish(tables, record, after, message, now, end)
            if end is None:
                lines.append((task.task_id, line))
            changed.append(StatusChange(agent_id, before, after))
        return FinishReport(tuple(changed), untouched, (), (), frozenset(ended)), lines

    def append(result: tuple[FinishReport, list[TaskLine]]) -> tuple[str, ...]:
        return append_lines(task.database, result[1])

    made = change_rows(
        task.database, ids, finish, append, timeout=timeout, on_record=on_record, owner=owner
    )
    report = made.result[0]
    _log.info("Finished %d agents in %s", len(report.changed), task.database)
    return replace(report, written=made.written, problems=made.problems)


def append_lines(database: Path, lines: Iterable[TaskLine]) -> tuple[str, ...]:
    """Appends lines to the progress files of agents in a database; returns the problems."""
    problems = []
    for task_id, line in lines:
        problem = append_progress(task_directory(database, task_id), line)
        if problem is not None:
            agent = quoted_name(line["agent_id"])
            problems.append(f"the database has the change of agent {agent}, but {problem}")
    return tuple(problems)


def _message(before: str | None, after: str) -> str:
    """Returns the orchestrator's message for a change without a reason."""
    return f"Status changed from {before} to {after}"


def _why_untouched(
    task: DatabaseTask,
    agent_id: str,
    record: AgentRecord | None,
    judged: Judged,
    last_updates: Mapping[str, str | None],
) -> str | None:
    """Returns why an agent must not be finished; None if it may be finished."""
    if record is None:
        return f"is not in task {shown_name(task.task_id)} of {shown_name(task.database)}"
    if is_terminal(record.meaning):
        return f"is already {record.status!r}"
    deployments = judged.get(agent_id)
    if deployments is not None and record.deployment not in deployments:
        return f"was deployed again meanwhile; its status stays {record.status!r}"
    if last_updates.get(agent_id, record.last_update) != record.last_update:
        return f"has reported meanwhile; its status stays {record.status!r}"
    return None


def _finish(
    tables: AgentTables,
    record: AgentRecord,
    status: str,
    message: str,
    now: str,
    end: ReportedEnd | None,
) -> Json:
    """Sets the fields of an agent's end; returns the line for the agent's progress file.

    Args:
        tables: The tables; changed in place.
        record: The newest data of the agent.
        status: The terminal status.
        message: The reason of the end.
        now: The present time.
        end: The end that the agent itself reported, or None.
    """
    entry = tables.entries[record.id]
    ended = entry.get("agents.completed_at")
    progress = newest_progress(record, entry)
    updated = newest_time(record.last_update, now)
    at = updated if end is None else end.timestamp
    if status == "completed":
        progress = 100
        ended = at if ended is None else ended
    tables.set(
        record.id,
        {
            "agents.status": status,
            "agents.completed_at": ended,
            "agents.progress": progress,
            "agents.last_update": updated,
            "agent_progress_latest.timestamp": at,
            "agent_progress_latest.status": status,
            "agent_progress_latest.progress": whole_progress(progress),
            "agent_progress_latest.message": message,
        },
    )
    return {
        "timestamp": at,
        "agent_id": record.id,
        "status": status,
        "message": message,
        "progress": whole_progress(progress),
        **BY_MUSTER,
    }


def valid_text(text: str) -> str:
    """Returns a text that can be stored as valid UTF-8; other characters are replaced.

    The orchestrator cannot read a row with a text that is not valid UTF-8.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def newest_time(known: str | None, now: str | None = None) -> str:
    """Returns the present time, or a later time that an agent's data already has.

    Readers take the newest data of an agent. So a change must not seem older than the data before
    the change.

    Args:
        known: The time of the data before the change, or None.
        now: The present time; None to take it.
    """
    now = now or timestamp()
    return max((now, known or now), key=lambda time: parse_time(time) or 0.0)


def newest_progress(record: AgentRecord, entry: Json) -> object:
    """Returns the newest progress of an agent, as the table `agents` stores it.

    If nothing newer is known, the value of the table is returned unchanged, even if it is empty:
    the orchestrator does not change the value together with the status.

    Args:
        record: The newest data of the agent.
        entry: The fields of the agent in the database.
    """
    stored = entry.get("agents.progress")
    return stored if record.progress in (None, stored) else whole_progress(record.progress)


def whole_progress(value: object) -> int:
    """Returns a progress as the orchestrator stores it: a whole number, or 0."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError) as error:
        hand_on(error)
        return 0
