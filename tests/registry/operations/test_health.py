"""A registry held against the live sessions, and set right."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry import (
    CounterDrift,
    Repair,
    registry_health_check,
    validate_and_repair_registry,
)
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


@pytest.fixture(params=[task_registry, global_registry], ids=["task", "global"])
def sick(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A registry with a zombie, a leaked session, and agents that are well."""
    agents = (
        agent("alive"),
        agent("zombie", "blocked"),
        agent("leaked", "failed"),
        agent("through", "completed"),
        agent("odd", "paused"),
    )
    return write(tmp_path / "registry.json", request.param(*agents))


LIVE = {"agent_alive", "agent_leaked", "agent_nobody's", "mail", "agents"}


# --- the check


def test_a_zombie_is_an_active_agent_without_a_session(sick: Path) -> None:
    assert registry_health_check(sick, LIVE).zombies == ("zombie",)


@pytest.mark.parametrize("listed", ["agent_v1.2:3", "agent_v1_2_3"])
@pytest.mark.parametrize("of", [task_registry, global_registry])
def test_either_name_that_tmux_gives_counts(tmp_path: Path, listed: str, of: Any) -> None:
    path = write(tmp_path / "registry.json", of(agent("v1.2:3"), agent("x.y", "failed")))
    report = registry_health_check(path, {listed, "agent_x.y"})
    assert (report.zombies, report.leaked, report.orphans) == ((), ("x.y",), ())
    assert validate_and_repair_registry(path, {listed}) == ()


def test_a_session_that_two_agents_may_have_proves_nothing(tmp_path: Path) -> None:
    agents = agent("a.b"), agent("a:b", "failed"), agent("c.d", "failed"), agent("c_d", "failed")
    path = write(tmp_path / "registry.json", task_registry(*agents))
    report = registry_health_check(path, {"agent_a_b", "agent_c_d"})
    assert (report.zombies, report.leaked, report.orphans) == ((), ("c_d",), ())


def test_a_session_of_another_registry_is_not_leaked_here(tmp_path: Path) -> None:
    path = write(tmp_path / "registry.json", task_registry(agent("a.b", "failed")))
    report = registry_health_check(path, {"agent_a_b"}, other_sessions={"agent_a_b"})
    assert (report.leaked, report.orphans) == ((), ())


def test_a_leaked_agent_is_through_but_its_session_is_there(sick: Path) -> None:
    assert registry_health_check(sick, LIVE).leaked == ("leaked",)


def test_an_orphan_is_a_session_named_like_an_agents_that_no_agent_has(sick: Path) -> None:
    assert registry_health_check(sick, LIVE).orphans == ("agent_nobody's",)


def test_a_session_that_another_registry_accounts_for_is_no_orphan(sick: Path) -> None:
    report = registry_health_check(sick, LIVE, other_sessions=["agent_nobody's"])
    assert report.orphans == ()


@pytest.mark.parametrize("status", [*ACTIVE, *TERMINAL, "paused", None])
def test_each_status_is_judged_with_and_without_a_session(
    tmp_path: Path, status: str | None
) -> None:
    path = write(tmp_path / "r.json", task_registry(agent("one", status)))
    gone, there = registry_health_check(path, []), registry_health_check(path, ["agent_one"])
    assert gone.zombies == (("one",) if status in ACTIVE else ())
    assert there.leaked == (("one",) if status in TERMINAL else ())
    assert there.zombies == gone.leaked == ()


def test_without_a_word_from_tmux_nobody_is_called_dead(sick: Path) -> None:
    report = registry_health_check(sick, None)
    assert not report.sessions_known
    assert (report.zombies, report.leaked, report.orphans) == ((), (), ())
    assert any("tmux" in each for each in report.recommendations)


def test_no_session_at_all_is_an_answer_and_makes_zombies_of_all_active(sick: Path) -> None:
    assert registry_health_check(sick, set()).zombies == ("alive", "zombie")


@pytest.mark.parametrize(("age", "dead"), [(1, False), (3600, True), (-1, False), (-3600, True)])
def test_an_agent_that_has_just_started_is_not_called_dead(
    tmp_path: Path, age: int, dead: bool
) -> None:
    # A clock that is far ahead must not keep an agent alive for ever.
    started = (datetime.now() - timedelta(seconds=age)).isoformat()
    path = write(tmp_path / "r.json", task_registry(agent("new", started_at=started)))
    assert bool(registry_health_check(path, []).zombies) is dead
    assert bool(validate_and_repair_registry(path, [], dry_run=True)) is dead
    assert registry_health_check(path, [], grace=0).zombies == ("new",)


@pytest.mark.parametrize("unnamed", [None, "", 5, ["agent_one"], {"name": "agent_one"}])
@pytest.mark.parametrize("status", ["running", "completed"])
def test_an_agent_that_names_no_session_is_neither_zombie_nor_leaked(
    tmp_path: Path, unnamed: Any, status: str
) -> None:
    entry = agent("one", status, tmux_session=unnamed)
    path = write(tmp_path / "r.json", task_registry(entry))
    report = registry_health_check(path, ["agent_two"])
    assert (report.zombies, report.leaked, report.orphans) == ((), (), ("agent_two",))
    assert validate_and_repair_registry(path, ["agent_two"]) == ()


