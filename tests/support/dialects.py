"""The same agents in each storage format: in JSON registries, and in a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from tests.support.databases import Database
from tests.support.workspaces import Files, Json

_COLUMNS = (
    "type",
    "tmux_session",
    "parent",
    "depth",
    "status",
    "started_at",
    "completed_at",
    "progress",
    "last_update",
)


class DatabaseFiles(Files):
    """A workspace whose agents are in a database; asked like one with JSON registries.

    Attributes:
        database: The database.
    """

    def __init__(self, directory: Path, tasks: Mapping[str, Sequence[Json]]) -> None:
        self.path = directory / ".agent-workspace"
        self.path.mkdir(parents=True)
        self.global_registry = self.path / "registry" / "GLOBAL_REGISTRY.json"
        self.database = Database(self.path)
        for task_id, agents in tasks.items():
            self.write_task(task_id, *agents)

    def write_task(self, task_id: str, *agents: Json) -> Path:
        """Writes a task with agents; returns the JSON registry that is left of its creation."""
        registry = self.database.task(task_id, description=f"what {task_id} is for")
        for agent in agents:
            row = {"agent_id": agent["id"], "task_id": task_id}
            row |= {name: agent[name] for name in _COLUMNS if name in agent}
            # Any text, also one that is no Unicode, as a file in JSON may have it.
            places = ["CAST(? AS TEXT)" if isinstance(each, str) else "?" for each in row.values()]
            values = [
                each.encode("utf-8", "surrogatepass") if isinstance(each, str) else each
                for each in row.values()
            ]
            statement = f"INSERT INTO agents ({', '.join(row)}) VALUES ({', '.join(places)})"
            self.database.run(statement, *values)
        return registry

    def agent(self, agent_id: str, task_id: str = "TASK-1") -> Json:
        """Returns an agent's fields, with the reason of its end under the names of JSON."""
        rows = self._rows("agents")
        (row,) = [row for row in rows if (row["agent_id"], row["task_id"]) == (agent_id, task_id)]
        latest = [
            row for row in self._rows("agent_progress_latest") if row["agent_id"] == agent_id
        ]
        reason = latest[0]["message"] if latest else None
        return {**row, "termination_reason": reason, "terminated_at": row["last_update"]}

    def listed(self, agent_id: str) -> Json:
        """Returns an agent's fields: a database has one list of agents."""
        (task_id,) = [
            row["task_id"] for row in self._rows("agents") if row["agent_id"] == agent_id
        ]
        return self.agent(agent_id, task_id)

    def bytes(self) -> dict[Path, bytes]:
        """Maps the database to all of its rows."""
        tables = ("tasks", "agents", "agent_progress_latest", "agent_hierarchy")
        return {self.database.path: repr([self._rows(table) for table in tables]).encode()}

    def assert_counters_match(self) -> None:
        """Checks that the database is whole: it has no counters."""
        with closing(sqlite3.connect(self.database.path)) as database:
            assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]

    def _rows(self, table: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database.path)) as database:
            database.text_factory = lambda data: data.decode("utf-8", "surrogatepass")
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(f"SELECT * FROM {table}")]


DIALECTS = (
    pytest.param(Files, id="json"),
    pytest.param(DatabaseFiles, id="sqlite", marks=pytest.mark.torture),
)
"""Both storage formats; the second one only in the torture."""


def in_both(values: Sequence[object], every: int) -> list[ParameterSet]:
    """Returns parameters: each value in JSON registries, and each in a database.

    Args:
        values: The values, or parameters with marks.
        every: A test gets one value in so many also with a database; the others only in the
            torture.
    """
    found = []
    for number, value in enumerate(values):
        given = value if isinstance(value, ParameterSet) else pytest.param(value)
        found.append(pytest.param(Files, *given.values, id=f"{number}", marks=given.marks))
        marks = () if number % every == 0 else (pytest.mark.torture,)
        found.append(
            pytest.param(DatabaseFiles, *given.values, id=f"{number}-sqlite", marks=marks)
        )
    return found
