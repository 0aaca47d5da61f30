"""What an agent reports: in both registries, and a line in its own file."""

from __future__ import annotations

import fcntl
import json
import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    AgentNotFoundError,
    RegistryError,
    WrongShapeError,
    atomic_add_agent,
    register_agent,
    report_progress,
)
from registry.operations import progress_file, report
from tests.support.limits import no_file_longer_than
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

_STAMPS = {
    "completed": "completed_at",
    "terminated": "terminated_at",
    "error": "failed_at",
    "failed": "failed_at",
}


def _bytes(*paths: Path) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def _file(task: Path, agent_id: str = "busy") -> Path:
    return task.parent / "progress" / f"{agent_id}_progress.jsonl"


def test_status_progress_and_time_are_in_both_registries(task: Path, global_: Path) -> None:
    found = report_progress(task, global_, "busy", status="working", progress=40, message="half")

    mine, listed = entry_of(load(task), "busy"), entry_of(load(global_), "busy")
    assert (mine["status"], mine["progress"]) == ("working", 40)
    assert listed["status"] == "working"
    assert mine["last_update"] == listed["last_update"]
    assert (found.previous, found.status, found.problems) == ("running", "working", ())
    assert_counters_match(load(task))
    assert_counters_match(load(global_))


def test_a_line_is_appended_to_the_agents_file(task: Path, global_: Path) -> None:
    report_progress(
        task, global_, "busy", status="working", progress=12.5, message="na\u00efve \ud800\n"
    )
    report_progress(task, global_, "busy")

    first, second = map(json.loads, _file(task).read_text("ascii").splitlines())
    assert first == {
        "timestamp": first["timestamp"],
        "agent_id": "busy",
        "status": "working",
        "message": "na\u00efve \ud800\n",
        "progress": 12.5,
    }
    # What was left out is as it was.
    assert (second["status"], second["progress"], second["message"]) == ("working", 12.5, "")
    assert second["timestamp"] == entry_of(load(task), "busy")["last_update"]


@pytest.mark.parametrize("status", TERMINAL)
def test_a_terminal_status_has_its_time_and_moves_the_counters(
    task: Path, global_: Path, status: str
) -> None:
    report_progress(task, global_, "busy", status=status, progress=100)

    for path in (task, global_):
        entry = entry_of(load(path), "busy")
        assert entry["status"] == status
        assert entry[_STAMPS[status]] == entry["last_update"]
        assert_counters_match(load(path))
    assert load(task)["active_count"] == load(global_)["active_agents"] == 0
    # The orchestrator counts each end that an agent reports itself.
    assert load(task)["completed_count"] == 2


@pytest.mark.parametrize("status", [None, "completed"])
def test_who_is_through_keeps_the_time_at_which_that_was(
    task: Path, global_: Path, status: str | None
) -> None:
    report_progress(task, global_, "busy", status="completed")
    ended = entry_of(load(task), "busy")["completed_at"]

    report_progress(task, global_, "busy", status=status, message="one word more")

    for path in (task, global_):
        assert entry_of(load(path), "busy")["completed_at"] == ended
        assert_counters_match(load(path))


@pytest.mark.parametrize("ended", TERMINAL)
@pytest.mark.parametrize("status", ACTIVE)
def test_who_reports_an_active_status_after_its_end_is_at_work_again(
    task: Path, global_: Path, ended: str, status: str
) -> None:
    report_progress(task, global_, "busy", status=ended)
    report_progress(task, global_, "busy", status=status)

    for path in (task, global_):
        assert entry_of(load(path), "busy")["status"] == status
        assert_counters_match(load(path))


def test_a_global_registry_that_was_left_behind_gets_the_time_of_the_task(
    tmp_path: Path,
) -> None:
    there = agent("late", "completed", completed_at="2025-01-01T00:00:00")
    task = write(tmp_path / "t.json", task_registry(there))
    global_ = write(tmp_path / "g.json", global_registry(agent("late", None)))

    report_progress(task, global_, "late")

    entry = entry_of(load(global_), "late")
    assert (entry["status"], entry["completed_at"]) == ("completed", "2025-01-01T00:00:00")
    assert_counters_match(load(global_))


