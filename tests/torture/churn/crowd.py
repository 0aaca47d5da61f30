"""Starts and kills the workers of a churn, and checks the registries when no worker runs."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from registry import clean_up_workspace, recover_registry
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    Json,
    assert_agree,
    assert_counters_match,
    load,
)
from tests.torture.churn.workers import PATIENCE, TASKS, Place, work
from tests.torture.kills.members import Member

# The number of kills between two checks.
_KILLS_BETWEEN = 10


@dataclass(slots=True)
class Counts:
    """Counts of operations, kills and faults.

    Attributes:
        kills: By the operation that was interrupted.
        done: The acknowledged operations, by name.
        quiet_moments: The number of checks while no worker runs.
        recovered: The commits of killed workers that another worker finished or rolled back.
        behind: The agents that are active in the global registry but not in the task's registry,
            because a clean-up was killed in between. The next clean-up must repair this.
        faults: By kind: "torn", "counters", "lost", "twice", "disagree", "stuck", "problem" (an
            operation did not change the global registry).
        complaints: Descriptions of the first faults.
        seconds: The duration.
    """

    kills: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    quiet_moments: int = 0
    recovered: int = 0
    behind: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def complain(self, fault: str, what: object) -> None:
        """Counts a fault; describes it if it is one of the first."""
        self.faults[fault] += 1
        if len(self.complaints) < 20:
            self.complaints.append(f"{fault}: {str(what)[:500]}")

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}

    def as_text(self) -> str:
        """Returns the counts as text for a reader."""
        lines = [f"kills: {self.kills.total()}"]
        lines += [f"  {number:6} during {what}" for what, number in self.kills.most_common()]
        lines.append(f"operations: {self.done.total()}")
        lines += [f"  {number:6} {what}" for what, number in self.done.most_common()]
        lines.append(f"quiet moments: {self.quiet_moments}")
        lines.append(f"commits recovered: {self.recovered}")
        lines.append(f"agents that a killed clean-up had left behind: {self.behind}")
        lines.append(f"faults: {dict(self.faults) or 'none'}")
        lines += self.complaints
        lines.append(f"seconds: {self.seconds:.1f}")
        return "\n".join(lines)


class Churn:
    """The workers on one workspace."""

    def __init__(
        self, directory: Path, counts: Counts, *, seed: str, workers: int, naive: bool
    ) -> None:
        self._place = Place(directory / ".agent-workspace")
        self._place.make()
        self._counts = counts
        self._dice = random.Random(seed)
        self._seed = seed
        self._workers = workers
        self._naive = naive
        self._members: dict[int, Member] = {}
        self._started = 0
        self._at: dict[int, str] = {}
        # The mean duration of an operation in seconds, measured.
        self._usual = 0.002
        self._since: dict[int, float] = {}
        self._stop, self._keep = -1, -1
        # The agents that must be present, and the agents that may be present.
        self._registered: set[str] = set()
        self._leaving: set[str] = set()
        self._gone: set[str] = set()
        self._steps_begun: dict[str, int] = {}
        self._steps_done: dict[str, int] = {}
        self._clean_ups_killed = 0

    def run(self, kills: int) -> None:
        """Kills this number of workers; after every few kills, stops all workers and checks."""
        for first in range(0, kills, _KILLS_BETWEEN):
            self._stop, self._keep = os.pipe()
            try:
                for _ in range(self._workers):
                    self._enlist()
                for _ in range(min(_KILLS_BETWEEN, kills - first)):
                    self._kill_one()
            finally:
                self._bring_to_rest()
            self._look()

    def _enlist(self) -> None:
        self._started += 1
        role = partial(work, self._place, self._stop, self._keep, naive=self._naive)
        member = Member(f"{self._started}-{self._seed.replace(' ', '-')}", role)
        self._members[member.hear] = member

    def _kill_one(self) -> None:
        """Kills a worker soon after it has begun an operation, and starts another worker."""
        self._listen_for(self._dice.uniform(0, 0.02))
        self._at.clear()
        deadline = time.monotonic() + PATIENCE
        while not self._at:
            assert time.monotonic() < deadline, "nobody does anything"
            self._listen(1.0)
        victim = self._members[self._dice.choice(list(self._at))]
        self._listen_for(self._dice.uniform(0, self._usual))
        os.kill(victim.pid, signal.SIGKILL)
        del self._members[victim.hear]
        self._note(victim, victim.end())
        at = self._at.pop(victim.hear, "nothing")
        self._since.pop(victim.hear, None)
        self._counts.kills[at.split()[0]] += 1
        self._clean_ups_killed += at == "workspace-clean-up"
        self._enlist()

    def _bring_to_rest(self) -> None:
        os.close(self._keep)
        for member in self._members.values():
            self._note(member, member.end())
        self._members.clear()
        self._at.clear()
        self._since.clear()
        os.close(self._stop)

    def _listen_for(self, seconds: float) -> None:
        moment = time.monotonic() + seconds
        while (left := moment - time.monotonic()) > 0:
            self._listen(left)

    def _listen(self, patience: float) -> None:
        ready, _, _ = select.select(list(self._members), [], [], patience)
        for hear in ready:
            said = self._members[hear].lines()
            assert said, f"{self._members[hear].name} died by itself"
            self._note(self._members[hear], said)

    def _note(self, member: Member, said: list[list[str]]) -> None:
        now = time.monotonic()
        for word, what in said:
            name, *detail = what.split() or [""]
            if word == "recovered":
                self._counts.recovered += 1
            elif word == "problem":
                self._counts.complain("problem", what)
            elif word == "begun":
                self._at[member.hear] = what
                self._since[member.hear] = now
                if name == "withdraw":
                    self._leaving.add(detail[0])
                elif name == "own":
                    self._steps_begun[detail[0]] = int(detail[1])
            else:
                self._at.pop(member.hear, None)
                if (began := self._since.pop(member.hear, None)) is not None:
                    self._usual += (now - began - self._usual) / 20
                self._counts.done[name] += 1
                if name == "register":
                    self._registered.add(detail[0])
                elif name in ("withdraw", "failure"):
                    self._gone.add(detail[0])
                elif name == "own":
                    self._steps_done[detail[0]] = int(detail[1])

    def _look(self) -> None:
        """Checks the registries while no worker runs."""
        self._counts.quiet_moments += 1
        paths = [*map(self._place.task, TASKS), self._place.global_]
        registries: list[Json] = []
        for path in paths:
            recover_registry(path)
            try:
                registries.append(load(path))
            except json.JSONDecodeError as error:
                self._counts.complain("torn", f"{path.name}: {error}")
                # No later check makes sense.
                path.unlink()
        if len(registries) < len(paths):
            self._place.make()
            return
        *tasks, global_ = registries
        for path, registry in zip(paths, registries, strict=True):
            try:
                assert_counters_match(registry)
            except AssertionError as error:
                self._counts.complain("counters", f"{path.parent.name}: {error}")
        self._look_for_agents(tasks, global_)
        self._look_for_disagreement(tasks, global_)

    def _look_for_agents(self, tasks: list[Json], global_: Json) -> None:
        there = Counter(each["id"] for task in tasks for each in task["agents"])
        for agent_id, number in there.items():
            if number > 1:
                self._counts.complain("twice", agent_id)
        must = self._registered - self._leaving
        for where, ids in (("tasks", set(there)), ("global", set(global_["agents"]))):
            for agent_id in must - ids:
                self._counts.complain("lost", f"{agent_id}, from {where}")
            for agent_id in self._gone & ids:
                self._counts.complain("lost", f"the withdrawal of {agent_id}, from {where}")
        steps = {each["id"]: each.get("progress") for task in tasks for each in task["agents"]}
        for agent_id, done in self._steps_done.items():
            last = {done / 1000, self._steps_begun[agent_id] / 1000}
            if agent_id in steps and steps[agent_id] not in last:
                self._counts.complain("lost", f"progress of {agent_id}: {steps[agent_id]}")

    def _look_for_disagreement(self, tasks: list[Json], global_: Json) -> None:
        behind = [
            each
            for task in tasks
            for each in task["agents"]
            if each["status"] in TERMINAL
            and global_["agents"].get(each["id"], {}).get("status", "running") in ACTIVE
        ]
        if not self._clean_ups_killed:
            self._agree(tasks, global_, "nobody was killed in a clean-up")
        else:
            self._counts.behind += len(behind)
            listed = global_["agents"] | {
                each["id"]: global_["agents"].get(each["id"], {}) | {"status": each["status"]}
                for each in behind
            }
            self._agree(tasks, global_ | {"agents": listed}, "but for what a clean-up left")
        everybody = {
            str(each["tmux_session"])
            for registry in (*tasks, global_)
            for each in _entries(registry)
            if "tmux_session" in each
        }
        clean_up_workspace(self._place.root, everybody, grace=0, timeout=PATIENCE)
        caught_up = [load(self._place.task(task_id)) for task_id in TASKS]
        self._agree(caught_up, load(self._place.global_), "after a clean-up")
        self._clean_ups_killed = 0

    def _agree(self, tasks: list[Json], global_: Json, when: str) -> None:
        try:
            assert_agree(global_, *tasks)
        except AssertionError as error:
            self._counts.complain("disagree", f"{when}: {error}")


def _entries(registry: Json) -> list[Json]:
    agents = registry["agents"]
    return list(agents.values()) if isinstance(agents, dict) else agents
