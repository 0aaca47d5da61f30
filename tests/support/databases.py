"""The database in which an orchestrator keeps its agents, as the orchestrator creates it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

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
