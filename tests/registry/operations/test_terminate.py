"""Terminating agents by what became of their sessions."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from registry import (
    Deployment,
    SessionEnd,
    atomic_add_agent,
    register_agent,
    terminate_agents,
)
from tests.support.registries import agent, assert_counters_match, entry_of, load

_ENDS = (SessionEnd.ENDED, SessionEnd.GONE)


@pytest.mark.parametrize("end", _ENDS)
def test_whose_session_was_ended_is_terminated_in_both_with_time_and_reason(
    task: Path, global_: Path, end: SessionEnd
) -> None:
    report = terminate_agents(task, global_, {"busy": end}, reason="stopped")

    for path in (task, global_):
        entry = entry_of(load(path), "busy")
        assert (entry["status"], entry["termination_reason"]) == ("terminated", "stopped")
        assert entry["terminated_at"]
        assert_counters_match(load(path))
    assert load(task)["active_count"] == load(global_)["active_agents"] == 0
    assert [each.agent_id for each in report.changed] == ["busy"]
    assert report.written == (task, global_)


def test_whose_session_is_still_there_stays_and_the_report_says_why(
    task: Path, global_: Path
) -> None:
    before = task.read_bytes(), global_.read_bytes()

    report = terminate_agents(task, global_, {"busy": SessionEnd.STILL_THERE}, reason="stopped")

    assert (task.read_bytes(), global_.read_bytes()) == before
    assert not report.changed
    assert report.untouched == {"busy": "its session still exists"}


def test_a_set_of_agents_is_terminated_each_by_its_own_session(task: Path, global_: Path) -> None:
    ids = [register_agent(task, global_, "fixer").agent_id for _ in range(6)]
    ends = [*SessionEnd, *SessionEnd]
    sessions = dict(zip(ids, ends, strict=True)) | {
        "done": SessionEnd.ENDED,
        "nobody": SessionEnd.GONE,
    }

    report = terminate_agents(task, global_, sessions, reason="all of them")

    for agent_id, end in zip(ids, ends, strict=True):
        there = end is SessionEnd.STILL_THERE
        for path in (task, global_):
            status = entry_of(load(path), agent_id).get("status", "running")
            assert status == ("running" if there else "terminated")
    assert len(report.changed) == 4
    assert "completed" in report.untouched["done"]
    assert str(task) in report.untouched["nobody"]
    assert len(report.untouched) == 4
    assert_counters_match(load(task))
    assert_counters_match(load(global_))


def test_a_second_time_changes_nothing(task: Path, global_: Path) -> None:
    terminate_agents(task, global_, {"busy": SessionEnd.ENDED}, reason="first")
    before = task.read_bytes(), global_.read_bytes()

    assert not terminate_agents(task, global_, {"busy": SessionEnd.GONE}, reason="second").written
    assert (task.read_bytes(), global_.read_bytes()) == before


def test_an_end_may_be_given_as_a_word(task: Path) -> None:
    ends: Any = {"busy": "gone"}

    assert terminate_agents(task, None, ends, reason="x").changed


@pytest.mark.parametrize(
    ("sessions", "error"),
    [
        (["busy"], TypeError),
        ("busy", TypeError),
        ({"busy": "perhaps"}, ValueError),
        ({"busy": None}, ValueError),
        ({"busy": True}, ValueError),
    ],
)
def test_what_says_nothing_of_the_sessions_is_refused(
    task: Path, global_: Path, sessions: Any, error: type[Exception]
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    with pytest.raises(error):
        terminate_agents(task, global_, sessions, reason="x")
    assert (task.read_bytes(), global_.read_bytes()) == before


def test_an_agent_of_that_name_of_another_task_stays(task: Path, global_: Path) -> None:
    atomic_add_agent(task, agent("both"), "orchestrator")
    atomic_add_agent(global_, agent("both", None, task_id="TASK-2"), "orchestrator")

    terminate_agents(task, global_, {"both": SessionEnd.ENDED}, reason="x")

    assert "status" not in entry_of(load(global_), "both")


def test_a_locked_global_registry_is_named_and_catches_up_next_time(
    task: Path, global_: Path
) -> None:
    with open(global_, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        report = terminate_agents(
            task, global_, {"busy": SessionEnd.ENDED}, reason="x", timeout=0.05
        )
    assert str(global_) in report.problems[0]
    assert entry_of(load(task), "busy")["status"] == "terminated"

    terminate_agents(task, global_, {"busy": SessionEnd.GONE}, reason="y")
    assert entry_of(load(global_), "busy")["termination_reason"] == "x"
    assert_counters_match(load(global_))


def test_who_was_deployed_anew_since_its_session_was_ended_stays(
    task: Path, global_: Path
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    judged = {"busy": [Deployment("agent_busy", "2025-10-17T21:00:00")]}
    report = terminate_agents(
        task, global_, {"busy": SessionEnd.ENDED}, reason="stopped", judged=judged
    )

    assert (task.read_bytes(), global_.read_bytes()) == before
    assert report.untouched == {"busy": "was deployed again meanwhile; its status stays 'running'"}


def test_further_fields_are_set_in_the_task(task: Path, global_: Path) -> None:
    terminate_agents(
        task, global_, {"busy": SessionEnd.GONE}, reason="x", fields={"log_archived": True}
    )
    assert entry_of(load(task), "busy")["log_archived"] is True
    assert "log_archived" not in entry_of(load(global_), "busy")
    with pytest.raises(ValueError, match="termination_reason"):
        terminate_agents(task, global_, {}, reason="x", fields={"termination_reason": "y"})
