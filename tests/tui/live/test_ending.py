"""Agents that end in two steps, as the orchestrator ends them: session first, registry last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import report_progress
from registry.schema import END_DELAY
from registry.sources import JsonTask
from tests.support.commands import decoded, muster
from tests.support.real_tmux import RealTmux
from tests.support.rolls import answered, session
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.waiting import until
from tests.support.workspaces import (
    QUICK,
    Files,
    entry,
    read,
    row_of,
    stamp,
    take,
    verdicts,
    write,
)
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result
from tui.actions.plan_complete import checked_complete, plan_complete
from tui.actions.plan_kill import plan_kill
from tui.host.asker import Asker
from tui.live import builder, collector
from tui.live.collector import LiveRoll
from tui.model import verdict
from tui.model.alerts import Item, Seen, news
from tui.model.roll import RollCall, Verdict
from tui.model.verdict import ENDING
from tui.model.warnings import notices

NOBODY = answered()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b")]})


def report(
    files: Files, status: str = "completed", seconds_ago: float = 0.0, agent_id: str = "a"
) -> Path:
    """Appends a line to an agent's progress file, as the orchestrator does."""
    path = files.path / "TASK-1" / "progress" / f"{agent_id}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    line = {"timestamp": stamp(seconds_ago), "agent_id": agent_id, "status": status}
    with path.open("a") as file:
        file.write(json.dumps(line | {"message": f"{status}!", "progress": 100}) + "\n")
    age(path, seconds_ago)
    return path


def age(path: Path, seconds: float = END_DELAY + 1) -> None:
    """Lets a file look as if it was written some seconds ago."""
    os.utime(path, (time.time() - seconds,) * 2)


# --- one roll call, and what is planned from it -------------------------------------


def test_an_agent_that_just_reported_its_end_is_left_out_of_bulk_actions(files: Files) -> None:
    path = report(files)
    roll = take(files, ScriptedTmux(NOBODY))
    assert verdicts(roll) == {"a": Verdict.UNKNOWN, "b": Verdict.ZOMBIE}
    assert row_of(roll, "a").note == ENDING
    rows = tuple(roll.agents())
    for plan in (
        plan_kill(roll, rows),
        checked_complete(roll, rows, as_reported=True),
        checked_complete(roll, rows, "terminated"),
        checked_complete(roll, [row_of(roll, "a")], as_reported=True),
    ):
        assert "a" not in {step.label for step in plan.steps}
        assert ENDING in dict(plan.refused)["a"]
    age(path)
    assert verdicts(take(files, ScriptedTmux(NOBODY)))["a"] is Verdict.ZOMBIE


def test_an_ending_agent_is_no_reason_for_an_alarm(tmp_path: Path) -> None:
    start = entry("a", started_at=stamp(60), last_update=stamp(30))
    files = Files(tmp_path, {"TASK-1": [start, entry("b", started_at=stamp(6000))]})
    # The session may be the agent's, under another name.
    tmux = ScriptedTmux(answered(session("renamed", created=time.time() - 61)))
    (doubt,) = notices(take(files, tmux))
    assert "1 agent may be alive" in doubt and "renamed" in doubt
    path = report(files)
    roll = take(files, tmux)
    assert row_of(roll, "a").note == ENDING
    assert notices(roll) == ()
    rows = tuple(roll.agents())
    for plan in (plan_kill(roll, rows), plan_complete(roll, rows)):
        assert dict(plan.refused) == {"a": ENDING}
    age(path)
    assert notices(take(files, tmux)) == (doubt,)


def test_an_agent_that_reports_after_the_roll_call_is_left_out_of_the_plan(files: Files) -> None:
    roll = take(files, ScriptedTmux(NOBODY))
    rows = tuple(roll.agents())
    assert verdicts(roll)["a"] is Verdict.ZOMBIE
    report(files)
    for as_reported in (True, False):
        plan = checked_complete(roll, rows, as_reported=as_reported)
        assert [step.label for step in plan.steps] == ["b"]
        assert ENDING in dict(plan.refused)["a"]


def test_each_zombie_gets_the_end_that_it_reported(files: Files) -> None:
    report(files, "failed", END_DELAY + 1)
    tmux = ScriptedTmux(NOBODY)
    roll = take(files, tmux)
    plan = checked_complete(roll, roll.agents(), as_reported=True)
    assert plan.title() == "Mark 1 agent as failed, 1 agent as completed"
    assert [step.says for step in plan.steps] == [
        "its session is gone; set its status to failed, as the agent reported",
        "its session is gone; set its status to completed",
    ]
    outcome = carry_out(plan, tmux, "the operator's reason")
    assert outcome.complete
    assert [step.detail for step in outcome.steps] == [
        "running -> failed",
        "running -> completed",
    ]
    assert files.agent("a")["termination_reason"] == "failed!"
    assert files.agent("b")["completion_reason"] == "the operator's reason"
    assert files.listed("a")["status"] == "failed"


