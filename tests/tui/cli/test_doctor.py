"""Tests of `muster doctor` as a user runs it: on valid and broken workspaces, with real tmux."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixture_workspace import SOURCE, ZOMBIE, global_registry, task_registry
from tests.support.fixture_workspace import workspace as workspace
from tests.support.hot_journal import cut_off_update
from tests.support.real_tmux import RealTmux
from tests.support.terminal import MUSTER
from tests.support.workspaces import read, stamp, write

FIXED = "TASK-20251018-213115-d9cfa244"
LISTED = "code_fixer-215911-8c90c7"
UNLISTED = "task_migrator-215916-d0b8c2"

Done = subprocess.CompletedProcess[str]


def doctor(workspace: Path, *arguments: object) -> Done:
    return run("doctor", *arguments, cwd=workspace)


def run(*arguments: object, cwd: Path) -> Done:
    return subprocess.run(
        [*MUSTER, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def at_this_hour(workspace: Path, agent_id: str, task_id: str | None = None) -> None:
    """Moves an agent's times to now, so that a new session may be the agent's."""
    path = task_registry(workspace, task_id) if task_id else task_registry(workspace)
    task = read(path)
    for each in task["agents"]:
        if each["id"] == agent_id:
            ended = {"completed_at": stamp(0)} if "completed_at" in each else {}
            each |= {"started_at": stamp(6), "last_update": stamp(0)} | ended
    write(path, task)


@pytest.fixture
def alive(server: RealTmux, workspace: Path) -> RealTmux:
    """Starts the session of the only active agent of the workspace."""
    server.start(f"agent_{ZOMBIE}")
    at_this_hour(workspace, ZOMBIE)
    return server


def contents(workspace: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in workspace.rglob("*_REGISTRY.json")}


def break_it(workspace: Path) -> None:
    """Adds differences of every kind that can be repaired."""
    task = read(task_registry(workspace, FIXED))
    task.update(active_count=3, completed_count=None)
    del task["total_spawned"]
    for each in task["agents"]:
        if each["id"] == LISTED:
            each["status"] = "failed"
    task["agent_hierarchy"] = {"ghost": [LISTED, "nobody"]}
    write(task_registry(workspace, FIXED), task)
    whole = read(global_registry(workspace))
    whole.update(active_agents=9, total_agents_spawned=0, total_tasks=6, active_tasks=-1)
    del whole["agents"][UNLISTED]
    write(global_registry(workspace), whole)


def found(done: Done, code: int) -> list[Any]:
    assert done.returncode == code, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["schema"] == 1
    assert said["healthy"] is (code == 0)
    findings: list[Any] = said["findings"]
    return findings


def test_the_real_workspace_with_its_agent_at_work_is_healthy(
    workspace: Path, alive: RealTmux
) -> None:
    before = contents(workspace)
    assert found(doctor(workspace, "-S", alive.socket, "--json"), 0) == []
    said = doctor(workspace, "-S", alive.socket)
    assert said.returncode == 0
    assert "healthy" in said.stdout
    for how in ([workspace], ["-w", workspace], ["--workspace", workspace]):
        assert doctor(Path("/"), "-S", alive.socket, *how).returncode == 0
    assert contents(workspace) == before


def test_an_agent_whose_session_another_one_may_have_is_could_not_tell(
    workspace: Path, server: RealTmux
) -> None:
    server.start(f"agent_{ZOMBIE}")
    said = json.loads(doctor(workspace, "-S", server.socket, "--json").stdout)
    assert said["findings"] == []
    (why,) = said["could_not_tell"]
    assert why.startswith(
        f"unknown whether {ZOMBIE} lives: another session got the name of this agent's session"
    )
    assert doctor(workspace, "-S", server.socket, "--fix", "--yes").returncode == 2


def test_a_zombie_is_found_terminated_and_brought_back_by_undo(
    workspace: Path, tmp_path: Path
) -> None:
    before = contents(workspace)
    nobody = tmp_path / "nobody"
    (finding,) = found(doctor(workspace, "-S", nobody, "--json"), 1)
    assert finding["kind"] == "zombie"
    assert finding["file"] == str(task_registry(workspace).resolve())
    assert (finding["agent"], finding["field"]) == (ZOMBIE, "status")
    assert (finding["found"], finding["expected"]) == ("working", "terminated")
    done = doctor(workspace, "-S", nobody, "--fix", "--yes", "--reason", "lost power")
    assert done.returncode == 0, done.stdout + done.stderr
    agents = {each["id"]: each for each in read(task_registry(workspace))["agents"]}
    assert agents[ZOMBIE]["termination_reason"] == "session_not_found"
    assert found(doctor(workspace, "-S", nobody, "--json"), 0) == []
    assert "why: lost power" in run("log", cwd=workspace).stdout
    assert run("undo", "--yes", cwd=workspace).returncode == 0
    assert contents(workspace) == before


def test_every_drift_is_found_set_right_found_no_more_and_brought_back(
    workspace: Path, alive: RealTmux
) -> None:
    healthy = {path: json.loads(text) for path, text in contents(workspace).items()}
    break_it(workspace)
    broken = contents(workspace)
    findings = found(doctor(workspace, "-S", alive.socket, "--json"), 1)
    assert all(each["fixable"] and each["fix"] for each in findings)
    ids = [each["id"] for each in read(task_registry(workspace, FIXED))["agents"]]
    assert {(each["kind"], each["agent"] or each["field"]) for each in findings} == {
        ("hierarchy", agent) for agent in ("nobody", *ids)
    } | {
        ("status", LISTED),
        ("not_in_global", UNLISTED),
    } | {
        ("counter", name)
        for name in (
            "active_count", "completed_count", "total_spawned",
            "active_agents", "total_agents_spawned", "total_tasks", "active_tasks",
        )
    }  # fmt: skip
    assert contents(workspace) == broken
    done = doctor(workspace, "-S", alive.socket, "--fix", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "healthy" in done.stdout
    assert found(doctor(workspace, "-S", alive.socket, "--json"), 0) == []
    said = run("log", cwd=workspace).stdout
    assert f"{UNLISTED}: added to the registry" in said and "active_count 3 → 0" in said
    now = {path: json.loads(text) for path, text in contents(workspace).items()}
    changed = {path for path in now if now[path] != healthy[path]}
    assert changed == {task_registry(workspace, FIXED), global_registry(workspace)}
    assert now[global_registry(workspace)]["agents"][LISTED]["status"] == "failed"
    assert run("undo", "--yes", cwd=workspace).returncode == 0
    assert contents(workspace) == broken


def test_a_dry_run_shows_what_would_be_written_and_writes_nothing(
    workspace: Path, alive: RealTmux
) -> None:
    break_it(workspace)
    before = contents(workspace)
    done = doctor(workspace, "-S", alive.socket, "--fix", "--dry-run")
    assert done.returncode == 1
    assert f"{FIXED}/active_count: write active_count 0" in done.stdout
    assert str(global_registry(workspace).resolve()) in done.stdout
    said = json.loads(doctor(workspace, "-S", alive.socket, "--fix", "--dry-run", "--json").stdout)
    assert said["action"] == "fix"
    assert set(said["files"]) == {
        str(task_registry(workspace, FIXED).resolve()),
        str(global_registry(workspace).resolve()),
    }
    assert contents(workspace) == before


def test_without_a_terminal_and_without_yes_nothing_is_set_right(
    workspace: Path, alive: RealTmux
) -> None:
    break_it(workspace)
    before = contents(workspace)
    done = doctor(workspace, "-S", alive.socket, "--fix")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert contents(workspace) == before


@pytest.mark.parametrize("flag", ["--dry-run", "--yes", "--reason=x"])
def test_what_goes_with_fix_alone_is_refused_without(workspace: Path, flag: str) -> None:
    done = doctor(workspace, flag)
    assert done.returncode == 2
    assert "--fix" in done.stderr


def test_when_tmux_cannot_be_asked_nobody_is_dead_and_counters_are_set_right(
    workspace: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    break_it(workspace)
    findings = found(doctor(workspace, "-S", tmp_path / "file", "--json"), 2)
    assert "zombie" not in {each["kind"] for each in findings}
    done = doctor(workspace, "-S", tmp_path / "file", "--fix", "--yes")
    assert done.returncode == 2
    assert "unknown whether 1 active agent lives" in done.stdout
    assert found(doctor(workspace, "-S", tmp_path / "file", "--json"), 2) == []
    agents = {each["id"]: each for each in read(task_registry(workspace))["agents"]}
    assert agents[ZOMBIE]["status"] == "working"


def test_a_file_that_cannot_be_read_is_could_not_tell_and_stays_as_it_is(
    workspace: Path, alive: RealTmux
) -> None:
    task_registry(workspace, FIXED).write_text("{")
    (finding,) = found(doctor(workspace, "-S", alive.socket, "--json"), 2)
    assert (finding["kind"], finding["fixable"]) == ("unreadable", False)
    assert finding["file"] == str(task_registry(workspace, FIXED).resolve())
    before = contents(workspace)
    done = doctor(workspace, "-S", alive.socket, "--fix", "--yes")
    assert done.returncode == 2
    assert "Nothing that --fix can repair" in done.stdout
    assert contents(workspace) == before


def test_a_commit_that_was_cut_off_is_finished_by_fix(workspace: Path, alive: RealTmux) -> None:
    cut_off_update(task_registry(workspace), ZOMBIE)
    kinds = {each["kind"] for each in found(doctor(workspace, "-S", alive.socket, "--json"), 2)}
    assert kinds == {"hot_journal", "unreadable"}
    done = doctor(workspace, "-S", alive.socket, "--fix", "--yes")
    # Whoever was cut off had not come to the global registry.
    assert done.returncode == 1
    assert f"{ZOMBIE}, status" in done.stdout
    assert doctor(workspace, "-S", alive.socket, "--fix", "--yes").returncode == 0


def test_leaked_sessions_are_nobodys_to_end_here(workspace: Path, alive: RealTmux) -> None:
    alive.start(f"agent_{LISTED}")
    at_this_hour(workspace, LISTED, FIXED)
    (finding,) = found(doctor(workspace, "-S", alive.socket, "--json"), 1)
    assert (finding["kind"], finding["agent"]) == ("leaked", LISTED)
    assert finding["advice"] == f"end its session: muster kill {LISTED} -S {alive.socket}"
    assert doctor(workspace, "-S", alive.socket, "--fix", "--yes").returncode == 1
    assert alive.names() == {f"agent_{ZOMBIE}", f"agent_{LISTED}"}


def test_the_fixture_is_never_touched() -> None:
    assert not (SOURCE / "registry" / "muster_audit.jsonl").exists()
