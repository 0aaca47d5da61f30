"""Tests of `muster register` and `muster report`, as scripts and hooks run them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registry import (
    AgentNotFoundError,
    InaccessibleRegistryError,
    LockTimeoutError,
    RegistryNotFoundError,
)
from tests.support.commands import Done, decoded, muster
from tests.support.dialects import DatabaseFiles
from tests.support.registries import assert_counters_match, entry_of, load
from tests.support.terminal import MUSTER
from tests.support.workspaces import Files, entry
from tui.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(
        tmp_path,
        {"TASK-1": [entry("lead"), entry("old", "completed")], "TASK-2": [entry("other")]},
    )


def refusal(done: Done, code: int = 2) -> str:
    assert done.returncode == code, done.stdout
    assert not done.stdout
    return done.stderr


def registries(files: Files, task: str = "TASK-1") -> tuple[dict[str, Any], dict[str, Any]]:
    return load(files.registry(task)), load(files.global_registry)


def test_an_agent_is_registered_and_its_id_printed(files: Files) -> None:
    done = muster(
        files, "register", "fixer", "--task", "TASK-1", "--parent", "lead", "--prompt", "Mend it"
    )
    agent_id = done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, "")
    assert agent_id.startswith("fixer-")
    task, global_ = registries(files)
    written = entry_of(task, agent_id)
    assert (written["parent"], written["depth"]) == ("lead", 2)
    assert (written["tmux_session"], written["prompt"]) == (f"agent_{agent_id}", "Mend it")
    assert task["agent_hierarchy"]["lead"] == [agent_id]
    assert entry_of(global_, agent_id)["task_id"] == "TASK-1"
    assert_counters_match(task)
    assert_counters_match(global_)


def test_with_json_it_says_what_a_script_needs_to_go_on(files: Files) -> None:
    one = decoded(muster(files, "register", "fixer", "--task", "TASK-1", "--json"))
    assert one == {
        "agent_id": one["agent_id"],
        "tmux_session": f"agent_{one['agent_id']}",
        "parent": "orchestrator",
        "depth": 1,
        "existing": False,
        "problems": [],
        "status": "running",
    }
    again = decoded(muster(files, "register", "fixer", "--task", "TASK-1", "--reuse", "--json"))
    assert again == {**one, "existing": True}


def test_where_there_is_no_room_the_limit_is_named_and_the_code_is_1(files: Files) -> None:
    registry = load(files.registry("TASK-1"))
    files.registry("TASK-1").write_text(json.dumps(registry | {"max_concurrent": 1}))
    before = registries(files)
    said = refusal(muster(files, "register", "fixer", "--task", "TASK-1"), 1)
    assert "max_concurrent is 1: 1 agents are already active; nothing was changed" in said
    assert registries(files) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("register", "fixer"), "several tasks; choose one with --task: TASK-1, TASK-2"),
        (("register", "fixer", "--task", "TASK-9"), "there is no task 'TASK-9'"),
        (("register", "a/b", "--task", "TASK-1"), "field 'type' is 'a/b'"),
        (("register", "a", "--task", "TASK-1", "--parent", "who"), "agent 'who' not found"),
        (("register", "a", "--task", "TASK-1", "--id", "old"), "agent 'old' already exists"),
        (("report", "nobody"), "no agent 'nobody' in"),
        (("report", "lead", "--progress", "101"), "must be a number from 0 to 100, not '101'"),
        (("report", "lead", "--progress", "nan"), "must be a number from 0 to 100, not 'nan'"),
        (("report", "lead", "--status", "done"), "invalid choice: 'done'"),
        (("report", "lead", "--task", "TASK-2"), "agent 'lead' not found"),
        (("report", "../lead", "--task", "TASK-1"), "cannot be part of a file's name"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_why(
    files: Files, arguments: tuple[str, ...], says: str
) -> None:
    before = registries(files), registries(files, "TASK-2")
    assert says in refusal(muster(files, *arguments))
    assert (registries(files), registries(files, "TASK-2")) == before


def test_a_report_is_written_everywhere(files: Files) -> None:
    done = muster(
        files, "report", "lead", "--progress", "40%", "--status", "blocked", "half", "way"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    task, global_ = registries(files)
    assert entry_of(task, "lead")["status"] == entry_of(global_, "lead")["status"] == "blocked"
    assert entry_of(task, "lead")["progress"] == 40
    lines = (files.registry("TASK-1").parent / "progress/lead_progress.jsonl").read_text()
    (line,) = map(json.loads, lines.splitlines())
    assert (line["message"], line["progress"], line["status"]) == ("half way", 40, "blocked")


def test_a_terminal_status_ends_the_agent_and_its_count(files: Files) -> None:
    one = decoded(muster(files, "report", "lead", "--status", "completed", "--json"))
    assert one == {
        "agent_id": "lead",
        "previous": "running",
        "status": "completed",
        "problems": [],
    }
    task, global_ = registries(files)
    assert entry_of(task, "lead")["completed_at"]
    assert task["active_count"] == 0
    assert_counters_match(task)
    assert_counters_match(global_)


def test_a_word_of_databases_is_reported_only_to_a_database(files: Files, tmp_path: Path) -> None:
    said = refusal(muster(files, "report", "lead", "--status", "reviewing"))
    assert "'reviewing', not one of blocked, completed, error" in said
    database = DatabaseFiles(tmp_path / "database", {"TASK-1": [entry("lead")]})
    assert muster(database, "report", "lead", "--status", "reviewing").returncode == 0
    assert database.agent("lead")["status"] == "reviewing"


def test_an_agent_of_two_tasks_has_to_be_told_apart(files: Files) -> None:
    assert muster(files, "register", "a", "--id", "twin", "--task", "TASK-1").returncode == 0
    files.global_registry.unlink()
    assert muster(files, "register", "a", "--id", "twin", "--task", "TASK-2").returncode == 0
    assert "choose a task with --task: TASK-1, TASK-2" in refusal(muster(files, "report", "twin"))
    assert muster(files, "report", "twin", "--task", "TASK-2", "here").returncode == 0


def test_one_that_may_be_in_a_registry_that_cannot_be_read_is_said_so(files: Files) -> None:
    files.registry("TASK-2").write_text("{")
    said = refusal(muster(files, "report", "other"))
    assert (
        f"the agent may be listed in files that cannot be read: {files.registry('TASK-2')}" in said
    )


def test_a_report_waits_for_a_peer_that_holds_the_lock_and_has_just_written(files: Files) -> None:
    path = files.registry("TASK-1")
    with path.open("r+") as peer:
        fcntl.flock(peer, fcntl.LOCK_EX)
        os.utime(path)
        command = [*MUSTER, "report", "lead", "--progress", "70"]
        reporting = subprocess.Popen(command, cwd=files.path.parent, stderr=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            reporting.wait(1.5)
        os.utime(path)
    _, said = reporting.communicate(timeout=30)
    assert (reporting.returncode, said) == (0, b"")
    assert entry_of(load(path), "lead")["progress"] == 70


def test_try_again_has_another_exit_code_than_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = InaccessibleRegistryError(Path("/a"), OSError(errno.ENOSPC, "full"), "write")

    def failing(error: Exception) -> int:
        def fail(_: object) -> int:
            raise error

        monkeypatch.setattr("tui.cli.commands.metrics.run", fail)
        return main.main(["metrics"])

    assert failing(full) == failing(LockTimeoutError(Path("/a"), 1)) == 1
    assert failing(RegistryNotFoundError(Path("/a"))) == failing(AgentNotFoundError("a")) == 2
    assert "free space" in capsys.readouterr().err


def test_an_agent_whose_id_nobody_hears_is_not_registered(files: Files) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*MUSTER, "register", "fixer", "--task", "TASK-1"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=files.path.parent,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    registry = load(files.registry("TASK-1"))
    assert [each["id"] for each in registry["agents"]] == ["lead", "old"]
    assert_counters_match(registry)