@pytest.mark.parametrize("written", [5, -1, None, "2", 1.0, True])
def test_a_counter_that_differs_from_what_it_counts_is_named(
    tmp_path: Path, written: object
) -> None:
    registry = task_registry(agent("one"), agent("two", "completed"))
    path = write(tmp_path / "r.json", registry | {"active_count": written})
    report = registry_health_check(path, ["agent_one"])
    assert report.drifts == (CounterDrift("active_count", written, 1),)
    assert any("active_count" in each for each in report.recommendations)


def test_every_counter_is_checked(sick: Path) -> None:
    registry = load(sick)
    names = {"total_agents_spawned", "active_agents"}
    if "tasks" not in registry:
        names = {"total_spawned", "active_count", "completed_count"}
    for name in names:
        del registry[name]
    write(sick, registry)
    assert {each.counter for each in registry_health_check(sick, LIVE).drifts} == names


def test_a_healthy_registry_gets_no_advice(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", task_registry(agent("one"), agent("two", "completed")))
    report = registry_health_check(path, ["agent_one", "mail"])
    assert report.healthy
    assert report.recommendations == ()


def test_everything_found_comes_with_advice(sick: Path) -> None:
    write(sick, load(sick) | {"active_count": 9, "active_agents": 9})
    report = registry_health_check(sick, LIVE)
    assert not report.healthy
    assert len(report.recommendations) == 4


def test_the_check_writes_nothing(sick: Path) -> None:
    before = sick.read_bytes(), sick.stat().st_mtime_ns
    registry_health_check(sick, LIVE)
    assert (sick.read_bytes(), sick.stat().st_mtime_ns) == before


# --- the repair


def test_a_repair_terminates_zombies_with_time_and_reason(sick: Path) -> None:
    validate_and_repair_registry(sick, LIVE)
    entry = entry_of(load(sick), "zombie")
    assert entry["status"] == "terminated"
    assert entry["termination_reason"] == "session_not_found"
    age = datetime.now() - datetime.fromisoformat(entry["terminated_at"])
    assert abs(age.total_seconds()) < 60


def test_a_repair_sets_every_counter_right(sick: Path) -> None:
    registry = load(sick)
    for name in list(registry):
        if name.startswith(("active_", "total_", "completed_")) and "tasks" not in name:
            registry[name] = 77
    write(sick, registry)
    validate_and_repair_registry(sick, LIVE)
    assert_counters_match(load(sick))


def test_a_repair_leaves_every_other_agent_and_field_alone(sick: Path) -> None:
    before = load(sick)
    validate_and_repair_registry(sick, LIVE)
    after = load(sick)
    for name in ("alive", "leaked", "through", "odd"):
        assert entry_of(after, name) == entry_of(before, name)
    assert list(after) == list(before)


def test_a_repair_reports_every_change_that_it_made(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", task_registry(agent("zombie"), agent("alive")))
    repairs = validate_and_repair_registry(path, ["agent_alive"])
    entry = entry_of(load(path), "zombie")
    assert repairs == (
        Repair("zombie", "status", "running", "terminated"),
        Repair("zombie", "terminated_at", None, entry["terminated_at"]),
        Repair("zombie", "termination_reason", None, "session_not_found"),
        Repair(None, "active_count", 2, 1),
    )


def test_a_second_repair_finds_nothing_and_writes_nothing(sick: Path) -> None:
    assert validate_and_repair_registry(sick, LIVE)
    before = sick.read_bytes(), sick.stat().st_mtime_ns
    assert validate_and_repair_registry(sick, LIVE) == ()
    assert (sick.read_bytes(), sick.stat().st_mtime_ns) == before
    assert registry_health_check(sick, LIVE).zombies == ()


def test_a_dry_run_tells_the_same_and_writes_nothing(sick: Path) -> None:
    before = sick.read_bytes(), sick.stat().st_mtime_ns
    foretold = validate_and_repair_registry(sick, LIVE, dry_run=True)
    assert (sick.read_bytes(), sick.stat().st_mtime_ns) == before

    done = validate_and_repair_registry(sick, LIVE)
    assert [(each.agent_id, each.field, each.before) for each in foretold] == [
        (each.agent_id, each.field, each.before) for each in done
    ]
    assert len(done) >= 4


def test_without_a_word_from_tmux_only_counters_are_repaired(sick: Path) -> None:
    write(sick, load(sick) | {"active_count": 9, "active_agents": 9})
    agents = load(sick)["agents"]
    repairs = validate_and_repair_registry(sick, None)
    assert {each.agent_id for each in repairs} == {None}
    assert load(sick)["agents"] == agents


def test_after_a_repair_the_check_finds_only_sessions_to_look_at(sick: Path) -> None:
    validate_and_repair_registry(sick, LIVE)
    report = registry_health_check(sick, LIVE)
    assert (report.zombies, report.drifts) == ((), ())
    assert (report.leaked, report.orphans) == (("leaked",), ("agent_nobody's",))


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_corrupt_registry_is_not_repaired_but_named(task: Path, dry_run: bool) -> None:
    task.write_text("{")
    with pytest.raises(json.JSONDecodeError, match="AGENT_REGISTRY"):
        validate_and_repair_registry(task, [], dry_run)
    assert task.read_text() == "{"
