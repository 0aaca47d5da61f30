"""Tests that the doctor finds agents that the registries lost, and lists them again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from registry.agent_output import history
from registry.agent_output.listing import FoundFile
from registry.schema.layout import DATABASE
from tests.support.rolls import answered, no_server, session
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import Files, entry, read, stamp, take, write
from tui.actions.execute import Outcome, Result
from tui.actions.undo import carry_out_undo, plan_undo
from tui.cli.format_examination import examination_json, examination_lines
from tui.doctor.describe import propose_fix
from tui.doctor.examine import Examination, examine
from tui.doctor.fix import carry_out_fix
from tui.model.policy import Policy

NOW = time.time()
QUICK = Policy(death_confirmation=0.01, orphan_grace=0.0, session_early_limit=3600)
ID = "code_fixer-215911-8c90c7"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, {"TASK-1": [entry("done", "completed")]})
    task = read(made.registry())
    write(made.registry(), task | {"agent_hierarchy": {"orchestrator": ["done"]}})
    return made


def leave(
    files: Files, *statuses: str, agent_id: str = ID, kind: str = "progress", age: float = 600
) -> Path:
    """Writes the progress file of an agent that no registry lists: one line for each status."""
    path = files.registry().parent / kind / f"{agent_id}_{kind}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        for number, status in enumerate(statuses):
            report = {"timestamp": stamp(age - number), "agent_id": agent_id}
            file.write(json.dumps(report | {"status": status, "progress": 70}) + "\n")
    os.utime(path, (NOW - age, NOW - age))
    return path


def look(files: Files, tmux: ScriptedTmux | None = None) -> Examination:
    roll = take(files, tmux or ScriptedTmux(no_server()), QUICK)
    return examine(files.workspaces(), roll, settled=0.0)


def kinds(examination: Examination) -> list[tuple[str, str | None]]:
    return [(each.kind.value, each.agent or each.field) for each in examination.findings]


def fix(examination: Examination) -> Outcome:
    return carry_out_fix(examination, ScriptedTmux(no_server()), "")


PUT_BACK = [("lost_agent", ID), ("not_in_global", ID), ("counter", "total_agents_spawned")]


def test_a_lost_agent_is_put_back_and_undo_removes_it_again(files: Files) -> None:
    leave(files, "working", "completed")
    before = files.bytes()
    found = look(files)
    assert kinds(found) == PUT_BACK
    assert files.bytes() == before
    outcome = fix(found)
    assert outcome.complete, outcome
    assert kinds(look(files)) == []
    back = files.agent(ID)
    assert (back["type"], back["status"], back["progress"]) == ("code_fixer", "completed", 70)
    assert (back["parent"], back["depth"]) == ("orchestrator", 1)
    assert files.listed(ID)["status"] == "completed"
    assert read(files.registry())["agent_hierarchy"] == {"orchestrator": ["done", ID]}
    files.assert_counters_match()
    states = tuple(task.state for task in found.roll.tasks())
    assert carry_out_undo(plan_undo(states, (files.path.resolve(),), None), "").complete
    assert {path: text for path, text in files.bytes().items() if path in before} == before


def test_an_agent_at_work_is_judged_by_its_session_afterwards(files: Files) -> None:
    leave(files, "working")
    assert fix(look(files)).complete
    alive = answered(session(f"agent_{ID}", number=1, created=NOW - 605, activity=NOW))
    assert kinds(look(files, ScriptedTmux(alive))) == []
    assert kinds(look(files)) == [("zombie", ID)]


def test_a_session_of_a_lost_agent_is_no_orphan_any_more(files: Files) -> None:
    leave(files, "working")
    alive = ScriptedTmux(
        answered(session(f"agent_{ID}", number=1, created=NOW - 605, activity=NOW))
    )
    found = look(files, alive)
    assert ("orphan", "session") in kinds(found)
    assert carry_out_fix(found, alive, "").complete
    assert kinds(look(files, alive)) == []


def test_a_prompt_alone_is_named_and_left(files: Files) -> None:
    prompt = files.registry().parent / f"agent_prompt_{ID}.txt"
    prompt.write_text("do it")
    os.utime(prompt, (NOW - 600, NOW - 600))
    before = files.bytes()
    found = look(files)
    assert kinds(found) == [("lost_agent", ID)]
    assert propose_fix(found).steps == ()
    (finding,) = examination_json(found)["findings"]
    assert finding["found"] == [f"agent_prompt_{ID}.txt"]
    assert finding["fix"] is None and "withdrawn" in finding["advice"]
    assert fix(found).steps == ()
    assert files.bytes() == before


def test_an_agent_that_is_registered_after_the_plan_is_left(files: Files) -> None:
    leave(files, "working")
    found = look(files)
    mine = entry(ID, "blocked")
    task = read(files.registry())
    task["agents"].append(mine)
    write(files.registry(), task)
    before = files.bytes()
    assert {step.result for step in fix(found).steps if step.label == ID} == {Result.LEFT}
    assert files.agent(ID) == mine
    assert files.bytes()[files.registry()] == before[files.registry()]


def test_what_an_agent_reports_after_the_plan_is_written(files: Files) -> None:
    leave(files, "working")
    found = look(files)
    leave(files, "completed", age=300)
    assert fix(found).steps[0].result is Result.DONE
    assert files.agent(ID)["status"] == files.listed(ID)["status"] == "completed"
    assert kinds(look(files)) == []


def test_files_that_are_gone_after_the_plan_put_no_agent_back(files: Files) -> None:
    path = leave(files, "working")
    found = look(files)
    path.unlink()
    before = files.bytes()
    assert {step.result for step in fix(found).steps} == {Result.LEFT}
    assert files.bytes() == before


def test_with_a_database_no_agent_is_missed(files: Files) -> None:
    leave(files, "working")
    (files.path / "registry" / DATABASE).touch()
    assert kinds(look(files)) == [("unreadable", None)]


def test_a_folder_that_cannot_be_read_is_not_examined(files: Files) -> None:
    leave(files, "completed")
    folder = files.registry().parent / "logs"
    folder.symlink_to("/")
    found = look(files)
    assert kinds(found) == [("unreadable", None), *PUT_BACK]
    assert [str(folder.resolve().parent) in reason for reason in found.unsure] == [True]
    text = "\n".join(examination_lines(found))
    assert "list the agent again, with status completed and parent orchestrator" in text


def test_without_a_global_registry_the_task_alone_gets_the_agent_back(files: Files) -> None:
    leave(files, "completed")
    files.global_registry.unlink()
    assert kinds(look(files)) == [("lost_agent", ID)]
    assert fix(look(files)).complete
    assert files.agent(ID)["status"] == "completed"
    assert kinds(look(files)) == []


def test_all_files_of_all_tasks_are_read_within_one_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [f"TASK-{number}" for number in range(4)]
    files = Files(tmp_path, {task: [entry(f"done-{task}", "completed")] for task in tasks})
    for task in tasks:
        for agent_id in ("a", "b"):
            path = files.registry(task).parent / "progress" / f"{task}-{agent_id}_progress.jsonl"
            path.parent.mkdir(exist_ok=True)
            report = {"timestamp": stamp(600), "agent_id": f"{task}-{agent_id}"}
            path.write_text(json.dumps(report | {"status": "working", "progress": 70}) + "\n")
            os.utime(path, (NOW - 600, NOW - 600))
    clock, read_history = 0.0, history._history
    read: list[str] = []

    def slow(directory: Path, agent_id: str, own: list[FoundFile]) -> history.History | None:
        nonlocal clock
        clock += 10.0
        read.append(agent_id)
        return read_history(directory, agent_id, own)

    monkeypatch.setattr(history, "_history", slow)
    monkeypatch.setattr(history, "time", SimpleNamespace(monotonic=lambda: clock))
    found = look(files)
    assert read == ["TASK-0-a", "TASK-0-b", "TASK-1-a"], "each once, though there are two looks"
    lost = [name for kind, name in kinds(found) if kind == "lost_agent"]
    assert lost == read
    whys = [finding.says for finding in found.files]
    assert [why.rpartition(": ")[2] for why in whys] == [
        "the files of 1 agents were not read",
        *["no agent was searched"] * 2,
    ]
    assert any("not examined" in why for why in found.unsure)
    read.clear()
    outcome = fix(found)
    assert {step.label: step.result for step in outcome.steps if "TASK" in step.label}
    assert read == ["TASK-0-a", "TASK-0-b", "TASK-1-a"]
    assert files.agent("TASK-1-a", "TASK-1")["status"] == "working"
