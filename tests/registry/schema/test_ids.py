"""Who an agent is."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import find_existing_agent, generate_unique_agent_id, verify_agent_id_unique
from tests.support.registries import ACTIVE, TERMINAL, agent, global_registry, task_registry


@pytest.mark.parametrize("status", ACTIVE)
def test_an_agent_of_the_type_that_is_at_work_is_found(status: str) -> None:
    registry = task_registry(agent("a", "completed"), agent("b", status))
    found = find_existing_agent("TASK-1", "tester", registry)
    assert found is registry["agents"][1]


@pytest.mark.parametrize("status", [*TERMINAL, "paused", "", None])
def test_an_agent_that_is_not_at_work_is_not_found(status: str | None) -> None:
    assert find_existing_agent("TASK-1", "tester", task_registry(agent("a", status))) is None


def test_an_agent_of_another_type_or_task_is_not_found() -> None:
    registry = task_registry(agent("a"))
    assert find_existing_agent("TASK-1", "fixer", registry) is None
    assert find_existing_agent("TASK-2", "tester", registry) is None


def test_the_statuses_that_count_can_be_chosen() -> None:
    registry = task_registry(agent("a"), agent("b", "failed"))
    found = find_existing_agent("TASK-1", "tester", registry, ("failed", "error"))
    assert found == agent("b", "failed")


@pytest.mark.parametrize("junk", [None, [], {}, ["running"], 5, True])
def test_a_status_of_a_wrong_type_matches_nothing(junk: Any) -> None:
    registry = task_registry() | {"agents": [agent("a") | {"status": junk}, agent("b")]}
    found = find_existing_agent("TASK-1", "tester", registry)
    assert found is registry["agents"][1]


def test_an_id_is_unique_only_if_neither_registry_has_it() -> None:
    task, whole = task_registry(agent("in task")), global_registry(agent("in global"))
    assert verify_agent_id_unique("nowhere", task, whole)
    assert not verify_agent_id_unique("in task", task, whole)
    assert not verify_agent_id_unique("in global", task, whole)


def test_a_generated_id_is_type_clock_and_six_hex_digits() -> None:
    made = generate_unique_agent_id("code_fixer", task_registry(), global_registry())
    assert re.fullmatch(r"code_fixer-([01]\d|2[0-3])[0-5]\d[0-5]\d-[0-9a-f]{6}", made)


def test_generated_ids_differ_within_one_second() -> None:
    registry = task_registry()
    for _ in range(200):
        made = generate_unique_agent_id("t", registry, {})
        registry["agents"].append(agent(made))
    assert len({each["id"] for each in registry["agents"]}) == 200


@pytest.mark.parametrize("where", ["task", "global"])
def test_a_clash_is_tried_again(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    draws = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr(secrets, "token_hex", lambda size: next(draws))
    taken = [agent(f"t-{clock:06d}-aaaaaa") for clock in _clocks()]
    registries = (task_registry(*taken), global_registry())
    if where == "global":
        registries = (task_registry(), global_registry(*taken))

    assert generate_unique_agent_id("t", *registries).endswith("-bbbbbb")


def _clocks() -> list[int]:
    return [
        hours * 10000 + minutes * 100 + seconds
        for hours in range(24)
        for minutes in range(60)
        for seconds in range(60)
    ]


def test_clashes_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[int] = []

    def always(size: int) -> str:
        draws.append(size)
        return "aaaaaa"

    monkeypatch.setattr(secrets, "token_hex", always)
    taken = task_registry(*(agent(f"t-{clock:06d}-aaaaaa") for clock in _clocks()))
    with pytest.raises(RuntimeError, match="3 attempts"):
        generate_unique_agent_id("t", taken, {}, max_attempts=3)
    assert len(draws) == 3


@given(st.text(min_size=1))
def test_any_type_gives_an_id_that_is_unique(agent_type: str) -> None:
    registry = task_registry(agent(agent_type))
    made = generate_unique_agent_id(agent_type, registry, {})
    assert verify_agent_id_unique(made, registry, {})
