"""Operations on both registries killed at every system call: whole, or not made, in both."""

from __future__ import annotations

import gc
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import (
    SessionEnd,
    clean_up_task,
    clean_up_workspace,
    create_task_registry,
    recover_registry,
    register_agent,
    report_progress,
    terminate_agents,
    withdraw_agent,
)
from tests.support.registries import Json, assert_agree, assert_counters_match, entry_of, load
from tests.torture.kills.tracing import run_to_call

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ptrace(2) is Linux's"),
    pytest.mark.timeout(300),
]

Act = Callable[[Path, Path], object]

_LIVE = ["agent_live"]

_OPERATIONS: dict[str, Act] = {
    "register": lambda task, global_: register_agent(task, global_, "new", agent_id="new"),
    "withdraw": lambda task, global_: withdraw_agent(task, global_, "gone"),
    "report": lambda task, global_: report_progress(task, global_, "gone", status="completed"),
    "terminate": lambda task, global_: terminate_agents(
        task, global_, {"gone": SessionEnd.GONE}, reason="x"
    ),
    "clean up a task": lambda task, global_: clean_up_task(task, global_, _LIVE, grace=0),
}


def _statuses(registry: Json) -> dict[str, object]:
    entries = registry["agents"]
    entries = entries.items() if isinstance(entries, dict) else ((x["id"], x) for x in entries)
    return {id_: each.get("status") for id_, each in entries}


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """A workspace with two agents, of which one is dead; a commit's journals lie beside."""
    root = tmp_path / "before"
    task = create_task_registry(root, "TASK-1", "x").path
    for agent_id in ("live", "gone"):
        register_agent(task, root / "registry" / "GLOBAL_REGISTRY.json", "old", agent_id=agent_id)
    return root


@pytest.fixture(autouse=True)
def lean() -> Iterator[None]:
    """Children are forked by the hundred: what is here need not be looked through in each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _registries(root: Path) -> tuple[Path, Path]:
    return root / "TASK-1" / "AGENT_REGISTRY.json", root / "registry" / "GLOBAL_REGISTRY.json"


def _killed(before: Path, root: Path, act: Callable[[], object]) -> Iterator[bool]:
    """Lays the files out, kills the act at its next system call; whether it had said it was done.

    The last time it lives.
    """
    for call in itertools.count(1):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(before, root)
        ended = run_to_call(act, call)
        yield ended.acknowledged
        if not ended.killed:
            return


@pytest.mark.parametrize("act", _OPERATIONS.values(), ids=_OPERATIONS)
def test_a_killed_operation_is_in_both_registries_or_in_neither(
    tmp_path: Path, laid_out: Path, act: Act
) -> None:
    root = tmp_path / "w"
    paths = task, global_ = _registries(root)
    old = tuple(_statuses(load(path)) for path in _registries(laid_out))
    shutil.copytree(laid_out, root)
    act(task, global_)
    new = tuple(_statuses(load(path)) for path in paths)
    outcomes = []
    for acknowledged in _killed(laid_out, root, lambda: act(task, global_)):
        for path in paths:
            recover_registry(path)
        found = tuple(_statuses(load(path)) for path in paths)
        assert found in (old, new)
        assert found == new or not acknowledged
        assert_agree(load(global_), load(task))
        for path in paths:
            assert_counters_match(load(path))
        outcomes.append(found == new)

    # It was killed before the change, and after it.
    assert {True, False} == set(outcomes)
    assert len(outcomes) > 30


def test_after_a_killed_clean_up_the_next_one_does_the_rest(
    tmp_path: Path, laid_out: Path
) -> None:
    root = tmp_path / "w"
    paths = task, global_ = _registries(root)
    halves = []
    for _ in _killed(laid_out, root, lambda: clean_up_workspace(root, _LIVE, grace=0)):
        for path in paths:
            recover_registry(path)
            assert_counters_match(load(path))
        ended = [entry_of(load(path), "gone").get("status") == "terminated" for path in paths]
        # The task's is the truth, and first.
        assert ended != [False, True]
        halves.append(ended)

        clean_up_workspace(root, _LIVE, grace=0)

        assert_agree(load(global_), load(task))
        for path in paths:
            assert_counters_match(load(path))
            assert entry_of(load(path), "gone")["status"] == "terminated"
            assert entry_of(load(path), "live").get("status", "running") == "running"

    assert [True, False] in halves


def test_a_registry_whose_making_is_killed_is_whole_or_not_there(
    tmp_path: Path,
) -> None:
    before, root = tmp_path / "before", tmp_path / "w"
    before.mkdir()
    paths = task, global_ = _registries(root)
    there = set()
    for acknowledged in _killed(before, root, lambda: create_task_registry(root, "TASK-1", "x")):
        made = tuple(path.exists() for path in paths)
        there.add(made)
        for path in paths:
            if path.exists():
                recover_registry(path)
                assert_counters_match(load(path))
        assert all(made) or not acknowledged

        again = create_task_registry(root, "TASK-1", "again")

        assert again.new is not made[0]
        assert load(task)["task_description"] == ("x" if made[0] else "again")
        assert (load(global_)["total_tasks"], list(load(global_)["tasks"])) == (1, ["TASK-1"])
        # What was on its way to its place says by its name that it never came there.
        beside = {each.name for path in paths for each in path.parent.iterdir()}
        beside -= {path.name for path in paths}
        assert all(name.endswith((".new", ".journal")) for name in beside)

    assert there == {(False, False), (False, True), (True, True)}
