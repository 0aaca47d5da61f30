"""Doubles of the processes that write an orchestrator's database.

Each method of `Writers` is one act of one of them, with the same rows, and with the same commits:
where an orchestrator commits twice, so does the double.

As a process, some writers change one task at random until a time is over, and tell at their end
what they did and missed:

    python -m tests.support.database_writers DATABASE TASK SEED SECONDS
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.databases import Database

ACTIVE = ("running", "working", "blocked", "reviewing")
TERMINAL = ("completed", "failed", "error", "terminated", "killed", "phase_completed")

_ACTIVE_ROWS = f"status IN {ACTIVE}"

_LATEST = (
    "INSERT INTO agent_progress_latest (task_id, agent_id, timestamp, status, progress, message) "
    "VALUES (:task, :agent, :now, :status, :progress, :message) "
    "ON CONFLICT (task_id, agent_id) DO UPDATE SET timestamp = excluded.timestamp, "
    "status = excluded.status, progress = excluded.progress, message = excluded.message"
)

Row = tuple[Any, ...]
Dump = dict[str, list[Row]]


def now() -> str:
    """Returns the time as an orchestrator writes it: local, without a zone."""
    return datetime.now().isoformat()


def meaning(status: str, progress: int) -> str:
    """Returns the word that an orchestrator stores for a reported status."""
    if status in ACTIVE or status in TERMINAL:
        return status
    if status in ("pending", "starting") or progress == 0:
        return "running"
    return "completed" if progress == 100 else "working"


class Writers:
    """The writers of one task in a database; each act has its own connection.

    Args:
        path: The database.
        task_id: The task.
    """

    def __init__(self, path: Path, task_id: str = "TASK-1") -> None:
        self.path = path
        self.task_id = task_id

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Opens a connection as an orchestrator does, and closes it."""
        with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as database:
            for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                database.execute(f"PRAGMA {setting}")
            yield database

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self.connected() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def dump(self) -> Dump:
        """Returns all rows of the task, as they are at one moment."""
        with self.connected() as database:
            database.execute("BEGIN")
            tables = ("tasks", "agents", "agent_progress_latest", "agent_hierarchy", "phases")
            query = "SELECT * FROM {} WHERE task_id = ? ORDER BY 1, 2, 3"
            return {
                table: database.execute(query.format(table), (self.task_id,)).fetchall()
                for table in tables
            }

    def status(self, agent_id: str) -> str | None:
        """Returns the status of an agent; None if there is no such agent."""
        with self.connected() as database:
            query = "SELECT status FROM agents WHERE agent_id = ? AND task_id = ?"
            row = database.execute(query, (agent_id, self.task_id)).fetchone()
        return None if row is None else row[0]

    # An agent's own report

    def report(self, agent_id: str, status: str, progress: int, message: str = "") -> None:
        """An agent reports: a line in its file, then four commits, then perhaps a fifth."""
        previous = self.status(agent_id)
        line = {"status": status, "message": message, "progress": progress}
        self.write_line(agent_id, **line)
        word, at = meaning(status, progress), now()
        values = self._values(agent_id, now=at, status=word, progress=progress, message=message)
        with self.connected() as database:
            database.execute(_LATEST, values)
            database.execute(
                "UPDATE agents SET status = :status, progress = :progress, last_update = :now, "
                "completed_at = COALESCE(completed_at, iif(:status = 'completed', :now, NULL)) "
                "WHERE agent_id = :agent AND task_id = :task",
                values,
            )
            database.execute(
                "UPDATE tasks SET status = 'ACTIVE' WHERE task_id = :task "
                "AND status = 'INITIALIZED' AND EXISTS "
                f"(SELECT 1 FROM agents WHERE task_id = :task AND {_ACTIVE_ROWS})",
                values,
            )
            database.execute("UPDATE tasks SET updated_at = :now WHERE task_id = :task", values)
        if previous != status:
            self.set_status(agent_id, status)

    def set_status(self, agent_id: str, status: str) -> None:
        """Gives an agent a status in one commit, whatever the present status is."""
        with self._transaction() as database:
            query = "SELECT status, progress FROM agents WHERE agent_id = ? AND task_id = ?"
            row = database.execute(query, (agent_id, self.task_id)).fetchone()
            if row is None or row[0] == status:
                return
            done = status == "completed"
            values = self._values(
                agent_id,
                now=now(),
                status=status,
                progress=100 if done else row[1] or 0,
                message=f"Status changed from {row[0]} to {status}",
            )
            ended = (
                ", completed_at = COALESCE(completed_at, :now), "
                "progress = iif(:status = 'completed', 100, progress)"
            )
            database.execute(
                f"UPDATE agents SET status = :status, last_update = :now"
                f"{ended if status in TERMINAL else ''} "
                "WHERE agent_id = :agent AND task_id = :task",
                values,
            )
            database.execute(_LATEST, values)
            active = ", status = iif(status = 'INITIALIZED', 'ACTIVE', status)"
            database.execute(
                f"UPDATE tasks SET updated_at = :now{active if status in ACTIVE else ''} "
                "WHERE task_id = :task",
                values,
            )

    # The notifier, the health daemon, the stale sweep, and the end of a task

    def notify(self, agent_id: str, status: str = "completed") -> None:
        """The program of an agent has ended: it gets a terminal status, unless it has one."""
        if (before := self.status(agent_id)) is not None and before not in TERMINAL:
            self.set_status(agent_id, status)

    def check_health(self, live: Collection[str]) -> None:
        """Each agent that is active now, and whose session is not in `live`, has failed."""
        with self.connected() as database:
            query = (
                f"SELECT agent_id, tmux_session FROM agents WHERE task_id = ? AND {_ACTIVE_ROWS}"
            )
            found = database.execute(query, (self.task_id,)).fetchall()
        for agent_id, session in found:
            if session not in live:
                self.fail(agent_id)

    def fail(self, agent_id: str) -> None:
        """Writes what a health check found, some time after it looked at the agent's status."""
        self.set_status(agent_id, "failed")
        self.write_line(agent_id, status="failed", message="Health check failed", progress=0)

    def sweep(self, silent_for: timedelta = timedelta(minutes=10)) -> None:
        """Each agent that is active and silent has failed; its session lives."""
        at = now()
        before = (datetime.now() - silent_for).isoformat()
        with self.connected() as database:
            database.execute(
                "UPDATE agents SET status = 'failed', completed_at = ? WHERE task_id = ? "
                "AND status IN ('running', 'working', 'blocked') AND last_update < ?",
                (at, self.task_id, before),
            )
            database.execute(
                "UPDATE agent_progress_latest SET status = 'failed' WHERE task_id = ? "
                "AND agent_id IN "
                "(SELECT agent_id FROM agents WHERE task_id = ? AND completed_at = ?)",
                (self.task_id, self.task_id, at),
            )

    def end_task(self, status: str = "CANCELLED") -> None:
        """A task is cancelled, or ends otherwise: first the task, then its active agents."""
        at = now()
        with self.connected() as database:
            database.execute(
                "UPDATE tasks SET status = ?, updated_at = ? WHERE task_id = ?",
                (status, at, self.task_id),
            )
            database.execute(
                "UPDATE agents SET status = 'terminated', completed_at = ? "
                f"WHERE task_id = ? AND {_ACTIVE_ROWS}",
                (at, self.task_id),
            )

    # New agents

    def deploy(
        self, agent_id: str, parent: str = "orchestrator", *, phase: int = 0, session: str = ""
    ) -> None:
        """An agent, and its place below its parent, in one commit.

        Raises:
            sqlite3.IntegrityError: There is an agent with this id.
        """
        values = self._values(
            agent_id, now=now(), parent=parent, phase=phase, session=session or f"agent_{agent_id}"
        )
        with self._transaction() as database:
            database.execute(
                "INSERT INTO agents (agent_id, task_id, type, model, tmux_session, parent, depth, "
                "phase_index, status, progress, started_at, last_update, prompt_preview) VALUES "
                "(:agent, :task, 'tester', 'sonnet', :session, :parent, 1, :phase, 'running', 0, "
                ":now, :now, '')",
                values,
            )
            if parent != "orchestrator":
                database.execute(
                    "INSERT OR IGNORE INTO agent_hierarchy (task_id, parent_agent_id, "
                    "child_agent_id, spawned_at) VALUES (:task, :parent, :agent, :now)",
                    values,
                )
            database.execute("UPDATE tasks SET updated_at = :now WHERE task_id = :task", values)

    def deploy_again(self, agent_id: str, session: str = "") -> None:
        """The same id anew: each column of the agent is replaced, as by the JSON registry's."""
        values = self._values(agent_id, now=now(), session=session or f"agent_{agent_id}")
        with self.connected() as database:
            database.execute(
                "INSERT INTO agents (agent_id, task_id, type, model, tmux_session, parent, depth, "
                "phase_index, status, progress, started_at, last_update) VALUES (:agent, :task, "
                "'tester', 'sonnet', :session, 'orchestrator', 1, 0, 'running', 0, :now, :now) "
                "ON CONFLICT (agent_id) DO UPDATE SET tmux_session = excluded.tmux_session, "
                "status = excluded.status, progress = excluded.progress, "
                "completed_at = COALESCE(excluded.completed_at, completed_at), "
                "started_at = excluded.started_at, last_update = excluded.last_update",
                values,
            )

    # Phases and reviews

    def start_review(self, phase: int, review_id: str) -> None:
        """A phase goes into its review: the phase, then the review with the phase."""
        with self.connected() as database:
            database.execute(
                "UPDATE phases SET status = 'IN_REVIEW' WHERE task_id = ? AND phase_index = ?",
                (self.task_id, phase),
            )
            database.execute(
                "UPDATE tasks SET updated_at = ? WHERE task_id = ?", (now(), self.task_id)
            )
        with self._transaction() as database:
            database.execute(
                "INSERT INTO reviews (review_id, task_id, phase_index) VALUES (?, ?, ?)",
                (review_id, self.task_id, phase),
            )
            database.execute(
                "UPDATE phases SET started_at = COALESCE(started_at, ?) "
                "WHERE task_id = ? AND phase_index = ?",
                (now(), self.task_id, phase),
            )

    def give_verdict(self, reviewer: str, verdict: str) -> None:
        """A reviewer's verdict completes the reviewer, and leaves its last report as it was."""
        with self._transaction() as database:
            database.execute(
                "UPDATE agents SET status = 'completed', completed_at = ?, final_verdict = ? "
                "WHERE agent_id = ? AND task_id = ?",
                (now(), verdict, reviewer, self.task_id),
            )

    def end_review(self, phase: int, *, approved: bool) -> None:
        """The end of a review: the phase, the next phase and the task in one commit."""
        values = {"task": self.task_id, "phase": phase, "next": phase + 1, "now": now()}
        with self._transaction() as database:
            here = "WHERE task_id = :task AND phase_index = :phase"
            if not approved:
                again = f"UPDATE phases SET status = 'REVISION_NEEDED' {here}"
                database.execute(again, values)
                return
            database.execute(
                f"UPDATE phases SET status = 'APPROVED', completed_at = :now {here}", values
            )
            following = database.execute(
                "UPDATE phases SET status = 'ACTIVE', started_at = :now "
                "WHERE task_id = :task AND phase_index = :next AND status = 'PENDING'",
                values,
            ).rowcount
            database.execute(
                "UPDATE tasks SET updated_at = :now, status = :status, "
                "current_phase_index = :current WHERE task_id = :task",
                values
                | {
                    "status": "ACTIVE" if following else "COMPLETED",
                    "current": phase + 1 if following else phase,
                },
            )

    def _values(self, agent_id: str, **more: object) -> dict[str, object]:
        return {"agent": agent_id, "task": self.task_id, **more}

    def progress_file(self, agent_id: str) -> Path:
        """Returns the path of an agent's progress file."""
        return self.path.parents[1] / self.task_id / "progress" / f"{agent_id}_progress.jsonl"

    def write_line(self, agent_id: str, **fields: object) -> None:
        """Appends a line to an agent's progress file."""
        path = self.progress_file(agent_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"timestamp": now(), "agent_id": agent_id, **fields}) + "\n")


