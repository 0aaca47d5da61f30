"""Ending the agents whose session is gone: of one task, and of a whole workspace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    atomic_add_agent,
    clean_up_task,
    clean_up_workspace,
    finish_agents,
    report_progress,
)
from registry.operations import clean_up as cleaning
from registry.schema import Instant, zombies
from registry.storage import flock
from registry.storage.locked_file import Edit, edited
from tests.support.io_counts import passes, watching
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    load,
    task_registry,
    write,
)
from tests.support.time_zones import local, set_back_at, time_zone
from tests.support.two_tasks import clean_up, either, registries


def _ago(seconds: float) -> str:
    return (datetime.now() - timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize("listed", ["agent_v1.2:3", "agent_v1_2_3"])
def test_either_name_that_tmux_gives_keeps_an_agent_alive(tmp_path: Path, listed: str) -> None:
    path = tmp_path / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
    write(path, task_registry(agent("v1.2:3"), agent("gone.js")))
    assert clean_up_task(path, None, {listed}).ended == {path: ("gone.js",)}
    write(path, task_registry(agent("v1.2:3"), agent("gone.js")))
    assert clean_up_workspace(path.parents[1], {listed}).ended == {path: ("gone.js",)}


@either
@pytest.mark.parametrize("status", ["completed", "terminated"])
def test_all_whose_session_is_gone_are_ended_in_bothregistries(
    workspace: Path, how: str, status: Any
) -> None:
    one, two, global_ = registries(workspace)

    done = clean_up(workspace, ["agent_two"], how, status=status, reason="no session")

    assert sum(each.count for each in done) == 2
    assert {path: ids for each in done for path, ids in each.ended.items()} == {
        one: ("one",),
        two: ("three",),
    }
    assert not any(each.problems for each in done)
    why = "completion_reason" if status == "completed" else "termination_reason"
    for path, id_ in ((one, "one"), (two, "three"), (global_, "one"), (global_, "three")):
        entry = entry_of(load(path), id_)
        assert (entry["status"], entry[why]) == (status, "no session")
        assert entry[f"{status}_at"]
    assert entry_of(load(one), "two") == agent("two")
    assert "status" not in entry_of(load(global_), "two")
    for path in (one, two, global_):
        assert_counters_match(load(path))


@either
def test_a_second_time_ends_and_writes_nothing(workspace: Path, how: str) -> None:
    clean_up(workspace, [], how)
    before = [path.read_bytes() for path in registries(workspace)]

    done = clean_up(workspace, [], how)

    assert not any(each.count or each.written for each in done)
    assert [path.read_bytes() for path in registries(workspace)] == before


def test_a_workspace_is_read_once_and_written_once_a_file(workspace: Path) -> None:
    with watching() as last_activity:
        clean_up_workspace(workspace, [])
    assert [passes(last_activity, path) for path in registries(workspace)] == [(1, 1)] * 3

    with watching() as last_activity:
        clean_up_workspace(workspace, [])
    assert [passes(last_activity, path) for path in registries(workspace)] == [(1, 0)] * 3


def test_a_task_is_read_once_and_written_once_a_file(workspace: Path) -> None:
    one, _, global_ = registries(workspace)
    with watching() as last_activity:
        clean_up_task(one, global_, [])
    assert passes(last_activity, one) == passes(last_activity, global_) == (1, 1)


def test_a_workspace_is_never_locked_twice_at_once(workspace: Path) -> None:
    held = []
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        held.append(sum(map(flock.holds, registries(workspace))))
        return real(fd, size, offset)

    with mock.patch.object(os, "pread", pread):
        clean_up_workspace(workspace, [])

    assert set(held) == {1}


@either
def test_a_status_that_is_neither_active_nor_terminal_is_left_alone(
    workspace: Path, how: str
) -> None:
    one, _, global_ = registries(workspace)
    atomic_add_agent(one, agent("odd", "paused"), "orchestrator")
    atomic_add_agent(global_, agent("odd", "paused", task_id="TASK-1"), "orchestrator")

    clean_up(workspace, [], how)

    for path in (one, global_):
        assert entry_of(load(path), "odd")["status"] == "paused"
        assert_counters_match(load(path))


@either
def test_who_just_started_is_left_alone(workspace: Path, how: str) -> None:
    one, _, global_ = registries(workspace)
    for id_, started in (("young", _ago(1)), ("old", _ago(60)), ("odd clock", _ago(-3600))):
        atomic_add_agent(one, agent(id_, started_at=started), "orchestrator")
        listed = agent(id_, None, started_at=started, task_id="TASK-1")
        atomic_add_agent(global_, listed, "orchestrator")

    clean_up(workspace, [], how, grace=30)

    for path in (one, global_):
        assert entry_of(load(path), "young").get("status", "running") == "running"
        assert entry_of(load(path), "old")["status"] == "terminated"
        assert entry_of(load(path), "odd clock")["status"] == "terminated"


@either
def test_who_was_registered_while_a_lock_was_waited_for_is_left_alone(
    workspace: Path, how: str
) -> None:
    one, _, _ = registries(workspace)
    # What a wait of a minute comes to: the sessions were listed that long ago.
    atomic_add_agent(one, agent("late", started_at=_ago(10)), "orchestrator")
    then = Instant(*(clock - 60 for clock in Instant.now()))
    with mock.patch.object(cleaning, "Instant", mock.Mock(now=lambda: then)):
        clean_up(workspace, [], how)

    assert entry_of(load(one), "late")["status"] == "running"
    assert entry_of(load(one), "one")["status"] == "terminated"


@either
def test_who_was_registered_after_the_clock_was_set_back_is_left_alone(
    workspace: Path, how: str
) -> None:
    one, _, global_ = registries(workspace)
    # The sessions were listed, and the registries read, by a clock that was an hour ahead.
    ahead = Instant.now()._replace(wall=time.time() + 3600)
    for path in (one, global_):
        atomic_add_agent(path, agent("late", started_at=_ago(0), task_id="TASK-1"), "orchestrator")
    with mock.patch.object(cleaning, "Instant", mock.Mock(now=lambda: ahead)):
        clean_up(workspace, [], how)

    assert entry_of(load(one), "late")["status"] == "running"
    assert entry_of(load(global_), "late")["status"] == "running"
    assert entry_of(load(one), "one")["status"] == "terminated"


@either
def test_who_is_new_in_the_hour_that_comes_twice_is_left_alone(workspace: Path, how: str) -> None:
    one, _, _ = registries(workspace)
    now = time.time()
    with time_zone(set_back_at(now - 900)):
        old = agent("old", started_at=local(now - 7200))
        atomic_add_agent(one, old, "orchestrator")
        atomic_add_agent(one, agent("new", started_at=local(now)), "orchestrator")
        clean_up(workspace, [], how)

    assert entry_of(load(one), "new")["status"] == "running"
    assert entry_of(load(one), "old")["status"] == "terminated"


@either
@pytest.mark.parametrize("session", [None, "", 5, "a#b"])
def test_who_has_no_session_that_tmux_could_be_asked_for_is_left_alone(
    workspace: Path, how: str, session: object
) -> None:
    one, _, _ = registries(workspace)
    atomic_add_agent(one, agent("odd") | {"tmux_session": session}, "orchestrator")

    clean_up(workspace, [], how)

    assert entry_of(load(one), "odd")["status"] == "running"


@either
def test_a_session_is_compared_by_the_name_that_tmux_gives_it(workspace: Path, how: str) -> None:
    one, _, _ = registries(workspace)
    atomic_add_agent(one, agent("a.b:c"), "orchestrator")

    clean_up(workspace, ["agent_a_b_c"], how)

    assert entry_of(load(one), "a.b:c")["status"] == "running"


@either
@pytest.mark.parametrize("status", TERMINAL)
def test_a_global_registry_that_was_left_behind_catches_up(
    workspace: Path, how: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, global_ = registries(workspace)
    report_progress(one, None, "one", status=status)
    live = ["agent_one", "agent_two", "agent_three"]
    # The process that wrote the end has time to write it to the global registry.
    assert not any(done.written for done in clean_up(workspace, live, how))
    monkeypatch.setattr(zombies, "END_DELAY", 0.0)

    done = clean_up(workspace, live, how)

    mine, listed = entry_of(load(one), "one"), entry_of(load(global_), "one")
    assert listed["status"] == status
    stamp = "failed_at" if status in ("error", "failed") else f"{status}_at"
    assert listed[stamp] == mine[stamp]
    assert_counters_match(load(global_))
    assert not any(each.count for each in done)
    assert [path for each in done for path in each.written] == [global_]


@either
def test_listed_only_globally_it_is_ended_once_its_session_is_gone(
    workspace: Path, how: str
) -> None:
    _, _, global_ = registries(workspace)
    for id_, task_id in (("left", "TASK-1"), ("live", "TASK-1"), ("stranger", "TASK-9")):
        atomic_add_agent(global_, agent(id_, None, task_id=task_id), "orchestrator")
    young = agent("young", None, task_id="TASK-1", started_at=_ago(1))
    atomic_add_agent(global_, young, "orchestrator")

    clean_up(workspace, ["agent_live"], how, grace=30)

    assert entry_of(load(global_), "left")["status"] == "terminated"
    # Of a task that nobody has seen nobody can tell.
    for id_ in ("live", "young", "stranger"):
        assert "status" not in entry_of(load(global_), id_)
    assert_counters_match(load(global_))


@either
def test_an_agent_of_that_name_of_another_task_is_left_alone(workspace: Path, how: str) -> None:
    one, two, global_ = registries(workspace)
    atomic_add_agent(two, agent("one"), "orchestrator")
    write(global_, global_registry(agent("one", None, task_id="TASK-2")))

    clean_up(workspace, ["agent_one"], how)

    report_progress(one, None, "one", status="failed")
    clean_up(workspace, ["agent_one"], how)

    assert "status" not in entry_of(load(global_), "one")


def test_reporting_between_the_two_turns_it_is_at_work_in_both(
    workspace: Path,
) -> None:
    one, two, global_ = registries(workspace)
    finish_agents(one, global_, ["one"], status="terminated")

    def edited_after_a_report(path: Path, change: Callable[[Edit], Any], timeout: float) -> Any:
        if path == global_:
            report_progress(one, global_, "one", status="working")
        return edited(path, change, timeout)

    with mock.patch.object(cleaning, "edited", edited_after_a_report):
        clean_up_workspace(workspace, ["agent_one", "agent_two"])

    assert entry_of(load(one), "one")["status"] == "working"
    assert entry_of(load(global_), "one")["status"] == "working"
    assert entry_of(load(two), "three")["status"] == "terminated"


@pytest.mark.parametrize("keyed", [False, True], ids=["list", "object"])
def test_agents_may_be_a_list_or_an_object(tmp_path: Path, keyed: bool) -> None:
    registry = task_registry(agent("a"), agent("b"), agent("b", "blocked"))
    if keyed:
        registry["agents"] = {str(number): each for number, each in enumerate(registry["agents"])}
    task = write(tmp_path / "t.json", registry)

    done = clean_up_task(task, None, ["agent_a"])

    assert done.ended == {task: ("b", "b")}
    assert_counters_match(load(task))


_people = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "e"]),
    st.tuples(st.sampled_from([*ACTIVE, *TERMINAL, "odd"]), st.booleans()),
)


@given(people=_people, behind=st.sets(st.sampled_from(["a", "b", "c"])))
def test_the_dead_are_ended_nobody_else_and_the_global_registry_agrees(
    people: dict[str, tuple[str, bool]], behind: set[str]
) -> None:
    task = task_registry(*(agent(id_, status) for id_, (status, _) in people.items()))
    listed = [agent(id_, None if id_ in behind else status) for id_, (status, _) in people.items()]
    global_ = global_registry(*listed)
    live = {f"agent_{id_}" for id_, (_, lives) in people.items() if lives}
    rule = cleaning._CleanUpRule.of(live, "terminated", "gone", 5.0)

    ended = rule.end(Path("nowhere") / "AGENT_REGISTRY.json", task)
    seen = cleaning._by_task_id(task, ended, None)
    rule.follow(global_, seen)

    dead = [id_ for id_, (status, lives) in people.items() if status in ACTIVE and not lives]
    assert list(ended) == dead
    for id_, (status, _) in people.items():
        now = entry_of(task, id_)["status"]
        assert now == ("terminated" if id_ in dead else status)
        shown = entry_of(global_, id_).get("status", "running")
        assert (shown in ACTIVE) == (now in ACTIVE) or now == "odd"
        assert now not in TERMINAL or shown == now
    assert_counters_match(task)
    assert_counters_match(global_)


@either
def test_an_end_that_is_being_written_is_counted_once(workspace: Path, how: str) -> None:
    """The orchestrator writes the task's registry, and decreases the global counter later."""
    one, _, global_ = registries(workspace)
    active = load(global_)["active_agents"]
    task = load(one)
    entry_of(task, "one").update(status="completed", last_update=_ago(0), completed_at=_ago(0))
    task["active_count"] -= 1
    task["completed_count"] += 1
    write(one, task)

    clean_up(workspace, ["agent_two", "agent_three"], how)

    late = load(global_)
    late["agents"]["one"].update(status="completed")
    late["active_agents"] -= 1
    write(global_, late)
    assert late["active_agents"] == active - 1
    assert_counters_match(load(global_))
