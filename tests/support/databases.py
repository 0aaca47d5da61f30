"""The database in which an orchestrator keeps its agents, as the orchestrator creates it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

_TABLES = """
CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY, workspace TEXT, workspace_base TEXT, description TEXT,
    status TEXT, priority TEXT, client_cwd TEXT, created_at TEXT, updated_at TEXT,
    current_phase_index INTEGER
);
CREATE TABLE agents (
    agent_id TEXT PRIMARY KEY, task_id TEXT REFERENCES tasks ON DELETE CASCADE, type TEXT,
    model TEXT, tmux_session TEXT, parent TEXT, depth INTEGER, phase_index INTEGER,
    claude_pid INTEGER, cursor_pid INTEGER, tracked_files TEXT, started_at TEXT,
    completed_at TEXT, status TEXT, progress INTEGER, last_update TEXT, prompt_preview TEXT,
    review_id TEXT, final_verdict TEXT
);
CREATE TABLE agent_progress_latest (
    task_id TEXT REFERENCES tasks ON DELETE CASCADE, agent_id TEXT, timestamp TEXT,
    status TEXT, progress INTEGER, message TEXT, PRIMARY KEY (task_id, agent_id)
);
CREATE TABLE agent_hierarchy (
    id INTEGER PRIMARY KEY, task_id TEXT REFERENCES tasks ON DELETE CASCADE,
    parent_agent_id TEXT, child_agent_id TEXT, spawned_at TEXT,
    UNIQUE (task_id, child_agent_id)
);
"""


def make_database(workspace: Path, agents: Sequence[str], status: str = "running") -> Path:
    """Writes the database of a workspace with one task and these agents; returns its path."""
    path = workspace / "registry" / "state.sqlite3"
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now().isoformat()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_TABLES)
        database.execute(
            "INSERT INTO tasks (task_id, workspace, status, client_cwd, created_at) "
            "VALUES ('TASK-1', ?, 'ACTIVE', ?, ?)",
            (str(workspace / "TASK-1"), str(workspace.parent), now),
        )
        database.executemany(
            "INSERT INTO agents (agent_id, task_id, type, tmux_session, parent, depth, "
            "started_at, status, progress, last_update) "
            "VALUES (?, 'TASK-1', 'tester', ?, 'orchestrator', 1, ?, ?, 10, ?)",
            [(each, f"agent_{each}", now, status, now) for each in agents],
        )
    return path


def stamp_ago(seconds: float) -> str:
    """Returns a time as an orchestrator writes it: local, without a zone."""
    return (datetime.now() - timedelta(seconds=seconds)).isoformat()


def make_unreadable(workspace: Path) -> Path:
    """Writes a file that is no database in the place of a workspace's database."""
    path = workspace / "registry" / "state.sqlite3"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"This is no database. " * 100)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


_LATER_TABLES = """
CREATE TABLE phases (
    task_id TEXT NOT NULL REFERENCES tasks ON DELETE CASCADE, phase_index INTEGER NOT NULL,
    phase_id TEXT, name TEXT, description TEXT, deliverables TEXT, success_criteria TEXT,
    status TEXT, created_at TEXT, started_at TEXT, completed_at TEXT,
    revision_round INTEGER DEFAULT 0, PRIMARY KEY (task_id, phase_index)
);
CREATE TABLE task_config (
    task_id TEXT PRIMARY KEY REFERENCES tasks ON DELETE CASCADE, max_agents INTEGER,
    max_concurrent INTEGER, max_depth INTEGER, project_context TEXT
);
CREATE TABLE reviews (review_id TEXT PRIMARY KEY, task_id TEXT, phase_index INTEGER);
"""

_OF_JANUARY = """
CREATE TABLE tasks (task_id TEXT PRIMARY KEY, workspace TEXT, description TEXT, status TEXT);
CREATE TABLE agents (
    agent_id TEXT PRIMARY KEY, task_id TEXT NOT NULL REFERENCES tasks ON DELETE CASCADE,
    type TEXT, tmux_session TEXT, parent TEXT, depth INTEGER, phase_index INTEGER,
    started_at TEXT, completed_at TEXT, status TEXT, progress INTEGER, last_update TEXT
);
"""

JANUARY, TODAY = _OF_JANUARY, _TABLES + _LATER_TABLES
"""The tables of the first version, and of the newest version, of the orchestrator's database."""


class Database:
    """Builds the database of a workspace, and writes it as the orchestrator does.

    Each change opens the database and closes it. `age` then lets readers take it for settled.
    """

    def __init__(self, workspace: Path, tables: str = TODAY) -> None:
        self.workspace = workspace
        self.path = workspace / "registry" / "state.sqlite3"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(tables)

    def run(self, statement: str, *values: object) -> None:
        """Executes one statement in its own connection."""
        with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as database:
            database.execute(statement, values)

    def row(self, table: str, **fields: object) -> None:
        """Inserts one row."""
        names, places = ", ".join(fields), ", ".join("?" for _ in fields)
        self.run(f"INSERT INTO {table} ({names}) VALUES ({places})", *fields.values())

    def task(self, task_id: str = "TASK-1", **fields: object) -> Path:
        """Inserts a task, and writes the JSON registry of its creation; returns the registry."""
        self.row("tasks", **{"task_id": task_id, "status": "ACTIVE", **fields})
        registry = self.workspace / task_id / "AGENT_REGISTRY.json"
        registry.parent.mkdir(exist_ok=True)
        left = {"task_id": task_id, "status": "INITIALIZED", "agents": [], "active_count": 0}
        registry.write_text(json.dumps(left))
        return registry

    def agent(self, agent_id: str, task_id: str = "TASK-1", **fields: object) -> None:
        """Inserts an agent that has just started."""
        now = datetime.now().isoformat()
        usual = {
            "agent_id": agent_id,
            "task_id": task_id,
            "type": "tester",
            "tmux_session": f"agent_{agent_id}",
            "parent": "orchestrator",
            "depth": 1,
            "started_at": now,
            "status": "running",
            "progress": 10,
            "last_update": now,
        }
        self.row("agents", **{**usual, **fields})


def damage_table(database: Database, table: str) -> None:
    """Overwrites the first page of a table, which all other tables do not need."""
    with closing(sqlite3.connect(database.path)) as reader:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = reader.execute(query, (table,)).fetchone()
        (size,) = reader.execute("PRAGMA page_size").fetchone()
    with database.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x0d" + b"\xff" * (size - 1))


def agent_row(built: Database, table: str, agent_id: str) -> dict[str, Any]:
    """Returns the row of an agent; empty if there is none."""
    with closing(sqlite3.connect(built.path)) as database:
        database.row_factory = sqlite3.Row
        query = f"SELECT * FROM {table} WHERE agent_id = ?"
        row = database.execute(query, (agent_id,)).fetchone()
        return dict(row) if row is not None else {}


def progress_lines(
    built: Database, agent_id: str, task_id: str = "TASK-1"
) -> list[dict[str, Any]]:
    """Returns the lines of an agent's progress file."""
    path = built.workspace / task_id / "progress" / f"{agent_id}_progress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
