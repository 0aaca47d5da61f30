"""A worker that carries out random operations on a workspace, until it is stopped or killed.

The worker reports the begin and the end of each operation:

    begun OPERATION [DETAIL]
    done OPERATION [DETAIL]
"""

from __future__ import annotations

import json
import logging
import os
import random
import select
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import (
    AgentNotFoundError,
    BusyRegistryError,
    CorruptRegistryError,
    LimitReachedError,
    SessionEnd,
    clean_up_task,
    clean_up_workspace,
    create_task_registry,
    recover_registry,
    register_agent,
    registering,
    report_progress,
    terminate_agents,
    withdraw_agent,
)
from registry.snapshots import read_registry
from tests.support.registries import ACTIVE, TERMINAL, agent
from tests.torture.kills.members import Telling, Voice

TASKS = ("TASK-1", "TASK-2")

# A longer wait is a deadlock, even on a slow machine.
PATIENCE = 120.0

MAX_AGENTS = 60

# The largest number of agents that a clean-up gets as dead.
_DEAD_AT_ONCE = 4


@dataclass(frozen=True)
class Place:
    """The registries of a workspace."""

    root: Path

    @property
    def global_(self) -> Path:
        """The global registry."""
        return self.root / "registry" / "GLOBAL_REGISTRY.json"

    def task(self, task_id: str) -> Path:
        """Returns the path of a task's registry."""
        return self.root / task_id / "AGENT_REGISTRY.json"

    def make(self) -> None:
        """Creates all registries."""
        for task_id in TASKS:
            create_task_registry(
                self.root,
                task_id,
                "x",
                max_agents=MAX_AGENTS,
                max_concurrent=MAX_AGENTS,
                timeout=PATIENCE,
            )


class _FailedError(Exception):
    """A deployment that failed on purpose."""


class Worker:
    """A worker that carries out all operations.

    No other worker withdraws this worker's own agent or reports for it. The progress of this agent
    grows by a thousandth with each report.
    """

    def __init__(self, place: Place, stop: int, voice: Voice) -> None:
        self._place = place
        self._stop = stop
        self._voice = voice
        self._dice = random.Random(voice.name)
        self._own: tuple[str, str] | None = None
        self._step = 0
        logging.getLogger("registry").addHandler(Telling(voice))

    def run(self) -> None:
        """Works until the worker is stopped."""
        ways: tuple[tuple[int, Callable[[], None]], ...] = (
            (3, self._register),
            (2, self._fail_to_deploy),
            (1, self._withdraw),
            (4, self._report),
            (4, self._report_own),
            (2, self._terminate),
            (2, self._clean_up),
            (2, self._clean_up_all),
            (1, self._create),
        )
        weights = [footprint for footprint, _ in ways]
        while not select.select([self._stop], [], [], 0)[0]:
            ((_, way),) = self._dice.choices(ways, weights)
            way()

    def _task(self) -> tuple[str, Path]:
        task_id = self._dice.choice(TASKS)
        return task_id, self._place.task(task_id)

    def _ids(self, task: Path) -> list[str]:
        while True:
            try:
                return [each["id"] for each in read_registry(task)["agents"]]
            except (BusyRegistryError, CorruptRegistryError):
                # Another worker is writing the registry, or was killed while it wrote.
                recover_registry(task, timeout=PATIENCE)

    def _some(self, ids: Collection[str], share: float) -> list[str]:
        return [each for each in ids if self._dice.random() < share]

    def _begin(self, what: str) -> None:
        self._voice.say("begun", what)

    def _done(self, what: str, problems: object = ()) -> None:
        if problems:
            self._voice.say("problem", f"{what}: {problems}")
        self._voice.say("done", what)

    def _register(self) -> None:
        _, task = self._task()
        self._begin("register")
        try:
            found = register_agent(
                task,
                self._place.global_,
                self._dice.choice(("fixer", "tester")),
                reuse=self._dice.random() < 0.1,
                status=self._dice.choice(ACTIVE),
                timeout=PATIENCE,
            )
        except LimitReachedError:
            self._done("refusal")
            return
        if found.existing:
            self._done("taking")
        else:
            self._done(f"register {found.agent_id}", found.problems)

    def _fail_to_deploy(self) -> None:
        _, task = self._task()
        self._begin("failure")
        agent_id = ""
        try:
            with registering(task, self._place.global_, "fails", timeout=PATIENCE) as found:
                agent_id = found.agent_id
                raise _FailedError
        except LimitReachedError:
            self._done("refusal")
        except _FailedError as error:
            self._done(f"failure {agent_id}", getattr(error, "__notes__", ()))

    def _withdraw(self) -> None:
        _, task = self._task()
        ids = [each for each in self._ids(task) if not each.startswith("own")]
        if ids:
            agent_id = self._dice.choice(ids)
            self._begin(f"withdraw {agent_id}")
            left = withdraw_agent(task, self._place.global_, agent_id, timeout=PATIENCE)
            self._done(f"withdraw {agent_id}", left.problems)

    def _report(self) -> None:
        _, task = self._task()
        agent_id = self._dice.choice(self._ids(task) or ["nobody"])
        self._begin("report")
        try:
            status = self._dice.choice((*ACTIVE, *TERMINAL))
            said = report_progress(
                task, self._place.global_, agent_id, status=status, timeout=PATIENCE
            )
        except AgentNotFoundError:
            self._done("refusal")
        else:
            self._done("report", said.problems)

    def _report_own(self) -> None:
        if self._own is None:
            self._own = self._dice.choice(TASKS), f"own-{self._voice.name}"
            task_id, agent_id = self._own
            self._begin(f"register {agent_id}")
            try:
                register_agent(
                    self._place.task(task_id),
                    self._place.global_,
                    "own",
                    agent_id=agent_id,
                    timeout=PATIENCE,
                )
            except LimitReachedError:
                self._own = None
                self._done("refusal")
            else:
                self._done(f"register {agent_id}")
            return
        task_id, agent_id = self._own
        self._step += 1
        self._begin(f"own {agent_id} {self._step}")
        said = report_progress(
            self._place.task(task_id),
            self._place.global_,
            agent_id,
            status=self._dice.choice((None, "working")),
            progress=self._step / 1000,
            timeout=PATIENCE,
        )
        self._done(f"own {agent_id} {self._step}", said.problems)

    def _terminate(self) -> None:
        _, task = self._task()
        ids = self._some(self._ids(task), 0.1)
        self._begin("terminate")
        report = terminate_agents(
            task,
            self._place.global_,
            {each: self._dice.choice(list(SessionEnd)) for each in ids},
            reason="dice",
            timeout=PATIENCE,
        )
        self._done("terminate", report.problems)

    def _live(self, *tasks: Path) -> list[str]:
        ids = [each for task in tasks for each in self._ids(task)]
        dead = self._dice.sample(ids, min(len(ids), _DEAD_AT_ONCE))
        return [f"agent_{each}" for each in ids if each not in dead]

    def _clean_up(self) -> None:
        _, task = self._task()
        live = self._live(task)
        self._begin("task-clean-up")
        done = clean_up_task(task, self._place.global_, live, grace=0, timeout=PATIENCE)
        self._done("task-clean-up", done.problems)

    def _clean_up_all(self) -> None:
        live = self._live(*map(self._place.task, TASKS))
        self._begin("workspace-clean-up")
        done = clean_up_workspace(self._place.root, live, grace=0, timeout=PATIENCE)
        self._done("workspace-clean-up", done.problems)

    def _create(self) -> None:
        self._begin("create")
        self._place.make()
        self._done("create")


