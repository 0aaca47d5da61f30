"""Tests of the commands that change live agents, as a user runs them."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import decoded, muster
from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.terminal import MUSTER
from tests.support.waiting import until
from tests.support.workspaces import Files, entry


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A workspace with a live agent, two agents with similar ids, a zombie, and a leaked agent."""
    return Files(
        tmp_path,
        {
            "TASK-1": [entry("x-1"), entry("x-10"), entry("x-1b"), entry("old", "completed")],
            "TASK-2": [entry("dead")],
        },
    )


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    for name in ("x-1", "x-10", "x-1b", "old"):
        server.start(f"agent_{name}")
    return server


ALL = {"agent_x-1", "agent_x-10", "agent_x-1b", "agent_old"}


def test_the_roll_is_of_the_nearest_workspace_and_the_named_socket(
    files: Files, crew: RealTmux
) -> None:
    below = files.path.parent / "deep" / "down"
    below.mkdir(parents=True)
    roll = decoded(muster(files, "list", "--json", "-S", crew.socket, cwd=below))
    assert roll["tmux"]["state"] == "answered"
    assert roll["tmux"]["socket"] == str(crew.socket)
    assert [each["path"] for each in roll["workspaces"]] == [str(files.path.resolve())]
    assert roll["counts"] == {
        "live": 3, "stalled": 0, "zombie": 1, "leaked": 1,
        "finished": 0, "unknown": 0, "orphan": 0, "failed": 0, "blocked": 0,
    }  # fmt: skip


def test_a_socket_is_chosen_by_its_name_as_tmux_does(
    files: Files, nobody_elses_tmux: Path
) -> None:
    own = ["tmux", "-f", "/dev/null", "-L", "work"]
    subprocess.run([*own, "new-session", "-d", "-s", "agent_x-1", SLEEP], check=True, timeout=20)
    try:
        roll = decoded(muster(files, "-L", "work", "list", "--json"))
        assert roll["counts"]["live"] == 1
        assert Path(roll["tmux"]["socket"]).is_relative_to(nobody_elses_tmux)
    finally:
        subprocess.run([*own, "kill-server"], check=True, timeout=20)


def test_a_kill_ends_exactly_the_named_agent_and_records_it(files: Files, crew: RealTmux) -> None:
    done = muster(files, "kill", "x-1", "-S", crew.socket, "--yes", "--reason", "it sang")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("done: x-1 (ended its session and 1 process;")
    assert crew.names() == ALL - {"agent_x-1"}
    assert files.agent("x-1")["termination_reason"] == "it sang"
    assert files.listed("x-1")["status"] == "terminated"
    files.assert_counters_match()


def test_a_kill_as_json_says_what_was_done(files: Files, crew: RealTmux) -> None:
    done = muster(files, "kill", "x-1", "old", "dead", "-S", crew.socket, "--yes", "--json")
    outcome = decoded(done)
    assert outcome["complete"] is True
    assert [(each["agent"], each["result"]) for each in outcome["agents"]] == [
        ("x-1", "done"),
        ("old", "done"),
        ("dead", "done"),
    ]
    assert len(outcome["written"]) == 3
    assert crew.names() == {"agent_x-10", "agent_x-1b"}


@pytest.mark.parametrize("command", [["kill", "x-1"], ["complete", "x-1"]])
def test_a_dry_run_shows_the_plan_and_changes_nothing(
    files: Files, crew: RealTmux, command: list[str]
) -> None:
    before = files.bytes()
    done = muster(files, *command, "-S", crew.socket, "--dry-run")
    assert done.returncode == 0
    assert "x-1" in done.stdout and "AGENT_REGISTRY.json" in done.stdout
    plan = decoded(muster(files, *command, "-S", crew.socket, "--dry-run", "--json"))
    assert [each["agent"] for each in plan["steps"]] == ["x-1"]
    assert crew.names() == ALL
    assert files.bytes() == before


def test_without_a_terminal_and_without_yes_nothing_happens(files: Files, crew: RealTmux) -> None:
    before = files.bytes()
    done = muster(files, "kill", "x-1", "-S", crew.socket)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert crew.names() == ALL
    assert files.bytes() == before


