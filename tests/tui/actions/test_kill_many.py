"""Trees, tasks, all leaked and all orphans, as a user kills them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import decoded, muster
from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.terminal import terminal
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, read
from tui.cli.main import main


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A family of three generations, one of it through, one leaked; another task."""
    return Files(
        tmp_path,
        {
            "TASK-1": [
                entry("root"),
                entry("left", parent="root"),
                entry("leaf", parent="left"),
                entry("through", "completed", parent="root"),
                entry("leak", "failed", parent="through"),
                entry("other"),
            ],
            "TASK-11": [entry("far")],
        },
    )


ALL = {f"agent_{name}" for name in ("root", "left", "leaf", "leak", "other", "far")}


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    for name in sorted(ALL):
        server.start(name, f"sleep 1000 & {SLEEP}")
    server.start("mine")
    return server


def kill(files: Files, crew: RealTmux, *words: str, code: int = 0) -> Any:
    return decoded(muster(files, "kill", *words, "--json", "-S", crew.socket), code)


def all_there(files: Files, crew: RealTmux) -> None:
    """Waits until the shells of the tree have started what they run."""
    plan = ("--tree", "root", "--dry-run")
    until(lambda: kill(files, crew, *plan)["processes"] == 8, "two processes in each session")


def labels(plan: Any) -> list[str]:
    return [each["agent"] for each in plan["steps"]]


def test_a_tree_is_killed_leaf_first_and_no_other_agent(files: Files, crew: RealTmux) -> None:
    outcome = kill(files, crew, "--tree", "root", "--yes")
    assert outcome["complete"]
    assert [each["agent"] for each in outcome["agents"]] == ["leaf", "leak", "left", "root"]
    assert crew.names() == {"agent_other", "agent_far", "mine"}
    for name in ("root", "left", "leaf"):
        assert files.agent(name)["status"] == files.listed(name)["status"] == "terminated"
    assert files.agent("leak")["status"] == "failed"
    assert files.agent("through")["status"] == "completed"
    files.assert_counters_match()


def test_a_task_is_killed_with_all_that_leaked_in_it(files: Files, crew: RealTmux) -> None:
    assert kill(files, crew, "--task", "TASK-1", "--yes")["complete"]
    assert crew.names() == {"agent_far", "mine"}
    assert read(files.registry())["active_count"] == 0
    assert files.agent("far", "TASK-11")["status"] == "running"
    files.assert_counters_match()
    again = kill(files, crew, "--task", "TASK-1", "--yes", code=1)
    assert again["steps"] == []
    assert {each["reason"] for each in again["refused"]} == {
        "is finished; there is nothing to kill",
        "has failed; there is nothing to kill",
    }


def test_a_plan_says_how_many_processes_and_how_much_memory(files: Files, crew: RealTmux) -> None:
    all_there(files, crew)
    plan = kill(files, crew, "--tree", "left", "--dry-run")
    assert labels(plan) == ["leaf", "left"]
    assert [each["processes"] for each in plan["steps"]] == [2, 2]
    assert (plan["sessions"], plan["processes"]) == (2, 4)
    assert plan["memory"] == sum(each["memory"] for each in plan["steps"]) > 0
    assert len(plan["files"]) == 2
    said = muster(files, "kill", "--tree", "left", "--dry-run", "-S", crew.socket).stdout
    assert "Kill 2 agents:" in said
    assert "leaf (session agent_leaf, 2 processes, " in said
    assert "Ends 2 sessions and 4 processes on " in said and "frees about " in said
    assert crew.names() == {*ALL, "mine"}


def test_the_monitor_weighs_and_kills_a_tree(files: Files, crew: RealTmux, tmp_path: Path) -> None:
    all_there(files, crew)
    with terminal(tmp_path, ["-S", str(crew.socket), str(files.path)], 110, 40) as screen:
        screen.shows("5 live", "1 leaked")
        screen.press("Down", "X")
        screen.shows(
            "Kill 4 agents?",
            "Ends 4 sessions and 8 processes",
            "(session agent_leaf, 2 ",
            "Go ahead",
        )
        screen.confirm()
        screen.shows("Kill: 4 done", "ended its session and 2 processes")
        screen.press("Escape")
        screen.hides("4 done")
        screen.shows("2 live", "0 leaked")
        screen.press("q")
        assert screen.exit_code() == 0
    assert crew.names() == {"agent_other", "agent_far", "mine"}
    assert files.agent("leaf")["status"] == "terminated"
    files.assert_counters_match()


def test_all_leaked_sessions_go_as_one_plan(files: Files, crew: RealTmux) -> None:
    before = files.bytes()
    assert labels(kill(files, crew, "--leaked", "--dry-run")) == ["leak"]
    assert kill(files, crew, "--leaked", "--yes")["complete"]
    assert crew.names() == {*ALL, "mine"} - {"agent_leak"}
    assert files.bytes() == before
    done = muster(files, "kill", "--leaked", "--yes", "-S", crew.socket)
    assert (done.returncode, done.stdout) == (0, "No leaked agents.\n")


def test_all_orphans_go_as_one_plan(
    files: Files,
    crew: RealTmux,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Nobody wants to wait until they are old enough.
    young = replace(QUICK, orphan_grace=-1.0)
    monkeypatch.setattr("tui.cli.commands.kill.policy_of", lambda _: young)
    crew.start("agent_nobodys")
    crew.start("agent_nobodys-2")
    before = files.bytes()
    words = ["kill", "--orphans", "--yes", "-S", str(crew.socket), "-w", str(files.path)]
    assert main(words) == 0
    assert crew.names() == {*ALL, "mine"}
    assert files.bytes() == before
    assert capsys.readouterr().out.count("done: agent_nobodys") == 2
    assert main(words) == 0
    assert capsys.readouterr().out == "No orphans.\n"


@pytest.mark.parametrize("kind", ["--leaked", "--orphans"])
def test_an_unknown_state_is_reported(files: Files, tmp_path: Path, kind: str) -> None:
    done = muster(files, "kill", kind, "--yes", "-S", tmp_path)
    assert done.returncode == 1
    assert "cannot find out whether" in done.stderr


@pytest.mark.parametrize("kind", ["--leaked", "--orphans"])
def test_a_registry_that_cannot_be_read_is_named(files: Files, crew: RealTmux, kind: str) -> None:
    files.registry("TASK-11").write_text("{ broken")
    done = muster(files, "kill", kind, "--yes", "-S", crew.socket)
    assert done.returncode == 1
    assert "TASK-11" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--task", "TASK-"],
        ["--task", "TASK"],
        ["--task", "root"],
        ["--task", "*"],
        ["--tree", "roo"],
        ["--tree", "TASK-1"],
        ["--tree", "root", "--task", "TASK-1"],
        ["--leaked", "root"],
        ["--leaked", "--orphans"],
        ["--tree"],
        ["--task"],
    ],
    ids=" ".join,
)
def test_an_invalid_selection_kills_no_agent(
    files: Files, crew: RealTmux, words: list[str]
) -> None:
    before = files.bytes()
    done = muster(files, "kill", *words, "--yes", "-S", crew.socket)
    assert done.returncode == 2, done
    assert crew.names() == {*ALL, "mine"}
    assert files.bytes() == before


def test_a_task_without_agents_has_no_agent_to_kill(files: Files, crew: RealTmux) -> None:
    files.write_task("TASK-2")
    done = muster(files, "kill", "--task", "TASK-2", "--yes", "-S", crew.socket)
    assert (done.returncode, done.stdout) == (0, "No agents.\n")
