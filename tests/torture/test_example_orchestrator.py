"""The example orchestrator, killed again and again: its workspace heals by itself."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from registry.storage.hot_journal import is_hot
from tests.support.example_orchestrator import TASK
from tests.support.real_tmux import RealTmux
from tests.support.registries import assert_counters_match, load
from tests.support.terminal import MUSTER

AGENTS = 20
KILLS = 6

pytestmark = pytest.mark.timeout(180)


class Watcher(threading.Thread):
    """Asks muster for the roll all the time, as a monitor would show it."""

    def __init__(self, workspace: Path, socket: Path) -> None:
        super().__init__()
        self.rolls: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.enough = threading.Event()
        self._command = [*MUSTER, "list", "--json", "-S", str(socket), str(workspace)]

    def run(self) -> None:
        while not self.enough.wait(0.2):
            self.look()

    def look(self) -> dict[str, Any]:
        done = subprocess.run(self._command, capture_output=True, text=True, timeout=30)
        if done.returncode:
            self.complaints.append(done.stderr)
            return {}
        roll: dict[str, Any] = json.loads(done.stdout)
        self.rolls.append(roll)
        (workspace,) = roll["workspaces"]
        errors = [workspace["error"], *(task["error"] for task in workspace["tasks"])]
        self.complaints += [each for each in errors if each is not None]
        return roll


def _counters(workspace: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    task = load(workspace / TASK / "AGENT_REGISTRY.json")
    global_ = load(workspace / "registry" / "GLOBAL_REGISTRY.json")
    return task, global_


def test_killed_again_and_again_it_ends_with_all_counts_right(
    server: RealTmux, tmp_path: Path
) -> None:
    workspace = tmp_path / ".agent-workspace"
    command = [sys.executable, "-m", "tests.support.example_orchestrator"]
    command += [str(workspace), str(server.socket), str(AGENTS)]
    dice = random.Random(20251018)

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=Path(__file__).parents[2])

    running = begin()
    watcher = Watcher(workspace, server.socket)
    try:
        while not (workspace / "registry" / "GLOBAL_REGISTRY.json").exists():
            assert running.poll() is None
            time.sleep(0.01)
        watcher.start()
        for _ in range(KILLS):
            # Long enough to start, to deploy, or to clean up, as it may come.
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(dice.uniform(0.2, 1.6))
            running.kill()
            running.wait()
            running = begin()
        assert running.wait(120) == 0
    finally:
        running.kill()
        watcher.enough.set()
        if watcher.is_alive():
            watcher.join(30)
    last = watcher.look()

    task, global_ = _counters(workspace)
    assert_counters_match(task)
    assert_counters_match(global_)
    in_task = {each["id"]: each["status"] for each in task["agents"]}
    in_global = {id_: each["status"] for id_, each in global_["agents"].items()}
    assert in_task == in_global
    statuses = Counter(in_task.values())
    assert statuses["completed"] == AGENTS
    assert set(statuses) <= {"completed", "terminated"}
    children = [each for below in task["agent_hierarchy"].values() for each in below]
    assert sorted(children) == sorted(in_task)
    assert not is_hot(workspace / TASK / "AGENT_REGISTRY.json")
    assert not is_hot(workspace / "registry" / "GLOBAL_REGISTRY.json")

    assert not watcher.complaints
    assert len(watcher.rolls) > 5
    assert last["counts"] == {**dict.fromkeys(last["counts"], 0), "finished": len(in_task)}
    assert any(roll["counts"]["live"] for roll in watcher.rolls)
    assert not any(roll["orphans"] for roll in watcher.rolls)
