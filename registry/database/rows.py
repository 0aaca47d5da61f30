"""Reads the rows of a workspace's database: one state of the whole workspace, or nothing."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import pairwise, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from registry.database.connection import (
    MEMORY_AT_MOST,
    SECONDS_AT_MOST,
    TEXT,
    USUAL,
    Limits,
    Queries,
    Transaction,
    reading,
    too_much_memory,
)
from registry.database.files import UnpairedFilesError
from registry.database.pages import Leaf, Pages
from registry.database.tables import Chunk, Row, Rows, Table, Values
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

# Changed pages between which there are unchanged ones are read together, if there are many.
_RUNS_AT_MOST = 64

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
    pages, known = transaction.pages(), before.tables if before is not None else {}
    found = {
        table: _table(transaction, pages, table, columns, known.get(table))
        for table, columns in wanted.items()
    }
    present = {name: table for name, table in found.items() if table is not None}
    return Rows(
        transaction.path,
        transaction.stamp,
        present,
        frozenset(found.keys() - present.keys()),
    )


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


def _table(
    transaction: Transaction,
    pages: Pages | None,
    name: str,
    wanted: tuple[str, ...],
    before: Table | None,
) -> Table | None:
    """Returns the rows of a table; None if the table or a needed column does not exist.

    Args:
        transaction: The transaction.
        pages: The pages of the database, or None.
        name: The name of the table.
        wanted: The columns that are read if the table has them.
        before: The rows of an earlier reading, or None.
    """
    present = frozenset(transaction.columns(name))
    if not present.issuperset(_NEEDED[name]):
        return None
    columns = tuple(column for column in wanted if column in present)
    table = _by_pages(transaction, pages, name, columns, before)
    if table is None:
        query = f"SELECT {', '.join(columns)} FROM {name} NOT INDEXED LIMIT {ROWS_AT_MOST + 1}"  # noqa: S608
        sizes: list[int] = []
        found = transaction.select_many(query, (), sizes)
        values = _kept(found, before.values if before is not None else ())
        table = Table(columns, (Chunk.of(columns, values, sum(sizes), None),))
    _check_size(transaction.path, name, table)
    return table


def _by_pages(
    transaction: Transaction,
    pages: Pages | None,
    name: str,
    columns: tuple[str, ...],
    before: Table | None,
) -> Table | None:
    """Returns the rows of a table, and reads only those whose pages have changed.

    Returns:
        None if the pages of the table are not known.
    """
    definition = transaction.table(name)
    # A column may have one of the names of the row id. Some tables have no row ids.
    if pages is None or definition is None or "rowid" in definition.lower():
        return None
    root = transaction.root_page(name)
    leaves = pages.leaves(root) if root is not None else []
    if not leaves:
        return None
    meaning = (pages.format, definition, columns)
    known = before.by_page if before is not None and before.meaning == meaning else {}
    chunks: dict[int, Chunk] = {}
    for leaf in leaves:
        chunk = known.get(leaf.number)
        if chunk is not None and chunk.page is not None and chunk.page == leaf.page:
            chunks[leaf.number] = chunk
    for first, end in _runs(leaves, chunks):
        after = leaves[first - 1].last if first else None
        old = [row for leaf in leaves[first:end] for row in _values_of(known.get(leaf.number))]
        chunks |= _read_leaves(transaction, pages, name, columns, after, leaves[first:end], old)
    ordered = {leaf.number: chunks[leaf.number] for leaf in leaves}
    return Table(columns, tuple(ordered.values()), meaning, ordered)


def _values_of(chunk: Chunk | None) -> tuple[Values, ...]:
    return () if chunk is None else chunk.values


def _runs(leaves: Sequence[Leaf], known: Container[int]) -> list[tuple[int, int]]:
    """Returns the places of the changed leaves: the first, and the end, of each row of them."""
    changed = [place for place, leaf in enumerate(leaves) if leaf.number not in known]
    if not changed:
        return []
    firsts = [changed[0], *(b for a, b in pairwise(changed) if b > a + 1)]
    ends = [*(a + 1 for a, b in pairwise(changed) if b > a + 1), changed[-1] + 1]
    runs = list(zip(firsts, ends, strict=True))
    return runs if len(runs) <= _RUNS_AT_MOST else [(firsts[0], ends[-1])]


def _read_leaves(
    transaction: Transaction,
    pages: Pages,
    name: str,
    columns: tuple[str, ...],
    after: int | None,
    leaves: Sequence[Leaf],
    before: Sequence[Values],
) -> dict[int, Chunk]:
    """Returns the rows of leaves that follow each other, by the number of the leaf's page.

    Args:
        transaction: The transaction.
        pages: The pages of the database.
        name: The name of the table.
        columns: The columns to read.
        after: The row ids are larger than this one; None if these are the first leaves.
        leaves: The leaves.
        before: The rows that these leaves had.
    """
    last = leaves[-1].last
    bounds = [("_rowid_ > ?", after), ("_rowid_ <= ?", last)]
    conditions = [condition for condition, value in bounds if value is not None]
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    query = (
        f"SELECT {', '.join(columns)}, _rowid_ FROM {name} NOT INDEXED {where}"  # noqa: S608
        f"ORDER BY _rowid_ LIMIT {ROWS_AT_MOST + 1}"
    )
    sizes: list[int] = []
    found = transaction.select_many(query, [v for _, v in bounds if v is not None], sizes)
    count = len(columns)
    values = _kept([row[:count] for row in found], before)
    chunks: dict[int, Chunk] = {}
    begin = 0
    for leaf in leaves:
        end = len(found)
        if leaf.last is not None:
            end = bisect_right(found, leaf.last, begin, key=itemgetter(-1))
        # Only a page that has all these rows, and nothing of them is elsewhere, proves anything.
        page = leaf.page if pages.rows_on(leaf) == end - begin else None
        chunks[leaf.number] = Chunk.of(columns, values[begin:end], sum(sizes[begin:end]), page)
        begin = end
    return chunks


def _kept(values: Sequence[Values], before: Sequence[Values]) -> tuple[Values, ...]:
    """Returns the same values; a row that is as before, at its place, keeps its object."""
    places = zip_longest(values, before[: len(values)])
    return tuple(was if was == now else now for now, was in places)


def _check_size(path: Path, name: str, table: Table) -> None:
    """Requires a table that is not too large.

    Raises:
        UnreadableDatabaseError: The table has too many rows, or needs too much memory.
    """
    if sum([len(chunk.values) for chunk in table.chunks]) > ROWS_AT_MOST:
        raise UnreadableDatabaseError(
            path,
            f"has more than {ROWS_AT_MOST} rows in the table '{name}'",
            "Let the orchestrator remove old tasks",
        )
    if sum([chunk.size for chunk in table.chunks]) > MEMORY_AT_MOST:
        raise too_much_memory(path)


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
