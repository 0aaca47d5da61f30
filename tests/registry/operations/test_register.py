"""Writing an agent down in both registries, within the limits; and taking it out again."""

from __future__ import annotations

import fcntl
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    AgentNotFoundError,
    DuplicateAgentError,
    LimitReachedError,
    RegistryError,
    WrongShapeError,
    atomic_add_agent,
    atomic_update_agent_status,
    register_agent,
    registering,
    withdraw_agent,
)
from registry.schema import ids
from registry.schema.depth import depth_below
from tests.support.limits import no_file_longer_than
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    Json,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    load,
    task_registry,
    write,
)

_BROKEN = ["", "{", "[]", '{"a": 1, "a": 2}', '{"task_id": "x", "agents": 5}']

_NAMES = st.sampled_from(["a", "b", "c", "d"])


def _bytes(*paths: Path) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_an_agent_is_in_both_registries_with_all_its_fields(task: Path, global_: Path) -> None:
    found = register_agent(
        task, global_, "fixer", parent="busy", prompt="p" * 300, fields={"model": "large"}
    )

    in_task, in_global = load(task), load(global_)
    entry = entry_of(in_task, found.agent_id)
    assert entry == {
        "id": found.agent_id,
        "type": "fixer",
        "tmux_session": f"agent_{found.agent_id}",
        "parent": "busy",
        "depth": 2,
        "status": "running",
        "started_at": entry["started_at"],
        "progress": 0,
        "last_update": entry["started_at"],
        "prompt": "p" * 200,
        "model": "large",
    }
    assert entry_of(in_global, found.agent_id) == {
        "task_id": "TASK-1",
        "type": "fixer",
        "parent": "busy",
        "started_at": entry["started_at"],
        "tmux_session": f"agent_{found.agent_id}",
    }
    assert in_task["agent_hierarchy"]["busy"] == [found.agent_id]
    assert (found.tmux_session, found.parent, found.depth) == (entry["tmux_session"], "busy", 2)
    assert not found.existing
    assert not found.problems
    assert_counters_match(in_task)
    assert_counters_match(in_global)


def test_an_id_is_made_of_type_time_and_chance(task: Path, global_: Path) -> None:
    found = register_agent(task, global_, "fixer")

    assert re.fullmatch(r"fixer-\d{6}-[0-9a-f]{6}", found.agent_id)


@pytest.mark.parametrize("keyed", [False, True], ids=["list", "object"])
@pytest.mark.parametrize("listed", [False, True], ids=["object", "list"])
def test_agents_may_be_a_list_or_an_object_in_either_registry(
    tmp_path: Path, keyed: bool, listed: bool
) -> None:
    in_task, in_global = task_registry(agent("busy")), global_registry(agent("busy", None))
    if keyed:
        in_task["agents"] = {"busy": agent("busy")}
    if listed:
        in_global["agents"] = [agent("busy", None, task_id="TASK-1")]
    task = write(tmp_path / "t.json", in_task)
    global_ = write(tmp_path / "g.json", in_global)
    before = _bytes(task, global_)

    found = register_agent(task, global_, "fixer", parent="busy")

    for path in (task, global_):
        assert entry_of(load(path), found.agent_id)["type"] == "fixer"
        assert_counters_match(load(path))
    assert withdraw_agent(task, global_, found.agent_id).was_there
    assert _bytes(task, global_) == before


@pytest.mark.parametrize(
    ("limit", "allowed", "parent"),
    [
        ("max_agents", 2, "orchestrator"),
        ("max_concurrent", 1, "orchestrator"),
        ("max_depth", 1, "busy"),
    ],
)
def test_a_limit_is_named_and_nothing_is_written(
    task: Path, global_: Path, limit: str, allowed: int, parent: str
) -> None:
    write(task, load(task) | {limit: allowed})
    before = _bytes(task, global_)

    with pytest.raises(LimitReachedError, match=f"{limit} is {allowed}") as caught:
        register_agent(task, global_, "fixer", parent=parent)

    error = caught.value
    assert (error.limit, error.allowed, error.found) == (
        limit,
        allowed,
        2 if limit != "max_concurrent" else 1,
    )
    assert str(task) in str(error)
    assert _bytes(task, global_) == before
    write(task, load(task) | {limit: allowed + 1})
    assert register_agent(task, global_, "fixer", parent=parent).agent_id


