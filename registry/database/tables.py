"""The rows of a database's tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.database.files import DatabaseStamp
from registry.dataclass import dataclass, field

Row = Mapping[str, Any]
"""One row: maps the names of columns to values. A column that the table lacks is missing."""


Values = tuple[tuple[str, ...], list[tuple[Any, ...]]]
"""The names of the columns of a table, and the values of each row in this order."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a database at one moment.

    Attributes:
        path: The database.
        stamp: The metadata of the files before the rows were read.
        tasks, agents, agent_hierarchy, phases, task_config: The rows of these tables, in the order
            of the table; empty if the table does not exist.
        absent: The names of the tables that do not exist, or lack a column that is needed.
        agent_progress_latest: The rows of this table; empty unless `read_rows` was asked for them,
            or unless the table `agents` has no column `last_update`.
        values: Maps the name of each table to its columns, and to the values of each row.
    """

    path: Path
    stamp: DatabaseStamp
    tasks: tuple[Row, ...]
    agents: tuple[Row, ...]
    agent_hierarchy: tuple[Row, ...]
    phases: tuple[Row, ...]
    task_config: tuple[Row, ...]
    absent: frozenset[str] = frozenset()
    agent_progress_latest: tuple[Row, ...] = ()
    values: Mapping[str, Values] = field(default_factory=dict, compare=False, repr=False)


def grouped(rows: Sequence[Row], column: str) -> dict[Any, list[Row]]:
    """Groups rows by the value of a column, in the order of the rows."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get(column), []).append(row)
    return groups
