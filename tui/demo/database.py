"""The database of the demo: its tables and writers are doubles of the orchestrator's.

muster itself opens databases only through `registry.database`, and never creates one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from registry.errors import AgentNotFoundError, RegistryError
from registry.schema import ORCHESTRATOR, is_terminal
from registry.text import shown_name
from tui.demo.registries import PROMPT_LENGTH
from tui.demo.stage import OUTPUT, Member, Stage, depth_of, stamp
from tui.demo.story import Step, Task

_TABLES = """
CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY, workspace TEXT, workspace_base TEXT, description TEXT, status TEXT,
    priority TEXT, client_cwd TEXT, created_at TEXT, updated_at TEXT, current_phase_index INTEGER
);
CREATE TABLE phases (
    task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,
    phase_index INTEGER NOT NULL, phase_id TEXT, name TEXT, description TEXT, deliverables TEXT,
    success_criteria TEXT, status TEXT, created_at TEXT, started_at TEXT, completed_at TEXT,
    revision_round INTEGER DEFAULT 0, max_revision_rounds INTEGER DEFAULT 3, last_review_id TEXT,
    revision_ready INTEGER DEFAULT 0, PRIMARY KEY (task_id, phase_index)
);
CREATE TABLE agents (
    agent_id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,
    type TEXT, model TEXT, tmux_session TEXT, parent TEXT, depth INTEGER, phase_index INTEGER,
    claude_pid INTEGER, cursor_pid INTEGER, tracked_files TEXT, started_at TEXT, completed_at TEXT,
    status TEXT, progress INTEGER, last_update TEXT, prompt_preview TEXT, review_id TEXT,
    final_verdict TEXT
);
CREATE INDEX idx_agents_task ON agents(task_id);
CREATE TABLE agent_progress_latest (
    task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE, agent_id TEXT NOT NULL,
    timestamp TEXT, status TEXT, progress INTEGER, message TEXT, PRIMARY KEY (task_id, agent_id)
);
CREATE TABLE agent_findings (
    finding_id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,
    agent_id TEXT NOT NULL REFERENCES agents(agent_id) ON DELETE CASCADE,
    phase_index INTEGER, finding_type TEXT, severity TEXT, message TEXT, data TEXT, created_at TEXT
);
CREATE TABLE agent_hierarchy (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,
    parent_agent_id TEXT, child_agent_id TEXT NOT NULL, spawned_at TEXT,
    UNIQUE (task_id, child_agent_id)
);
CREATE TABLE task_config (
    task_id TEXT PRIMARY KEY REFERENCES tasks(task_id) ON DELETE CASCADE,
    max_agents INTEGER DEFAULT 50, max_concurrent INTEGER DEFAULT 20, max_depth INTEGER DEFAULT 5
);
CREATE TABLE reviews (
    review_id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,
    phase_index INTEGER NOT NULL, status TEXT, verdict TEXT, created_at TEXT, completed_at TEXT
);
"""

_BUSY_TIMEOUT = 10.0

_MODEL = "example-model"


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the database, as the orchestrator does for each call.

    Raises:
        FileNotFoundError: The demo has removed the database.
        RegistryError: The database cannot be used.
    """
    os.stat(path)
    try:
        with closing(sqlite3.connect(path, _BUSY_TIMEOUT, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
    except sqlite3.Error as error:
        os.stat(path)
        raise RegistryError(f"{shown_name(path)}: {error}") from error


@contextmanager
def _changing(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the database and one transaction; see `_connected`."""
    with _connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def create_tasks(stage: Stage, tasks: dict[str, Task], now: float) -> None:
    """Creates the database with tasks and their phases, without agents.

    The JSON registries of these tasks exist already, as they do in a workspace of the
    orchestrator.

    Args:
        stage: The demo.
        tasks: The tasks by task id.
        now: The present time, seconds since the epoch.
    """
    with closing(sqlite3.connect(stage.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_TABLES)
    with _changing(stage.database) as connection:
        for task_id, task in tasks.items():
            made = stamp(now - task.ago)
            connection.execute(
                "INSERT INTO tasks VALUES (?, ?, ?, ?, 'ACTIVE', ?, ?, ?, ?, ?)",
                (
                    *(task_id, str(stage.workspace / task_id), str(stage.workspace)),
                    *(task.description, task.priority, str(stage.project), made, made),
                    task.phase,
                ),
            )
            connection.execute("INSERT INTO task_config (task_id) VALUES (?)", (task_id,))
            for index, (name, status) in enumerate(task.phases):
                connection.execute(
                    "INSERT INTO phases (task_id, phase_index, phase_id, name, status, "
                    "created_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (task_id, index, f"{task_id}-{index}", name, status, made),
                )


def enlist(stage: Stage, member: Member, started: float) -> None:
    """Inserts a new agent.

    Args:
        stage: The demo.
        member: The agent.
        started: The time of the agent's start, seconds since the epoch.
    """
    role, when = member.role, stamp(started)
    with _changing(stage.database) as connection:
        connection.execute(
            "INSERT INTO agents (agent_id, task_id, type, model, tmux_session, parent, depth, "
            "phase_index, started_at, status, progress, last_update, prompt_preview) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', 0, ?, ?)",
            (
                *(member.id, member.task_id, role.type, _MODEL, member.session, member.parent),
                *(depth_of(role), role.phase, when, when, role.prompt[:PROMPT_LENGTH]),
            ),
        )
        if member.parent != ORCHESTRATOR:
            connection.execute(
                "INSERT INTO agent_hierarchy (task_id, parent_agent_id, child_agent_id, "
                "spawned_at) VALUES (?, ?, ?, ?)",
                (member.task_id, member.parent, member.id, when),
            )


def enlist_child(stage: Stage, child: Member) -> None:
    """Inserts an agent that another agent of the demo has started now."""
    enlist(stage, child, time.time())


def is_over(stage: Stage, member: Member) -> bool:
    """Whether an agent has a terminal status in the database.

    Raises:
        AgentNotFoundError: The agent is not in the database.
        FileNotFoundError: The demo has removed the database.
    """
    with _connected(stage.database) as connection:
        query = "SELECT status FROM agents WHERE agent_id = ?"
        row = connection.execute(query, (member.id,)).fetchone()
    if row is None:
        raise AgentNotFoundError(member.id)
    return is_terminal(row[0])


def report(stage: Stage, member: Member, step: Step, status: str, when: str) -> None:
    """Writes a step as the orchestrator does; moves the output files of a finished agent.

    Args:
        stage: The demo.
        member: The agent.
        step: The step.
        status: The status of the agent after the step.
        when: The time of the step, as in the database.
    """
    ended = when if is_terminal(status) else None
    with _changing(stage.database) as connection:
        connection.execute(
            "UPDATE agents SET status = ?, completed_at = COALESCE(completed_at, ?), "
            "last_update = ?, progress = ? WHERE agent_id = ?",
            (status, ended, when, step.progress, member.id),
        )
        connection.execute(
            "INSERT OR REPLACE INTO agent_progress_latest VALUES (?, ?, ?, ?, ?, ?)",
            (member.task_id, member.id, when, status, step.progress, step.message),
        )
        connection.execute(
            "UPDATE tasks SET updated_at = ? WHERE task_id = ?", (when, member.task_id)
        )
        if step.finding is not None:
            connection.execute(
                "INSERT INTO agent_findings (task_id, agent_id, phase_index, finding_type, "
                "severity, message, data, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(member.task_id, member.id, member.role.phase),
                    *(*step.finding, json.dumps({}), when),
                ),
            )
    if is_terminal(status):
        _archive(stage.workspace / member.task_id, member.id)


def _archive(task: Path, agent_id: str) -> None:
    """Moves the output files of an agent, as the orchestrator does after the agent's end."""
    (task / "archive").mkdir(exist_ok=True)
    for folder, name in OUTPUT.items():
        file = f"{agent_id}_{name}.jsonl"
        with suppress(FileNotFoundError):
            (task / folder / file).rename(task / "archive" / file)