class NaiveWorker:
    """A worker that registers agents in two files, without lock and journal, for comparison."""

    def __init__(self, place: Place, stop: int, voice: Voice) -> None:
        self._place = place
        self._stop = stop
        self._voice = voice

    def run(self) -> None:
        """Works until the worker is stopped."""
        number = 0
        while not select.select([self._stop], [], [], 0)[0]:
            number += 1
            agent_id = f"naive-{self._voice.name}-{number}"
            self._voice.say("begun", "register")
            try:
                self._register(agent_id)
            except json.JSONDecodeError:
                self._voice.say("done", "refusal")
            else:
                self._voice.say("done", f"register {agent_id}")

    def _register(self, agent_id: str) -> None:
        def in_task(registry: dict[str, Any]) -> None:
            registry["agents"].append(agent(agent_id))
            registry["total_spawned"] += 1
            registry["active_count"] += 1

        def in_global(registry: dict[str, Any]) -> None:
            registry["agents"][agent_id] = {"task_id": TASKS[0]}
            registry["total_agents_spawned"] += 1
            registry["active_agents"] += 1

        for path, change in (
            (self._place.task(TASKS[0]), in_task),
            (self._place.global_, in_global),
        ):
            with open(path, encoding="utf-8") as file:
                registry = json.load(file)
            change(registry)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(registry, file, indent=2)


def work(place: Place, stop: int, keep: int, voice: Voice, *, naive: bool) -> None:
    """Runs a forked worker.

    Args:
        place: The workspace.
        stop: A descriptor that becomes readable when the worker must stop.
        keep: The other end of `stop`, which only the parent may hold open.
        voice: Reports the operations.
        naive: Whether to run a `NaiveWorker`.
    """
    os.close(keep)
    (NaiveWorker if naive else Worker)(place, stop, voice).run()
