"""What a registry says, read from whatever a file may hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import ACTIVE_STATUSES, TERMINAL_STATUSES
from registry.schema.records import Phase, agent_record, global_record, task_record
from registry.schema.statuses import (
    is_active,
    is_known,
    is_terminal,
    meaning_in_database,
    meaning_of,
)
from registry.schema.timestamps import parse_time, possible_times
from tests.support.json_values import objects, registries, texts, values
from tests.support.registries import ACTIVE, TERMINAL, agent, global_registry, task_registry
from tests.support.time_zones import time_zone


@given(st.one_of(registries, objects))
def test_no_object_is_too_odd_to_be_read(registry: dict[str, Any]) -> None:
    task, whole = task_record(registry), global_record(registry)
    for each in task.agents:
        assert isinstance(each.id, str)
        assert isinstance(each.status, str)
        assert each.progress is None or abs(each.progress) < float("inf")
    assert all(isinstance(name, str) for name in whole.sessions)
    assert all(isinstance(warning, str) for warning in (*task.warnings, *whole.warnings))
    hash(task.agents)


@given(st.dictionaries(texts, values))
def test_no_entry_is_too_odd_to_be_read(entry: dict[str, Any]) -> None:
    assert agent_record(None, entry).id == ""


@given(
    st.one_of(values, texts, st.datetimes().map(str), st.text("0123456789-:TZ+. ", max_size=30))
)
def test_no_timestamp_is_too_odd_to_be_read(value: Any) -> None:
    parsed = parse_time(value)
    assert parsed is None or isinstance(parsed, float)


def test_the_statuses_are_the_orchestrators() -> None:
    assert frozenset(ACTIVE) == ACTIVE_STATUSES
    assert frozenset(TERMINAL) == TERMINAL_STATUSES


_WORDS = st.sampled_from([*ACTIVE, *TERMINAL, "reviewing", "killed", "phase_completed"]) | texts


@given(_WORDS, st.integers(0, 100) | st.none())
def test_every_word_means_active_or_terminal(word: str, progress: int | None) -> None:
    in_json, in_database = meaning_of(word), meaning_in_database(word, progress)
    assert in_database in ACTIVE_STATUSES | TERMINAL_STATUSES
    if not word:
        assert (in_json, in_database) == ("", "working")
    elif is_known(word):
        assert in_json == in_database
    else:
        assert in_json == "working"
        assert (in_database == "completed") == (progress == 100)
    # What the counters count is what the verdicts take it for.
    if is_active(word):
        assert in_json in ACTIVE_STATUSES
    if is_terminal(word):
        assert in_json in TERMINAL_STATUSES
    assert not (is_active(word) and is_terminal(word))


def test_an_agent_is_read_with_every_field_that_it_has() -> None:
    entry = agent(
        "one",
        "working",
        parent="orchestrator",
        depth=2,
        progress=40,
        started_at="2025-10-18T21:31:49.553401",
        last_update="2025-10-18T21:33:45Z",
    )
    record = agent_record("one", entry)
    assert (record.id, record.type, record.tmux_session) == ("one", "tester", "agent_one")
    assert (record.parent, record.depth, record.status) == ("orchestrator", 2, "working")
    assert (record.progress, record.started_at) == (40.0, "2025-10-18T21:31:49.553401")
    assert record.started == datetime(2025, 10, 18, 21, 31, 49, 553401).timestamp()
    assert record.updated == 1760823225.0


def test_what_is_missing_or_null_is_none_or_empty() -> None:
    names = ("type", "status", "tmux_session", "parent", "depth", "progress", "started_at")
    for entry in ({}, dict.fromkeys(names)):
        record = agent_record(None, entry)
        assert (record.id, record.type, record.status) == ("", "", "")
        assert (record.tmux_session, record.parent, record.depth) == (None, None, None)
        assert (record.progress, record.started_at, record.started) == (None, None, None)


@pytest.mark.parametrize("session", [10**18, 1e18, True, ["agent_one"], {"name": "x"}, ""])
def test_a_session_that_is_not_named_by_a_string_is_none(session: Any) -> None:
    assert agent_record("one", {"tmux_session": session}).tmux_session is None


@pytest.mark.parametrize("progress", ["40", True, [40], float("nan"), float("inf"), 10**400])
def test_progress_that_is_no_finite_number_is_none(progress: Any) -> None:
    assert agent_record("one", {"progress": progress}).progress is None


@pytest.fixture
def in_berlin() -> Iterator[None]:
    with time_zone("Europe/Berlin"):
        yield


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    "stamp", ["2025-01-01T01:00:00", "2025-01-01T00:00:00Z", "2025-01-01T05:00:00+05:00"]
)
def test_naive_timestamps_are_local_and_others_say_their_zone(stamp: str) -> None:
    assert parse_time(stamp) == 1735689600.0


FIRST = 1761438600.0
"""02:30 in Berlin, on the day in 2025 when the clocks went back from 3:00 to 2:00."""

TWICE = "2025-10-26T02:30:00"


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("now", "times"),
    [
        (FIRST + 60, (FIRST,)),
        (FIRST + 3599, (FIRST,)),
        (FIRST + 3600, (FIRST, FIRST + 3600)),
        (FIRST + 1e6, (FIRST, FIRST + 3600)),
        (FIRST - 60, (FIRST,)),
    ],
)
def test_a_time_that_comes_twice_is_the_last_one_that_has_been(
    monkeypatch: pytest.MonkeyPatch, now: float, times: tuple[float, ...]
) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    assert possible_times(TWICE) == times
    assert parse_time(TWICE) == times[-1]
    record = agent_record("one", {"started_at": TWICE})
    assert record.possible_starts == times
    assert record.started == times[-1]


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    "stamp",
    [
        "2025-10-26T02:30:00+02:00",
        "2025-10-26T00:30:00Z",
        "2025-10-26T01:59:59",
        "2025-10-26T03:00:00",
        "2025-10-25T02:30:00",
        "2025-03-30T02:30:00",
        "2025-07-01T02:30:00",
    ],
)
def test_any_other_time_has_one_meaning(stamp: str) -> None:
    assert possible_times(stamp) == (datetime.fromisoformat(stamp).timestamp(),)
    assert agent_record("one", {"started_at": stamp}).start_doubt == 0


@pytest.mark.parametrize("keyed", [False, True])
def test_agents_come_in_file_order_from_a_list_or_an_object(keyed: bool) -> None:
    registry = task_registry(agent("z"), agent("a"), agent("m"))
    if keyed:
        registry["agents"] = {each.pop("id"): each for each in registry["agents"]}
    record = task_record(registry)
    assert [each.id for each in record.agents] == ["z", "a", "m"]
    assert record.warnings == ()


def test_an_id_that_is_there_twice_is_shown_twice() -> None:
    record = task_record(task_registry(agent("twin"), agent("twin", "failed")))
    assert [(each.id, each.status) for each in record.agents] == [
        ("twin", "running"),
        ("twin", "failed"),
    ]


def test_what_is_no_agent_is_left_out_and_named() -> None:
    registry = task_registry() | {"agents": [agent("one"), None, "two", [agent("three")]]}
    record = task_record(registry)
    assert [each.id for each in record.agents] == ["one"]
    assert len(record.warnings) == 3
    assert all("agents[" in each for each in record.warnings)


@pytest.mark.parametrize(
    ("agents", "kind"), [("none", "a string"), (5, "a number"), (None, "missing")]
)
def test_agents_that_are_no_list_are_none_and_named(agents: Any, kind: str) -> None:
    record = task_record(task_registry() | {"agents": agents})
    assert record.agents == ()
    assert len(record.warnings) == 1
    assert kind in record.warnings[0]


def test_a_task_is_read_with_its_counters_and_its_hierarchy() -> None:
    registry = task_registry(agent("one"), agent("two", "completed"))
    registry["agent_hierarchy"]["one"] = ["two", None, 5]
    registry["agent_hierarchy"]["two"] = "one"
    record = task_record(registry)
    assert (record.task_id, record.description, record.status) == (
        "TASK-1",
        "a task",
        "INITIALIZED",
    )
    assert (record.active_count, record.completed_count, record.total_spawned) == (1, 1, 2)
    assert record.hierarchy == {"orchestrator": ("one", "two"), "one": ("two",)}


def test_a_global_registry_is_read_with_tasks_sessions_and_counters() -> None:
    registry = global_registry(agent("one"), agent("two", None, tmux_session=None))
    registry["tasks"] |= {"TASK-2": {"workspace": "/elsewhere"}, "TASK-3": None}
    record = global_record(registry)
    assert list(record.tasks) == ["TASK-1", "TASK-2", "TASK-3"]
    assert record.tasks["TASK-1"].description == "a task"
    assert [each.elsewhere for each in record.tasks.values()] == [None, "/elsewhere", None]
    assert record.sessions == {"agent_one"}
    assert (record.active_agents, record.total_agents_spawned) == (2, 2)
    assert record.warnings == ()


def test_phases_and_reviewers_are_read() -> None:
    registry = task_registry(
        agent("plain"),
        agent("builder") | {"phase_index": 1},
        agent("critic") | {"phase_index": -1},
    )
    phases: list[object] = [{"name": "plan", "status": "APPROVED"}, "odd", {"status": 5}]
    record = task_record(registry | {"phases": phases, "current_phase_index": 2})
    assert (record.phase, list(record.phases)) == (2, [0, 2])
    assert record.phases == {0: Phase("plan", "APPROVED"), 2: Phase("", "5")}
    assert [(each.phase, each.is_reviewer) for each in record.agents] == [
        (None, False),
        (1, False),
        (None, True),
    ]
    assert task_record(registry | {"phases": phases}).phase == 0
    assert task_record(registry | {"current_phase_index": 2}).phase is None