@pytest.mark.parametrize("limit", ["max_agents", "max_concurrent", "max_depth"])
@pytest.mark.parametrize("odd", ["5", True, [], 0.5])
def test_a_limit_that_is_no_whole_number_is_refused_and_not_overlooked(
    task: Path, global_: Path, limit: str, odd: object
) -> None:
    write(task, load(task) | {limit: odd})
    before = task.read_bytes(), global_.read_bytes()
    with pytest.raises(WrongShapeError, match=rf"AGENT_REGISTRY.*'{limit}' is .* Correct the"):
        register_agent(task, global_, "fixer", parent="busy")
    assert (task.read_bytes(), global_.read_bytes()) == before


def test_a_limit_that_is_null_is_none(task: Path, global_: Path) -> None:
    write(task, load(task) | dict.fromkeys(("max_agents", "max_concurrent", "max_depth")))
    assert register_agent(task, global_, "fixer", parent="busy").depth == 2


def test_who_is_through_takes_no_place_of_the_concurrent_ones(task: Path, global_: Path) -> None:
    write(task, load(task) | {"max_concurrent": 1})
    atomic_update_agent_status(task, "busy", "completed")

    register_agent(task, global_, "fixer")
    with pytest.raises(LimitReachedError, match="max_concurrent"):
        register_agent(task, global_, "fixer")


def test_an_id_of_either_registry_is_refused(task: Path, global_: Path) -> None:
    atomic_add_agent(task, agent("mine"), "orchestrator")
    atomic_add_agent(global_, agent("elsewhere", None, task_id="TASK-2"), "orchestrator")
    before = _bytes(task, global_)

    for taken in ("busy", "mine", "elsewhere"):
        with pytest.raises(DuplicateAgentError, match=taken) as caught:
            register_agent(task, global_, "fixer", agent_id=taken)
        assert isinstance(caught.value, RegistryError)
    assert _bytes(task, global_) == before
    assert register_agent(task, global_, "fixer", agent_id="free").agent_id == "free"


def test_an_id_that_was_made_and_is_taken_is_made_anew(task: Path, global_: Path) -> None:
    chance = mock.Mock(token_hex=mock.Mock(side_effect=["00", "00", "11"]))
    clock = mock.Mock(now=lambda: datetime(2025, 10, 18, 21, 31, 15))
    with mock.patch.multiple(ids, secrets=chance, datetime=clock):
        first, second = (register_agent(task, global_, "fixer").agent_id for _ in range(2))

    assert (first, second) == ("fixer-213115-00", "fixer-213115-11")


@pytest.mark.parametrize("status", ACTIVE)
def test_an_active_agent_of_the_type_is_taken_and_nothing_written(
    task: Path, global_: Path, status: str
) -> None:
    first = register_agent(task, global_, "fixer", parent="busy", status=status)
    before = _bytes(task, global_)

    again = register_agent(task, global_, "fixer", reuse=True)

    assert again.existing
    assert (again.agent_id, again.parent, again.depth) == (first.agent_id, "busy", 2)
    assert again.tmux_session == first.tmux_session
    assert _bytes(task, global_) == before


@pytest.mark.parametrize("status", TERMINAL)
def test_who_is_through_is_not_taken_again(task: Path, global_: Path, status: str) -> None:
    first = register_agent(task, global_, "fixer")
    atomic_update_agent_status(task, first.agent_id, status)

    again = register_agent(task, global_, "fixer", reuse=True)

    assert not again.existing
    assert again.agent_id != first.agent_id


@pytest.mark.parametrize("task_id", ["TASK-1", None, 5])
def test_one_is_taken_whatever_the_task_is_called_or_its_parent_is(
    tmp_path: Path, task_id: object
) -> None:
    there = agent("old", type="fixer", parent="nobody that is there")
    task = write(tmp_path / "t.json", task_registry(there, task_id=task_id))

    found = register_agent(task, None, "fixer", reuse=True)

    assert (found.agent_id, found.depth, found.existing) == ("old", 1, True)


def test_one_without_an_id_is_not_taken(tmp_path: Path) -> None:
    nameless = {"type": "fixer", "status": "running"}
    task = write(tmp_path / "t.json", task_registry() | {"agents": [nameless]})

    assert not register_agent(task, None, "fixer", reuse=True).existing


