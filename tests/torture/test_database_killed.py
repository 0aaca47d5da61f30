"""muster's changes of a database killed at every system call, and at random beside its writers."""

from __future__ import annotations

import gc
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry import Audit, AuditContext
from registry.audit import MISSING, UNDO, Entry, State, last_actions, read_log, undoables
from registry.schema import Workspace
from registry.sources import SqliteWorkspace, TaskSource
from tests.support.database_crowd import Crowd
from tests.support.database_writers import Writers
from tests.support.databases import Database, agent_row, progress_lines
from tests.torture.kills.tracing import run_to_call

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ptrace(2) is Linux's"),
    pytest.mark.timeout(600),
]

_TABLES = ("agents", "agent_progress_latest")

Rows = dict[str, dict[str, Any]]
Act = Callable[[TaskSource], object]


@pytest.fixture(autouse=True)
def lean() -> Iterator[None]:
    """Children are forked by the hundred: what is here need not be looked through in each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _task(root: Path) -> TaskSource:
    (task,) = SqliteWorkspace(Workspace(root)).tasks({})
    return task


def _rows(built: Database, agent_id: str = "gone") -> Rows:
    return {table: agent_row(built, table, agent_id) for table in _TABLES}


def _complete(task: TaskSource, agent_id: str = "gone") -> None:
    on_record = AuditContext(Audit("complete", "it is gone"))
    report = task.finish([agent_id], status="completed", reason="it is gone", on_record=on_record)
    assert report.changed and not report.problems


def _undo(task: TaskSource) -> tuple[str, ...]:
    """Takes back the last action; returns the ids of the agents that are as before."""
    log = read_log(task.audit_log)
    action = next(last_actions(log), None)
    if action is None:
        return ()
    (step,) = undoables(log, action, {file.path for file in task.files})
    assert step.refused is None
    made = task.revert(step, Audit(UNDO, "a mistake"))
    assert bool(made.result.agents) != bool(made.result.refused)
    assert all(made.result.refused.values())
    return made.result.agents


def _report(task: TaskSource) -> None:
    done = task.report("gone", status="working", progress=77, message="by hand")
    assert not done.problems


_ACTS: dict[str, Act] = {"complete": _complete, "undo": _undo, "report": _report}


@pytest.fixture(params=["complete", "undo"])
def act(request: pytest.FixtureRequest) -> Act:
    """A change that is killed."""
    return _ACTS[request.param]


@pytest.fixture(params=["closed", "in use"])
def laid_out(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A workspace with a dead agent; before an undo, the agent was completed."""
    root = tmp_path / "before"
    built = Database(root)
    built.task(created_at="2026-01-01T00:00:00", updated_at="2026-01-01T00:00:00")
    writers = Writers(built.path)
    for agent_id in ("live", "gone"):
        writers.deploy(agent_id)
        writers.report(agent_id, "working", 30, "at work")
    if "undo" in request.node.name:
        _complete(_task(root))
    if request.param == "closed":
        # The last connection of an orchestrator removes the log.
        writers.report("live", "working", 40, "at work")
    else:
        _leave_log(built.path)
    names = {path.name for path in built.path.parent.glob("state*")}
    assert len(names) == (1 if request.param == "closed" else 3)
    return root


def _leave_log(path: Path) -> None:
    """Leaves the log and its index beside the database, as a killed orchestrator does."""
    copy = path.with_name("copies")
    copy.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("UPDATE agents SET progress = 35 WHERE agent_id = 'live'")
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copy(each, copy)
    for each in copy.iterdir():
        shutil.move(each, path.parent / each.name)
    copy.rmdir()


def _import_all(directory: Path) -> None:
    """Acts once, so that no child imports a module: its calls are those of the act alone."""
    built = Database(directory / "first")
    built.task()
    built.agent("gone", progress=30)
    for act in _ACTS.values():
        act(_task(built.workspace))


_STRIDE = 20


def _killed(before: Path, root: Path, act: Act, stride: int = _STRIDE) -> Iterator[bool]:
    """Lays the files out, kills the act at a system call; yields whether it was done.

    From the intent in the log on, the act is killed at each call; before, at some of them. The
    last time it lives.
    """
    call = 1
    is_intended = False
    entries = len(read_log(_task(before).audit_log).entries)
    while True:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(before, root)
        # A reading waits for files that were just written, so the calls would not be the same.
        for path in (root / "registry").iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))
        task = _task(root)
        ended = run_to_call(partial(act, task), call)
        if not is_intended and len(read_log(task.audit_log).entries) > entries:
            is_intended, call = True, max(1, call - stride)
            continue
        yield ended.acknowledged
        if not ended.killed:
            return
        call += 1 if is_intended else stride


def _is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA quick_check").fetchall() == [("ok",)])


def _told(entry: Entry) -> dict[str, tuple[object, object]]:
    return {change.field: (change.before, change.after) for change in entry.changes}


def _differences(before: Rows, after: Rows) -> dict[str, tuple[object, object]]:
    """Returns what a log should tell of a change."""
    found = {}
    for table in _TABLES:
        for column in {**before[table], **after[table]}.keys() - {"task_id", "agent_id"}:
            pair = tuple(rows[table].get(column, MISSING) for rows in (before, after))
            if pair[0] != pair[1]:
                found[f"{table}.{column}"] = pair
    return found


