"""The rows of a database's tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from registry.database.files import DatabaseStamp
from registry.dataclass import dataclass, field

Row = Mapping[str, Any]
"""One row: maps the names of columns to values. A column that the table lacks is missing."""


Values = tuple[Any, ...]
"""The values of one row, in the order of the columns of `Table.columns`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a table that follow each other.

    Attributes:
        values: The rows.
        size: The size of the rows' values in memory, in bytes.
        page: The bytes from which SQLite read these rows, and nothing else; None if the rows may
            change without them.
        by_task: Maps each value of the column `task_id` to the rows with this value.
    """

    values: tuple[Values, ...]
    size: int
    page: bytes | None
    by_task: Mapping[Any, tuple[Values, ...]]

    @classmethod
    def of(
        cls, columns: tuple[str, ...], values: tuple[Values, ...], size: int, page: bytes | None
    ) -> Chunk:
        """Returns a chunk with these rows."""
        task = columns.index("task_id")
        ids = dict.fromkeys(row[task] for row in values)
        if len(ids) == 1:
            by_task: Mapping[Any, tuple[Values, ...]] = dict.fromkeys(ids, values)
        else:
            groups: dict[Any, list[Values]] = {task_id: [] for task_id in ids}
            for row in values:
                groups[row[task]].append(row)
            by_task = {task_id: tuple(group) for task_id, group in groups.items()}
        return cls(values, size, page, by_task)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table at one moment, and what proves later that they have not changed.

    Attributes:
        columns: The names of the columns that were read.
        chunks: The rows, in the order of the table.
        meaning: What gives bytes their meaning: equal pages with an equal meaning have equal rows.
            None if no page is known.
        by_page: Maps the number of each known page to its rows.
    """

    columns: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    meaning: tuple[object, ...] | None = None
    by_page: Mapping[int, Chunk] = field(default_factory=dict)

    @property
    def values(self) -> tuple[Values, ...]:
        """The values of all rows, in the order of the table."""
        return tuple(chain.from_iterable(chunk.values for chunk in self.chunks))

    def by_task(self) -> dict[Any, list[Values]]:
        """Groups the rows by the value of the column `task_id`, in their order."""
        groups: dict[Any, list[Values]] = {}
        for chunk in self.chunks:
            for task_id, values in chunk.by_task.items():
                groups.setdefault(task_id, []).extend(values)
        return groups


EMPTY = Table((), ())
"""A table without rows."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a database at one moment.

    Attributes:
        path: The path of the database.
        stamp: The metadata of the files before the rows were read.
        tables: Maps the name of each table that was read to its rows.
        absent: The names of the tables that do not exist, or lack a column that is needed.
    """

    path: Path
    stamp: DatabaseStamp
    tables: Mapping[str, Table]
    absent: frozenset[str] = frozenset()

    @property
    def tasks(self) -> tuple[Row, ...]:
        """The rows of the table `tasks`, in order."""
        return self.of("tasks")

    @property
    def agents(self) -> tuple[Row, ...]:
        """The rows of the table `agents`, in order."""
        return self.of("agents")

    @property
    def agent_progress_latest(self) -> tuple[Row, ...]:
        """The rows of the table `agent_progress_latest`, in order."""
        return self.of("agent_progress_latest")

    def of(self, table: str) -> tuple[Row, ...]:
        """Returns the rows of a table, in order; none if the table is absent or was not read."""
        found = self.tables.get(table, EMPTY)
        return tuple(as_rows(found.columns, found.values))


def as_rows(columns: tuple[str, ...], values: Iterable[Values]) -> Iterator[Row]:
    """Yields the rows with these values."""
    return (dict(zip(columns, row, strict=True)) for row in values)
