"""A workspace with tasks in a database and in JSON files, in a real terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.databases import Database, agent_row
from tests.support.real_tmux import RealTmux, runs
from tests.support.terminal import terminal, until
from tests.support.workspaces import Files, entry, stamp

TREE = "setsid sleep 1000 & echo $! > {pid}; exec sleep 1000"
"""A session with a process that leaves the session."""


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and bool(path.read_text().strip()), "the process that left")
    return int(path.read_text())


def mixed_workspace(tmp_path: Path, server: RealTmux) -> tuple[Database, Files]:
    """A workspace with a live agent, a reviewer and a zombie in a database, and two in JSON."""
    for name in ("critic", "old", "stranger"):
        server.start(f"agent_{name}")
    server.start("agent_worker", TREE.format(pid=tmp_path / "pid"))
    files = Files(
        tmp_path / "project", {"TASK-0": [entry("lost"), entry("old", started_at=stamp(0))]}
    )
    database = Database(files.path)
    database.task(current_phase_index=1)
    for number, name in enumerate(("plan", "build", "ship")):
        status = ("APPROVED", "ACTIVE", "PENDING")[number]
        database.row("phases", task_id="TASK-1", phase_index=number, name=name, status=status)
    database.agent("worker", phase_index=1)
    database.agent("critic", status="reviewing", phase_index=-1)
    database.agent("gone", started_at=stamp(3600), last_update=stamp(1800), progress=30)
    database.agent("ended", status="completed", started_at=stamp(3600), completed_at=stamp(1800))
    return database, files


def agents_in(files: Files) -> Mapping[str, Any]:
    registry = json.loads(files.registry("TASK-0").read_text())
    return {agent["id"]: agent for agent in registry["agents"]}


def test_tasks_of_both_formats_are_judged_killed_completed_and_undone(
    tmp_path: Path, server: RealTmux
) -> None:
    database, files = mixed_workspace(tmp_path, server)
    gone, lost = agent_row(database, "agents", "gone"), agents_in(files)["lost"]
    escaped = pid_in(tmp_path / "pid")
    arguments = ["-S", str(server.socket), str(files.path)]
    with terminal(tmp_path, arguments, 160, 50, MUSTER_ORPHAN_GRACE="3") as screen:
        screen.shows("JSON and SQLite", "phase 2 of 3", "[reviewer]", "q Quit")
        screen.shows("3 live", "2 zombie", "1 orphan", "1 finished", "agent_stranger")

        screen.press("/")
        screen.shows("filter: words")
        screen.type("worker")
        screen.press("Enter")
        screen.shows("filter worker", "q Quit")
        screen.press("+")
        screen.shows("1 marked")
        screen.press("x")
        screen.shows("Kill 1 agent?", "Go ahead")
        screen.type("stuck")
        screen.confirm()
        screen.shows("1 done")
        until(lambda: not runs(escaped), "the end of the process that left its session")
        assert server.names() == {"agent_critic", "agent_old", "agent_stranger"}
        worker = agent_row(database, "agents", "worker")
        assert worker["status"] == "terminated"
        assert agent_row(database, "agent_progress_latest", "worker")["message"] == "stuck"
        screen.press("Escape")
        screen.hides("1 done")
        # Only with its own keys below has the roll the keys again.
        screen.shows("Escape clears", "q Quit")
        screen.press("Escape")
        screen.hides("Escape clears")
        screen.shows("2 live", "2 zombie", "1 orphan", "2 finished")

        screen.press("z")
        screen.shows("2 marked")
        screen.press("c")
        screen.shows("Mark 2 agents as completed?", "Go ahead")
        screen.confirm()
        screen.shows("2 done")
        assert agent_row(database, "agents", "gone")["status"] == "completed"
        assert agents_in(files)["lost"]["status"] == "completed"
        screen.press("Escape")
        screen.hides("2 done")
        screen.shows("0 zombie", "1 orphan", "4 finished")

        screen.press("U")
        screen.shows("Go ahead")
        screen.confirm()
        screen.shows("Undo: 2 done", "2 zombie", "2 finished")
        assert agent_row(database, "agents", "gone") == gone
        assert agents_in(files)["lost"] == lost
        screen.press("Escape")
        screen.hides("Undo: 2 done")
        screen.press("q")
        assert screen.exit_code() == 0