def test_a_killed_change_is_whole_or_not_made_and_the_log_tells(
    tmp_path: Path, laid_out: Path, act: Act
) -> None:
    root = tmp_path / "w"
    built = Database.__new__(Database)
    built.workspace, built.path = root, root / "registry" / "state.sqlite3"
    outcomes: set[tuple[bool, State | None, bool]] = set()
    count = 0
    shutil.copytree(laid_out, root)
    _import_all(tmp_path)
    old, known = _rows(built), len(read_log(_task(root).audit_log).entries)
    lines = len(progress_lines(built, "gone"))
    for acknowledged in _killed(laid_out, root, act):
        count += 1
        task = _task(root)
        # muster reads what the killed process left, before any other process opens the database.
        (record,) = [each for each in task.read().record.agents if each.id == "gone"]
        now = _rows(built)
        assert _is_whole(built.path)
        assert record.status == now["agents"]["status"]
        is_made = now != old
        assert is_made or not acknowledged
        entries = read_log(task.audit_log).entries
        state = entries[known].state if len(entries) > known else None
        line = len(progress_lines(built, "gone")) - lines
        outcomes.add((is_made, state, bool(line)))
        assert line in (0, 1)
        if is_made:
            # The intent was logged first, with each field.
            assert state in (State.INTENDED, State.DONE)
            assert _told(entries[known]) == _differences(old, now)
        else:
            assert state in (None, State.INTENDED) and not line
        assert state is not State.DONE or line

        if act is _complete:
            _check_undo(task, built, old, now)
        else:
            _check_again(task, built, old, now)
        assert _is_whole(built.path)
        Writers(built.path).report("gone", "working", 50, "still here")
        assert _rows(built)["agents"]["progress"] == 50

    # Killed before the intent, after it, after the commit, after the line, and after the outcome.
    assert outcomes == {
        (False, None, False),
        (False, State.INTENDED, False),
        (True, State.INTENDED, False),
        (True, State.INTENDED, True),
        (True, State.DONE, True),
    }
    assert count > 100


def test_a_killed_report_is_whole_or_not_made(tmp_path: Path, laid_out: Path) -> None:
    root = tmp_path / "w"
    built = Database.__new__(Database)
    built.workspace, built.path = root, root / "registry" / "state.sqlite3"
    shutil.copytree(laid_out, root)
    _import_all(tmp_path)
    old, lines = _rows(built), len(progress_lines(built, "gone"))
    outcomes = set()
    for acknowledged in _killed(laid_out, root, _report, stride=1):
        now = _rows(built)
        assert _is_whole(built.path)
        is_made = now != old
        if is_made:
            values = [now["agents"]["progress"], now["agent_progress_latest"]["progress"]]
            assert values == [77, 77]
            assert now["agent_progress_latest"]["message"] == "by hand"
        line = len(progress_lines(built, "gone")) - lines
        # The line comes after the commit.
        assert line in (0, int(is_made)) and (line or not acknowledged)
        outcomes.add((is_made, bool(line)))
    assert outcomes == {(False, False), (True, False), (True, True)}


def _check_undo(task: TaskSource, built: Database, old: Rows, now: Rows) -> None:
    """An undo gives each field back; if nothing was made, it changes nothing."""
    back = _undo(task)
    assert _rows(built) == old
    assert back == (("gone",) if now != old else ())


def _check_again(task: TaskSource, built: Database, old: Rows, now: Rows) -> None:
    """After a killed undo, the next one does the rest, or there is nothing to take back."""
    back = _undo(task)
    made = now != old
    assert back == (() if made else ("gone",))
    assert _rows(built)["agents"]["status"] == "working"


def test_changes_killed_at_random_beside_writers_lose_nothing(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path / ".agent-workspace", writers=4, seconds=30.0)
    built, dice = crowd.database, random.Random(1)
    built.task("TASK-ours", updated_at="2026-01-01T00:00:00")
    writers = Writers(built.path, "TASK-ours")
    outcomes: Counter[tuple[bool, State | None]] = Counter()
    until = time.monotonic() + 28.0
    usual = 0.0
    while time.monotonic() < until:
        agent_id = f"ours-{outcomes.total()}"
        writers.deploy(agent_id)
        tasks = SqliteWorkspace(Workspace(built.workspace)).tasks({})
        (task,) = [each for each in tasks if each.directory.name == "TASK-ours"]
        old = _rows(built, agent_id)
        known = len(read_log(task.audit_log).entries)
        # The first ones live, and tell how long a change takes now.
        seconds = 60.0 if outcomes.total() < 3 else dice.uniform(0.0, 1.3 * usual)
        took = _kill_after(partial(_complete, task, agent_id), seconds)
        usual = took if outcomes.total() < 3 else usual
        now = _rows(built, agent_id)
        # Between the two passes another agent's change cannot be in the way.
        entries = read_log(task.audit_log).entries[known:]
        state = entries[-1].state if entries else None
        if now != old:
            assert _told(entries[-1]) == _differences(old, now)
        assert (now != old) or state in (None, State.INTENDED)
        outcomes[now != old, state] += 1
        if entries:
            assert _undo(task) == ((agent_id,) if now != old else ())
            assert _rows(built, agent_id) == old
    seen = crowd.run()
    print(outcomes, seen)
    assert seen.failed == [] and seen.lost == 0 and seen.acts
    assert _is_whole(built.path)
    assert {is_made for is_made, _ in outcomes} == {True, False}


def _kill_after(act: Callable[[], object], seconds: float) -> float:
    """Acts in a child, and kills the child after some seconds; returns how long it lived."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    fd = os.pidfd_open(pid)
    select.select([fd], [], [], seconds)
    took = time.monotonic() - began
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    return took