def test_a_kill_leaves_an_agent_that_ended_by_itself_after_the_plan(
    files: Files, server: RealTmux
) -> None:
    ids = {name: server.start(f"agent_{name}") for name in "ab"}
    roll = take(files, server.client())
    plan = weighed_kill(roll, tuple(roll.agents()))
    assert {step.label for step in plan.steps} == {"a", "b"}
    report(files)
    server.kill(ids["a"])
    before = files.agent("a")
    a, b = carry_out(plan, server.client(), "").steps
    assert (a.result, a.detail) == (Result.LEFT, ENDING)
    assert b.result is Result.DONE
    assert files.agent("a") == before
    assert files.agent("b")["status"] == "terminated"


def test_an_explicit_status_counts_more_than_a_report(files: Files) -> None:
    report(files, "failed", END_DELAY + 1)
    tmux = ScriptedTmux(NOBODY)
    roll = take(files, tmux)
    plan = checked_complete(roll, [row_of(roll, "a")], "terminated")
    assert plan.title() == "Mark 1 agent as terminated"
    assert carry_out(plan, tmux, "").complete
    assert files.agent("a")["status"] == "terminated"


@pytest.mark.parametrize(
    ("status", "seconds_ago", "why"),
    [
        ("completed", 0, ENDING),
        ("completed", END_DELAY + 1, "its last report has changed"),
        ("working", 0, "its last report has changed"),
    ],
)
def test_a_report_that_came_after_the_plan_is_not_overwritten(
    files: Files, status: str, seconds_ago: float, why: str
) -> None:
    report(files, "failed", END_DELAY + 1)
    tmux = ScriptedTmux(NOBODY)
    roll = take(files, tmux)
    plan = checked_complete(roll, roll.agents(), as_reported=True)
    report(files, status, seconds_ago)
    before = files.agent("a")
    a, b = carry_out(plan, tmux, "").steps
    assert (a.result, b.result) == (Result.LEFT, Result.DONE)
    assert why in a.detail
    assert files.agent("a") == before


def test_a_report_of_the_earlier_deployment_counts_for_nothing(files: Files) -> None:
    report(files, seconds_ago=1)
    files.write_task("TASK-1", entry("a", started_at=stamp(0)), entry("b"))
    later = ScriptedTmux(NOBODY)
    roll = take(files, later, QUICK)
    assert "just started" in row_of(roll, "a").note
    report(files, seconds_ago=30)
    files.write_task("TASK-1", entry("a"), entry("b"))
    assert verdicts(take(files, later))["a"] is Verdict.ZOMBIE
    roll = take(files, later)
    assert checked_complete(roll, roll.agents(), as_reported=True).steps[0].end is None


def test_a_report_of_another_entry_with_the_id_counts_for_nothing(files: Files) -> None:
    later = entry("a", "completed", tmux_session="agent_a2", started_at=stamp(15))
    files.write_task("TASK-1", entry("a"), later, entry("b"))
    report(files, "failed", END_DELAY + 1)
    tmux = ScriptedTmux(NOBODY)
    roll = take(files, tmux)
    zombies = [row for row in roll.agents() if row.verdict is Verdict.ZOMBIE]
    a, b = checked_complete(roll, zombies, as_reported=True).steps
    assert (a.label, a.end, b.label) == ("a", None, "b")


def test_a_report_that_others_may_have_written_counts_for_nothing(files: Files) -> None:
    report(files).chmod(0o666)
    roll = take(files, ScriptedTmux(NOBODY))
    assert verdicts(roll)["a"] is Verdict.ZOMBIE
    assert checked_complete(roll, roll.agents(), as_reported=True).steps[0].end is None


