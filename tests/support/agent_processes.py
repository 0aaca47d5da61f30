"""Agents that run without a tmux session, as an orchestrator starts them: real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.workspaces import Files, Json, entry, stamp

_AGENT = """
import os, signal, subprocess, sys, time
if "ignore" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep) for word in sys.argv if word == "child"]
if "orphan" in sys.argv:
    if os.fork() == 0:
        children = [subprocess.Popen(sleep)]
        print("orphan", children[0].pid, flush=True)
        os._exit(0)
    os.wait()
for child in children:
    print("child", child.pid, flush=True)
print("ready", flush=True)
time.sleep(600)
"""


class Background:
    """Starts processes of agents, and ends them with all their children.

    Attributes:
        directory: The directory of the task.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pids: set[int] = set()
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, agent_id: str, *words: str, logs: bool = True) -> int:
        """Starts the process of an agent, which writes the agent's log; returns its pid.

        Args:
            agent_id: The id of the agent.
            words: "child" for a child, "orphan" for a child that init adopts, "ignore" to ignore
                SIGTERM. Further words are only part of the command line.
            logs: Whether the process writes the agent's log; otherwise another file.
        """
        folder = self.directory / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{agent_id}_stream.jsonl" if logs else "other.txt"
        log = folder / name
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", _AGENT, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._started.append(process)
        self._pids.add(process.pid)
        while "ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
        self._pids |= set(self.children(log))
        return process.pid

    def children(self, log: Path) -> list[int]:
        """Returns the pids of the children that a process has started."""
        lines = log.read_text().split("\n")
        return [int(line.split()[1]) for line in lines if line.startswith(("child", "orphan"))]

    def log(self, agent_id: str) -> Path:
        """Returns the path of an agent's log."""
        return self.directory / "logs" / f"{agent_id}_stream.jsonl"

    def adopt(self, pid: int) -> int:
        """Ends a process with the others, although something else started it; returns its pid."""
        self._pids.add(pid)
        return pid

    def running(self) -> set[int]:
        """Returns the pids of the processes that have not ended."""
        return {pid for pid in self._pids if _runs(pid)}

    def end(self, pid: int) -> None:
        """Ends one process, and reaps it."""
        os.kill(pid, signal.SIGKILL)
        for process in self._started:
            if process.pid == pid:
                process.wait()

    def close(self) -> None:
        """Ends all processes."""
        for pid in self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait()


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def background(directory: Path) -> Iterator[Background]:
    """Starts processes of agents in a task's directory; ends them afterwards."""
    processes = Background(directory)
    try:
        yield processes
    finally:
        processes.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Background]:
    """Starts processes of agents of TASK-1 in the workspace of a project."""
    with background(tmp_path / "project" / ".agent-workspace" / "TASK-1") as started:
        yield started


def write_agents(project: Path, dialect: str, **pids: int | dict[str, Any]) -> Path:
    """Writes a workspace with one task, TASK-1, of which each agent has a pid and no session.

    Args:
        project: The directory of the workspace.
        dialect: "json" or "sqlite".
        pids: Maps the id of each agent to its pid, or to its fields.

    Returns:
        The path of the workspace.
    """
    entries: list[Json] = []
    for agent_id, pid in pids.items():
        fields = {"cursor_pid": pid} if isinstance(pid, int) else pid
        entries.append(entry(agent_id, **{"tmux_session": None, "started_at": stamp(0), **fields}))
    if dialect == "json":
        workspace = Files(project, {})
        workspace.write_task("TASK-1", *entries)
        workspace.write_global({"TASK-1": entries})
        return workspace.path
    database = Database(project / ".agent-workspace")
    database.task()
    for each in entries:
        each.pop("type")
        database.agent(each.pop("id"), **each)
    return database.workspace
