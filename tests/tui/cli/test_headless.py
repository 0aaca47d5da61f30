"""Tests of `list`, `show`, `tail` and `watch`, as a user runs them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registry import atomic_add_agent, atomic_update_agent_status, report_progress
from registry.agent_output.files import LONGEST_LINE
from tests.support.commands import decoded, lines_until, muster, running
from tests.support.harm import harmful
from tests.support.real_tmux import RealTmux
from tests.support.terminal import MUSTER
from tests.support.workspaces import Files, entry


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(
        tmp_path,
        {
            "TASK-1": [
                entry("top", type="planner", prompt="Plan it\nwell"),
                entry("sub", "blocked", parent="top", progress=10),
                entry("old", "completed", parent="top"),
            ],
            "TASK-2": [entry("dead", progress=70)],
        },
    )


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    for name in ("top", "sub"):
        server.start(f"agent_{name}")
    return server


def append(files: Files, folder: str, agent: str, suffix: str, *lines: Any) -> Path:
    path = files.path / "TASK-1" / folder / f"{agent}_{suffix}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.writelines(
            f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines
        )
    return path


# list


def ids(roll: Any) -> list[str]:
    return [a["id"] for w in roll["workspaces"] for t in w["tasks"] for a in t["agents"]]


def test_a_list_can_be_filtered_and_says_so(files: Files, crew: RealTmux) -> None:
    roll = decoded(
        muster(files, "list", "--json", "-S", crew.socket, "--where", "-verdict:finished",
               "--where", "task:task-1")
    )  # fmt: skip
    assert ids(roll) == ["top", "sub"]
    assert roll["filter"] == {
        "where": ["-verdict:finished", "task:task-1"],
        "hide_finished": False,
    }
    assert roll["counts"]["zombie"] == 1 and roll["schema"] == 2
    text = muster(files, "list", "-S", crew.socket, "--where", "zombie").stdout
    assert "shown: 1 agent; zombie" in text
    assert "dead" in text and "agent_top" not in text


def test_without_a_filter_nothing_is_left_out(files: Files, crew: RealTmux) -> None:
    roll = decoded(muster(files, "list", "--json", "-S", crew.socket, "--all"))
    assert ids(roll) == ["top", "sub", "old", "dead"] and roll["filter"] is None


def test_a_list_can_be_sorted_and_finished_ones_hidden(files: Files, crew: RealTmux) -> None:
    done = muster(
        files, "list", "--json", "--sort", "urgency", "--hide-finished", "-S", crew.socket
    )
    assert ids(decoded(done)) == ["dead", "sub", "top"]
    done = muster(files, "list", "--json", "--sort", "progress", "-S", crew.socket)
    assert ids(decoded(done)) == ["sub", "top", "old", "dead"]


@pytest.mark.parametrize(
    ("command", "where", "said"),
    [
        ("list", "state:x", "did you mean status:?"),
        ("list", "status:", "'status:': the value is missing"),
        ("watch", "-", "'-': the value is missing"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    files: Files, command: str, where: str, said: str
) -> None:
    done = muster(files, command, "--where", where)
    assert done.returncode == 2 and said in done.stderr


def test_a_command_that_there_is_not_is_guessed(files: Files) -> None:
    done = muster(files, "lst")
    assert (done.returncode, done.stderr) == (
        2, "muster: there is no command 'lst'; did you mean list?\n",
    )  # fmt: skip
    (files.path.parent / "lst").mkdir()
    assert "no command" not in muster(files, "lst").stderr


# show


def test_everything_about_an_agent_is_shown(files: Files, crew: RealTmux) -> None:
    append(files, "progress", "top", "progress", {"status": "working", "message": "half way"})
    append(files, "findings", "top", "findings", {"severity": "high", "message": "a hole"})
    muster(files, "complete", "top", "--yes", "--reason", "trial", "-S", crew.socket)
    done = muster(files, "show", "top", "-S", crew.socket)
    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "leaked: the agent has a terminal status", "completed", "planner", "TASK-1",
        "sub (blocked, blocked)", "old (finished, completed)", "agent_top",
        ", <1m ago",
        "Plan it\n  well", "half way", "high: a hole", "why: trial", "processes",
        "TASK-1/AGENT_REGISTRY.json", str(files.path),
    ):  # fmt: skip
        assert text in done.stdout, text


def test_everything_about_an_agent_is_there_as_json(files: Files, crew: RealTmux) -> None:
    append(files, "progress", "sub", "progress", {"status": "blocked", "message": "waiting"})
    about = decoded(muster(files, "show", "sub", "--json", "-S", crew.socket))
    assert about["entry"] == files.agent("sub")
    assert about["listed"] == files.listed("sub")
    assert (about["verdict"], about["schema"], about["problems"]) == ("blocked", 2, [])
    assert about["parent"] == {"id": "top", "verdict": "live", "status": "running"}
    assert about["session"]["pids"] and about["session"]["panes"]
    assert about["processes"]["count"] >= 1 and about["processes"]["memory"] > 0
    assert [each["message"] for each in about["progress"]] == ["waiting"]
    assert {each["name"]: bool(each["size"]) for each in about["files"]} == {
        "progress": True, "findings": False, "log": False,
    }  # fmt: skip
    assert about["audit"] == []


def test_of_one_id_in_two_tasks_the_task_must_be_named(files: Files, tmp_path: Path) -> None:
    files.write_task("TASK-3", entry("dead", "failed"))
    done = muster(files, "show", "dead", "-S", tmp_path / "nobody")
    assert done.returncode == 2 and "more than one task" in done.stderr
    about = decoded(
        muster(files, "show", "dead", "--task", "TASK-3", "--json", "-S", tmp_path / "nobody")
    )
    assert about["entry"]["status"] == "failed"


def test_an_agent_that_there_is_not_is_guessed(files: Files, tmp_path: Path) -> None:
    done = muster(files, "show", "deed", "-S", tmp_path / "nobody")
    assert done.returncode == 2 and "did you mean dead?" in done.stderr


def test_a_hostile_agent_is_shown_harmlessly(files: Files, tmp_path: Path) -> None:
    evil = "\x1b]52;c;QQ==\x07\u202e"
    files.write_task("TASK-4", entry("../x", **{evil: evil, "prompt": evil, "type": evil}))
    shown = muster(files, "show", "../x", "-S", tmp_path / "nobody")
    assert shown.returncode == 0
    assert not harmful(shown.stdout.replace("\n", ""))
    assert "cannot be part of a file's name" in shown.stdout
    assert json.loads(muster(files, "show", "../x", "--json", "-S", tmp_path / "nobody").stdout)


# tail


WHEN = "2025-10-18T21:59:2"


def test_what_an_agent_wrote_is_merged_by_time(files: Files) -> None:
    one = {"timestamp": WHEN + "1", "status": "working", "message": "one", "progress": 5}
    two = {"timestamp": WHEN + "2", "type": "assistant", "message": {"content": "two"}}
    three = {"timestamp": WHEN + "3", "severity": "low", "message": "three"}
    four = {"timestamp": WHEN + "4", "status": "working", "message": "four"}
    append(files, "progress", "top", "progress", one, four)
    append(files, "findings", "top", "findings", three)
    append(files, "logs", "top", "stream", "not json \x1b[2J", two)
    done = muster(files, "tail", "top")
    assert done.returncode == 0
    found = [line.split("  ", 1)[1].strip() for line in done.stdout.splitlines()]
    assert found == [
        "▸ working 5 %: one", "not json \\e[2J", "two", "! low: three", "▸ working: four",
    ]  # fmt: skip
    assert done.stderr == "muster: log: 1 line printed unchanged: not JSON\n"
    last = muster(files, "tail", "top", "-n", "1", "--only", "progress", "--json")
    assert json.loads(last.stdout)["message"] == "four"


def test_a_log_line_that_is_too_long_is_said_to_be_left_out(files: Files) -> None:
    append(files, "logs", "top", "stream", "x" * (LONGEST_LINE + 1))
    done = muster(files, "tail", "top", "--only", "log")
    assert (done.stdout, done.stderr) == ("", "muster: log: 1 line left out: too long\n")
    append(files, "logs", "top", "stream", "short")
    done = muster(files, "tail", "top", "--only", "log")
    assert done.stdout.strip().endswith("short")
    assert "log: 1 line printed unchanged: not JSON\n" in done.stderr
    assert "log: 1 line left out: too long\n" in done.stderr


def test_a_last_line_that_has_no_end_is_said(files: Files) -> None:
    path = append(files, "progress", "top", "progress", {"message": "whole"})
    with path.open("a") as file:
        file.write('{"message": "hal')
    done = muster(files, "tail", "top")
    assert "whole" in done.stdout and "hal" not in done.stdout.replace("whole", "")
    assert done.stderr == "muster: progress: the last line is incomplete and was left out\n"


def test_an_agent_that_wrote_nothing_and_one_that_there_is_not(files: Files) -> None:
    done = muster(files, "tail", "top")
    assert (done.returncode, done.stdout) == (0, "")
    assert "has written nothing" in done.stderr
    assert muster(files, "tail", "nobody").returncode == 2


def test_an_id_that_is_no_name_is_refused(files: Files) -> None:
    files.write_task("TASK-4", entry("../x"))
    done = muster(files, "tail", "../x")
    assert done.returncode == 2 and "cannot be part of a file's name" in done.stderr


def test_one_file_that_cannot_be_read_hides_no_other(files: Files) -> None:
    append(files, "progress", "top", "progress", {"message": "here"})
    (files.path / "TASK-1" / "findings").mkdir()
    os.mkfifo(files.path / "TASK-1" / "findings" / "top_findings.jsonl")
    done = muster(files, "tail", "top")
    assert done.returncode == 1
    assert "here" in done.stdout and "top_findings.jsonl" in done.stderr


def test_followed_it_goes_on_with_files_that_come_later(files: Files) -> None:
    path = append(files, "progress", "top", "progress", {"message": "first"})
    with running(files, "tail", "-f", "--json", "top") as tail:
        lines_until(tail, "first")
        report_progress(files.registry(), files.global_registry, "top", message="second")
        lines_until(tail, "second")
        append(files, "logs", "top", "stream", {"type": "result", "result": "third"})
        assert json.loads(lines_until(tail, "third")[-1])["source"] == "log"
        with path.open("a") as file:
            file.write('{"message": "fou')
            file.flush()
            append(files, "logs", "top", "stream", {"type": "result", "result": "between"})
            assert len(lines_until(tail, "between")) == 1
            file.write('rth"}\n')
        lines_until(tail, "fourth")
        path.rename(path.with_suffix(".old"))
        append(files, "progress", "top", "progress", {"message": "fifth"})
        lines_until(tail, "fifth")
        tail.send_signal(signal.SIGINT)
        assert tail.wait(30) == -signal.SIGINT
        assert tail.stderr is not None and "was replaced or truncated" in tail.stderr.read()


@pytest.mark.parametrize("command", ["tail -f top", "watch", "watch --json"])
def test_it_ends_with_its_reader(files: Files, tmp_path: Path, command: str) -> None:
    append(files, "progress", "top", "progress", {"message": "first"})
    words = f"{shlex.join(MUSTER)} {command} -S {tmp_path / 'nobody'}"
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=files.path.parent,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


# watch


def events(lines: list[str]) -> list[Any]:
    return [json.loads(line) for line in lines]


def test_every_change_is_a_line(files: Files, crew: RealTmux) -> None:
    with running(files, "watch", "--json", "-S", crew.socket) as watch:
        (first,) = events(lines_until(watch, '"event": "roll"'))
        assert ids(first["roll"]) == ["top", "sub", "old", "dead"]
        assert first["roll"]["counts"]["zombie"] == 1
        atomic_update_agent_status(files.registry(), "sub", "working", progress=50)
        (changed,) = events(lines_until(watch, "agent-changed"))
        assert (changed["agent"], changed["task"], changed["verdict"]) == ("sub", "TASK-1", "live")
        assert changed["changed"] == {
            "verdict": ["blocked", "live"],
            "status": ["blocked", "working"],
            "progress": [10.0, 50.0],
        }
        crew.start("agent_new")
        atomic_add_agent(files.registry(), entry("new"), "top")
        came = events(lines_until(watch, "agent-came"))[-1]
        assert (came["agent"], came["status"]) == ("new", "running")
        saved = files.registry("TASK-2").read_text()
        files.registry("TASK-2").write_text("[]")
        unread = events(lines_until(watch, "registry-unreadable"))[-1]
        assert unread["registry"] == str(files.registry("TASK-2").resolve())
        files.registry("TASK-2").write_text(saved)
        lines_until(watch, "registry-readable")
        crew.kill(crew.run("display-message", "-p", "-t", "=agent_sub:", "#{session_id}"))
        while events(lines_until(watch, '"zombie"]'))[-1]["agent"] != "sub":
            pass
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == -signal.SIGINT
        assert watch.stderr is not None and watch.stderr.read() == ""


def test_who_is_not_meant_is_not_told_of(files: Files, crew: RealTmux) -> None:
    with running(files, "watch", "--where", "id:sub", "-S", crew.socket) as watch:
        assert any("shown: 1 agent; id:sub" in line for line in lines_until(watch, "agent_sub"))
        atomic_update_agent_status(files.registry(), "top", "working", progress=99)
        atomic_update_agent_status(files.registry(), "sub", "working", progress=98)
        lines = lines_until(watch, "progress 10 → 98")
        assert not any("99" in line for line in lines)


def test_tmux_that_goes_is_told(files: Files, crew: RealTmux) -> None:
    with running(files, "watch", "--json", "--where", "-id:top", "-S", crew.socket) as watch:
        (first,) = events(lines_until(watch, '"roll"'))
        assert first["roll"]["filter"] == {"where": ["-id:top"], "hide_finished": False}
        assert "top" not in ids(first["roll"])
        crew.kill_server()
        change = events(lines_until(watch, "tmux-changed"))[-1]
        assert (change["before"], change["state"]) == ("answered", "no-server")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_ends_cleanly(files: Files, tmp_path: Path, number: signal.Signals) -> None:
    with running(files, "watch", "-S", tmp_path / "nobody") as watch:
        lines_until(watch, "dead")
        watch.send_signal(number)
        assert watch.wait(30) == -number
        assert watch.stderr is not None and watch.stderr.read() == ""


def test_a_list_skips_a_path_that_is_no_workspace(files: Files) -> None:
    done = muster(files, "list", "--json", files.path, files.path / "typo")
    assert done.returncode == 0
    assert len(decoded(done)["workspaces"]) == 1
    assert "typo: this path is not a workspace" in done.stderr


@pytest.mark.parametrize("command", ["list", "doctor", "metrics", "log"])
def test_a_path_between_workspaces_that_is_no_workspace_is_named(
    files: Files, tmp_path: Path, command: str
) -> None:
    other = Files(tmp_path / "other", {"TASK-2": [entry("z")]})
    socket = () if command == "log" else ("-S", tmp_path / "none")
    done = muster(files, command, files.path, tmp_path / "typo", other.path, *socket)
    assert f"muster: skipped {tmp_path / 'typo'}: this path is not a workspace" in done.stderr
    assert done.returncode in (0, 1) and done.stdout
    if command == "list":
        assert str(files.path) in done.stdout and str(other.path) in done.stdout


def test_a_watch_names_a_path_that_is_no_workspace(files: Files, tmp_path: Path) -> None:
    paths = (files.path, tmp_path / "typo")
    with running(files, "watch", *paths, "-S", tmp_path / "none") as process:
        lines_until(process, "tmux")
        process.kill()
        _, errors = process.communicate()
    assert f"muster: skipped {tmp_path / 'typo'}" in errors


def test_a_change_is_refused_if_a_path_is_no_workspace(files: Files) -> None:
    before = (files.path / "TASK-2" / "AGENT_REGISTRY.json").read_bytes()
    named = ("-w", files.path, "-w", files.path / "typo")
    done = muster(files, "complete", "--zombies", "--yes", *named)
    assert done.returncode == 2
    assert "typo" in done.stderr
    assert (files.path / "TASK-2" / "AGENT_REGISTRY.json").read_bytes() == before
