"""Takes back logged changes of agents in a database, field by field."""

from __future__ import annotations

import logging
from pathlib import Path

from registry import audit as auditing
from registry import database
from registry.agent_output import BY_MUSTER
from registry.audit import Audit, AuditContext, FieldChange, Made, Reverted, Undoable
from registry.audit.database_change import change_rows
from registry.database import AgentTables
from registry.errors import RegistryError
from registry.operations.database_finish import TaskLine, append_lines, newest_time, whole_progress
from registry.schema.records import text_of
from registry.storage.codec import Json
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.text import shown_name

_log = logging.getLogger(__name__)


def preview_in_database(path: Path, step: Undoable, before: dict[Path, Json]) -> Reverted:
    """Returns the result that `take_back_in_database` would have now; writes nothing.

    Args:
        path: The database.
        step: The step to take back.
        before: See `Source.preview_revert`. The database's path is mapped to the entries of the
            agents of all previewed steps.

    Raises:
        RegistryError: The database cannot be read, or the step names other fields.
    """
    _check(path, step)
    view = before.setdefault(path, {"agents": []})
    known = {entry["id"] for entry in view["agents"]}
    ids = [agent_id for agent_id in _agents(step) if agent_id not in known]
    tables = database.read_tables(path, ids)
    view["agents"] += tables.entries.values()
    return _revert(step, view)


def take_back_in_database(
    path: Path, step: Undoable, audit: Audit, *, timeout: float = DEFAULT_TIMEOUT
) -> Made[Reverted]:
    """Takes back one step of an action in one transaction, after the undo was logged.

    An agent is left unchanged if one of its fields was changed again after the step. Afterwards,
    one line for each changed agent is appended to the agent's progress file.

    Args:
        path: The database.
        step: The step; `step.refused` must be None.
        audit: The undo action, for the log.
        timeout: How long to wait for other writers, in seconds.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        UncertainCommitError: It is not known whether the change was written.
        RegistryError: The database cannot be written, or the log entry of the step may be forged.
            Nothing was changed.
    """
    _check(path, step)
    auditing.check_writers(step.entry, path)

    def revert(tables: AgentTables) -> tuple[Reverted, list[TaskLine]]:
        # The check is repeated in the transaction, in which the database is certainly this one.
        auditing.check_writers(step.entry, path)
        before = {agent_id: dict(entry) for agent_id, entry in tables.entries.items()}
        reverted = _revert(step, tables.view)
        lines = []
        for agent_id in reverted.agents:
            old, new = before[agent_id], tables.entries[agent_id]
            lines.append((str(old["task_id"]), _line(old, new, audit.reason)))
        return reverted, lines

    def append(result: tuple[Reverted, list[TaskLine]]) -> tuple[str, ...]:
        return append_lines(path, result[1])

    on_record = AuditContext(audit, undoes=step.entry.key)
    made = change_rows(path, _agents(step), revert, append, timeout=timeout, on_record=on_record)
    _log.info("Took back %s in %s", step.entry.action_id, path)
    return Made(made.result[0], made.written, made.problems, made.owners)


def _agents(step: Undoable) -> tuple[str, ...]:
    return tuple(dict.fromkeys(change.agent or "" for change in step.entry.changes))


def _revert(step: Undoable, view: Json) -> Reverted:
    (name,) = {change.file for change in step.entry.changes}
    return auditing.revert({name: view}, step.entry.changes)


def _check(path: Path, step: Undoable) -> None:
    """Requires that a step changed only fields of agents that muster writes in databases.

    Raises:
        RegistryError: The step's log entry names other fields, or values that are not stored.
    """
    for change in step.entry.changes:
        if not _is_known(change):
            raise RegistryError(
                f"the log entry names {shown_name(change.field or 'a whole entry')} of "
                f"{shown_name(path)}, which muster never writes; nothing was taken back"
            )


def _is_known(change: FieldChange) -> bool:
    if change.agent is None or change.whole or change.nth:
        return False
    values = (change.before, change.after)
    return change.field in database.FIELDS and all(map(database.is_storable, values))


def _line(before: Json, after: Json, reason: str) -> Json:
    """Returns the line for the progress file of an agent whose fields were taken back."""
    old, new = (text_of(entry.get("agents.status")) for entry in (before, after))
    message = f"muster undo: status changed back from {old} to {new}"
    return {
        "timestamp": newest_time(text_of(before.get("agents.last_update"))),
        "agent_id": after["id"],
        "status": new or "working",
        "message": f"{message}: {reason}" if reason else message,
        "progress": whole_progress(after.get("agents.progress")),
        **BY_MUSTER,
    }
