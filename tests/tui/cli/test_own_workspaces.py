"""Commands that name no workspace, outside of any: they take those of the orchestrator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from registry import WorkspaceNotFoundError
from registry.schema import places
from registry.schema.workspaces import find_workspaces
from tests.support.databases import Database
from tests.support.known_workspaces import know
from tests.support.workspaces import Files, entry
from tui.cli.main import main
from tui.cli.offers import offered
from tui.host import asker


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a JSON workspace that the orchestrator knows, and a default one in SQLite."""
    made = tmp_path / "home"
    known = Files(tmp_path / "project", {"TASK-A": [entry("a", "completed")]})
    know(made, known.path)
    database = Database(made / ".claude-orchestrator" / "workspaces")
    database.task("TASK-S")
    database.agent("s", "TASK-S", status="completed")
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setattr(asker, "PATIENCE", 0.3)
    return made


@pytest.fixture
def nobody(tmp_path: Path) -> list[str]:
    return ["-S", str(tmp_path / "none")]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["list"], ["TASK-A", "TASK-S"]),
        (["list", "--json"], ['"TASK-A"', '"TASK-S"']),
        (["show", "s"], ["TASK-S"]),
        (["show", "a"], ["TASK-A"]),
        (["tail", "s"], []),
        (["doctor"], []),
        (["metrics"], ["/.claude-orchestrator/workspaces", "/project/.agent-workspace"]),
        (["log"], ["The audit log is empty."]),
        (["complete", "--zombies", "--dry-run"], []),
        (["kill", "--orphans", "--dry-run"], []),
    ],
    ids=" ".join,
)
def test_every_command_takes_them(
    home: Path,
    nobody: list[str],
    command: list[str],
    said: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([*command, *nobody])
    told = capsys.readouterr()
    assert "no .agent-workspace found" not in told.err
    for words in said:
        assert words in told.out


def test_a_reported_agent_is_found_in_them(
    home: Path, nobody: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "a", "--progress", "7", *nobody]) == 0, capsys.readouterr().err
    registry = tmp_path / "project" / ".agent-workspace" / "TASK-A" / "AGENT_REGISTRY.json"
    assert json.loads(registry.read_text())["agents"][0]["progress"] == 7


def test_completion_offers_their_agents_and_their_paths(home: Path, tmp_path: Path) -> None:
    environment = {"HOME": str(home)}
    assert [word for word, _ in offered(["show", ""], environment, tmp_path)] == ["a", "s"]
    known = str(tmp_path / "project" / ".agent-workspace")
    assert (known, "") in offered(["kill", "-w", str(tmp_path)], environment, tmp_path)


def test_a_home_without_any_is_a_clear_error(
    tmp_path: Path,
    nobody: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["list", *nobody]) == 2
    told = capsys.readouterr().err
    assert "no .agent-workspace found. Searched:" in told
    assert str(tmp_path / ".claude-orchestrator" / "workspaces") in told


