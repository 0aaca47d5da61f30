"""The fields of agents that muster changes in a database, and their columns.

An agent's fields are in two tables: `agents`, and `agent_progress_latest` with the agent's last
report. Both are shown as one entry, whose keys are ``table.column``. So the functions that compare
and revert the entries of JSON registries work for databases, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from registry.database.connection import Queries
from registry.database.rows import check_schema, patiently
from registry.database.tables import Row
from registry.database.transaction import WriteTransaction
from registry.database.transaction import why_unwritable as transaction_refusal
from registry.dataclass import dataclass
from registry.errors import UnwritableDatabaseError
from registry.storage.codec import Json

AGENTS, LATEST, TASKS = "agents", "agent_progress_latest", "tasks"

_WRITTEN = {
    AGENTS: ("status", "completed_at", "progress", "last_update"),
    LATEST: ("timestamp", "status", "progress", "message"),
}
_KEYS = ("task_id", "agent_id")

FIELDS = frozenset(f"{table}.{name}" for table, names in _WRITTEN.items() for name in names)
"""The names of all fields that muster changes."""

# In the audit log, bytes are an object with this key and hexadecimal digits.
_BLOB = "blob"
_HEX = re.compile("[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class AgentTables:
    """Some agents of a database, in a write transaction.

    Attributes:
        rows: Maps the id of each agent to its row in `agents`.
        entries: Maps the id of each agent to its entry, which may be changed: its `task_id`,
            `tmux_session` and `started_at`, and the changeable fields under ``table.column``.
            The fields of a table without a row for the agent are missing.
        fields: Maps the id of each agent to the names of the fields that may be set.
    """

    rows: Mapping[str, Row]
    entries: Mapping[str, Json]
    fields: Mapping[str, frozenset[str]]

    @property
    def view(self) -> Json:
        """The entries in the form of a JSON registry."""
        return {"agents": list(self.entries.values())}

    def set(self, agent_id: str, fields: Mapping[str, object]) -> None:
        """Sets fields of an agent's entry. A field whose column does not exist is skipped."""
        able = self.fields[agent_id]
        self.entries[agent_id] |= {name: fields[name] for name in fields if name in able}


def read_tables(path: Path, agent_ids: Iterable[str]) -> AgentTables:
    """Returns the present fields of agents, without a write transaction; see `agent_tables`.

    Raises:
        RegistryError: The database cannot be read.
    """
    ids = tuple(agent_ids)
    return patiently(path, lambda transaction: agent_tables(transaction, ids))


def why_unwritable(path: Path) -> str | None:
    """Returns why muster cannot change agents in a database now; None if it probably can."""
    return transaction_refusal(path, check_tables)