def test_no_progress_file_is_read_while_all_sessions_exist(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(files)
    asked: list[set[str]] = []
    ends = JsonTask.reported_ends

    def counted(task: JsonTask, started: dict[str, float], since: float = 0.0) -> Any:
        asked.append(set(started))
        return ends(task, started, since)

    monkeypatch.setattr(JsonTask, "reported_ends", counted)
    there = answered(made_now("agent_a"), made_now("agent_b", number=2))
    assert verdicts(take(files, ScriptedTmux(there)))["a"] is Verdict.LIVE
    assert asked == []
    take(files, ScriptedTmux(answered(made_now("agent_b"))))
    assert asked == [{"a"}]


def test_whose_progress_file_does_not_answer_is_not_called_a_zombie(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go: list[Callable[[], None]] = []

    def hanging(_: JsonTask, *__: object) -> Any:
        return until(lambda: let_go, "the end of the test")

    ask: Any = Asker.ask
    monkeypatch.setattr(Asker, "ask", lambda asker, function, *_: ask(asker, function, 0.2))
    monkeypatch.setattr(JsonTask, "reported_ends", hanging)
    roll = take(files, ScriptedTmux(NOBODY))
    let_go.append(print)
    assert set(verdicts(roll).values()) == {Verdict.UNKNOWN}
    assert (roll.counts[Verdict.ZOMBIE], roll.counts[Verdict.UNKNOWN]) == (0, 2)
    assert "does not answer" in row_of(roll, "a").note


# --- the monitor ------------------------------------------------------------------


class Watched:
    """A live roll, with everything that would have raised an alarm."""

    def __init__(self, live: LiveRoll) -> None:
        self.live = live
        self.alarms: list[Item] = []
        self.verdicts: list[Verdict] = []
        self._seen: Seen | None = None

    def __call__(self, roll: RollCall) -> None:
        self._seen, items = news(self._seen, roll)
        self.alarms += items
        self.verdicts.append(verdicts(roll)["a"])

    def wait_for(self, wanted: Verdict) -> None:
        until(lambda: self.verdicts and self.verdicts[-1] is wanted, str(wanted))


def ending_takes(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (builder, verdict):
        monkeypatch.setattr(module, "END_DELAY", seconds)


@pytest.fixture
def watched(files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(collector, "SWEEP", 0.1)
    ending_takes(600.0, monkeypatch)
    server.start("agent_b")
    live = LiveRoll(files.workspaces(), server.client(), QUICK)
    made = Watched(live)
    live.listen(made)
    yield made
    live.stop()


def test_a_normal_end_raises_no_alarm(files: Files, server: RealTmux, watched: Watched) -> None:
    session_id = server.start("agent_a")
    watched.live.start()
    watched.wait_for(Verdict.LIVE)
    path = report(files)
    server.kill(session_id)
    until(lambda: row_of_latest(watched).note == ENDING, "the end that was reported")
    # The orchestrator moves the file before it writes the registry.
    (files.path / "TASK-1" / "archive").mkdir()
    path.rename(files.path / "TASK-1" / "archive" / path.name)
    seen = len(watched.verdicts)
    until(lambda: len(watched.verdicts) > seen + 2, "further roll calls")
    assert row_of_latest(watched).note == ENDING
    report_progress(files.registry(), files.global_registry, "a", status="completed")
    watched.wait_for(Verdict.FINISHED)
    assert Verdict.ZOMBIE not in watched.verdicts
    assert watched.alarms == []


def test_an_end_that_the_registry_never_hears_of_is_a_zombie_later(
    files: Files, server: RealTmux, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = server.start("agent_a")
    watched.live.start()
    watched.wait_for(Verdict.LIVE)
    report(files, "failed")
    server.kill(session_id)
    until(lambda: row_of_latest(watched).note == ENDING, "the end that was reported")
    assert watched.alarms == []
    ending_takes(0.0, monkeypatch)
    watched.wait_for(Verdict.ZOMBIE)
    assert [item.kind for item in watched.alarms] == ["zombie"]


def row_of_latest(watched: Watched) -> Any:
    assert watched.live.latest is not None
    return row_of(watched.live.latest, "a")


# --- the commands -----------------------------------------------------------------


def test_the_commands_leave_it_alone_then_write_its_end_and_undo_it(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_b")
    hierarchy = {"agent_hierarchy": {"orchestrator": ["a", "b"]}}
    write(files.registry(), read(files.registry()) | hierarchy)
    # With a time in the future, the report counts as new however long the commands take.
    path = report(files, "failed", -3600)
    at = ("-S", server.socket)
    done = muster(files, "complete", "--zombies", *at, "--yes")
    assert (done.returncode, files.agent("a")["status"]) == (0, "running")
    done = muster(files, "complete", "a", *at, "--yes")
    assert done.returncode == 1 and ENDING in done.stdout
    healthy = decoded(muster(files, "doctor", "--json", *at))
    assert (healthy["healthy"], healthy["could_not_tell"]) == (True, [])

    age(path)
    before = files.bytes()
    found = decoded(muster(files, "doctor", "--json", *at), 1)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["expected"]) == ("zombie", "failed")
    assert "it reported failed" in finding["says"] and "as the agent reported" in finding["fix"]
    done = muster(files, "doctor", "--fix", "--yes", *at)
    assert done.returncode == 0, done.stdout
    assert "running -> failed" in done.stdout
    agent = files.agent("a")
    assert (agent["status"], agent["termination_reason"]) == ("failed", "failed!")
    assert "terminated_at" not in agent and agent["failed_at"]
    assert files.listed("a")["status"] == "failed"
    assert decoded(muster(files, "doctor", "--json", *at))["findings"] == []
    assert "failed!" in muster(files, "log").stdout
    assert muster(files, "undo", "--yes").returncode == 0
    assert files.bytes() == before

    done = muster(files, "complete", "--zombies", *at, "--yes", "--reason", "clean up")
    assert (done.returncode, done.stdout) == (0, "done: a (running -> failed)\n")
    assert files.agent("a")["termination_reason"] == "failed!"
