"""The list of workspaces that an orchestrator keeps in the home directory of its user."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS known_workspaces (
    workspace_base TEXT PRIMARY KEY, project_name TEXT, client_cwd TEXT, first_seen TEXT,
    last_accessed TEXT, task_count INTEGER DEFAULT 0, is_active INTEGER DEFAULT 1
);
CREATE TABLE IF NOT EXISTS task_index (
    task_id TEXT PRIMARY KEY,
    workspace_base TEXT NOT NULL REFERENCES known_workspaces(workspace_base),
    description TEXT, status TEXT, priority TEXT, created_at TEXT, updated_at TEXT
);
CREATE TABLE IF NOT EXISTS global_counts (
    id INTEGER PRIMARY KEY CHECK (id = 1), total_tasks INTEGER DEFAULT 0, last_updated TEXT
);
"""


def list_path(home: Path) -> Path:
    """Returns the path of the list of workspaces in a home directory."""
    return home / ".claude-orchestrator" / "global_registry.sqlite3"


def know(home: Path, *workspaces: object, tables: str = _TABLES) -> Path:
    """Writes workspaces to the list as the orchestrator does, the last used one last."""
    path = list_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    for workspace in (None, *workspaces):
        now = datetime.now().isoformat()
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(tables)
            if workspace is None:
                continue
            value = str(workspace) if isinstance(workspace, Path) else workspace
            database.execute(
                "INSERT INTO known_workspaces (workspace_base, first_seen, last_accessed) "
                "VALUES (?, ?, ?) ON CONFLICT (workspace_base) DO UPDATE SET last_accessed = ?",
                (value, now, now, now),
            )
    return path
