"""Ten writers of one database, and muster beside them: what each of them saw and lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.database import read_rows
from registry.schema import Workspace
from registry.schema.database_records import workspace_record
from registry.schema.records import ORCHESTRATOR, TaskRecord
from tests.support.database_writers import PHASES, Writers, make_crowd, task_name
from tests.support.databases import Database
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.terminal import MUSTER
from tests.support.workspaces import QUICK
from tui.live.collector import LiveRoll

_PAGE, _CHECKPOINT = 4096 + 24, 1000
LOG_AT_MOST = 2 * _PAGE * _CHECKPOINT
"""The size of a write-ahead log that each checkpoint empties: twice what SQLite writes between."""

_KEEPER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT count(*) FROM agents").fetchone()
print("open", flush=True)
sys.stdin.read()
database.close()
"""


@dataclass
class Seen:
    """What was seen during the work of a crowd.

    Attributes:
        reads: The number of readings, by the name of the reader.
        half: The snapshots that no commit left, described.
        errors: The errors of readers, described.
        log: The largest size of the write-ahead log in bytes.
        held: The number of readings after which this process held a file of the database.
        acts: The number of the writers' acts.
        failed: What writers said that ended with an error.
        lost: The number of acts whose rows changed without the writer, while it worked or after.
    """

    reads: dict[str, int] = field(default_factory=dict)
    half: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    log: int = 0
    held: int = 0
    acts: int = 0
    failed: list[str] = field(default_factory=list)
    lost: int = 0


def problems_of(task: TaskRecord) -> Iterable[str]:
    """Yields what no commit of the writers leaves: a change of which only a part is there."""
    children = {child for ids in task.hierarchy.values() for child in ids}
    for agent in task.agents:
        if agent.parent != ORCHESTRATOR and agent.id not in children:
            yield f"{agent.id} below {agent.parent} is not in the hierarchy"
    known = {agent.id for agent in task.agents}
    yield from (f"{each} in the hierarchy is no agent" for each in sorted(children - known))
    current = task.phase or 0
    if len(task.phases) != PHASES:
        yield f"{task.task_id} has {len(task.phases)} phases"
    for number, phase in task.phases.items():
        if (phase.status == "APPROVED") != (number < current):
            yield f"phase {number} of {task.task_id} is {phase.status} in phase {current}"
        if (phase.status == "PENDING") != (number > current):
            yield f"phase {number} of {task.task_id} is {phase.status} in phase {current}"


class Crowd:
    """Runs writers on a new database, and readers beside them.

    Args:
        workspace: The directory of the new workspace.
        writers: The number of writers; each has its own task and its own process.
        seconds: How long they write.
    """

    def __init__(self, workspace: Path, writers: int, seconds: float) -> None:
        self.seen = Seen()
        self._made: Database = make_crowd(workspace, writers)
        self._path = self._made.path
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.database_writers", str(self._path),
                 task_name(number), "1", str(seconds)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(writers)
        ]  # fmt: skip

    @property
    def database(self) -> Database:
        """The database of the crowd."""
        return self._made

    def run(self, *readers: Callable[[], None]) -> Seen:
        """Runs the readers, each in its thread, until all writers have ended."""
        loops = [threading.Thread(target=self._loop, args=(each,)) for each in readers]
        with self._kept_open():
            for loop in loops:
                loop.start()
            told = [process.communicate() for process in self._processes]
            for loop in loops:
                loop.join()
        for number, (out, err) in enumerate(told):
            if self._processes[number].returncode:
                self.seen.failed.append(err)
            else:
                self._account(json.loads(out), task_name(number))
        return self.seen

    @contextmanager
    def _kept_open(self) -> Iterator[None]:
        """Lets a process keep a connection: the log is never removed then, only emptied."""
        command = [sys.executable, "-c", _KEEPER, str(self._path)]
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert keeper.stdout is not None
        keeper.stdout.readline()
        yield
        keeper.communicate()

    def _account(self, told: dict[str, Any], task_id: str) -> None:
        self.seen.acts += sum(told["acts"].values())
        left = Writers(self._path, task_id).dump()
        self.seen.lost += told["lost"] + (json.loads(json.dumps(left)) != told["left"])

    def _works(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def _loop(self, read: Callable[[], None]) -> None:
        name = getattr(read, "__name__", "reader").strip("_")
        self.seen.reads[name] = 0
        while self._works():
            try:
                read()
                self.seen.reads[name] += 1
            except Exception as error:
                self.seen.errors.append(f"{name}: {error!r}")
            log = self._path.with_name(f"{self._path.name}-wal")
            self.seen.log = max(self.seen.log, log.stat().st_size)

    def read(self) -> None:
        """Reads the database once, and looks for halves and for files that stay open."""
        self._check(workspace_record(read_rows(self._path)).tasks.values())
        self.seen.held += bool(self.held())

    def roll(self) -> None:
        """Runs `muster list`."""
        command = [*MUSTER, "list", "--json", str(self._made.workspace)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = json.loads(done.stdout)
        (workspace,) = told["workspaces"]
        if workspace["database"] or workspace["error"] or done.returncode:
            self.seen.errors.append(f"roll: {workspace['database']} {done.stderr}")
        for task in workspace["tasks"]:
            if task["error"]:
                self.seen.errors.append(f"roll: {task['error']}")

    def monitor(self) -> None:
        """Runs the monitor's collector for a second, and looks at each of its rolls."""
        workspace = Workspace(self._made.workspace.resolve())
        roll = LiveRoll([workspace], ScriptedTmux(answered()), QUICK)
        rolls = set()
        roll.start()
        try:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                if (latest := roll.latest) is not None and id(latest) not in rolls:
                    rolls.add(id(latest))
                    states = [task.state for task in latest.tasks()]
                    self._check(each.record for each in states if each.record is not None)
                    problems = [each.error for each in states if each.error is not None]
                    problems += [str(each) for each in latest.databases]
                    self.seen.errors += [f"monitor: {each}" for each in problems]
                time.sleep(0.005)
        finally:
            roll.stop()

    def held(self) -> list[str]:
        """Returns the log and the index of the database if this process has them open.

        A connection has them open. The descriptor that is kept of the database is no connection.
        """
        names = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                names.append(os.readlink(f"/proc/self/fd/{fd}"))
            except FileNotFoundError:
                continue
        return [name for name in names if name.startswith(f"{self._path}-")]

    def _check(self, tasks: Iterable[TaskRecord]) -> None:
        for task in tasks:
            self.seen.half += problems_of(task)
