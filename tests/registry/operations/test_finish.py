"""Ending agents in a task's registry and in the global one, in one action."""

from __future__ import annotations

import fcntl
import json
import threading
from pathlib import Path
from typing import Any, Literal

import pytest

from registry import (
    Audit,
    AuditContext,
    Deployment,
    RegistryError,
    atomic_add_agent,
    finish_agents,
)
from registry.agent_output import ReportedEnd
from registry.audit import log
from registry.errors import WrongShapeError
from registry.operations.finish import END_FIELDS
from tests.support.limits import no_file_longer_than
from tests.support.peers import careful_update
from tests.support.records import undo
from tests.support.registries import (
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

Status = Literal["completed", "terminated"]


@pytest.mark.parametrize(
    ("status", "stamp", "why"),
    [
        ("completed", "completed_at", "completion_reason"),
        ("terminated", "terminated_at", "termination_reason"),
    ],
)
def test_it_ends_agents_in_both_files_with_time_and_reason(
    task: Path, global_: Path, status: Status, stamp: str, why: str
) -> None:
    report = finish_agents(task, global_, ["busy"], status=status, reason="the operator said so")

    for path in (task, global_):
        entry = entry_of(load(path), "busy")
        assert entry["status"] == status
        assert entry[stamp]
        assert entry[why] == "the operator said so"
        assert_counters_match(load(path))
    (change,) = report.changed
    assert (change.agent_id, change.previous, change.status) == ("busy", "running", status)
    assert report.written == (task, global_)
    assert not report.untouched
    assert not report.problems


def test_only_active_agents_are_ended_and_the_rest_have_reasons(task: Path, global_: Path) -> None:
    report = finish_agents(task, global_, ["done", "busy", "nobody"], status="terminated")

    assert [change.agent_id for change in report.changed] == ["busy"]
    assert set(report.untouched) == {"done", "nobody"}
    assert "completed" in report.untouched["done"]
    assert str(task) in report.untouched["nobody"]
    assert entry_of(load(task), "done")["status"] == "completed"


def test_a_second_time_changes_and_writes_nothing(task: Path, global_: Path) -> None:
    finish_agents(task, global_, ["busy"], status="terminated")
    before = task.read_bytes(), global_.read_bytes()
    report = finish_agents(task, global_, ["busy"], status="completed")

    assert (task.read_bytes(), global_.read_bytes()) == before
    assert not report.changed
    assert not report.written
    assert set(report.untouched) == {"busy"}


def test_many_agents_are_ended_in_one_pass(task: Path, global_: Path) -> None:
    ids = [f"agent-{number}" for number in range(30)]
    for path in (task, global_):
        for each in ids:
            atomic_add_agent(path, agent(each), "orchestrator")
    report = finish_agents(task, global_, ids, status="completed")

    assert [change.agent_id for change in report.changed] == ids
    assert_counters_match(load(task))
    assert_counters_match(load(global_))


def test_a_completion_in_json_leaves_the_progress_as_the_orchestrator_does(task: Path) -> None:
    registry = load(task)
    entry_of(registry, "busy")["progress"] = 60
    write(task, registry)
    finish_agents(task, None, ["busy"], status="completed")
    assert entry_of(load(task), "busy")["progress"] == 60


def test_an_agent_that_only_the_task_has_is_ended_there(task: Path, global_: Path) -> None:
    atomic_add_agent(task, agent("new"), "orchestrator")
    before = global_.read_bytes()
    report = finish_agents(task, global_, ["new"], status="completed")

    assert entry_of(load(task), "new")["status"] == "completed"
    assert global_.read_bytes() == before
    assert report.written == (task,)


def test_an_agent_that_only_the_global_registry_has_is_ended_there(
    task: Path, global_: Path
) -> None:
    atomic_add_agent(global_, agent("new", None), "orchestrator")
    before = task.read_bytes()
    report = finish_agents(task, global_, ["new"], status="terminated", reason="gone")

    assert entry_of(load(global_), "new")["termination_reason"] == "gone"
    assert_counters_match(load(global_))
    assert task.read_bytes() == before
    assert [change.agent_id for change in report.changed] == ["new"]
    assert report.written == (global_,)


@pytest.mark.parametrize("status", TERMINAL)
def test_a_global_registry_that_was_left_behind_catches_up_with_the_task(
    tmp_path: Path, status: str
) -> None:
    ended = agent("late", status, completed_at="2025-01-01T00:00:00", error="kept to itself")
    task = write(tmp_path / "t.json", task_registry(ended))
    global_ = write(tmp_path / "g.json", global_registry(agent("late", None)))
    before = task.read_bytes()
    report = finish_agents(task, global_, ["late"], status="terminated", reason="not this")

    entry = entry_of(load(global_), "late")
    assert (entry["status"], entry["completed_at"]) == (status, "2025-01-01T00:00:00")
    assert "termination_reason" not in entry
    assert "error" not in entry
    assert_counters_match(load(global_))
    assert task.read_bytes() == before
    assert report.written == (global_,)
    assert [(each.agent_id, each.status) for each in report.changed] == [("late", status)]


@pytest.mark.parametrize("status", ["reviewing", "paused", "IN_PROGRESS", "running"])
def test_whatever_it_calls_its_work_it_is_ended(tmp_path: Path, status: str) -> None:
    task = write(tmp_path / "t.json", task_registry(agent("odd", status), agent("busy")))
    global_ = write(tmp_path / "g.json", global_registry(agent("odd", status), agent("busy")))
    report = finish_agents(task, global_, ["odd"], status="terminated")

    assert report.written == (task, global_)
    for file in (task, global_):
        assert entry_of(load(file), "odd")["status"] == "terminated"
        assert_counters_match(load(file))


@pytest.mark.parametrize("status", ["phase_completed", "killed", "COMPLETED", "", None, 5])
def test_what_has_ended_or_has_no_status_stays(tmp_path: Path, status: Any) -> None:
    task = write(tmp_path / "t.json", task_registry(agent("odd", status)))
    report = finish_agents(task, None, ["odd"], status="terminated")

    assert not report.written
    assert repr(status) in report.untouched["odd"]


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("phase_completed", {"completed_at": "2026-01-02T03:04:05", "completion_reason": "done"}),
        ("killed", {"termination_reason": "done"}),
    ],
)
def test_an_end_in_a_word_of_the_orchestrator_is_written_as_reported(
    task: Path, global_: Path, status: str, fields: dict[str, str]
) -> None:
    end = ReportedEnd(status, "done", "2026-01-02T03:04:05", 0.0)
    finish_agents(task, global_, ["busy"], status="completed", ends={"busy": end})

    entry = entry_of(load(task), "busy")
    assert entry["status"] == entry_of(load(global_), "busy")["status"] == status
    assert {name: entry.get(name) for name in END_FIELDS if name in entry} == fields
    assert_counters_match(load(task))


