"""Another program has the lock of a database: a kill ends nothing that it cannot record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry import operations
from registry.audit import State, log_of, read_log
from registry.sources import sqlite_changes
from tests.support.dialects import DatabaseFiles
from tests.support.real_tmux import RealTmux
from tests.support.workspaces import entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.kill_record import KillRecord
from tui.actions.outcome import Result
from tui.actions.plan import Plan
from tui.actions.plan_kill import plan_kill
from tui.host.tmux import Tmux


@pytest.fixture
def files(tmp_path: Path) -> DatabaseFiles:
    return DatabaseFiles(tmp_path, {"TASK-1": [entry("a")], "TASK-2": [entry("b")]})


@pytest.fixture
def other(files: DatabaseFiles) -> Iterator[sqlite3.Connection]:
    """A connection of another program."""
    connection = sqlite3.connect(files.database.path, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def plan(files: DatabaseFiles, server: RealTmux, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A confirmed kill of two agents in two tasks."""
    monkeypatch.setattr(sqlite_changes, "BUSY_TIMEOUT", 0.05)
    for name in ("keeper", "agent_a", "agent_b"):
        server.start(name)
    roll = take(files, server.client())
    return plan_kill(roll, [row_of(roll, name) for name in "ab"])


def test_a_kill_ends_nothing_while_the_database_is_locked(
    files: DatabaseFiles, server: RealTmux, other: sqlite3.Connection, plan: Plan
) -> None:
    before = files.bytes()
    other.execute("BEGIN IMMEDIATE")
    steps = carry_out(plan, server.client(), "").steps
    assert server.names() == {"keeper", "agent_a", "agent_b"}
    for step in steps:
        assert step.result is Result.FAILED
        assert "nothing was ended, because could not acquire lock on" in step.detail
    assert read_log(log_of(files.database.path)).entries == ()
    other.execute("ROLLBACK")
    assert files.bytes() == before
    assert carry_out(plan, server.client(), "").complete
    assert server.names() == {"keeper"}


def test_a_kill_that_was_not_recorded_is_told_in_full(
    files: DatabaseFiles,
    server: RealTmux,
    other: sqlite3.Connection,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finish = partial(operations.finish_in_database, timeout=0.05)
    monkeypatch.setattr(operations, "finish_in_database", finish)
    end = Tmux.kill_session

    def end_and_lock(self: Tmux, *args: Any) -> str | None:
        why = end(self, *args)
        if len(server.names()) == 1:
            other.execute("BEGIN IMMEDIATE")
        return why

    monkeypatch.setattr(Tmux, "kill_session", end_and_lock)
    steps = carry_out(plan, server.client(), "").steps
    assert server.names() == {"keeper"}
    entries = read_log(log_of(files.database.path)).entries
    failed = [each.detail for each in entries if each.state is State.FAILED]
    done = [each.session.agent for each in entries if each.state is State.DONE and each.session]
    # The sessions were ended, so no later kill has to search for their processes.
    assert sorted(map(str, done)) == ["a", "b"]
    assert len(failed) == len(steps) == 2
    for step, detail in zip(steps, failed, strict=True):
        assert step.result is Result.FAILED
        assert "ended its session" in step.detail and "not recorded" in step.detail
        assert f"then run `muster complete {step.label} -w {files.path}/" in step.detail
        assert f" -S {plan.socket} --as terminated`" in step.detail
        assert detail == f"{step.label}: {step.detail}"


def test_the_lock_is_asked_for_only_once_while_it_is_held(
    other: sqlite3.Connection, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    why_locked = sqlite_changes.SqliteChanges.why_locked

    def counted(self: sqlite_changes.SqliteChanges) -> str | None:
        asked.append(self)
        return why_locked(self)

    monkeypatch.setattr("registry.sources.sqlite_source.SqliteTask.why_locked", counted)
    other.execute("BEGIN IMMEDIATE")
    record = KillRecord(plan, None)  # type: ignore[arg-type]
    assert all(record.begin(step, None) for step in plan.steps)  # type: ignore[arg-type]
    assert len(asked) == 1