@pytest.mark.parametrize(
    ("above", "depth"),
    [
        ([agent("p", depth=4)], 5),
        ([agent("p")], 2),
        ([agent("p", depth="4")], 2),
        ([agent("p", depth=-1)], 2),
        ([agent("p", depth=True)], 2),
        ([agent("p", parent="gp"), agent("gp", depth=3)], 5),
        ([agent("p", parent="gp"), agent("gp", parent="orchestrator")], 3),
        ([agent("p", parent="gone")], 2),
        ([agent("p", parent=7)], 2),
        ([agent("p", parent="p")], 2),
        ([agent("p", parent="gp"), agent("gp", parent="p")], 3),
    ],
    ids=[
        "stated",
        "missing",
        "a string",
        "negative",
        "a boolean",
        "of the nearest that states one",
        "counted to the orchestrator",
        "counted to one that is gone",
        "a parent that is no string",
        "its own parent",
        "a loop",
    ],
)
def test_the_depth_is_one_more_than_the_parents(
    tmp_path: Path, above: list[Json], depth: int
) -> None:
    task = write(tmp_path / "t.json", task_registry(*above, max_depth=99))

    found = register_agent(task, None, "fixer", parent="p")

    assert found.depth == entry_of(load(task), found.agent_id)["depth"] == depth


@given(
    stated=st.dictionaries(_NAMES, st.none() | st.integers(-2, 9)),
    parents=st.dictionaries(_NAMES, _NAMES | st.just("orchestrator")),
    parent=_NAMES,
)
def test_any_parents_give_a_depth_and_it_follows_a_stated_one(
    stated: dict[str, int | None], parents: dict[str, str], parent: str
) -> None:
    by_id: dict[str, Json] = {
        id_: {"depth": depth, "parent": parents.get(id_)} for id_, depth in stated.items()
    }
    depth = depth_below(by_id, parent)

    assert 1 <= depth <= 9 + len(by_id) + 1
    if (stated.get(parent) or 0) > 0:
        assert depth == (stated[parent] or 0) + 1
    if parent not in stated:
        assert depth == 1


def test_a_parent_that_is_not_there_is_refused(task: Path, global_: Path) -> None:
    before = _bytes(task, global_)

    with pytest.raises(AgentNotFoundError, match="stranger") as caught:
        register_agent(task, global_, "fixer", parent="stranger")

    assert str(task) in str(caught.value)
    assert _bytes(task, global_) == before


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"agent_type": "a/b"}, "type"),
        ({"agent_type": "../x"}, "type"),
        ({"agent_type": ""}, "type"),
        ({"agent_type": ".hidden"}, "type"),
        ({"agent_type": "a\nb"}, "type"),
        ({"agent_type": 5}, "type"),
        ({"agent_type": "t" * 128}, "type"),
        ({"agent_id": "a/b"}, "id"),
        ({"agent_id": ""}, "id"),
        ({"agent_id": "x" * 129}, "id"),
        ({"agent_id": "#(touch x)"}, "id"),
        ({"status": "completed"}, "status"),
        ({"status": "odd"}, "status"),
        ({"status": ["running"]}, "status"),
        ({"parent": None}, "parent"),
        ({"parent": 5}, "parent"),
        ({"fields": {"tmux_session": 5}}, "tmux_session"),
    ],
)
def test_what_cannot_name_files_and_sessions_is_refused(
    task: Path, global_: Path, arguments: dict[str, Any], field: str
) -> None:
    before = _bytes(task, global_)

    with pytest.raises(WrongShapeError) as caught:
        register_agent(task, global_, **{"agent_type": "fixer"} | arguments)

    assert caught.value.field == field
    assert _bytes(task, global_) == before


