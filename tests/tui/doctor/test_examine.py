"""Tests of examining and repairing workspaces on disk, also while they change."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from registry import atomic_update_agent_status
from registry.checks.issue import IssueKind
from registry.schema.layout import Workspace
from registry.storage.journal import journal_path
from registry.storage.locked_file import editing
from tests.support.hot_journal import cut_off_update
from tests.support.inconsistent import globals_, tasks
from tests.support.rolls import answered, cannot_tell, no_server, session
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import Files, Json, entry, read, stamp, take, write
from tui.actions.execute import Outcome, Result
from tui.actions.undo import carry_out_undo, plan_undo
from tui.doctor.describe import propose_fix
from tui.doctor.examine import Examination, examine
from tui.doctor.fix import carry_out_fix
from tui.host.tmux_types import TmuxSnapshot
from tui.live.once import take_roll
from tui.model.policy import Policy

NOW = time.time()
QUICK = Policy(death_confirmation=0.01, orphan_grace=0.0, session_early_limit=3600)


def there(*names: str) -> TmuxSnapshot:
    """Returns an answer of tmux with the sessions of these agents, all with new output."""
    return answered(
        *(
            session(f"agent_{name}", number=number, created=NOW - 15, activity=NOW)
            for number, name in enumerate(names, 1)
        )
    )


ALL = ScriptedTmux(there("a", "b"))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(
        tmp_path, {"TASK-1": [entry("a"), entry("done", "completed")], "TASK-2": [entry("b")]}
    )
    for task_id in ("TASK-1", "TASK-2"):
        task = read(made.registry(task_id))
        children = [each["id"] for each in task["agents"]]
        write(made.registry(task_id), task | {"agent_hierarchy": {"orchestrator": children}})
    return made


def look(files: Files, tmux: ScriptedTmux = ALL, policy: Policy = QUICK) -> Examination:
    roll = take(files, tmux, policy)
    return examine(files.workspaces(), roll, settled=0.0)


def kinds(examination: Examination) -> list[tuple[str, str | None]]:
    return [(each.kind.value, each.agent or each.field) for each in examination.findings]


def change(path: Path, how: Callable[[Json], object]) -> None:
    registry = read(path)
    how(registry)
    write(path, registry)


def results(outcome: Outcome) -> dict[str, tuple[Result, str]]:
    return {each.label: (each.result, each.detail) for each in outcome.steps}


def test_a_healthy_workspace_has_no_findings(files: Files) -> None:
    assert kinds(look(files)) == []
    assert look(files).unsure == ()


# --- sessions -----------------------------------------------------------------


def test_orphans_are_found_with_the_command_that_ends_them(
    files: Files,
) -> None:
    lively = there("a", "done", "nobody's")
    silent = session("agent_b", number=9, created=NOW - 7200, activity=NOW - 7200)
    sessions = {**lively.sessions, silent.name: silent}
    change(
        files.registry("TASK-2"),
        lambda t: t["agents"][0].update(started_at=stamp(7200), last_update=stamp(7200)),
    )
    found = look(files, ScriptedTmux(answered(*sessions.values())))
    assert kinds(found) == [("leaked", "done"), ("stalled", "b"), ("orphan", "session")]
    assert [each.fixable for each in found.findings] == [False] * 3
    advice = [each.advice for each in found.findings]
    assert "muster kill done" in advice[0] and "muster kill b" in advice[1]
    assert "muster kill 'agent_nobody'\"'\"'s'" in advice[2]
    assert propose_fix(found).steps == ()


def test_zombies_are_terminated_after_tmux_was_asked_again(files: Files) -> None:
    found = look(files, ScriptedTmux(there("b")))
    assert kinds(found) == [("zombie", "a")]
    tmux = ScriptedTmux(there("b"))
    outcome = carry_out_fix(found, tmux, "")
    assert tmux.asked == 1
    assert results(outcome) == {"a": (Result.DONE, "running -> terminated")}
    agent = files.agent("a")
    assert (agent["status"], agent["termination_reason"]) == ("terminated", "session_not_found")
    assert files.listed("a")["status"] == "terminated"
    files.assert_counters_match()
    assert kinds(look(files, ScriptedTmux(there("b")))) == []


def test_a_fix_that_touches_one_agent_twice_goes_back_in_one_undo(files: Files) -> None:
    change(files.global_registry, lambda whole: whole["agents"]["a"].update(status="blocked"))
    before = files.bytes()
    found = look(files, ScriptedTmux(there("b")))
    assert kinds(found) == [("status", "a"), ("zombie", "a")]
    assert carry_out_fix(found, ScriptedTmux(there("b")), "").complete
    assert files.listed("a")["status"] == "terminated"
    states = tuple(task.state for task in found.roll.tasks())
    assert carry_out_undo(plan_undo(states, (files.path.resolve(),), None), "").complete
    assert files.bytes() == before


@pytest.mark.parametrize(
    ("answer", "result"), [(there("a", "b"), Result.LEFT), (cannot_tell(), Result.FAILED)]
)
def test_a_zombie_that_is_back_or_of_which_nobody_can_tell_is_left(
    files: Files, answer: TmuxSnapshot, result: Result
) -> None:
    found = look(files, ScriptedTmux(no_server()))
    assert kinds(found) == [("zombie", "a"), ("zombie", "b")]
    before = files.bytes()
    outcome = carry_out_fix(found, ScriptedTmux(answer), "")
    assert {each.result for each in outcome.steps} == {result}
    assert files.bytes() == before


def test_without_an_answer_of_tmux_active_agents_make_it_unsure(files: Files) -> None:
    found = look(files, ScriptedTmux(cannot_tell()))
    assert kinds(found) == []
    assert len(found.unsure) == 1 and "2 active agents" in found.unsure[0]
    for agent_id, task_id in (("a", "TASK-1"), ("b", "TASK-2")):
        for path in (files.registry(task_id), files.global_registry):
            atomic_update_agent_status(path, agent_id, "completed")
    assert look(files, ScriptedTmux(cannot_tell())).unsure == ()


# --- registries ---------------------------------------------------------------


def drift(files: Files) -> None:
    change(files.registry(), lambda task: task.update(active_count=7))
    change(files.global_registry, lambda whole: whole["agents"].pop("b"))
    change(files.global_registry, lambda whole: whole["agents"]["done"].update(status="working"))


DRIFT = [
    ("counter", "active_count"),
    ("status", "done"),
    ("not_in_global", "b"),
]


def test_what_differs_is_set_right_and_a_second_look_finds_nothing(files: Files) -> None:
    healthy = files.bytes()
    drift(files)
    found = look(files)
    assert kinds(found) == DRIFT
    outcome = carry_out_fix(found, ALL, "")
    assert outcome.complete, outcome
    assert kinds(look(files)) == []
    assert read(files.registry()) == json.loads(healthy[files.registry()])
    files.assert_counters_match()
    again = carry_out_fix(look(files), ALL, "")
    assert again.steps == () and again.written == ()


def test_who_changes_a_registry_between_plan_and_fix_is_heard(files: Files) -> None:
    drift(files)
    found = look(files)
    change(files.registry(), lambda task: task.update(active_count=8))
    change(files.global_registry, lambda whole: whole["agents"]["done"].update(status="completed"))
    before = files.bytes()
    outcome = results(carry_out_fix(found, ALL, ""))
    assert outcome["TASK-1/active_count"] == (
        Result.LEFT,
        "the registry was changed meanwhile; the present issue: is 8, but should be 1",
    )
    assert outcome["done"][0] is Result.LEFT and "no longer exists" in outcome["done"][1]
    assert outcome["b"][0] is Result.DONE
    assert files.bytes()[files.registry()] == before[files.registry()]
    assert kinds(look(files)) == [("counter", "active_count")]


def test_a_registry_that_is_gone_by_then_fails_alone(files: Files) -> None:
    drift(files)
    found = look(files)
    files.registry().unlink()
    outcome = results(carry_out_fix(found, ALL, ""))
    assert outcome["TASK-1/active_count"][0] is Result.FAILED
    assert outcome["b"][0] is Result.DONE


def test_writers_at_work_lose_no_update_to_a_fix(files: Files) -> None:
    through = threading.Event()

    def work() -> None:
        for progress in range(60):
            for path in (files.registry(), files.global_registry):
                atomic_update_agent_status(path, "a", "working", progress=progress)
        through.set()

    writer = threading.Thread(target=work)
    writer.start()
    while not through.is_set():
        change_under_lock(files.registry(), active_count=9)
        carry_out_fix(look(files), ALL, "")
    writer.join()
    carry_out_fix(look(files), ALL, "")
    assert files.agent("a")["progress"] == files.listed("a")["progress"] == 59
    files.assert_counters_match()
    assert kinds(look(files)) == []


def change_under_lock(path: Path, **fields: int) -> None:
    with editing(path) as edit:
        edit.registry.update(fields)
        edit.changed = True


def test_what_cannot_be_put_on_record_is_not_set_right(files: Files) -> None:
    drift(files)
    before = files.bytes()
    found = look(files)
    (files.path / "registry" / "muster_audit.jsonl").mkdir()
    outcome = carry_out_fix(found, ALL, "")
    assert {each.result for each in outcome.steps} == {Result.FAILED}
    assert files.bytes() == before


def test_what_a_writer_is_in_the_middle_of_is_no_finding(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll = take(files, ALL, QUICK)
    atomic_update_agent_status(files.registry(), "a", "blocked")
    atomic_update_agent_status(files.global_registry, "a", "running")

    def go_on(_: float) -> None:
        atomic_update_agent_status(files.global_registry, "a", "blocked")

    monkeypatch.setattr("tui.doctor.examine.time.sleep", go_on)
    assert kinds(examine(files.workspaces(), roll)) == []


def test_of_a_single_task_the_global_counters_are_not_judged(files: Files) -> None:
    drift(files)
    change(files.global_registry, lambda whole: whole.update(total_tasks=99))
    only = (Workspace(files.path.resolve(), only=files.registry().resolve()),)
    found = examine(only, take_roll(only, ALL, QUICK), settled=0.0)
    assert kinds(found) == DRIFT[:2]


def test_without_a_global_registry_only_tasks_are_looked_at(files: Files) -> None:
    drift(files)
    files.global_registry.unlink()
    found = look(files)
    assert kinds(found) == DRIFT[:1]
    assert carry_out_fix(found, ALL, "").complete
    assert kinds(look(files)) == []


def test_two_tasks_of_one_name_are_no_fault_of_the_global_registry(
    files: Files,
) -> None:
    write(files.path / "copy" / "AGENT_REGISTRY.json", read(files.registry()))
    change(files.global_registry, lambda whole: whole["agents"]["done"].update(status="working"))
    found = [each for each in kinds(look(files)) if each[0] != "counter"]
    assert found == [("duplicate_id", "task_id")] * 2


def test_a_task_elsewhere_is_not_missed_and_one_that_is_gone_is(files: Files) -> None:
    def list_more(whole: Json) -> None:
        whole["tasks"]["TASK-8"] = {"workspace": "/on/another/machine"}
        whole["tasks"]["TASK-9"] = {"status": "INITIALIZED"}
        whole["tasks"]["TASK-10"] = {"workspace": str(files.path.resolve())}
        whole["tasks"]["TASK-11"] = {"workspace": str(files.path.resolve().parent)}
        whole["tasks"]["TASK-12"] = {"workspace": "${workspaceFolder}"}
        whole.update(total_tasks=7, active_tasks=7)

    change(files.global_registry, list_more)
    missing = [("task_missing", f"tasks[TASK-{number}]") for number in (9, 10, 11)]
    assert kinds(look(files)) == missing


# --- files --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", '{"a": 1, "a": 2}', "[]"])
def test_a_file_that_cannot_be_read_makes_it_unsure_and_is_not_touched(
    files: Files, text: str
) -> None:
    files.registry().write_text(text)
    found = look(files)
    assert kinds(found) == [("unreadable", None)]
    assert str(files.registry().resolve()) in found.unsure[0]
    before = files.bytes()
    assert carry_out_fix(found, ALL, "").steps == ()
    assert files.bytes() == before


@pytest.mark.parametrize("task", [True, False], ids=["task", "global"])
def test_a_fifo_in_a_registrys_place_is_said_and_hangs_nobody(files: Files, task: bool) -> None:
    path = files.registry() if task else files.global_registry
    path.unlink()
    os.mkfifo(path)
    found = look(files)
    assert kinds(found) == [("unreadable", None)]
    assert "a FIFO" in found.findings[0].says


def test_a_link_out_of_the_workspace_is_said_and_not_followed(files: Files) -> None:
    outside = write(files.path.parent / "outside.json", read(files.registry()) | {"agents": 1})
    files.registry().unlink()
    files.registry().symlink_to(outside)
    found = look(files)
    assert kinds(found) == [("unreadable", None)]
    assert "symlink" in found.findings[0].says


@pytest.mark.parametrize("task", [True, False], ids=["task", "global"])
def test_a_commit_that_was_cut_off_is_finished(files: Files, task: bool) -> None:
    path = files.registry() if task else files.global_registry
    cut_off_update(path, "a")
    found = look(files)
    assert kinds(found) == [("hot_journal", None), ("unreadable", None)]
    assert propose_fix(found).files == (path.resolve(),)
    outcome = carry_out_fix(found, ALL, "")
    assert [each.result for each in outcome.steps] == [Result.DONE]
    assert not journal_path(path).exists()
    after = look(files)
    assert after.unsure == ()
    # Its other registry had not followed: what the journal hid is found now.
    assert kinds(after) == ([] if task else [("status", "a")])
    carry_out_fix(after, ALL, "")
    assert kinds(look(files)) == []


def test_a_journal_that_may_not_be_followed_fails_and_is_left(files: Files) -> None:
    place = journal_path(files.registry())
    place.symlink_to(files.path / "elsewhere")
    found = look(files)
    assert [each.kind for each in found.findings] == [IssueKind.JOURNAL]
    outcome = carry_out_fix(found, ALL, "")
    assert [each.result for each in outcome.steps] == [Result.FAILED]
    assert place.is_symlink()


# --- whatever it is -----------------------------------------------------------


@settings(max_examples=25)
@given(one=tasks, other=tasks, whole=globals_)
def test_repaired_once_it_is_whole_and_undo_brings_it_back(
    one: Json, other: Json, whole: Json
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        files = Files(Path(directory), {})
        write(files.registry("TASK-1"), one)
        write(files.registry("TASK-2"), other | {"task_id": "TASK-2"})
        write(files.global_registry, whole)
        before = {path: read(path) for path in files.bytes()}
        nobody = ScriptedTmux(cannot_tell())
        found = look(files, nobody)
        outcome = carry_out_fix(found, nobody, "")
        assert not outcome.problems
        assert [each for each in look(files, nobody).findings if each.fixable] == []
        states = tuple(task.state for task in found.roll.tasks())
        if outcome.written:
            plan = plan_undo(states, (files.path.resolve(),), None)
            assert carry_out_undo(plan, "").complete
        assert {path: read(path) for path in files.bytes()} == before