PHASES, AGENTS = 40, 20
"""The number of phases and of first agents in a task of `make_crowd`."""


def make_crowd(workspace: Path, tasks: int) -> Database:
    """Writes a database with some tasks; each has phases, a root agent, and agents below it."""
    made = Database(workspace)
    for number in range(tasks):
        task_id = task_name(number)
        made.task(task_id, current_phase_index=0, created_at=now(), updated_at=now())
        writers = Writers(made.path, task_id)
        with writers.connected() as database:
            database.executemany(
                "INSERT INTO phases (task_id, phase_index, name, status) VALUES (?, ?, 'one', ?)",
                [(task_id, each, "PENDING" if each else "ACTIVE") for each in range(PHASES)],
            )
        for each in range(AGENTS):
            agent_id = f"{task_id}-{each}"
            writers.deploy(agent_id, f"{task_id}-0" if each else "orchestrator")
    return made


def task_name(number: int) -> str:
    """Returns the id of a task of `make_crowd`."""
    return f"TASK-{number}"


class Member:
    """The writers of one task at random: each act is checked for the task's state before it.

    No other process writes the task. So the rows before an act are those after the act before.

    Attributes:
        acts: The number of acts by the writers' names.
        lost: The number of acts before which the rows were not those that were left.
    """

    def __init__(self, writers: Writers, dice: random.Random) -> None:
        self.acts: dict[str, int] = {}
        self.lost = 0
        self._writers = writers
        self._dice = dice
        self._count = AGENTS
        self._phase = 0
        self._left = writers.dump()

    def act(self) -> None:
        """Lets one writer act."""
        choices: tuple[Callable[[], object], ...] = (
            self._report,
            self._notify,
            self._health,
            self._sweep,
            self._deploy,
            self._deploy_again,
            self._review,
        )
        # The task is ended seldom: all agents end with it.
        choice = self._cancel if self._dice.random() < 0.02 else self._dice.choice(choices)
        self.lost += self._writers.dump() != self._left
        choice()
        self._left = self._writers.dump()
        name = choice.__name__.strip("_")
        self.acts[name] = self.acts.get(name, 0) + 1

    def _agent(self) -> str:
        return f"{self._writers.task_id}-{self._dice.randrange(1, self._count)}"

    def _report(self) -> None:
        status = self._dice.choice((*ACTIVE, "in_progress", "completed"))
        self._writers.report(self._agent(), status, self._dice.randrange(101), "at work")

    def _notify(self) -> None:
        self._writers.notify(self._agent(), self._dice.choice(("completed", "failed")))

    def _health(self) -> None:
        gone = self._agent()
        self._writers.check_health(_Without(f"agent_{gone}"))

    def _sweep(self) -> None:
        self._writers.sweep(timedelta(seconds=1))

    def _cancel(self) -> None:
        self._writers.end_task()

    def _deploy(self) -> None:
        self._writers.deploy(
            f"{self._writers.task_id}-{self._count}", self._agent(), phase=self._phase
        )
        self._count += 1

    def _deploy_again(self) -> None:
        self._writers.deploy_again(self._agent())

    def _review(self) -> None:
        if self._phase >= PHASES - 1:
            return
        self._writers.start_review(self._phase, f"{self._writers.task_id}-{self._dice.random()}")
        self._writers.give_verdict(self._agent(), "approved")
        approved = self._dice.random() < 0.5
        self._writers.end_review(self._phase, approved=approved)
        self._phase += approved


class _Without(frozenset[str]):
    """All sessions but one."""

    def __new__(cls, *sessions: str) -> _Without:
        return super().__new__(cls, sessions)

    def __contains__(self, session: object) -> bool:
        return not super().__contains__(session)


def main(path: str, task_id: str, seed: str, seconds: str) -> None:
    """Writes until the time is over, every 20 to 60 ms; prints what was done, and what is left."""
    dice = random.Random(f"{seed} {task_id}")
    writers = Writers(Path(path), task_id)
    member = Member(writers, dice)
    waits = []
    until = time.monotonic() + float(seconds)
    while (began := time.monotonic()) < until:
        member.act()
        waits.append(time.monotonic() - began)
        time.sleep(dice.uniform(0.02, 0.06))
    told = {"acts": member.acts, "lost": member.lost, "longest": max(waits)}
    print(json.dumps(told | {"left": writers.dump()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
