"""The doctor on databases: what a user sees, what --fix writes, and what a second look finds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.database import read_agent
from registry.schema import Workspace
from tests.support.databases import Database, agent_row, damage_table, stamp_ago
from tests.support.real_tmux import RealTmux
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.workspaces import QUICK, Files, entry
from tui.actions.undo import carry_out_undo, plan_undo
from tui.cli.format_examination import examination_json, examination_lines, exit_code
from tui.cli.main import main
from tui.doctor.describe import propose_fix
from tui.doctor.examine import Examination, examine
from tui.doctor.fix import carry_out_fix
from tui.live.once import take_roll
from tui.model.policy import Policy

WORKER, LINED = made_now("agent_worker", number=1), made_now("agent_lined", number=2)
POLICY = replace(QUICK, leak_grace=Policy().leak_grace)
TMUX, BOTH = ScriptedTmux(answered(WORKER)), ScriptedTmux(answered(WORKER, LINED))


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with an agent at work."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    database.agent("worker", started_at=stamp_ago(20), last_update=stamp_ago(10))
    return database


def miss_end(built: Database, agent_id: str, folder: str = "progress") -> None:
    """Adds an agent that reported its end, which the database missed, 15 seconds ago."""
    built.agent(agent_id, started_at=stamp_ago(20), last_update=stamp_ago(18))
    path = built.workspace / "TASK-1" / folder / f"{agent_id}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    line = {"timestamp": stamp_ago(15), "agent_id": agent_id, "status": "completed"}
    path.write_text(json.dumps(line | {"message": "all done", "progress": 100}) + "\n")
    os.utime(path, (time.time() - 15,) * 2)


def look(built: Database, tmux: ScriptedTmux = TMUX) -> Examination:
    workspaces = [Workspace(built.workspace.resolve())]
    return examine(workspaces, take_roll(workspaces, tmux, POLICY), settled=0.0)


def kinds(examination: Examination) -> list[tuple[str, str | None]]:
    return [(each.kind.value, each.agent or each.field) for each in examination.findings]


def test_a_healthy_database_has_no_findings(built: Database) -> None:
    found = look(built)
    assert (kinds(found), found.unsure, exit_code(found)) == ([], (), 0)


def test_an_end_that_the_database_missed_is_in_the_plan(built: Database) -> None:
    miss_end(built, "lined")
    found = look(built, BOTH)
    assert kinds(found) == [("status", "lined")] and exit_code(found) == 1
    plan = propose_fix(found)
    assert plan.files == (built.path.resolve(),)
    ((label, change),) = plan.steps
    assert label == "lined" and "status to completed, as the agent reported" in change
    assert "no session is ended" in change


def test_a_zombie_has_one_finding_whatever_it_reported(built: Database) -> None:
    miss_end(built, "gone", "archive")
    found = look(built)
    assert kinds(found) == [("zombie", "gone")]
    (zombie,) = found.findings
    assert (zombie.file, zombie.field) == (built.path.resolve(), "agents.status")
    assert zombie.reported and zombie.fix == "completed"


def test_a_second_look_finds_nothing_and_undo_gives_each_field_back(built: Database) -> None:
    built.agent("gone", started_at=stamp_ago(20), last_update=stamp_ago(18))
    miss_end(built, "reported", "archive")
    miss_end(built, "lined")
    tables = ("agents", "agent_progress_latest")
    names = ("gone", "reported", "lined", "worker")
    before = {name: [agent_row(built, table, name) for table in tables] for name in names}
    found = look(built, BOTH)
    assert sorted(kinds(found)) == [
        ("status", "lined"),
        ("zombie", "gone"),
        ("zombie", "reported"),
    ]
    outcome = carry_out_fix(found, BOTH, "tidy")
    assert outcome.complete and outcome.written == (built.path.resolve(),), outcome
    assert {name: agent_row(built, "agents", name)["status"] for name in names} == {
        "gone": "terminated",
        "reported": "completed",
        "lined": "completed",
        "worker": "running",
    }
    # For a minute, the session of an agent that has ended may go away with its program.
    again = look(built, BOTH)
    assert (kinds(again), again.unsure) == ([], ())
    assert carry_out_fix(again, BOTH, "").written == ()
    states = tuple(task.state for task in again.roll.tasks())
    undone = carry_out_undo(plan_undo(states, (built.workspace.resolve(),), None), "")
    assert undone.complete, undone
    after = {name: [agent_row(built, table, name) for table in tables] for name in names}
    assert {name: rows[0] for name, rows in after.items()} == {
        name: rows[0] for name, rows in before.items()
    }
    assert after["worker"] == before["worker"]


def test_unknown_words_are_told_apart_in_the_plan_and_its_outcome(built: Database) -> None:
    built.run("UPDATE agents SET status = 'dreaming'")
    for name, word in (("one", "brewing"), ("two", "brewing"), ("three", "idle")):
        built.agent(name, status=word, tmux_session="agent_worker")
    found = look(built)
    refused = dict(propose_fix(found).refused)
    advice = {label: why.split(",")[0] for label, why in refused.items() if "status" in label}
    assert advice == {
        "status dreaming": "if worker has ended",
        "status brewing": "if one of one and 1 more has ended",
        "status idle": "if three has ended",
    }


def test_one_reason_for_many_unknown_agents_is_said_once(tmp_path: Path) -> None:
    agents = [entry(f"nameless-{number}", tmux_session=None) for number in range(5)]
    files = Files(tmp_path, {"TASK-1": [*agents, entry("alone", "")]})
    workspaces = [Workspace(files.path.resolve())]
    found = examine(workspaces, take_roll(workspaces, TMUX, POLICY), settled=0.0)
    assert found.unsure == (
        "unknown whether nameless-0, nameless-1, nameless-2 and 2 more live: "
        "the registry names no session for this agent",
    )


def test_an_unknown_word_in_json_is_not_judged_as_in_a_database(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("worker", "brewing")]})
    workspaces = [Workspace(files.path.resolve())]
    found = examine(workspaces, take_roll(workspaces, TMUX, POLICY), settled=0.0)
    (says,) = [each.says for each in found.findings if each.kind.value == "unknown_status"]
    assert says.endswith("so it treats such an agent as active")


def test_the_files_of_a_database_are_named_in_text_and_json(built: Database) -> None:
    built.run("UPDATE agents SET status = 'dreaming'")
    damage_table(built, "reviews")
    found = look(built)
    assert kinds(found) == [("damaged", None), ("unknown_status", "agents.status")]
    text = "\n".join(examination_lines(found))
    assert str(built.path.resolve()) in text and "restore a copy" in text
    document = examination_json(found)
    assert json.loads(json.dumps(document)) == document
    assert {each["file"] for each in document["findings"]} == {str(built.path.resolve())}


def test_a_damaged_database_is_not_written(built: Database) -> None:
    built.agent("gone", started_at=stamp_ago(20), last_update=stamp_ago(18))
    miss_end(built, "lined")
    damage_table(built, "reviews")
    found = look(built, BOTH)
    assert sorted(kinds(found)) == [("damaged", None), ("status", "lined"), ("zombie", "gone")]
    assert found.fixable == () and found.zombies.steps == ()
    before = built.path.read_bytes()
    assert carry_out_fix(found, BOTH, "").written == ()
    assert built.path.read_bytes() == before


def test_an_unknown_schema_is_a_finding_in_its_place(built: Database, tmp_path: Path) -> None:
    files = Files(tmp_path / "json", {"TASK-0": [entry("a"), entry("a")]})
    files.registry("TASK-0").parent.rename(built.workspace / "TASK-0")
    built.run("ALTER TABLE agents RENAME COLUMN started_at TO begun")
    found = look(built, ScriptedTmux(answered(made_now("agent_a", number=1))))
    assert ("unreadable", "agents.started_at") in kinds(found)
    assert ("duplicate_id", "a") in kinds(found)
    assert exit_code(found) == 2
    (reason,) = found.unsure
    assert "agents.started_at" in reason


# As a command, with real tmux


@pytest.fixture
def run(
    built: Database,
    server: RealTmux,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, Any]]:
    """Runs `muster doctor --json` on the workspace; returns the exit code and the document."""
    monkeypatch.setattr("tui.cli.commands.doctor.policy_of", lambda _: POLICY)
    monkeypatch.setattr(examine, "__kwdefaults__", {"settled": 0.0})
    monkeypatch.setenv("MUSTER_WORKSPACES", str(built.workspace))

    def ran(*words: str) -> tuple[int, Any]:
        code = main(["doctor", "--json", "-S", str(server.socket), *words])
        return code, json.loads(capsys.readouterr().out)

    return ran


def test_the_command_repairs_and_finds_nothing_the_second_time(
    built: Database, server: RealTmux, run: Callable[..., tuple[int, Any]]
) -> None:
    miss_end(built, "lined")
    for name in ("worker", "lined"):
        server.start(f"agent_{name}")
    code, document = run()
    assert code == 1
    assert [each["kind"] for each in document["findings"]] == ["status"]
    before = read_agent(built.path, "TASK-1", "lined")
    code, document = run("--fix", "--dry-run")
    assert document["files"] == [str(built.path.resolve())]
    assert read_agent(built.path, "TASK-1", "lined") == before
    assert run("--fix", "--yes")[0] == 0
    code, document = run("--fix", "--yes")
    assert (code, document["findings"], document["healthy"]) == (0, [], True)
    fields = read_agent(built.path, "TASK-1", "lined")
    assert fields is not None and fields["status"] == "completed"
