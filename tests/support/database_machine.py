"""muster's changes of a database beside doubles of its other writers, with a model beside them.

The doubles write what the orchestrator writes, so what a double left is right. Of muster's own
changes the model says each field of each row: nothing else may be different.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from registry import AgentNotFoundError, Audit, AuditContext, Deployment, database
from registry.audit import (
    MISSING,
    UNDO,
    FieldChange,
    State,
    last_actions,
    read_log,
    undoables,
)
from registry.schema import Workspace
from registry.schema.records import TaskRecord
from registry.snapshots import Snapshot
from registry.sources import SqliteWorkspace, TaskSource
from tests.support.database_writers import ACTIVE, TERMINAL, Writers, meaning, now
from tests.support.databases import Database

Fields = dict[str, Any]
Model = dict[str, dict[Any, Fields]]

_KEYS = {
    "tasks": ("task_id",),
    "agents": ("agent_id",),
    "agent_progress_latest": ("agent_id",),
    "agent_hierarchy": ("child_agent_id",),
    "phases": ("phase_index",),
}
LATEST = "agent_progress_latest"

_WORDS = ("running", "working", "blocked", "reviewing", "completed", "failed", "in_progress")
_WHO = st.integers(0, 5)

# The acts of the other writers, by name; each has the number of an agent, and a number.
_ACTS = (
    "report",
    "notify",
    "fail",
    "check_health",
    "sweep",
    "cancel",
    "deploy",
    "deploy_again",
    "review",
)
_ACT = st.tuples(st.sampled_from(_ACTS), _WHO, st.integers(0, 100))


def whole(value: object) -> int:
    """Returns a progress as the orchestrator stores it."""
    return value if isinstance(value, int) else 0


class DatabaseMachine(RuleBasedStateMachine):
    """The rules; `hypothesis` chooses their order."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(prefix="muster-machine-")
        self.workspace = Path(self._directory.name) / ".agent-workspace"
        built = Database(self.workspace)
        built.task(status="INITIALIZED", created_at="2026-01-01T00:00:00", current_phase_index=0)
        for number in range(9):
            status = "PENDING" if number else "ACTIVE"
            built.row("phases", task_id="TASK-1", phase_index=number, status=status)
        self.path = built.path
        self.writers = Writers(built.path)
        self.phase = 0
        self.count = 0
        self.reviews = 0
        # The agents that the operator saw, with their deployments at that time.
        self.judged: dict[str, frozenset[Deployment]] = {}
        self.lines: dict[str, list[Fields]] = {}
        self.model = self.rows()
        # A monitor's workspace, which reads again only what changed.
        self.home = SqliteWorkspace(Workspace(self.workspace))
        self.seen: Snapshot[TaskRecord] | None = None

    def teardown(self) -> None:
        """Removes the workspace."""
        self._directory.cleanup()

    def rows(self) -> Model:
        """Returns the rows of the database, by table and key."""
        found: Model = {}
        with self.writers.connected() as connection:
            connection.execute("BEGIN")
            for table, keys in _KEYS.items():
                cursor = connection.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                rows = [dict(zip(names, row, strict=True)) for row in cursor]
                found[table] = {tuple(row[key] for key in keys): row for row in rows}
        return found

    def task(self) -> TaskSource:
        """Returns the task as muster finds it now."""
        (task,) = SqliteWorkspace(Workspace(self.workspace)).tasks({})
        return task

    # The other writers

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        """Deploys the first agents."""
        for _ in range(count):
            self._act("deploy", 0, 0)

    @rule(act=_ACT)
    def another_writes(self, act: tuple[str, int, int]) -> None:
        """Lets another writer act."""
        self._act(*act)

    def _act(self, name: str, who: int, number: int) -> None:
        agent_id = f"a{who}"
        word = _WORDS[number % len(_WORDS)]
        if name == "report":
            if (agent_id,) in self.model["agents"]:
                self.writers.report(agent_id, word, number, f"at {number}")
        elif name == "notify":
            self.writers.notify(agent_id, "failed" if number % 2 else "completed")
        elif name == "fail" and (agent_id,) in self.model["agents"]:
            # A health check that looked at the status before.
            self.writers.fail(agent_id)
        elif name == "check_health":
            self.writers.check_health([f"agent_a{each}" for each in range(6) if each != who])
        elif name == "sweep":
            self.writers.sweep(timedelta(0) if number % 2 else timedelta(minutes=10))
        elif name == "cancel" and number % 4 == 0:
            self.writers.end_task()
        elif name == "deploy" and self.count < 6:
            parent = agent_id if (agent_id,) in self.model["agents"] else "orchestrator"
            self.writers.deploy(f"a{self.count}", parent, phase=self.phase)
            self.count += 1
        elif name == "deploy_again" and (agent_id,) in self.model["agents"]:
            self.writers.deploy_again(
                agent_id, f"agent_{agent_id}" if number % 2 else f"s{number}"
            )
        elif name == "review" and self.phase < 8:
            self.reviews += 1
            self.writers.start_review(self.phase, f"review-{self.reviews}")
            self.writers.give_verdict(agent_id, "approved")
            self.writers.end_review(self.phase, approved=bool(number % 2))
            self.phase += number % 2
        self.model = self.rows()
        self.lines = self._lines()

    # muster

    @rule()
    def look(self) -> None:
        """muster's operator looks; what is changed later was judged now."""
        record = self.task().read().record
        rows = self.model["agents"].values()
        statuses = {agent.id: agent.status for agent in record.agents}
        assert statuses == {row["agent_id"]: row["status"] for row in rows}
        (kept,) = self.home.tasks({})
        if self.seen is not None and kept.stamp() == self.seen.signature:
            assert self.seen.record == record
        self.seen = kept.read()
        assert self.seen.record == record
        self.judged = {agent.id: frozenset({agent.deployment}) for agent in record.agents}

    @rule(
        some=st.lists(_WHO, min_size=1, max_size=4, unique=True),
        status=st.sampled_from(["completed", "terminated"]),
        reason=st.sampled_from([None, "stuck"]),
        guarded=st.booleans(),
        meanwhile=st.none() | _ACT,
    )
    def finish(
        self,
        some: list[int],
        status: Any,
        reason: str | None,
        guarded: bool,
        meanwhile: tuple[str, int, int] | None,
    ) -> None:
        """muster ends some agents; another may write after muster's intent was logged."""
        ids = [f"a{who}" for who in some]
        judged = {id_: self.judged[id_] for id_ in ids if id_ in self.judged} if guarded else {}
        context = AuditContext(Audit("complete", reason or ""))
        with self._between(meanwhile):
            report = self.task().finish(
                ids, status=status, reason=reason, on_record=context, judged=judged
            )
        expected = [id_ for id_ in ids if self._may_end(id_, judged.get(id_))]
        assert [change.agent_id for change in report.changed] == expected
        assert set(report.untouched) == set(ids) - set(expected)
        assert report.problems == ()
        assert report.written == ((self.path,) if expected else ())
        before = self._took_place()
        for id_ in expected:
            self._end(id_, status, reason)
        self._check_log(before, bool(expected))

    @rule(
        who=_WHO,
        status=st.none() | st.sampled_from(("working", "blocked", "completed", "failed")),
        progress=st.none() | st.integers(0, 100),
    )
    def report(self, who: int, status: str | None, progress: int | None) -> None:
        """muster reports for an agent, as the agent itself would."""
        agent_id = f"a{who}"
        row = self.model["agents"].get((agent_id,))
        task = self.task()
        if row is None:
            with pytest.raises(AgentNotFoundError):
                task.report(agent_id, status=status, progress=progress, message="here")
            return
        done = task.report(agent_id, status=status, progress=progress, message="here")
        percent = whole(row["progress"]) if progress is None else progress
        word = meaning(status or row["status"], percent)
        assert (done.previous, done.status, done.problems) == (row["status"], word, ())
        self._took_place()
        row = self.model["agents"][agent_id,]
        at = self.rows()["agents"][agent_id,]["last_update"]
        assert at >= row["last_update"]
        row |= {"status": word, "progress": percent, "last_update": at}
        if word == "completed" and row["completed_at"] is None:
            row["completed_at"] = at
        last = {"agent_id": agent_id, "status": word, "progress": percent}
        last |= {"timestamp": at, "message": "here"}
        self.model[LATEST][agent_id,] = {"task_id": "TASK-1", **last}
        self.lines.setdefault(agent_id, []).append(last)
        self._touch(at)
        works = any(each["status"] in ACTIVE for each in self.model["agents"].values())
        own = self.model["tasks"]["TASK-1",]
        if own["status"] == "INITIALIZED" and works:
            own["status"] = "ACTIVE"

    def _may_end(self, agent_id: str, judged: frozenset[Deployment] | None) -> bool:
        row = self.model["agents"].get((agent_id,))
        if row is None or row["status"] in TERMINAL:
            return False
        deployment = Deployment(row["tmux_session"], row["started_at"])
        return judged is None or deployment in judged

    def _took_place(self) -> Model:
        """Copies the model before muster's change is taken into it; returns the model before."""
        before = self.model
        self.model = {
            table: {key: dict(row) for key, row in rows.items()} for table, rows in before.items()
        }
        return before

    def _end(self, agent_id: str, status: str, reason: str | None) -> None:
        row = self.model["agents"][agent_id,]
        at = self.rows()["agents"][agent_id,]["last_update"]
        assert at >= row["last_update"]
        message = reason or f"Status changed from {row['status']} to {status}"
        row |= {"status": status, "last_update": at, "progress": whole(row["progress"])}
        if status == "completed":
            row |= {"progress": 100, "completed_at": row["completed_at"] or at}
        last = {"agent_id": agent_id, "status": status, "progress": row["progress"]}
        last |= {"timestamp": at, "message": message}
        self.model[LATEST][agent_id,] = {"task_id": "TASK-1", **last}
        self._touch(at)
        self.lines.setdefault(agent_id, []).append({**last, "by": "muster"})

    def _touch(self, since: str) -> None:
        touched = self.rows()["tasks"]["TASK-1",]["updated_at"]
        assert touched >= since
        self.model["tasks"]["TASK-1",]["updated_at"] = touched

    @rule(meanwhile=st.none() | _ACT)
    def undo(self, meanwhile: tuple[str, int, int] | None) -> None:
        """muster takes back its last action; what another changed since stays."""
        task = self.task()
        log = read_log(task.audit_log)
        action = next(last_actions(log), None)
        if action is None:
            return
        (step,) = undoables(log, action, {self.path})
        assert step.refused is None
        since = now()
        with self._between(meanwhile):
            made = task.revert(step, Audit(UNDO, ""))
        changes: dict[str, list[FieldChange]] = {}
        for change in step.entry.changes:
            changes.setdefault(change.agent or "", []).append(change)
        back = tuple(id_ for id_ in changes if all(map(self._is_unchanged, changes[id_])))
        assert made.result.agents == back
        assert made.result.refused.keys() == changes.keys() - set(back)
        assert all(made.result.refused.values())
        assert made.problems == ()
        before = self._took_place()
        for id_ in back:
            for change in changes[id_]:
                self._restore(change)
            self._check_line(id_)
        if back:
            self._touch(since)
        self._check_log(before, bool(back))

    def _is_unchanged(self, change: FieldChange) -> bool:
        table, _, column = change.field.partition(".")
        row = self.model["agents"].get((change.agent,))
        if row is None:
            return False
        if change.deployed not in (None, Deployment(row["tmux_session"], row["started_at"])):
            return False
        rows = self.model[table]
        return bool(rows.get((change.agent,), {}).get(column, MISSING) == change.after)

    def _restore(self, change: FieldChange) -> None:
        table, _, column = change.field.partition(".")
        if change.before is MISSING:
            self.model[table].pop((change.agent,), None)
        elif change.after is MISSING:
            keys = {"task_id": "TASK-1", "agent_id": change.agent}
            self.model[table].setdefault((change.agent,), keys)[column] = change.before
        else:
            self.model[table][change.agent,][column] = change.before

    def _check_line(self, agent_id: str) -> None:
        row = self.model["agents"][agent_id,]
        line = self._lines()[agent_id][-1]
        assert (line["status"], line["agent_id"]) == (row["status"], agent_id)
        assert line["progress"] == whole(row["progress"])
        assert line["timestamp"] >= row["last_update"]
        assert "undo" in line["message"]
        self.lines.setdefault(agent_id, []).append(line)

    def _check_log(self, before: Model, wrote: bool) -> None:
        """The log has each changed field of the agents, and no other one."""
        entries = read_log(self.task().audit_log).entries
        assert all(entry.state in (State.DONE, State.VOID) for entry in entries)
        done = [entry for entry in entries if entry.state is State.DONE]
        if not wrote:
            return
        logged = {
            (change.agent, change.field): (change.before, change.after)
            for change in done[-1].changes
        }
        for (agent_id, field), values in logged.items():
            table, _, column = field.partition(".")
            rows = (model[table].get((agent_id,), {}) for model in (before, self.model))
            assert values == tuple(row.get(column, MISSING) for row in rows)
        for table in ("agents", LATEST):
            for key in before[table] | self.model[table]:
                old, new = (model[table].get(key, {}) for model in (before, self.model))
                for column in (old | new).keys() - {"task_id", "agent_id"}:
                    if old.get(column, MISSING) != new.get(column, MISSING):
                        assert (key[0], f"{table}.{column}") in logged

    @contextmanager
    def _between(self, act: tuple[str, int, int] | None) -> Iterator[None]:
        """Lets another writer act between the intent in muster's log and muster's change."""
        writing, calls = database.writing, 0

        def counted(*words: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2 and act is not None:
                self._act(*act)
            return writing(*words, **options)

        with mock.patch.object(database, "writing", counted):
            yield

    def _lines(self) -> dict[str, list[Fields]]:
        found = {}
        for path in self.writers.progress_file("x").parent.glob("*.jsonl"):
            agent_id = path.name.removesuffix("_progress.jsonl")
            found[agent_id] = [json.loads(line) for line in path.read_text().splitlines()]
        return found

    @invariant()
    def each_field_is_what_the_model_says(self) -> None:
        """No update of another writer is lost, and muster writes what it should."""
        assert self.rows() == self.model
        assert self._lines() == self.lines