@pytest.mark.parametrize(
    ("kept", "shown"), [("paused", "paused"), (None, "working"), (7, "working")]
)
def test_without_a_status_one_that_is_a_word_stays(
    tmp_path: Path, kept: object, shown: str
) -> None:
    task = write(tmp_path / "t.json", task_registry(agent("odd", None) | {"status": kept}))

    assert report_progress(task, None, "odd", progress=5).status == shown
    assert entry_of(load(task), "odd")["status"] == shown
    assert_counters_match(load(task))


@pytest.mark.parametrize("keyed", [False, True], ids=["list", "object"])
def test_agents_may_be_a_list_or_an_object(tmp_path: Path, keyed: bool) -> None:
    registry = task_registry(agent("a"), agent("b"))
    if keyed:
        registry["agents"] = {each["id"]: each for each in registry["agents"]}
    task = write(tmp_path / "t.json", registry)
    global_ = write(
        tmp_path / "g.json",
        global_registry()
        | {"agents": [agent("b", None)], "active_agents": 1, "total_agents_spawned": 1},
    )

    report_progress(task, global_, "b", status="failed")

    for path in (task, global_):
        assert entry_of(load(path), "b")["status"] == "failed"
        assert_counters_match(load(path))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"progress": -1}, "progress"),
        ({"progress": 100.001}, "progress"),
        ({"progress": math.nan}, "progress"),
        ({"progress": math.inf}, "progress"),
        ({"progress": 10**5000}, "progress"),
        ({"progress": True}, "progress"),
        ({"progress": "40"}, "progress"),
        ({"status": "paused"}, "status"),
        ({"status": ""}, "status"),
        ({"status": ["working"]}, "status"),
        ({"message": None}, "message"),
        ({"message": b"x"}, "message"),
        ({"agent_id": "../busy"}, "id"),
        ({"agent_id": "a/b"}, "id"),
        ({"agent_id": ""}, "id"),
        ({"agent_id": None}, "id"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_and_nothing_is_written(
    task: Path, global_: Path, arguments: dict[str, Any], field: str
) -> None:
    before = _bytes(task, global_)

    with pytest.raises(WrongShapeError) as caught:
        report_progress(task, global_, **{"agent_id": "busy"} | arguments)

    assert caught.value.field == field
    assert _bytes(task, global_) == before
    assert not _file(task).parent.exists()


@given(progress=st.floats(0, 100) | st.integers(0, 100))
def test_any_number_from_0_to_100_is_taken(progress: float) -> None:
    report.check_report("busy", None, progress, "", any_status=False)


@given(progress=st.floats().filter(lambda number: not 0 <= number <= 100) | st.booleans())
def test_no_other_number_is_taken(progress: float) -> None:
    with pytest.raises(WrongShapeError, match="progress"):
        report.check_report("busy", None, progress, "", any_status=False)


def test_an_agent_that_the_task_does_not_have_is_an_error_that_names_both(
    task: Path, global_: Path
) -> None:
    atomic_add_agent(global_, agent("stray", None), "orchestrator")
    before = _bytes(task, global_)

    with pytest.raises(AgentNotFoundError, match="stray") as caught:
        report_progress(task, global_, "stray", progress=1)

    assert str(task) in str(caught.value)
    assert _bytes(task, global_) == before
    assert not _file(task, "stray").exists()


@pytest.mark.parametrize("broken", [None, "", "{"])
def test_a_task_that_is_not_there_or_broken_is_an_error_that_names_it(
    task: Path, global_: Path, broken: str | None
) -> None:
    before = global_.read_bytes()
    if broken is None:
        task.unlink()
    else:
        task.write_text(broken)
    kind = FileNotFoundError if broken is None else json.JSONDecodeError

    with pytest.raises(kind, match="AGENT_REGISTRY") as caught:
        report_progress(task, global_, "busy", progress=1)

    assert isinstance(caught.value, RegistryError)
    assert global_.read_bytes() == before


def test_a_locked_task_is_a_timeout_and_nothing_is_written(task: Path, global_: Path) -> None:
    before = _bytes(task, global_)
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="AGENT_REGISTRY"):
            report_progress(task, global_, "busy", progress=1, timeout=0.05)
    assert _bytes(task, global_) == before


