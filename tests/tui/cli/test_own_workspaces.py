"""Commands that name no workspace, outside of any: they take those of the orchestrator."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.schema import places
from tests.support.databases import Database
from tests.support.known_workspaces import know
from tests.support.workspaces import Files, entry
from tui.cli.commands.completion import candidates
from tui.cli.main import main
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
    assert candidates(["show", ""], environment, tmp_path) == ["a", "s"]
    known = str(tmp_path / "project" / ".agent-workspace")
    assert known in candidates(["kill", "-w", str(tmp_path)], environment, tmp_path)


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
