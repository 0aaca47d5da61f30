"""Tests of the command line without a screen, as a user runs it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from registry import atomic_update_agent_status
from tests.support.commands import run_muster
from tests.support.fixture_workspace import (
    NESTED,
    PARENT_OF_NESTED,
    ZOMBIE,
    global_registry,
    task_registry,
)
from tests.support.fixture_workspace import workspace as workspace
from tests.support.hot_journal import cut_off_update
from tests.support.terminal import MUSTER
from tui.cli.main import main


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """A socket at which no server runs."""
    return tmp_path / "nobody"


def _roll(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _agents(roll: Any) -> dict[str, Any]:
    return {
        agent["id"]: agent
        for workspace in roll["workspaces"]
        for task in workspace["tasks"]
        for agent in task["agents"]
    }


def test_list_shows_all_tasks_and_agents_and_a_zombie_when_no_server_runs(
    workspace: Path, nobody: Path
) -> None:
    roll = _roll(run_muster("list", "--json", "-S", nobody, workspace))
    assert roll["schema"] == 2
    assert roll["tmux"]["state"] == "no-server"
    assert len(roll["workspaces"][0]["tasks"]) == 5
    agents = _agents(roll)
    assert len(agents) == 27
    assert agents[NESTED]["parent"] == PARENT_OF_NESTED
    assert agents[ZOMBIE]["verdict"] == "zombie"
    assert roll["counts"] == {
        "live": 0, "stalled": 0, "zombie": 1, "leaked": 0,
        "finished": 26, "unknown": 0, "orphan": 0, "failed": 0, "blocked": 0,
    }  # fmt: skip


def test_an_agent_is_unknown_and_no_zombie_when_the_socket_cannot_be_read(
    workspace: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    roll = _roll(run_muster("list", "--json", "-S", tmp_path / "file", workspace))
    assert roll["tmux"]["state"] == "unknown"
    assert _agents(roll)[ZOMBIE]["verdict"] == "unknown"


def test_without_tmux_it_says_how_to_get_it_and_shows_the_registries(
    workspace: Path, tmp_path: Path
) -> None:
    done = run_muster("list", workspace, PATH=str(tmp_path))
    assert done.returncode == 0
    assert "apt install tmux" in done.stdout
    assert ZOMBIE in done.stdout
    assert "1 unknown" in done.stdout


def test_complete_zombies_writes_both_registries(workspace: Path, nobody: Path) -> None:
    done = run_muster("complete", "--zombies", "-S", nobody, "-w", workspace, "--yes", "--json")
    assert json.loads(done.stdout)["complete"] is True
    task = json.loads(task_registry(workspace).read_text())
    assert (task["active_count"], task["completed_count"]) == (0, 13)
    assert json.loads(global_registry(workspace).read_text())["active_agents"] == 0
    again = run_muster("complete", "--zombies", "-S", nobody, "-w", workspace, "--yes")
    assert (again.returncode, again.stdout) == (0, "No zombies.\n")


@pytest.mark.parametrize("flag", ["--dry-run", "--json"])
def test_nothing_is_written_on_a_dry_run_or_without_a_terminal_to_ask_on(
    workspace: Path, nobody: Path, flag: str
) -> None:
    before = task_registry(workspace).read_bytes()
    done = run_muster("kill", ZOMBIE, "-S", nobody, "-w", workspace, flag)
    assert done.returncode == (0 if flag == "--dry-run" else 2)
    assert task_registry(workspace).read_bytes() == before


def test_nobody_can_tell_is_no_success(workspace: Path, nobody: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unasked = run_muster(
        "complete", "--zombies", "-S", tmp_path / "file", "-w", workspace, "--yes"
    )
    assert unasked.returncode == 1
    assert "is not a socket" in unasked.stderr
    task_registry(workspace).write_text('{"agents": [')
    unread = run_muster("complete", "--zombies", "-S", nobody, "-w", workspace, "--yes")
    assert unread.returncode == 1
    assert str(task_registry(workspace)) in unread.stderr
    missing = run_muster("kill", ZOMBIE, "-S", nobody, "-w", workspace, "--yes")
    assert missing.returncode == 2
    assert "cannot be read" in missing.stderr


def test_an_unknown_id_is_never_taken_for_another_and_the_nearest_is_named(
    workspace: Path, nobody: Path
) -> None:
    done = run_muster("kill", ZOMBIE[:-1], "-S", nobody, "-w", workspace, "--yes")
    assert done.returncode == 2
    assert ZOMBIE in done.stderr


def test_no_workspace_says_where_it_looked(tmp_path: Path) -> None:
    done = run_muster("list", tmp_path / "nowhere")
    assert done.returncode == 2
    assert str(tmp_path / "nowhere" / ".agent-workspace") in done.stderr


def test_workspaces_come_from_the_environment(workspace: Path, nobody: Path) -> None:
    done = run_muster("list", "--json", "-S", nobody, MUSTER_WORKSPACES=f"{workspace}:{workspace}")
    assert len(_roll(done)["workspaces"]) == 1


def test_escapes_in_a_registry_never_reach_the_output_raw(tmp_path: Path, nobody: Path) -> None:
    registry = tmp_path / ".agent-workspace" / "T" / "AGENT_REGISTRY.json"
    registry.parent.mkdir(parents=True)
    evil = "\x1b]52;c;QQ==\x07\x9b31m\u202e\x7f"
    agent = {"id": evil, "type": evil, "status": evil, "tmux_session": evil, "parent": evil}
    registry.write_text(json.dumps({"task_id": evil, "agents": [agent], evil: [1]}))
    for flags in ((), ("--json",)):
        shown = run_muster("list", *flags, "-S", nobody, tmp_path).stdout
        assert not set("\x1b\x07\x9b\u202e\x7f") & set(shown)


# --- what is on record --------------------------------------------------------


def test_what_was_done_is_on_record_and_is_undone(workspace: Path, nobody: Path) -> None:
    before = (task_registry(workspace).read_bytes(), global_registry(workspace).read_bytes())
    run_muster("complete", ZOMBIE, "-S", nobody, "-w", workspace, "--yes", "--reason", "gone home")
    shown = run_muster("log", workspace)
    assert shown.returncode == 0
    assert ZOMBIE in shown.stdout and "gone home" in shown.stdout
    assert "status working → completed" in shown.stdout
    records = [
        json.loads(line) for line in run_muster("log", "--json", workspace).stdout.splitlines()
    ]
    assert [each["phase"] for each in records] == ["intent", "done"]
    dry = run_muster("undo", "-w", workspace, "--dry-run", "--json")
    assert json.loads(dry.stdout)["undoes"] == records[0]["id"]
    assert run_muster("undo", "-w", workspace).returncode == 2
    undone = run_muster("undo", records[0]["id"], "-w", workspace, "--yes", "--json")
    assert (undone.returncode, json.loads(undone.stdout)["complete"]) == (0, True)
    after = (task_registry(workspace).read_bytes(), global_registry(workspace).read_bytes())
    assert [json.loads(each) for each in after] == [json.loads(each) for each in before]
    assert "done, undone later" in run_muster("log", workspace).stdout
    last = run_muster("log", "--json", "-n", "1", workspace).stdout.splitlines()
    assert len({json.loads(line)["id"] for line in last} - {records[0]["id"]}) == 1
    assert [json.loads(line)["phase"] for line in last] == ["intent", "done"]
    nothing = run_muster("undo", "-w", workspace, "--yes")
    assert nothing.returncode == 1
    assert "the audit log contains no action that can be undone" in nothing.stderr


def test_a_change_since_keeps_an_undo_from_it_and_says_so(workspace: Path, nobody: Path) -> None:
    run_muster("complete", ZOMBIE, "-S", nobody, "-w", workspace, "--yes")
    atomic_update_agent_status(task_registry(workspace), ZOMBIE, "failed")
    before = task_registry(workspace).read_bytes()
    done = run_muster("undo", "-w", workspace, "--yes")
    assert done.returncode == 1
    assert "status was changed again" in done.stderr and "'failed'" in done.stderr
    assert task_registry(workspace).read_bytes() == before


def test_a_task_that_is_named_as_an_agent_is_explained(workspace: Path, nobody: Path) -> None:
    task = task_registry(workspace).parent.name
    done = run_muster("kill", task, "-S", nobody, "-w", workspace, "--yes")
    assert done.returncode == 2
    assert "of a task, use --task" in done.stderr


def test_followed_the_log_goes_on_as_it_grows(workspace: Path, nobody: Path) -> None:
    with subprocess.Popen(
        [*MUSTER, "log", "--follow", str(workspace)], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        run_muster("complete", ZOMBIE, "-S", nobody, "-w", workspace, "--yes", "--reason", "later")
        lines = []
        for line in following.stdout:
            lines.append(line)
            if "later" in line:
                break
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == -signal.SIGINT
    assert any("complete: done" in line for line in lines)


def test_metrics_count_the_locks_of_earlier_processes(workspace: Path, nobody: Path) -> None:
    run_muster("complete", ZOMBIE, "-S", nobody, "-w", workspace, "--yes")
    shown = run_muster("metrics", "-S", nobody, workspace)
    assert shown.returncode == 0
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(shown.stdout)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if str(task_registry(workspace)) in sample.labels.values()
    }
    # One pass that looks what will change, and one that changes it.
    assert found["muster_lock_acquisitions_total"] == 2
    assert found["muster_lock_timeouts_total"] == 0
    assert 0 < found["muster_lock_wait_longest_seconds"] < 10


def test_a_commit_that_was_cut_off_is_reported(workspace: Path, nobody: Path) -> None:
    cut_off_update(task_registry(workspace), ZOMBIE)
    assert "a commit was interrupted" in run_muster("list", "-S", nobody, workspace).stdout


@pytest.mark.parametrize("command", ["list", "log"])
def test_a_closed_standard_output_is_an_error_and_no_crash(
    workspace: Path, nobody: Path, command: str
) -> None:
    words = " ".join(map(shlex.quote, [*MUSTER, "-S", str(nobody), command, str(workspace)]))
    run_muster("complete", ZOMBIE, "-S", nobody, "-w", workspace, "--yes")
    done = subprocess.run(["sh", "-c", f"{words} >&-"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Bad file descriptor" in done.stderr


def test_following_ends_with_its_reader(workspace: Path) -> None:
    words = " ".join(map(shlex.quote, [*MUSTER, "log", "-f", str(workspace)]))
    done = subprocess.run(["sh", "-c", f"{words} | true"], timeout=60)
    assert done.returncode == 0


def test_a_file_that_is_no_json_is_no_registry(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    done = run_muster("list", tmp_path / "notes.txt")
    assert done.returncode == 2 and "notes.txt" in done.stderr


def test_a_command_stops_between_readings() -> None:
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        assert main(["completion", "bash"]) == 0
        assert callable(signal.getsignal(signal.SIGTSTP))
    finally:
        signal.signal(signal.SIGTSTP, before)


@pytest.mark.parametrize("command", ["list", "doctor", "workspaces", "log", "metrics"])
def test_in_a_removed_directory_absolute_paths_work(
    workspace: Path, nobody: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], command: str
) -> None:  # fmt: skip
    removed = tmp_path / "removed"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()
    socket = [] if command == "log" else ["-S", str(nobody)]
    main([command, *socket, str(workspace)])
    printed = capsys.readouterr()
    assert printed.out and "No such file" not in printed.err
    assert "directory was removed" not in printed.err
    for words in ([], ["project"]):
        assert main([command, *socket, *words]) == 2
        assert "the current directory was removed" in (error := capsys.readouterr().err)
        assert "absolute paths" in error
