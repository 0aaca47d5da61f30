"""Taking an agent out again whose deployment failed."""

from __future__ import annotations

import copy
import fcntl
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    atomic_add_agent,
    atomic_update_agent_status,
    clean_up_task,
    create_task_registry,
    register_agent,
    registering,
    withdraw_agent,
)
from registry.schema import edits
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    load,
    task_registry,
)


def _bytes(*paths: Path) -> list[bytes]:
    return [path.read_bytes() for path in paths]


class _Boom(BaseException):
    pass


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, _Boom])
def test_a_deployment_that_fails_leaves_both_registries_byte_for_byte(
    task: Path, global_: Path, failure: type[BaseException]
) -> None:
    before = _bytes(task, global_)

    with pytest.raises(failure), registering(task, global_, "fixer", parent="busy") as found:
        assert entry_of(load(global_), found.agent_id)
        raise failure

    assert _bytes(task, global_) == before


def test_a_deployment_that_succeeds_stays(task: Path, global_: Path) -> None:
    with registering(task, global_, "fixer") as found:
        pass

    for path in (task, global_):
        assert entry_of(load(path), found.agent_id)


def test_one_that_was_there_before_stays_when_the_deployment_fails(
    task: Path, global_: Path
) -> None:
    first = register_agent(task, global_, "fixer")
    before = _bytes(task, global_)

    with pytest.raises(RuntimeError), registering(task, global_, "fixer", reuse=True) as found:
        raise RuntimeError

    assert found.agent_id == first.agent_id
    assert _bytes(task, global_) == before


def test_a_withdrawal_takes_back_its_own_part_whatever_others_did_meanwhile(
    task: Path, global_: Path
) -> None:
    with pytest.raises(RuntimeError), registering(task, global_, "fixer") as found:
        other = register_agent(task, global_, "other", parent=found.agent_id)
        atomic_update_agent_status(task, "busy", "completed")
        atomic_update_agent_status(global_, "busy", "completed")
        atomic_update_agent_status(task, found.agent_id, "completed")
        raise RuntimeError

    in_task, in_global = load(task), load(global_)
    for registry in (in_task, in_global):
        assert_counters_match(registry)
        assert found.agent_id not in str(
            registry["agents"].keys() if registry is in_global else ""
        )
        assert entry_of(registry, other.agent_id)["parent"] == found.agent_id
    assert [each["id"] for each in in_task["agents"]] == ["busy", "done", other.agent_id]
    assert list(in_global["agents"]) == ["busy", "done", other.agent_id]
    assert in_task["agent_hierarchy"]["orchestrator"] == ["busy", "done"]
    # Its child keeps it as its parent.
    assert in_task["agent_hierarchy"][found.agent_id] == [other.agent_id]


def test_a_withdrawal_of_nobody_writes_nothing(task: Path, global_: Path) -> None:
    before = _bytes(task, global_)

    assert not withdraw_agent(task, global_, "nobody").was_there
    assert _bytes(task, global_) == before


def test_a_withdrawal_leaves_an_agent_of_that_name_of_another_task(
    task: Path, global_: Path
) -> None:
    atomic_add_agent(task, agent("both"), "orchestrator")
    atomic_add_agent(global_, agent("both", None, task_id="TASK-2"), "orchestrator")
    before = global_.read_bytes()

    assert withdraw_agent(task, global_, "both").was_there
    assert global_.read_bytes() == before


@pytest.mark.parametrize("which", ["task", "global"])
def test_a_withdrawal_that_fails_is_noted_on_what_was_raised(
    task: Path, global_: Path, which: str
) -> None:
    spoiled = task if which == "task" else global_

    with (
        pytest.raises(RuntimeError, match="no tmux") as caught,
        registering(task, global_, "fixer", timeout=0.05) as found,
    ):
        spoiled.write_text("{")
        raise RuntimeError("no tmux")

    (note,) = caught.value.__notes__
    assert found.agent_id in note
    assert "cannot withdraw" in note
    assert str(spoiled) in note


def test_a_withdrawal_waits_no_longer_than_was_said(task: Path, global_: Path) -> None:
    with (
        open(task, "r+") as holder,
        pytest.raises(RuntimeError) as caught,
        registering(task, global_, "fixer", timeout=0.05),
    ):
        fcntl.flock(holder, fcntl.LOCK_EX)
        raise RuntimeError

    assert "after 0.05s" in caught.value.__notes__[0]


def test_a_clean_up_ends_what_a_withdrawal_left_globally(task: Path, global_: Path) -> None:
    found = register_agent(task, global_, "fixer")
    with open(global_, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        left = withdraw_agent(task, global_, found.agent_id, timeout=0.05)
    assert left.was_there
    assert str(global_) in left.problems[0]

    clean_up_task(task, global_, {"agent_busy"}, grace=0)

    assert entry_of(load(global_), found.agent_id)["status"] == "terminated"
    assert "status" not in entry_of(load(global_), "busy")
    assert_counters_match(load(global_))


_ids = st.sampled_from(["a", "b", "c", "d"])
_agents = st.lists(st.tuples(_ids, st.sampled_from([*ACTIVE, *TERMINAL, "odd"])), max_size=5)


@given(agents=_agents, parent=st.sampled_from(["orchestrator", "a", "b"]), keyed=st.booleans())
def test_an_agent_added_and_removed_leaves_what_was_there(
    agents: list[tuple[str, str]], parent: str, keyed: bool
) -> None:
    entries = [agent(id_, status) for id_, status in dict(agents).items()]
    for registry in (task_registry(*entries), global_registry(*entries)):
        if keyed and "tasks" not in registry:
            registry["agents"] = {each["id"]: each for each in entries}
        # Nobody's children are no entry of a hierarchy that was written here.
        hierarchy = registry.get("agent_hierarchy", {})
        for above in [each for each in hierarchy if not hierarchy[each]]:
            del hierarchy[above]
        before = json.dumps(registry)
        edits.add_agent(registry, agent("new"), parent)
        assert_counters_match(registry)
        assert edits.remove_agent(registry, "new")
        assert json.dumps(registry) == before


@given(agents=_agents, gone=_ids)
def test_removing_an_agent_keeps_the_counters_and_all_the_others(
    agents: list[tuple[str, str]], gone: str
) -> None:
    registry = task_registry(*(agent(id_, status) for id_, status in dict(agents).items()))
    before = copy.deepcopy(registry)

    there = edits.remove_agent(registry, gone)

    assert there == (gone in dict(agents))
    assert registry["agents"] == [each for each in before["agents"] if each["id"] != gone]
    assert gone not in registry["agent_hierarchy"].get("orchestrator", [])
    assert_counters_match(registry)


def test_a_first_agent_of_a_new_task_withdrawn_leaves_the_new_task(tmp_path: Path) -> None:
    task = create_task_registry(tmp_path / "w", "TASK-9", "a task").path
    global_ = tmp_path / "w" / "registry" / "GLOBAL_REGISTRY.json"
    before = _bytes(task, global_)

    found = register_agent(task, global_, "fixer")
    withdraw_agent(task, global_, found.agent_id)

    assert _bytes(task, global_) == before