def is_storable(value: object) -> bool:
    """Returns whether a database can store a value of the audit log."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    if isinstance(value, dict):
        blob = value.get(_BLOB)
        return isinstance(blob, str) and len(blob) % 2 == 0 and _HEX.fullmatch(blob) is not None
    return value is None or isinstance(value, str | float | Enum)


def agent_tables(transaction: Queries, agent_ids: Iterable[str]) -> AgentTables:
    """Returns the present fields of agents. An agent that is not in the database is left out.

    Raises:
        UnreadableDatabaseError: The schema is unknown.
        UnwritableDatabaseError: The database has triggers on the tables.
    """
    check_tables(transaction)
    columns = {table: _columns(transaction, table) for table in _WRITTEN}
    names = transaction.columns(AGENTS)
    quoted = ", ".join(f'"{name}"' for name in names)
    rows: dict[str, Row] = {}
    entries: dict[str, Json] = {}
    fields: dict[str, frozenset[str]] = {}
    tasks: dict[str, bool] = {}
    for agent_id in agent_ids:
        query = f"SELECT {quoted} FROM agents WHERE agent_id = CAST(? AS TEXT)"  # noqa: S608
        found = transaction.select(query, (_bytes(agent_id),))
        if len(found) != 1:
            continue
        row = dict(zip(names, found[0], strict=True))
        task_id = row["task_id"]
        latest = _latest(transaction, task_id, agent_id, columns[LATEST])
        if task_id not in tasks:
            tasks[task_id] = _has_task(transaction, task_id)
        entry: Json = {
            "id": agent_id,
            "task_id": task_id,
            "tmux_session": row["tmux_session"],
            "started_at": row["started_at"],
        }
        entry |= {f"{AGENTS}.{name}": _shown(row[name]) for name in columns[AGENTS]}
        entry |= {f"{LATEST}.{name}": _shown(value) for name, value in latest.items()}
        rows[agent_id], entries[agent_id] = row, entry
        # A report refers to a task, so a report of a missing task would be refused.
        tables = [AGENTS, LATEST] if latest or tasks[task_id] else [AGENTS]
        fields[agent_id] = frozenset(
            f"{table}.{name}" for table in tables for name in columns[table]
        )
    return AgentTables(rows, entries, fields)


def check_tables(transaction: Queries) -> None:
    """Requires a schema that muster knows, and no triggers.

    Raises:
        UnreadableDatabaseError: The schema is unknown.
        UnwritableDatabaseError: The database has triggers.
    """
    check_schema(transaction)
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger' LIMIT 1"
    for (name,) in transaction.select(query):
        raise UnwritableDatabaseError(
            transaction.path,
            f"has a schema that muster does not know: it has the trigger {name!r:.80}",
            "Make the change with the orchestrator",
        )


def _columns(transaction: Queries, table: str) -> tuple[str, ...]:
    present = transaction.columns(table)
    if not set(_KEYS) <= set(present):
        return ()
    return tuple(name for name in _WRITTEN[table] if name in present)


def _latest(
    transaction: Queries, task_id: object, agent_id: str, columns: tuple[str, ...]
) -> dict[str, Any]:
    if not columns:
        return {}
    query = (
        f"SELECT {', '.join(columns)} FROM {LATEST} "  # noqa: S608
        "WHERE task_id = CAST(? AS TEXT) AND agent_id = CAST(? AS TEXT) LIMIT 1"
    )
    for row in transaction.select(query, (_bytes(task_id), _bytes(agent_id))):
        return dict(zip(columns, row, strict=True))
    return {}


def _has_task(transaction: Queries, task_id: object) -> bool:
    if "task_id" not in transaction.columns(TASKS):
        return False
    query = "SELECT 1 FROM tasks WHERE task_id = CAST(? AS TEXT) LIMIT 1"
    return bool(transaction.select(query, (_bytes(task_id),)))


def write_entries(
    transaction: WriteTransaction, before: Mapping[str, Json], after: Mapping[str, Json]
) -> None:
    """Writes the changed fields of entries, without a commit.

    Args:
        transaction: The transaction in which the entries were read.
        before: Maps the id of each agent to its entry, as it is in the database.
        after: Maps the same ids to the changed entries.
    """
    for agent_id, entry in after.items():
        old, keys = before[agent_id], (_bytes(entry["task_id"]), _bytes(agent_id))
        for table in _WRITTEN:
            was, now = _of_table(old, table), _of_table(entry, table)
            if was != now:
                _write_row(transaction, table, keys, was, now)


def touch_tasks(
    transaction: WriteTransaction, task_ids: Iterable[object], now: str, *, start: bool = False
) -> None:
    """Sets the time of the last change of tasks, without a commit.

    Args:
        transaction: The transaction.
        task_ids: The ids of the tasks.
        now: The present time.
        start: Whether a task that has not begun becomes active, if one of its agents is active.
    """
    columns = set(transaction.columns(TASKS))
    if "task_id" not in columns:
        return
    for task_id in map(_bytes, dict.fromkeys(task_ids)):
        if start and "status" in columns:
            transaction.execute(_START, (task_id, task_id))
        if "updated_at" in columns:
            statement = "UPDATE tasks SET updated_at = ? WHERE task_id = CAST(? AS TEXT)"
            transaction.execute(statement, (now, task_id))


_START = """
UPDATE tasks SET status = 'ACTIVE'
 WHERE task_id = CAST(? AS TEXT) AND status = 'INITIALIZED'
   AND EXISTS (SELECT 1 FROM agents WHERE agents.task_id = CAST(? AS TEXT)
               AND agents.status IN ('running', 'working', 'blocked', 'reviewing'))
"""


def _of_table(entry: Json, table: str) -> dict[str, Any]:
    prefix = f"{table}."
    return {
        name.removeprefix(prefix): value
        for name, value in entry.items()
        if name.startswith(prefix)
    }


def _write_row(
    transaction: WriteTransaction,
    table: str,
    keys: tuple[bytes, bytes],
    was: Mapping[str, Any],
    now: Mapping[str, Any],
) -> None:
    where = "task_id = CAST(? AS TEXT) AND agent_id = CAST(? AS TEXT)"
    if not now:
        changed = transaction.execute(f"DELETE FROM {table} WHERE {where}", keys)  # noqa: S608
    elif not was:
        names = (*_KEYS, *now)
        places = ["CAST(? AS TEXT)"] * 2 + [_place(value) for value in now.values()]
        changed = transaction.execute(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(places)})",  # noqa: S608
            (*keys, *map(_stored, now.values())),
        )
    else:
        new = {name: now.get(name) for name in {**was, **now} if was.get(name) != now.get(name)}
        if not new:
            return
        sets = ", ".join(f"{name} = {_place(value)}" for name, value in new.items())
        changed = transaction.execute(
            f"UPDATE {table} SET {sets} WHERE {where}",  # noqa: S608
            (*map(_stored, new.values()), *keys),
        )
    if changed != 1:
        raise UnwritableDatabaseError(
            transaction.path,
            f"has {changed} rows of one agent in the table '{table}'",
            "Make the change with the orchestrator",
        )


def _bytes(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")


def _place(value: object) -> str:
    # A text that is not valid UTF-8 can be written only in this way.
    return "CAST(? AS TEXT)" if isinstance(value, str) else "?"


def _stored(value: object) -> object:
    if isinstance(value, str):
        return _bytes(value)
    if isinstance(value, dict):
        return bytes.fromhex(value[_BLOB])
    return value


def _shown(value: object) -> object:
    return {_BLOB: value.hex()} if isinstance(value, bytes) else value