@pytest.mark.parametrize(
    "name", ["id", "type", "parent", "depth", "status", "started_at", "prompt"]
)
def test_a_field_that_is_worked_out_here_cannot_be_given(
    task: Path, global_: Path, name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        register_agent(task, global_, "fixer", fields={name: "x"})


def test_a_session_of_another_name_is_taken_into_both(task: Path, global_: Path) -> None:
    found = register_agent(task, global_, "fixer", fields={"tmux_session": "mine"})

    assert found.tmux_session == "mine"
    for path in (task, global_):
        assert entry_of(load(path), found.agent_id)["tmux_session"] == "mine"


def test_the_callers_fields_are_not_kept_hold_of(task: Path, global_: Path) -> None:
    fields = {"tags": ["a"]}
    found = register_agent(task, global_, "fixer", fields=fields)
    fields["tags"].append("b")

    assert entry_of(load(task), found.agent_id)["tags"] == ["a"]
    with pytest.raises(TypeError):
        register_agent(task, global_, "fixer", fields={"x": object()})


def test_without_a_global_registry_the_task_alone_is_written(task: Path, tmp_path: Path) -> None:
    absent = tmp_path / "none" / "GLOBAL_REGISTRY.json"

    for where in (None, absent):
        assert not register_agent(task, where, "fixer").problems
    assert len(load(task)["agents"]) == 4
    assert not absent.exists()


@pytest.mark.parametrize("broken", [*_BROKEN, '{"tasks": {}, "agents": 5}'])
def test_a_broken_global_registry_is_left_out_and_named(
    task: Path, global_: Path, broken: str
) -> None:
    global_.write_text(broken)

    found = register_agent(task, global_, "fixer")

    assert str(global_) in found.problems[0]
    assert entry_of(load(task), found.agent_id)
    assert_counters_match(load(task))
    assert global_.read_text() == broken


def test_a_locked_global_registry_is_left_out_and_named(task: Path, global_: Path) -> None:
    before = global_.read_bytes()
    with open(global_, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        found = register_agent(task, global_, "fixer", timeout=0.05)

    assert str(global_) in found.problems[0]
    assert entry_of(load(task), found.agent_id)
    assert global_.read_bytes() == before


@pytest.mark.parametrize("broken", [None, *_BROKEN])
def test_without_the_task_nothing_is_written(
    task: Path, global_: Path, broken: str | None
) -> None:
    before = global_.read_bytes()
    if broken is None:
        task.unlink()
    else:
        task.write_text(broken)

    with pytest.raises((FileNotFoundError, ValueError), match="AGENT_REGISTRY") as caught:
        register_agent(task, global_, "fixer")

    assert isinstance(caught.value, RegistryError)
    assert global_.read_bytes() == before


def test_a_locked_task_is_a_timeout_and_nothing_is_written(task: Path, global_: Path) -> None:
    before = _bytes(task, global_)
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="AGENT_REGISTRY"):
            register_agent(task, global_, "fixer", timeout=0.05)
    assert _bytes(task, global_) == before


def test_a_full_disk_leaves_both_as_they_were(task: Path, global_: Path) -> None:
    before = _bytes(task, global_)
    limit = max(map(len, before)) + 20
    with no_file_longer_than(limit), pytest.raises(OSError):
        register_agent(task, global_, "fixer", fields={"note": "x" * 4096})
    assert _bytes(task, global_) == before


def test_fields_may_depend_on_the_id(task: Path, global_: Path) -> None:
    agent_ = register_agent(
        task, global_, "fixer", fields=lambda id_: {"tmux_session": f"own_{id_}", "log": id_}
    )
    assert agent_.tmux_session == f"own_{agent_.agent_id}"
    assert entry_of(load(task), agent_.agent_id)["log"] == agent_.agent_id
    with pytest.raises(ValueError, match="depth"):
        register_agent(task, global_, "fixer", fields=lambda _: {"depth": 1})


def test_a_reused_agent_is_returned_with_its_status(task: Path, global_: Path) -> None:
    first = register_agent(task, global_, "reviewer", status="working")
    again = register_agent(task, global_, "reviewer", reuse=True)
    assert (first.status, first.existing) == ("working", False)
    assert (again.agent_id, again.status, again.existing) == (first.agent_id, "working", True)


def test_an_agent_can_be_withdrawn_without_an_exception(task: Path, global_: Path) -> None:
    before = task.read_bytes(), global_.read_bytes()
    with registering(task, global_, "tester") as agent_:
        assert agent_.withdraw().was_there
    assert not agent_.withdraw().was_there
    assert (task.read_bytes(), global_.read_bytes()) == before


def test_an_agent_that_was_there_before_is_not_withdrawn(task: Path, global_: Path) -> None:
    register_agent(task, global_, "tester")
    again = register_agent(task, global_, "tester", reuse=True)
    with pytest.raises(ValueError, match="was not registered by this call"):
        again.withdraw()
