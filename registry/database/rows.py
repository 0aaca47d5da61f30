"""Reads the rows of a workspace's database: one state of the whole workspace, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from registry.database.connection import (
    SECONDS_AT_MOST,
    TEXT,
    USUAL,
    Limits,
    Queries,
    Transaction,
    reading,
)
from registry.database.files import UnpairedFilesError
from registry.database.tables import Row, Rows, Values
from registry.errors import BusyRegistryError, RegistryError, UnreadableDatabaseError
from registry.storage.files.interruption import hand_on

Result = TypeVar("Result")

ROWS_AT_MOST = 500_000
"""The largest number of rows that are read from one table."""

AGENTS_NEED = ("agent_id", "task_id", "status", "tmux_session", "started_at")
"""The columns that the table `agents` must have."""

# The columns that are read if a table has them. The longest texts are not read.
_WANTED: Mapping[str, tuple[str, ...]] = {
    "tasks": (
        "task_id",
        "description",
        "status",
        "created_at",
        "updated_at",
        "current_phase_index",
    ),
    "agents": (
        *AGENTS_NEED,
        "type",
        "model",
        "parent",
        "depth",
        "phase_index",
        "cursor_pid",
        "completed_at",
        "progress",
        "last_update",
        "review_id",
    ),
    "agent_hierarchy": ("task_id", "parent_agent_id", "child_agent_id"),
    "phases": ("task_id", "phase_index", "name", "status"),
    "task_config": ("task_id", "max_agents", "max_concurrent", "max_depth"),
}

# The table with the last reports, which no verdict needs.
_REPORTS = "agent_progress_latest"
_WANTED_REPORTS: Mapping[str, tuple[str, ...]] = {
    _REPORTS: ("task_id", "agent_id", "timestamp", "status", "progress", "message"),
}

# The first orchestrators with a database wrote the time of a report nowhere else.
_REPORT_TIMES = ("task_id", "agent_id", "timestamp", "status")

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "tasks": ("task_id",),
    "agents": AGENTS_NEED,
    "agent_hierarchy": ("task_id", "parent_agent_id", "child_agent_id"),
    "phases": ("task_id", "phase_index"),
    "task_config": ("task_id",),
    _REPORTS: ("task_id", "agent_id", "timestamp", "status"),
}

# A process that opens or closes the database needs less than this many seconds.
_PATIENCE = 0.5
_PAUSE = 0.003
_UNPAIRED_FOR = 0.1


def read_rows(
    path: Path,
    limits: Limits = USUAL,
    *,
    reports: bool = False,
    before: Rows | None = None,
) -> Rows:
    """Reads the rows of a database in one transaction, and closes the database.

    Args:
        path: The database.
        limits: The limits of the reading.
        reports: Whether to read the table with the last reports, too.
        before: The rows of an earlier reading, or None. An unchanged row is the same object.

    Raises:
        BusyRegistryError: Processes opened and closed the database during all attempts.
        UnreadableDatabaseError: The database is damaged, or has an unknown schema.
        RegistryError: The database does not exist, is not accessible, or is not trusted.
    """
    wanted = {**_WANTED, **_WANTED_REPORTS} if reports else _WANTED
    return patiently(path, lambda transaction: _all_rows(transaction, wanted, before), limits)


def find_damage(path: Path, seconds: float) -> tuple[str, ...] | None:
    """Checks the pages of a database, as ``PRAGMA quick_check`` does.

    Args:
        path: The database.
        seconds: How long the check may take. Meanwhile no writer can shorten the log.

    Returns:
        What SQLite found; empty if the database is whole. None if the time was too short.

    Raises:
        RegistryError: See `read_rows`.
    """
    limits = Limits(seconds=seconds + SECONDS_AT_MOST)
    return patiently(path, lambda transaction: transaction.quick_check(seconds), limits)


def read_agent(path: Path, task_id: str, agent_id: str) -> Row | None:
    """Returns all columns of one agent; None if the task has no such agent.

    The last report of the agent (`agent_progress_latest`) is under the key ``latest``.

    Args:
        path: The database.
        task_id: The id of the agent's task.
        agent_id: The id of the agent.

    Raises:
        RegistryError: See `read_rows`.
    """

    def read(transaction: Transaction) -> Row | None:
        check_schema(transaction)
        agents = _of_agent(transaction, "agents", task_id, agent_id)
        if agents is None:
            return None
        latest = _of_agent(transaction, "agent_progress_latest", task_id, agent_id)
        return agents if latest is None else {**agents, "latest": latest}

    return patiently(path, read)


def lists_task(path: Path, task_id: str) -> bool:
    """Returns whether a database has a task, or agents of the task.

    Args:
        path: The database.
        task_id: The id of the task.

    Raises:
        RegistryError: See `read_rows`.
    """

    def read(transaction: Transaction) -> bool:
        check_schema(transaction)
        tables = ["agents"]
        if "task_id" in transaction.columns("tasks"):
            tables.append("tasks")
        queries = [f"SELECT 1 FROM {table} WHERE task_id = {TEXT} LIMIT 1" for table in tables]  # noqa: S608
        return any(transaction.select(query, (task_id,)) for query in queries)

    return patiently(path, read)


def _of_agent(
    transaction: Transaction, table: str, task_id: str, agent_id: str
) -> dict[str, Any] | None:
    columns = transaction.columns(table)
    if not {"task_id", "agent_id"} <= set(columns):
        return None
    names = ", ".join(f'"{column}"' for column in columns)
    query = f"SELECT {names} FROM {table} WHERE task_id = {TEXT} AND agent_id = {TEXT} LIMIT 1"  # noqa: S608
    for row in transaction.select(query, (task_id, agent_id)):
        return dict(zip(columns, row, strict=True))
    return None


def _all_rows(
    transaction: Transaction, wanted: Mapping[str, tuple[str, ...]], before: Rows | None
) -> Rows:
    check_schema(transaction)
    if "last_update" not in transaction.columns("agents"):
        wanted = {_REPORTS: _REPORT_TIMES, **wanted}
    values = {table: _values(transaction, table, columns) for table, columns in wanted.items()}
    present = {table: found for table, found in values.items() if found is not None}
    return Rows(
        transaction.path,
        transaction.stamp,
        absent=frozenset(values.keys() - present.keys()),
        values=present,
        **{
            table: _as_rows(present[table], table, before) if table in present else ()
            for table in values
        },
    )


def _as_rows(values: Values, table: str, before: Rows | None) -> tuple[Row, ...]:
    """Returns the rows of a table; takes each unchanged row from an earlier reading."""
    columns, rows = values
    old: Sequence[Row] = ()
    if before is not None and before.values.get(table, ((), ()))[0] == columns:
        old = getattr(before, table)
    old_values = before.values[table][1] if before is not None and old else []
    # A row keeps its place until a row before it is removed.
    kept = tuple(
        row if now == was else dict(zip(columns, now, strict=True))
        for now, was, row in zip(rows, old_values, old, strict=False)
    )
    return kept + tuple(dict(zip(columns, row, strict=True)) for row in rows[len(kept) :])


def check_schema(transaction: Queries) -> None:
    """Requires the table `agents` with the columns without which no verdict is possible.

    Raises:
        UnreadableDatabaseError: The schema is unknown.
    """
    if transaction.table("agents") is None:
        raise unknown_schema(transaction.path, "it has no table 'agents'", "agents")
    columns = transaction.columns("agents")
    missing = [f"agents.{column}" for column in AGENTS_NEED if column not in columns]
    if missing:
        why = f"it has no column {', '.join(map(repr, missing))}"
        raise unknown_schema(transaction.path, why, missing[0])


def unknown_schema(path: Path, why: str, field: str) -> UnreadableDatabaseError:
    """Returns the error for a database whose schema is unknown, to be raised."""
    return UnreadableDatabaseError(
        path,
        f"has a schema that muster does not know: {why}",
        "Use a version of muster that knows this schema, or check that the file is the database "
        "of the orchestrator",
        field,
    )


def _values(transaction: Transaction, table: str, wanted: tuple[str, ...]) -> Values | None:
    """Returns the values of a table; None if the table or a needed column does not exist."""
    present = frozenset(transaction.columns(table))
    if not present.issuperset(_NEEDED[table]):
        return None
    columns = tuple(column for column in wanted if column in present)
    query = f"SELECT {', '.join(columns)} FROM {table} LIMIT {ROWS_AT_MOST + 1}"  # noqa: S608
    rows = transaction.select_many(query)
    if len(rows) > ROWS_AT_MOST:
        raise UnreadableDatabaseError(
            transaction.path,
            f"has more than {ROWS_AT_MOST} rows in the table '{table}'",
            "Let the orchestrator remove old tasks",
        )
    return columns, rows


def patiently(path: Path, read: Callable[[Transaction], Result], limits: Limits = USUAL) -> Result:
    """Calls `read` in a transaction, again if a process opens or closes the database meanwhile.

    Raises:
        RegistryError: See `read_rows`.
    """
    started = time.monotonic()
    while True:
        problem: RegistryError
        try:
            with reading(path, limits) as transaction:
                return read(transaction)
        except BusyRegistryError as error:
            hand_on(error)
            problem, patience = error, _PATIENCE
        except UnpairedFilesError as error:
            hand_on(error)
            problem, patience = error, _UNPAIRED_FOR
        now = time.monotonic()
        if now - started > patience or now >= limits.give_up_at:
            raise problem
        time.sleep(_PAUSE)