@pytest.mark.parametrize("command", [["list"], ["complete", "--zombies", "--yes"], ["doctor"]])
def test_one_that_does_not_answer_holds_no_command(
    home: Path,
    nobody: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    ready, held = os.pipe()
    default = home / ".claude-orchestrator" / "workspaces"
    look = places._kept_place

    def hanging(path: Path, origin: places.Origin) -> places.Place:
        if path == default:
            os.read(ready, 1)
        return look(path, origin)

    monkeypatch.setattr(places, "_kept_place", hanging)
    try:
        assert main([*command, *nobody]) != 2
    finally:
        os.close(held)
    assert f"skipped {default}: the file system does not answer" in capsys.readouterr().err


# muster workspaces


def surveyed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    """Returns the JSON of `muster workspaces` by path."""
    main(["workspaces", "--json", *words])
    return {each["path"]: each for each in json.loads(capsys.readouterr().out)["workspaces"]}


def test_each_workspace_is_printed_with_the_reason_and_its_dialect(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone" / ".agent-workspace"
    know(home, gone)
    assert main(["workspaces"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    default = home / ".claude-orchestrator" / "workspaces"
    project = tmp_path / "project" / ".agent-workspace"
    assert lines == [
        ["Taken:"],
        [str(default), "default", "SQLite;", "1", "task"],
        [str(project), "known", "JSON;", "1", "task"],
        ["Not", "taken:"],
        [str(gone), "known", "does", "not", "exist"],
    ]


def test_the_json_of_workspaces_has_every_field(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = home / ".claude-orchestrator" / "workspaces"
    Files(tmp_path / "more", {"TASK-M": []}).registry("TASK-M").parent.rename(mixed / "TASK-M")
    assert surveyed(capsys)[str(mixed)] == {
        "path": str(mixed),
        "taken": True,
        "origin": "default",
        "state": "workspace",
        "why": None,
        "storage": ["json", "sqlite"],
        "tasks": 2,
        "error": None,
    }


def test_what_is_not_taken_says_what_is_taken_instead(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    near = Files(tmp_path / "near", {})
    project = str(tmp_path / "project" / ".agent-workspace")
    monkeypatch.chdir(near.path.parent)
    found = surveyed(capsys)
    assert found[str(near.path)]["origin"] == "nearest" and found[str(near.path)]["taken"]
    assert (found[project]["taken"], found[project]["why"]) == (
        False,
        "a nearer workspace is taken",
    )
    found = surveyed(capsys, project)
    assert (found[project]["taken"], found[project]["origin"]) == (True, "argument")
    assert found[str(near.path)]["why"] == "other workspaces are named"
    monkeypatch.setenv("MUSTER_WORKSPACES", project)
    assert surveyed(capsys)[project]["origin"] == "variable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_another_users_and_an_unreadable_one_say_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs" / ".agent-workspace"
    theirs.mkdir(parents=True)
    os.chown(theirs, 64101, 64101)
    know(home, theirs)
    (home / ".claude-orchestrator" / "workspaces" / "registry" / "state.sqlite3").write_bytes(
        b"no database " * 99
    )
    found = surveyed(capsys)
    assert found[str(theirs)]["state"] == "foreign" and not found[str(theirs)]["taken"]
    assert found[str(theirs)]["why"] == "belongs to user 64101"
    default = found[str(home / ".claude-orchestrator" / "workspaces")]
    assert "is not a valid database" in default["error"]


def test_without_any_the_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    know(tmp_path)
    (tmp_path / ".claude-orchestrator" / "global_registry.sqlite3").write_text("x" * 999)
    assert main(["workspaces"]) == 2
    said = capsys.readouterr()
    assert "No workspace is taken." in said.out
    assert "the workspaces that the orchestrator knows cannot be read" in said.err


@pytest.mark.parametrize("case", ["named", "variable", "near", "known", "none"])
def test_it_prints_what_the_other_commands_take(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    near, other = Files(tmp_path / "near", {}), Files(tmp_path / "other", {})
    words = [str(other.path)] if case == "named" else []
    if case == "variable":
        monkeypatch.setenv("MUSTER_WORKSPACES", f"{other.path}:{tmp_path / 'wrong'}")
    if case == "near":
        monkeypatch.chdir(near.path.parent)
    if case == "none":
        monkeypatch.setenv("HOME", str(tmp_path))
    try:
        taken = find_workspaces(words, os.environ, Path.cwd(), missing=str)
    except WorkspaceNotFoundError:
        taken = ()
    found = surveyed(capsys, *words)
    assert [path for path, place in found.items() if place["taken"]] == [
        str(workspace.path) for workspace in taken
    ]


# A workspace of any name


@pytest.mark.parametrize("named", ["", "..", "registry/state.sqlite3", "TASK-S"])
@pytest.mark.parametrize("command", ["list", "doctor", "log", "metrics", "show", "complete"])
def test_a_default_workspace_may_be_named_in_each_way(
    home: Path,
    nobody: list[str],
    capsys: pytest.CaptureFixture[str],
    named: str,
    command: str,
) -> None:
    path = str(home / ".claude-orchestrator" / "workspaces" / named)
    words = {"show": ["s", "-w"], "complete": ["--zombies", "--dry-run", "-w"]}.get(command, [])
    code = main([command, *words, path, *nobody])
    said = capsys.readouterr()
    assert "found" not in said.err and "Traceback" not in said.err
    if command in ("list", "show"):
        assert code == 0 and "TASK-S" in said.out