def test_without_a_global_registry_the_task_alone_is_written(task: Path, tmp_path: Path) -> None:
    for where in (None, tmp_path / "none" / "GLOBAL_REGISTRY.json"):
        assert not report_progress(task, where, "busy", progress=7).problems
    assert entry_of(load(task), "busy")["progress"] == 7


@pytest.mark.parametrize("broken", ["", "{", '{"tasks": {}, "agents": 5}'])
def test_a_broken_global_registry_is_named_and_the_task_is_written(
    task: Path, global_: Path, broken: str
) -> None:
    global_.write_text(broken)

    found = report_progress(task, global_, "busy", status="completed")

    assert str(global_) in found.problems[0]
    assert entry_of(load(task), "busy")["status"] == "completed"
    assert global_.read_text() == broken
    assert _file(task).exists()


def test_a_locked_global_registry_is_named_and_the_task_is_written(
    task: Path, global_: Path
) -> None:
    before = global_.read_bytes()
    with open(global_, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        found = report_progress(task, global_, "busy", progress=7, timeout=0.05)

    assert str(global_) in found.problems[0]
    assert entry_of(load(task), "busy")["progress"] == 7
    assert global_.read_bytes() == before


def test_listed_under_another_task_it_is_left_there(
    tmp_path: Path,
) -> None:
    task = write(tmp_path / "t.json", task_registry(agent("both")))
    global_ = write(tmp_path / "g.json", global_registry(agent("both", None, task_id="TASK-2")))
    before = global_.read_bytes()

    found = report_progress(task, global_, "both", status="completed")

    assert "does not list" in found.problems[0]
    assert global_.read_bytes() == before


def test_a_disk_without_room_for_the_registries_writes_no_line(task: Path, global_: Path) -> None:
    before = _bytes(task, global_)
    limit = max(map(len, before)) + 5
    with no_file_longer_than(limit), pytest.raises(OSError):
        report_progress(task, global_, "busy", status="completed", progress=1)

    assert _bytes(task, global_) == before
    assert not _file(task).exists()


def test_no_registry_is_locked_while_the_line_is_written(task: Path, global_: Path) -> None:
    append, seen = progress_file._append, []

    def looking(*arguments: Any) -> None:
        for path in (task, global_):
            with open(path, "r+") as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                seen.append(path)
        append(*arguments)

    with mock.patch.object(progress_file, "_append", looking):
        report_progress(task, global_, "busy")

    assert seen == [task, global_]


def test_who_was_registered_can_report(task: Path, global_: Path) -> None:
    found = register_agent(task, global_, "fixer")
    done = report_progress(task, global_, found.agent_id, status="completed", progress=100)

    assert not done.problems
    for path in (task, global_):
        entry = entry_of(load(path), found.agent_id)
        assert (entry["status"], entry["completed_at"]) == ("completed", entry["last_update"])
        assert_counters_match(load(path))


def test_progress_can_be_clamped(task: Path, global_: Path) -> None:
    for given_, written in ((-3, 0), (250.5, 100), (40, 40)):
        report_progress(task, global_, "busy", progress=given_, clamp=True)
        assert entry_of(load(task), "busy")["progress"] == written
    with pytest.raises(WrongShapeError, match="progress"):
        report_progress(task, global_, "busy", progress=math.nan, clamp=True)


def test_an_unknown_status_can_be_allowed(task: Path, global_: Path) -> None:
    with pytest.raises(WrongShapeError, match="dreaming"):
        report_progress(task, global_, "busy", status="dreaming")
    report_progress(task, global_, "busy", status="dreaming", any_status=True)
    for path in (task, global_):
        assert entry_of(load(path), "busy")["status"] == "dreaming"
        assert_counters_match(load(path))


def test_a_report_may_set_further_fields(task: Path, global_: Path) -> None:
    report_progress(task, global_, "busy", fields={"cost": 1.5})
    assert entry_of(load(task), "busy")["cost"] == 1.5
    assert "cost" not in entry_of(load(global_), "busy")
    with pytest.raises(ValueError, match="last_update"):
        report_progress(task, global_, "busy", fields={"last_update": "x"})
