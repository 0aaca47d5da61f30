"""Changes agents in a database, and logs each change before it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from registry import database
from registry.audit import log as auditing
from registry.audit.diff import FieldChange, differences
from registry.audit.transaction import AuditContext, Made, logged, same_changes
from registry.database import AgentTables
from registry.schema.arguments import timestamp

Result = TypeVar("Result")

RowsChange = Callable[[AgentTables], Result]
"""A function that changes the entries of agents in place."""


def change_rows(
    path: Path,
    agent_ids: Iterable[str],
    change: RowsChange[Result],
    after: Callable[[Result], tuple[str, ...]],
    *,
    timeout: float,
    on_record: AuditContext | None,
    owner: int | None = None,
    starts_tasks: bool = False,
) -> Made[Result]:
    """Changes agents in a database in one transaction. A logged change is made in two passes.

    See `registry.audit.transaction.change_pair`. The time of the last change of the agents' tasks
    (`tasks.updated_at`) is set as well. This field is not logged, because each later report of any
    agent changes it.

    Args:
        path: The database.
        agent_ids: The ids of the agents that may be changed.
        change: Changes the entries of the agents; each pass calls it.
        after: Called after the commit and before the outcome is logged, with the result of
            `change`. Returns messages about problems. So if the process dies before the end of
            `after`, the log has no outcome.
        timeout: How long to wait for other writers in total, in seconds.
        on_record: The context for the audit log; None if the change is not logged.
        owner: The id of the user that must own the database; None to skip this check.
        starts_tasks: Whether a task with an active agent becomes active, if it has not begun.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        UncertainCommitError: It is not known whether the change was written.
        RegistryError: The database cannot be written; nothing was changed.
    """
    ids = tuple(agent_ids)
    log = auditing.log_of(path)

    def one_pass(
        expected: tuple[FieldChange, ...] | None, owners: Mapping[Path, int], left: float
    ) -> tuple[Made[Result], tuple[FieldChange, ...]]:
        with database.writing(path, left, owner=owners.get(path)) as transaction:
            tables = database.agent_tables(transaction, ids)
            before = {agent_id: dict(entry) for agent_id, entry in tables.entries.items()}
            result = change(tables)
            name = auditing.name_in(log, path)
            made = differences(name, {"agents": list(before.values())}, tables.view)
            is_made = bool(made) and (expected is None or same_changes(made, expected))
            if is_made:
                database.write_entries(transaction, before, tables.entries)
                changed = {change.agent for change in made}
                tasks = [tables.rows[id_]["task_id"] for id_ in tables.rows if id_ in changed]
                database.touch_tasks(transaction, tasks, timestamp(), start=starts_tasks)
                transaction.commit()
        problems = after(result) if is_made else ()
        written = (path,) if made else ()
        return Made(result, written, problems, {path: transaction.stamp.owner}), made

    owners = {} if owner is None else {path: owner}
    if on_record is None:
        return one_pass(None, owners, timeout)[0]
    return logged(one_pass, path, owners, timeout=timeout, on_record=on_record)