def test_whom_it_may_not_touch_it_leaves_and_says_so(files: Files, crew: RealTmux) -> None:
    crew.kill(crew.run("display-message", "-p", "-t", "=agent_old:", "#{session_id}"))
    done = muster(files, "kill", "old", "x-10", "-S", crew.socket, "--yes")
    assert done.returncode == 1
    assert crew.names() == {"agent_x-1", "agent_x-1b"}
    refused = muster(files, "kill", "old", "-S", crew.socket, "--yes")
    assert refused.returncode == 1
    assert "old: is finished" in refused.stdout


def test_whom_it_did_not_touch_is_said_without_a_question_too(
    files: Files, crew: RealTmux
) -> None:
    words = ["kill", "x-10", "old-1", "--yes", "-S", crew.socket]
    files.write_task("TASK-3", entry("old-1", "completed"))
    done = muster(files, *words)
    assert done.returncode == 1
    assert "Not touched:\n  old-1: is finished" in done.stdout
    again = decoded(muster(files, *words, "--json"), 1)
    assert "old-1" in [each["agent"] for each in again["refused"]]


def test_what_is_on_record_by_no_such_id_is_wrong_usage(files: Files) -> None:
    assert muster(files, "undo", "nosuch").returncode == 2
    assert muster(files, "undo", "").returncode == 2
    assert muster(files, "undo").returncode == 1
    assert muster(files, "list", "-S", "").returncode == 2


@pytest.mark.parametrize("name", ["x-", "x", "agent_x-1", "x-1*", "$1", ""])
def test_what_is_only_like_an_id_kills_nobody(files: Files, crew: RealTmux, name: str) -> None:
    before = files.bytes()
    assert muster(files, "kill", "-S", crew.socket, "--yes", name).returncode == 2
    assert crew.names() == ALL
    assert files.bytes() == before


def test_zombies_become_what_was_asked_for_with_the_reason(files: Files, crew: RealTmux) -> None:
    done = muster(
        files, "complete", "--zombies", "--as", "terminated", "--reason", "lost power",
        "-S", crew.socket, "--yes",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done: dead (running -> terminated)\n")
    assert files.agent("dead", "TASK-2")["termination_reason"] == "lost power"
    assert files.listed("dead")["status"] == "terminated"
    assert files.agent("x-1")["status"] == "running"
    files.assert_counters_match()


@pytest.mark.parametrize(
    "arguments",
    [
        ["complete", "--yes"],
        ["complete", "x-1", "--zombies", "--yes"],
        ["complete", "--zombies", "--as", "lost"],
        ["kill", "--yes"],
        ["list", "-L", "a/b"],
        ["list", "-L", "a", "-S", "b"],
        [],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(files: Files, arguments: list[str]) -> None:
    before = files.bytes()
    done = muster(files, *arguments)
    assert done.returncode == 2
    assert "muster" in done.stderr
    assert files.bytes() == before


def test_muster_does_not_kill_the_session_it_runs_in(files: Files, server: RealTmux) -> None:
    report = files.path.parent / "report"
    words = [*MUSTER, "kill", "x-1", "--yes", "-w", str(files.path)]
    # Inside a session the server is the one that the session is of.
    server.start("agent_x-1", f"{shlex.join(words)} > {report} 2>&1; echo $? >> {report}; {SLEEP}")
    lines = until(lambda: report.exists() and report.read_text().endswith("1\n"), "the report")
    assert lines and "muster itself runs in its session" in report.read_text()
    assert server.names() == {"agent_x-1"}
    assert files.agent("x-1")["status"] == "running"


def test_a_reader_that_goes_away_is_no_crash(files: Files, tmp_path: Path) -> None:
    files.write_task("TASK-3", *(entry(f"agent-{n}", "completed") for n in range(3000)))
    command = f"{shlex.join([*MUSTER, 'list'])} -S {tmp_path / 'nobody'} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        cwd=files.path.parent,
        timeout=60,
        check=False,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_an_id_that_begins_with_a_dash_is_named_behind_two(files: Files) -> None:
    done = muster(files, "kill", "--dry-run", "--", "-t")
    assert done.returncode == 2
    assert "no agent '-t' in the registries" in done.stderr
