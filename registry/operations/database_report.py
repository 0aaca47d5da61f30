"""Records progress reports of agents in a database, row for row as the orchestrator does."""

from __future__ import annotations

import logging

from registry.audit.database_change import change_rows
from registry.database import AgentTables
from registry.errors import AgentNotFoundError, naming
from registry.operations.database_finish import (
    DatabaseTask,
    TaskLine,
    append_lines,
    newest_progress,
    newest_time,
    valid_text,
    whole_progress,
)
from registry.operations.report import Reported, check_report
from registry.schema.records import text_of
from registry.schema.statuses import DATABASE_STATUSES, stored_status
from registry.storage.locked_file import DEFAULT_TIMEOUT

_log = logging.getLogger(__name__)


def report_in_database(
    task: DatabaseTask,
    agent_id: str,
    *,
    status: str | None = None,
    progress: float | None = None,
    message: str = "",
    timeout: float = DEFAULT_TIMEOUT,
) -> Reported:
    """Records the progress of an agent in a database, and in the agent's progress file.

    As the orchestrator does, the report is not checked against the agent's present status: an
    agent with a terminal status can be active again. A task that has not begun becomes active.

    Args:
        task: The task of the agent.
        agent_id: The id of the agent.
        status: A word of `DATABASE_STATUSES`; None to keep the present status.
        progress: The progress in percent, 0 to 100; None to keep the present value.
        message: A message for the user.
        timeout: How long to wait for other writers, in seconds.

    Raises:
        AgentNotFoundError: The task does not list the agent; nothing was written.
        WrongShapeError: An argument has a wrong value; nothing was written.
        UncertainCommitError: It is not known whether the report was written.
        RegistryError: The database cannot be written; nothing was changed.
    """
    check_report(agent_id, status, progress, message, accepted=DATABASE_STATUSES)
    message = valid_text(message)

    def report(tables: AgentTables) -> tuple[Reported, TaskLine]:
        record = task.agents(tables).get(agent_id)
        if record is None or agent_id not in tables.entries:
            raise AgentNotFoundError(agent_id)
        entry = tables.entries[agent_id]
        whole = whole_progress(newest_progress(record, entry) if progress is None else progress)
        previous = record.status or text_of(tables.rows[agent_id]["status"])
        word = stored_status((previous if status is None else status) or "", whole)
        now = newest_time(record.last_update)
        ended = entry.get("agents.completed_at")
        tables.set(
            agent_id,
            {
                "agents.status": word,
                "agents.progress": whole,
                "agents.last_update": now,
                "agents.completed_at": now if word == "completed" and ended is None else ended,
                "agent_progress_latest.timestamp": now,
                "agent_progress_latest.status": word,
                "agent_progress_latest.progress": whole,
                "agent_progress_latest.message": message,
            },
        )
        line = {
            "timestamp": now,
            "agent_id": agent_id,
            "status": word,
            "message": message,
            "progress": whole,
        }
        return Reported(agent_id, previous, word, ()), (task.task_id, line)

    def append(result: tuple[Reported, TaskLine]) -> tuple[str, ...]:
        return append_lines(task.database, [result[1]])

    with naming(task.database):
        made = change_rows(
            task.database,
            [agent_id],
            report,
            append,
            timeout=timeout,
            on_record=None,
            starts_tasks=True,
        )
    reported = made.result[0]
    _log.info("Agent %s reported %s", agent_id, reported.status)
    return Reported(agent_id, reported.previous, reported.status, made.problems)
