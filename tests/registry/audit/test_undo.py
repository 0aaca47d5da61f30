"""Taking back: field by field, in both files, and only what nobody changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry import (
    Audit,
    AuditContext,
    RegistryError,
    atomic_add_agent,
    atomic_update_agent_status,
    finish_agents,
)
from registry.audit import log as audit
from registry.audit.diff import FieldChange
from registry.audit.entries import EndedSession, Log, State
from registry.audit.undo import Undoable, preview, take_back, undoables
from tests.support.crowd import Crowd
from tests.support.peers import careful_update
from tests.support.records import complete, entries, last_action, undo
from tests.support.registries import (
    Json,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    load,
    task_registry,
    write,
)

Texts = tuple[bytes, ...]


def texts(*paths: Path) -> Texts:
    return tuple(path.read_bytes() for path in paths)


def the_log(task: Path) -> Log:
    return audit.read_log(audit.log_of(task))


def steps_of_the_last(*known: Path) -> tuple[Undoable, ...]:
    log = the_log(known[0])
    action = last_action(log)
    assert action is not None
    return undoables(log, action, known)


# --- there and back -----------------------------------------------------------

ODD = {"é\ud800 \x7f": [1e22, float("inf"), -0.0, 10**400], "": {"deep": [[{}]]}}


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("status", ["completed", "terminated"])
def test_both_files_are_byte_for_byte_as_before(tmp_path: Path, keyed: bool, status: Any) -> None:
    agents = [agent("a", "blocked", **ODD), agent("b", completed_at=None), agent("c", "failed")]
    registry = task_registry(*agents, **ODD)
    if keyed:
        registry["agents"] = {each["id"]: each for each in agents}
    space = tmp_path / ".agent-workspace"
    task = write(space / "TASK-1" / "AGENT_REGISTRY.json", registry)
    global_ = write(space / "registry" / "GLOBAL_REGISTRY.json", global_registry(*agents, **ODD))
    before = texts(task, global_)

    on_record = AuditContext(Audit("complete", "é\n\x1b[2J\ud800"))
    ids = ["a", "b", "c"]
    finish_agents(task, global_, ids, status=status, reason="\x7f", on_record=on_record)
    assert all(old != new for old, new in zip(before, texts(task, global_), strict=True))
    (done,) = undo(task, global_)

    assert texts(task, global_) == before
    assert (done.agents, done.fields, done.refused) == (("a", "b"), (), {})


def test_it_survives_a_restart(task: Path, global_: Path, crowd: Crowd) -> None:
    before = texts(task, global_)
    complete(task, global_, "busy")
    crowd.enlist("tests.support.workers", "undo_last", audit.log_of(task), task, global_)
    crowd.go()
    assert crowd.finish() == [[entries(task)[0].action_id, {}]]
    assert texts(task, global_) == before
    assert entries(task)[1].who.pid == crowd.members[0].pid


def test_an_undo_is_recorded_and_can_be_undone_itself(task: Path, global_: Path) -> None:
    before = texts(task, global_)
    complete(task, global_, "busy")
    changed = texts(task, global_)
    first = entries(task)[0]
    undo(task, global_)
    second = entries(task)[1]

    assert (second.action, second.reason, second.undoes) == ("undo", "a mistake", first.key)
    assert second.state is State.DONE
    assert last_action(the_log(task)) is None
    undo(task, global_, action=second.action_id)
    assert texts(task, global_) == changed
    assert last_action(the_log(task)) == first.action_id
    undo(task, global_)
    assert texts(task, global_) == before


def test_a_second_undo_takes_back_the_change_before(task: Path, global_: Path) -> None:
    for path in (task, global_):
        atomic_add_agent(path, agent("second"), "orchestrator")
    states = [texts(task, global_)]
    for each in ("busy", "second"):
        complete(task, global_, each)
        states.append(texts(task, global_))
    for expected in (states[1], states[0]):
        undo(task, global_)
        assert texts(task, global_) == expected
    assert last_action(the_log(task)) is None


def test_the_given_change_is_taken_back_though_it_is_not_the_last(
    task: Path, global_: Path
) -> None:
    for path in (task, global_):
        atomic_add_agent(path, agent("second"), "orchestrator")
    for each in ("busy", "second"):
        complete(task, global_, each)
    first, last = entries(task)
    undo(task, global_, action=first.action_id)

    assert entry_of(load(task), "busy")["status"] == "running"
    assert entry_of(load(task), "second")["status"] == "completed"
    assert_counters_match(load(task))
    assert_counters_match(load(global_))
    assert last_action(the_log(task)) == last.action_id


def test_all_steps_of_an_action_are_taken_back_the_last_first(task: Path, global_: Path) -> None:
    other = write(
        task.parent.parent / "TASK-2" / "AGENT_REGISTRY.json",
        task_registry(agent("elsewhere"), task_id="TASK-2"),
    )
    known = (task, other, global_)
    before = texts(*known)
    action = Audit("complete", "both")
    for path, name in ((task, "busy"), (other, "elsewhere")):
        finish_agents(path, global_, [name], status="completed", on_record=AuditContext(action))
    assert [each.task for each in steps_of_the_last(*known)] == [other, task]
    done = undo(*known)
    assert [each.agents for each in done] == [("elsewhere",), ("busy",)]
    assert texts(*known) == before


def test_a_change_in_one_file_is_taken_back_there_alone(task: Path, global_: Path) -> None:
    good = global_.read_text()
    global_.write_text("{")
    before = texts(task, global_)
    report = complete(task, global_, "busy")
    assert "the global registry was not updated" in report.problems[0]
    undo(task, global_)
    assert texts(task, global_) == before

    global_.write_text(good)
    atomic_add_agent(global_, agent("listed"), "orchestrator")
    before = texts(task, global_)
    complete(task, global_, "listed")
    (step,) = steps_of_the_last(task, global_)
    assert (step.task, step.global_) == (global_, None)
    undo(task, global_)
    assert texts(task, global_) == before


def test_a_preview_says_what_taking_back_does_and_changes_nothing(
    task: Path, global_: Path
) -> None:
    atomic_add_agent(task, agent("second"), "orchestrator")
    complete(task, global_, "busy", "second")
    atomic_update_agent_status(task, "second", "failed")
    before = texts(task, global_, audit.log_of(task))
    (step,) = steps_of_the_last(task, global_)
    told = preview(step, {})

    assert texts(task, global_, audit.log_of(task)) == before
    assert (told.agents, set(told.refused)) == (("busy",), {"second"})
    assert take_back(step, Audit("undo", "")).result == told


def test_counters_that_others_moved_since_keep_their_movement(task: Path, global_: Path) -> None:
    complete(task, global_, "busy")
    for path in (task, global_):
        atomic_add_agent(path, agent("later"), "orchestrator")
    finish_agents(task, global_, ["later"], status="completed")
    for path in (task, global_):
        atomic_add_agent(path, agent("latest"), "orchestrator")
    undo(task, global_)
    for path in (task, global_):
        assert_counters_match(load(path))
    assert load(task)["active_count"] == 2


# --- refused ------------------------------------------------------------------


def _changed(registry: Json) -> None:
    entry_of(registry, "busy")["status"] = "failed"


def _stamped(registry: Json) -> None:
    entry_of(registry, "busy")["completed_at"] = "another time"


def _removed(registry: Json) -> None:
    agents = registry["agents"]
    if isinstance(agents, dict):
        del agents["busy"]
    else:
        agents.remove(entry_of(registry, "busy"))


@pytest.mark.parametrize("in_global", [False, True])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_changed, "status was changed again in {}: the value is now 'failed'"),
        (_stamped, "completed_at was changed again in {}: the value is now 'another time'"),
        (_removed, "was removed from {}"),
    ],
)
def test_what_was_changed_since_stays_in_both_files_and_is_said(
    task: Path, global_: Path, in_global: bool, change: Any, why: str
) -> None:
    complete(task, global_, "busy")
    path = global_ if in_global else task
    careful_update(str(path), change)
    before = texts(task, global_, audit.log_of(task))
    (done,) = undo(task, global_)

    assert texts(task, global_, audit.log_of(task)) == before
    name = str(path.relative_to(task.parent.parent))
    assert done.refused == {"busy": why.format(name)}
    assert not done.agents


def test_what_others_did_to_other_fields_stays_and_the_rest_goes_back(
    task: Path, global_: Path
) -> None:
    before = load(task)
    complete(task, global_, "busy")

    def note(registry: Json) -> None:
        entry_of(registry, "busy")["note"] = registry["note"] = "theirs"

    careful_update(str(task), note)
    undo(task, global_)
    note(before)
    assert load(task) == before


def test_a_file_outside_of_what_is_known_is_refused(task: Path, global_: Path) -> None:
    complete(task, global_, "busy")
    for known in ((), (task,), (global_,)):
        (step,) = undoables(the_log(task), entries(task)[0].action_id, known)
        assert step.task is None
        assert "is not a registry of these workspaces" in str(step.refused)
        before = texts(task, global_)
        with pytest.raises(ValueError, match="not a registry of these workspaces"):
            take_back(step, Audit("undo", ""))
        assert texts(task, global_) == before


@pytest.mark.parametrize(
    "planted",
    [
        "../../etc/AGENT_REGISTRY.json",
        "../victim/AGENT_REGISTRY.json",
        "TASK-1/../../victim/AGENT_REGISTRY.json",
        "{}/victim/AGENT_REGISTRY.json",
        "",
        "TASK-1/\0",
        "/dev/zero",
    ],
)
def test_a_planted_log_leads_nowhere(
    task: Path, global_: Path, tmp_path: Path, planted: str
) -> None:
    victim = write(
        tmp_path / "victim" / "AGENT_REGISTRY.json", task_registry(agent("busy", "completed"))
    )
    change = FieldChange(planted.format(tmp_path), "busy", 0, "status", "owned", "completed")
    Audit("complete", "").begin(audit.log_of(task), changes=[change])
    before = texts(task, global_, victim)
    (step,) = steps_of_the_last(task, global_)

    assert step.task is None
    assert "is not a registry of these workspaces" in str(step.refused)
    assert texts(task, global_, victim) == before


def test_a_record_that_names_more_registries_than_one_pass_takes_is_refused(
    task: Path, global_: Path
) -> None:
    other = write(task.parent.parent / "TASK-2" / "AGENT_REGISTRY.json", load(task))
    changes = [
        FieldChange(f"{each.parent.name}/AGENT_REGISTRY.json", "busy", 0, "x", 1, 2)
        for each in (task, other)
    ]
    Audit("complete", "").begin(audit.log_of(task), changes=changes)
    (step,) = steps_of_the_last(task, other, global_)
    assert "names more than one" in str(step.refused)


def test_a_kill_cannot_be_undone_nor_what_went_with_it(task: Path, global_: Path) -> None:
    action = Audit("kill", "stuck")
    log = audit.log_of(task)
    session = EndedSession("agent_busy", "$3", 1700000000, "/tmp/tmux-0/default", "busy")
    action.end(log, action.begin(log, session=session), State.DONE)
    why = "its session was ended"
    on_record = AuditContext(action, final=why)
    finish_agents(task, global_, ["busy"], status="terminated", on_record=on_record)
    before = texts(task, global_)

    steps = steps_of_the_last(task, global_)
    assert [each.refused for each in steps] == [why, "it was killed; a kill cannot be undone"]
    assert steps[1].entry.session == session
    for each in steps:
        with pytest.raises(ValueError, match=r"ended|killed"):
            take_back(each, Audit("undo", ""))
    assert texts(task, global_) == before


@pytest.mark.parametrize("spoiled", [None, "{"])
@pytest.mark.parametrize("in_global", [False, True])
def test_where_a_registry_cannot_be_had_nothing_is_taken_back(
    task: Path, global_: Path, spoiled: str | None, in_global: bool
) -> None:
    complete(task, global_, "busy")
    bad, other = (global_, task) if in_global else (task, global_)
    if spoiled is None:
        bad.unlink()
    else:
        bad.write_text(spoiled)
    before = texts(other, audit.log_of(task))
    with pytest.raises(RegistryError, match=bad.name):
        undo(task, global_)
    assert texts(other, audit.log_of(task)) == before


# --- without an outcome -------------------------------------------------------


def test_what_took_place_without_an_outcome_can_be_undone(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = texts(task, global_)

    def hot_journal(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Audit, "end", hot_journal)
    with pytest.raises(KeyboardInterrupt):
        complete(task, global_, "busy")
    monkeypatch.undo()
    assert texts(task, global_) != before
    assert [each.state for each in entries(task)] == [State.INTENDED]
    (done,) = undo(task, global_)
    assert done.agents == ("busy",)
    assert texts(task, global_) == before


def test_what_did_not_take_place_is_as_it_was_before_already(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = texts(task, global_)
    real = Audit.begin

    def hot_journal(self: Audit, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Audit, "begin", hot_journal)
    with pytest.raises(KeyboardInterrupt):
        complete(task, global_, "busy")
    monkeypatch.undo()
    (done,) = undo(task, global_)
    assert "already has its old value" in done.refused["busy"]
    assert not done.agents
    assert texts(task, global_) == before
    assert len(entries(task)) == 1