def test_without_a_global_registry_the_task_alone_is_written(task: Path, tmp_path: Path) -> None:
    absent = tmp_path / "registry" / "GLOBAL_REGISTRY.json"
    atomic_add_agent(task, agent("second"), "orchestrator")

    for ended, where in (("busy", None), ("second", absent)):
        report = finish_agents(task, where, [ended], status="completed")
        assert report.written == (task,)
        assert not report.problems
    assert_counters_match(load(task))
    assert not absent.exists()


@pytest.mark.parametrize("spoiled", ["", "{", "[]", '{"a": 1, "a": 2}'])
def test_a_spoiled_global_registry_is_named_and_left_and_the_task_is_written(
    task: Path, global_: Path, spoiled: str
) -> None:
    global_.write_text(spoiled)
    report = finish_agents(task, global_, ["busy"], status="terminated")

    assert entry_of(load(task), "busy")["status"] == "terminated"
    assert report.written == (task,)
    assert len(report.problems) == 1
    assert str(global_) in report.problems[0]
    assert global_.read_text() == spoiled


def test_a_global_registry_locked_too_long_is_named_the_task_written(
    task: Path, global_: Path
) -> None:
    before = global_.read_bytes()
    with open(global_, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        report = finish_agents(task, global_, ["busy"], status="completed", timeout=0.05)

    assert entry_of(load(task), "busy")["status"] == "completed"
    assert report.written == (task,)
    assert str(global_) in report.problems[0]
    assert global_.read_bytes() == before


@pytest.mark.parametrize("spoiled", [None, "", "{"])
def test_without_the_task_nothing_is_written(
    task: Path, global_: Path, spoiled: str | None
) -> None:
    before = global_.read_bytes()
    if spoiled is None:
        task.unlink()
    else:
        task.write_text(spoiled)
    with pytest.raises((FileNotFoundError, json.JSONDecodeError)) as caught:
        finish_agents(task, global_, ["busy"], status="completed")

    assert isinstance(caught.value, RegistryError)
    assert str(task) in str(caught.value)
    assert global_.read_bytes() == before


def test_a_task_that_is_locked_too_long_is_a_timeout_and_nothing_is_written(
    task: Path, global_: Path
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="AGENT_REGISTRY"):
            finish_agents(task, global_, ["busy"], status="completed", timeout=0.05)
    assert (task.read_bytes(), global_.read_bytes()) == before


def test_while_the_global_registry_is_busy_the_task_is_not_kept_from_others(
    task: Path, global_: Path
) -> None:
    # Whoever locks the global one first and then the task's must get through.
    report = []

    def finish() -> None:
        report.append(finish_agents(task, global_, ["busy"], status="completed", timeout=30))

    with open(global_, "r+") as first, open(task, "r+") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        ours = threading.Thread(target=finish)
        ours.start()
        fcntl.flock(second, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_UN)
        fcntl.flock(first, fcntl.LOCK_UN)
    ours.join()

    assert report[0].written == (task, global_)


def test_a_disk_without_room_leaves_both_registries_as_they_were(
    task: Path, global_: Path
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    limit = max(len(text) for text in before) + 20
    with no_file_longer_than(limit), pytest.raises(OSError) as caught:
        finish_agents(task, global_, ["busy"], status="terminated", reason="x" * 4096)

    assert isinstance(caught.value, RegistryError)
    assert (task.read_bytes(), global_.read_bytes()) == before
    assert sorted(task.parent.iterdir()) == [task]
    assert finish_agents(task, global_, ["busy"], status="completed").written == (task, global_)


# --- agents that were deployed again -------------------------------------------

FIRST = Deployment("agent_busy", "2025-10-17T21:00:00")


@pytest.fixture
def started(tmp_path: Path) -> tuple[Path, Path]:
    """Both registries of a task with one agent at work."""
    busy = agent("busy", started_at=FIRST.started_at)
    space = tmp_path / "started"
    return (
        write(space / "TASK-1" / "AGENT_REGISTRY.json", task_registry(busy)),
        write(space / "registry" / "GLOBAL_REGISTRY.json", global_registry(busy)),
    )


def deploy_anew(task: Path, **fields: Any) -> None:
    def change(registry: Json) -> None:
        entry_of(registry, "busy").update(fields)

    careful_update(str(task), change)


ANEW: list[Json] = [
    {"tmux_session": "agent_busy_again"},
    {"started_at": "2025-10-17T21:00:01"},
    {"tmux_session": "agent_busy_again", "started_at": "2025-10-17T22:00:00"},
    {"tmux_session": None},
    {"started_at": None},
]


@pytest.mark.parametrize("again", ANEW)
@pytest.mark.parametrize("status", ["running", "working"])
@pytest.mark.parametrize("recorded", [False, True])
def test_who_was_deployed_anew_stays_active_in_both_registries_and_is_named(
    started: tuple[Path, Path], again: Json, status: str, recorded: bool
) -> None:
    task, global_ = started
    deploy_anew(task, status=status, **again)
    before = task.read_bytes(), global_.read_bytes()
    on_record = AuditContext(Audit("complete", "")) if recorded else None
    report = finish_agents(
        task,
        global_,
        ["busy"],
        status="terminated",
        judged={"busy": [FIRST]},
        on_record=on_record,
    )

    assert (task.read_bytes(), global_.read_bytes()) == before
    assert not (report.changed or report.written or report.problems)
    assert report.untouched == {
        "busy": f"was deployed again meanwhile; its status stays {status!r}"
    }
    assert log.read_log(log.log_of(task)).entries == ()


def test_another_active_status_is_no_other_deployment(started: tuple[Path, Path]) -> None:
    task, global_ = started
    deploy_anew(task, status="working", progress=70, last_update="2025-10-17T23:00:00")
    report = finish_agents(task, global_, ["busy"], status="completed", judged={"busy": [FIRST]})

    assert [(each.previous, each.status) for each in report.changed] == [("working", "completed")]
    assert report.written == (task, global_)
    assert_counters_match(load(task))
    assert_counters_match(load(global_))


def test_who_is_deployed_anew_between_the_look_and_the_commit_stays(
    started: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, global_ = started
    real = Audit.begin

    def begin(self: Audit, *arguments: Any, **options: Any) -> Any:
        deploy_anew(task, **ANEW[2])
        return real(self, *arguments, **options)

    monkeypatch.setattr(Audit, "begin", begin)
    before = global_.read_bytes()
    report = finish_agents(
        task,
        global_,
        ["busy"],
        status="completed",
        judged={"busy": [FIRST]},
        on_record=AuditContext(Audit("complete", "")),
    )

    assert "deployed again" in report.untouched["busy"]
    assert entry_of(load(task), "busy")["status"] == "running"
    assert global_.read_bytes() == before
    (entry,) = log.read_log(log.log_of(task)).entries
    assert entry.state == "void"


def test_only_who_was_judged_is_compared(task: Path, global_: Path) -> None:
    atomic_add_agent(task, agent("other"), "orchestrator")
    judged = {"other": [FIRST], "nobody": [FIRST]}
    report = finish_agents(task, global_, ["busy", "other"], status="completed", judged=judged)

    assert [each.agent_id for each in report.changed] == ["busy"]
    assert set(report.untouched) == {"other"}
    assert_counters_match(load(task))


def test_of_an_id_that_is_there_twice_only_the_judged_deployments_are_ended(
    tmp_path: Path,
) -> None:
    starts = ["2025-10-17T21:00:00", "2025-10-17T21:00:05", "2025-10-17T22:00:00"]
    agents = [agent("busy", started_at=each) for each in starts]
    task = write(tmp_path / "t.json", task_registry(*agents))
    judged = {"busy": [Deployment("agent_busy", each) for each in starts[:2]]}
    report = finish_agents(task, None, ["busy"], status="completed", judged=judged)

    statuses = [each["status"] for each in load(task)["agents"]]
    assert statuses == ["completed", "completed", "running"]
    assert [each.agent_id for each in report.changed] == ["busy"]


@pytest.mark.parametrize(("same", "status"), [(True, "completed"), (False, "running")])
def test_gone_from_its_task_it_is_ended_globally_only_as_judged(
    started: tuple[Path, Path], same: bool, status: str
) -> None:
    task, global_ = started
    write(task, task_registry())
    if not same:
        deploy_anew(global_, **ANEW[2])
    finish_agents(task, global_, ["busy"], status="completed", judged={"busy": [FIRST]})

    assert entry_of(load(global_), "busy")["status"] == status


def test_who_was_deployed_anew_and_is_through_since_is_not_ended_twice(
    started: tuple[Path, Path],
) -> None:
    task, global_ = started
    deploy_anew(task, status="failed", failed_at="2025-10-17T23:00:00", **ANEW[2])
    report = finish_agents(task, global_, ["busy"], status="completed", judged={"busy": [FIRST]})

    assert entry_of(load(task), "busy")["status"] == "failed"
    assert [(each.agent_id, each.status) for each in report.changed] == [("busy", "failed")]
    assert entry_of(load(global_), "busy")["failed_at"] == "2025-10-17T23:00:00"


# --- ends that the agents themselves reported -----------------------------------

REPORTED_AT = "2025-10-17T22:30:00.123456"


def reported(status: str, message: str = "all \ud800 done") -> ReportedEnd:
    return ReportedEnd(status, message, REPORTED_AT, 1_760_000_000.0)


@pytest.mark.parametrize(
    ("status", "stamp", "why"),
    [
        ("completed", {"completed_at": REPORTED_AT}, "completion_reason"),
        ("failed", {"failed_at": REPORTED_AT}, "termination_reason"),
        ("error", {"failed_at": REPORTED_AT}, "termination_reason"),
        ("terminated", {}, "termination_reason"),
    ],
)
def test_a_reported_end_is_written_with_its_message_and_undone(
    task: Path, global_: Path, status: str, stamp: Json, why: str
) -> None:
    before = [path.read_bytes() for path in (task, global_)]
    on_record = AuditContext(Audit("fix", "the operator's reason"))
    report = finish_agents(
        task, global_, ["busy"], status="terminated", reason="session_not_found",
        ends={"busy": reported(status)}, on_record=on_record,
    )  # fmt: skip

    assert [(each.agent_id, each.status) for each in report.changed] == [("busy", status)]
    for path in (task, global_):
        entry = entry_of(load(path), "busy")
        assert entry["status"] == status
        assert {name: entry[name] for name in END_FIELDS if name in entry} == {
            **stamp,
            why: "all \ud800 done",
        }
        assert_counters_match(load(path))
    # The orchestrator counts each agent that reported its end.
    assert load(task)["completed_count"] == 2
    undo(task, global_)
    assert [path.read_bytes() for path in (task, global_)] == before


def test_each_agent_gets_its_own_end_in_one_commit(task: Path, global_: Path) -> None:
    for path in (task, global_):
        for agent_id in ("quiet", "listed"):
            parent = {} if path == task else {"task_id": "TASK-1"}
            if (agent_id, path) != ("listed", task):
                atomic_add_agent(path, agent(agent_id, **parent), "orchestrator")
    ends = {"busy": reported("failed", ""), "listed": reported("completed")}
    ids = ["busy", "quiet", "listed"]
    report = finish_agents(task, global_, ids, status="terminated", reason="gone", ends=ends)

    found = {each.agent_id: each.status for each in report.changed}
    assert found == {"busy": "failed", "quiet": "terminated", "listed": "completed"}
    in_task = load(task)
    assert "termination_reason" not in entry_of(in_task, "busy")
    assert entry_of(in_task, "quiet")["termination_reason"] == "gone"
    assert entry_of(load(global_), "listed")["completion_reason"] == "all \ud800 done"
    assert in_task["completed_count"] == 2
    assert_counters_match(in_task)
    assert_counters_match(load(global_))


def test_an_end_that_is_not_terminal_is_refused(task: Path, global_: Path) -> None:
    before = task.read_bytes()
    with pytest.raises(WrongShapeError, match="terminal status, not 'working'"):
        finish_agents(
            task, global_, ["busy"], status="completed", ends={"busy": reported("working")}
        )
    assert task.read_bytes() == before
