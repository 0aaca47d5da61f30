"""Undo: what was done is on record, and goes back as it came."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from registry import atomic_update_agent_status
from registry.audit.entries import State
from registry.audit.log import AUDIT_LOG, log_in, read_log
from tests.support.rolls import answered, no_server
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.workspaces import Files, entry, row_of, take, verdicts
from tui.actions.execute import Outcome, Result, carry_out
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.actions.undo import NothingToUndoError, UndoPlan, carry_out_undo, plan_undo, undo_refusal
from tui.cli.main import main
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.roll import RollCall, Verdict

NOBODY = ScriptedTmux(no_server())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b")], "TASK-2": [entry("c")]})


def complete(files: Files, *ids: str, reason: str = "") -> Outcome:
    roll = take(files, NOBODY)
    plan = plan_complete(roll, [row_of(roll, each) for each in ids])
    return carry_out(plan, NOBODY, reason)


def planned(files: Files, action_id: str | None = None) -> UndoPlan:
    roll = take(files, NOBODY)
    return plan_undo(
        [task.state for task in roll.tasks()],
        [workspace.path for workspace in roll.workspaces],
        action_id,
    )


def results(outcome: Outcome) -> dict[str, Result]:
    return {step.label: step.result for step in outcome.steps}


def actions(files: Files) -> list[tuple[str, State]]:
    log = read_log(log_in(files.path))
    return [(each.action, each.state) for each in log.entries]


def test_a_bulk_action_over_two_tasks_goes_back_byte_for_byte(files: Files) -> None:
    before = files.bytes()
    assert complete(files, "a", "b", "c", reason="all through").complete
    assert files.bytes() != before
    plan = planned(files)
    assert {label for label, _ in plan.preview.steps} == {"a", "b", "c"}
    assert len(plan.preview.files) == 3
    assert "all through" in plan.preview.note
    outcome = carry_out_undo(plan, "was wrong")
    assert results(outcome) == dict.fromkeys("abc", Result.DONE)
    assert files.bytes() == before
    assert [action for action, _ in actions(files)] == ["complete", "complete", "undo", "undo"]


def test_undo_takes_back_one_action_after_the_other_and_then_none(files: Files) -> None:
    before = files.bytes()
    complete(files, "a")
    complete(files, "c")
    assert [label for label, _ in planned(files).preview.steps] == ["c"]
    carry_out_undo(planned(files), "")
    assert [label for label, _ in planned(files).preview.steps] == ["a"]
    carry_out_undo(planned(files), "")
    assert files.bytes() == before
    with pytest.raises(NothingToUndoError, match="contains no action that can be undone"):
        planned(files)


def test_an_undo_can_be_undone_by_its_id(files: Files) -> None:
    complete(files, "a")
    completed = files.bytes()
    carry_out_undo(planned(files), "")
    undo = read_log(log_in(files.path)).entries[-1]
    assert undo.action == "undo"
    carry_out_undo(planned(files, undo.action_id), "")
    assert files.bytes() == completed


def test_an_agent_that_changed_since_is_not_taken_back_and_others_are(files: Files) -> None:
    complete(files, "a", "b")
    atomic_update_agent_status(files.registry(), "a", "blocked")
    plan = planned(files)
    assert [label for label, _ in plan.preview.steps] == ["b"]
    ((who, why),) = plan.preview.refused
    assert who == "a" and "status was changed again" in why and "'blocked'" in why
    outcome = carry_out_undo(plan, "")
    assert results(outcome) == {"a": Result.LEFT, "b": Result.DONE}
    assert files.agent("b")["status"] == "running"
    assert "completed_at" not in files.agent("b")
    task = json.loads(files.registry().read_text())
    assert (task["active_count"], task["completed_count"]) == (2, 0)


def test_an_unknown_id_and_a_change_of_another_workspace_are_refused(
    files: Files, tmp_path: Path
) -> None:
    complete(files, "a")
    with pytest.raises(NothingToUndoError, match="no action '2025'"):
        planned(files, "2025")
    log = files.path / "registry" / AUDIT_LOG
    outside = tmp_path / "outside" / "AGENT_REGISTRY.json"
    outside.parent.mkdir()
    outside.write_bytes(files.registry().read_bytes())
    log.write_text(
        log.read_text()
        .replace("TASK-1/AGENT_REGISTRY.json", "../outside/AGENT_REGISTRY.json")
        .replace("registry/GLOBAL_REGISTRY.json", str(outside))
    )
    plan = planned(files)
    assert plan.steps == () and plan.preview.steps == ()
    assert "is not a registry of these workspaces" in undo_refusal(plan)
    assert outside.read_bytes() == files.registry().read_bytes()


# --- kills --------------------------------------------------------------------


class Ending(ScriptedTmux):
    """Ends what it is told to end."""

    def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
        self._answers = [no_server()]
        return None


def kill(files: Files, ids: Iterable[str]) -> tuple[RollCall, Outcome]:
    tmux = Ending(answered(made_now("agent_a")))
    roll = take(files, tmux)
    plan = plan_kill(roll, [row_of(roll, each) for each in ids])
    return roll, carry_out(plan, tmux, "it ran wild")


def test_a_kill_is_on_record_and_is_not_undone(files: Files) -> None:
    complete(files, "c")
    first = read_log(log_in(files.path)).entries[0]
    roll, outcome = kill(files, ["a"])
    assert verdicts(roll)["a"] is Verdict.LIVE
    assert outcome.complete, outcome
    assert files.agent("a")["status"] == "terminated"
    assert actions(files)[1:] == [("kill", State.DONE), ("kill", State.DONE)]
    log = read_log(log_in(files.path))
    ended = log.entries[1].session
    assert ended is not None and (ended.name, ended.agent) == ("agent_a", "a")
    assert log.entries[2].reason == "it ran wild"
    plan = planned(files)
    assert plan.preview.steps == ()
    said = undo_refusal(plan)
    assert "a kill cannot be undone" in said
    assert first.action_id in said
    before = files.bytes()
    assert carry_out_undo(plan, "").steps == ()
    assert files.bytes() == before


def test_the_title_of_an_undo_cannot_be_read_as_a_result(files: Files) -> None:
    complete(files, "a")
    preview = planned(files).preview
    assert preview.title.startswith('Take back "complete" of 2')
    assert preview.note == preview.note.strip() and ". Counters" in preview.note


def test_a_refused_undo_says_that_nothing_earlier_can_be_undone(files: Files) -> None:
    kill(files, ["a"])
    said = undo_refusal(planned(files))
    assert said.endswith(". The log has no earlier action that can be undone.")


def test_the_log_shows_and_counts_an_action_once(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(files, "a", "c", reason="all through")
    complete(files, "b")
    carry_out_undo(planned(files), "")
    carry_out_undo(planned(files), "")
    log = read_log(log_in(files.path))
    of_action = [each.action for each in log.entries]
    assert of_action == ["complete", "complete", "complete", "undo", "undo", "undo"]

    def shown(*words: str) -> list[str]:
        assert main(["log", *words, str(files.path)]) == 0
        return capsys.readouterr().out.splitlines()

    lines = shown("-n", "3")
    assert lines[0] == "The last 3 of 4 actions; --all shows all."
    titles = [line.split(": ", 1)[1] for line in lines[1:] if not line.startswith(" ")]
    assert titles == ["done, undone later", "done", "done"]
    lines = shown()
    # Both tasks of the action are below its one title.
    assert sum("why: all through" in line for line in lines) == 1
    assert sum(line.startswith("    by ") for line in lines) == 4
    agents = [line.strip()[:3] for line in lines if "status running → completed" in line]
    assert sorted(agents) == ["a: ", "b: ", "c: "]
    records = [json.loads(line) for line in shown("--json", "-n", "1")]
    assert [each["phase"] for each in records] == ["intent", "done"] * 2
    assert {each["id"] for each in records} == {log.entries[-1].action_id}


def test_an_earlier_action_is_named_whatever_the_last_action_was(files: Files) -> None:
    complete(files, "c")
    complete(files, "a")
    atomic_update_agent_status(files.registry(), "a", "blocked")
    said = undo_refusal(planned(files))
    assert 'The action before this one: "complete" of' in said and "kill" not in said


def test_of_a_kill_of_several_it_is_said_once_why_it_is_not_undone(files: Files) -> None:
    tmux = Ending(answered(made_now("agent_a"), made_now("agent_b", number=2)))
    roll = take(files, tmux)
    plan = plan_kill(roll, [row_of(roll, each) for each in "ab"])
    assert carry_out(plan, tmux, "").complete
    said = undo_refusal(planned(files))
    assert said.startswith("a, b: ")
    assert said.count("a kill cannot be undone") == 1
    assert len(planned(files).preview.refused) == 1


def test_of_a_kill_the_zombies_it_only_wrote_down_go_back(files: Files) -> None:
    _, outcome = kill(files, ["a", "b"])
    assert outcome.complete
    plan = planned(files)
    assert [label for label, _ in plan.preview.steps] == ["b"]
    assert {label for label, _ in plan.preview.refused} == {"a"}
    carry_out_undo(plan, "")
    assert files.agent("a")["status"] == "terminated"
    assert files.agent("b")["status"] == "running"


def test_without_a_record_nothing_is_changed_and_it_is_said(files: Files) -> None:
    (files.path / "registry" / AUDIT_LOG).mkdir()
    before = files.bytes()
    outcome = complete(files, "a")
    assert results(outcome) == {"a": Result.FAILED}
    assert AUDIT_LOG in outcome.steps[0].detail
    assert files.bytes() == before


def test_a_session_ends_also_where_that_cannot_be_put_on_record(files: Files) -> None:
    (files.path / "registry" / AUDIT_LOG).mkdir()
    before = files.bytes()
    _, outcome = kill(files, ["a"])
    assert results(outcome) == {"a": Result.FAILED}
    assert "ended its session" in outcome.steps[0].detail
    assert "not recorded" in outcome.steps[0].detail
    assert any("not logged" in problem for problem in outcome.problems)
    assert files.bytes() == before


def test_what_the_library_does_by_itself_is_not_on_record(files: Files) -> None:
    atomic_update_agent_status(files.registry(), "a", "blocked")
    assert not (files.path / "registry" / AUDIT_LOG).exists()


def test_every_field_is_on_record_before_and_after(files: Files) -> None:
    complete(files, "a", reason="why not")
    log = files.path / "registry" / AUDIT_LOG
    assert log.stat().st_mode & 0o777 == 0o600
    intent, done = map(json.loads, log.read_text().splitlines())
    assert (intent["phase"], done["phase"]) == ("intent", "done")
    assert intent["reason"] == "why not"
    assert {"user", "host", "pid", "tty"} <= set(intent["who"])
    fields = {
        (each["file"], each["agent"], each["field"]): (each.get("before"), each.get("after"))
        for each in intent["changes"]
    }
    task, global_ = "TASK-1/AGENT_REGISTRY.json", "registry/GLOBAL_REGISTRY.json"
    assert fields[task, "a", "status"] == ("running", "completed")
    assert fields[task, "a", "completed_at"] == (None, files.agent("a")["completed_at"])
    assert fields[task, None, "active_count"] == (2, 1)
    assert fields[task, None, "completed_count"] == (0, 1)
    assert fields[global_, "a", "status"] == (None, "completed")
    assert fields[global_, None, "active_agents"] == (3, 2)


def test_what_was_intended_and_never_done_is_passed_over(files: Files) -> None:
    complete(files, "a")
    first = read_log(log_in(files.path)).entries[0]
    before = files.bytes()
    log = files.path / "registry" / AUDIT_LOG
    complete(files, "b")
    # As if the power had failed between the record of the second one and the change.
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    for path, data in before.items():
        path.write_bytes(data)
    assert actions(files)[-1] == ("complete", State.INTENDED)
    plan = planned(files)
    assert (plan.action_id, [label for label, _ in plan.preview.steps]) == (
        first.action_id,
        ["a"],
    )


def test_the_monitor_offers_what_came_before_a_kill_and_says_so(files: Files) -> None:
    complete(files, "c")
    kill(files, ["a"])
    roll = take(files, NOBODY)
    plan = plan_undo(
        [task.state for task in roll.tasks()], [files.path.resolve()], None, offer_earlier=True
    )
    assert [label for label, _ in plan.preview.steps] == ["c"]
    ((what, why),) = plan.preview.refused
    assert what.startswith('"kill" of') and "a kill cannot be undone" in why
