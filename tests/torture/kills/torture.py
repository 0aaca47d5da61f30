"""Kills writers of the same registries at random moments, and replaces them.

Every writer tells which update it begins, and tells when the update is done. At the end, every
acknowledged update must be present once, and every other update at most once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry import LockedRegistryFile, atomic_add_agent
from registry.pair import editing_both
from registry.storage.recovery import recover_registry
from tests.support.kept_journals import without_kept
from tests.support.peers import careful_update
from tests.support.registries import agent, global_registry, rewrite, task_registry, write
from tests.torture.kills.members import Member, Telling, Voice
from tests.torture.kills.verdicts import Counts

# A longer wait is a deadlock, even on a slow machine.
_PATIENCE = 120.0
_WRITERS = 4

# The number of kills in one round.
_ROUND = 150

# The pause of a peer between two updates, so that other processes get the lock.
_BREATH = 0.02


def torture(directory: Path, wanted: int, seed: str, counts: Counts) -> None:
    """Kills writers in rounds. In every second round, a peer without the library writes too.

    Args:
        directory: The directory for the registries.
        wanted: The number of writers to kill. Peers are not killed, because no process can finish
            what a killed peer has half written.
        seed: The seed of the random choices.
        counts: Counts the events and the faults.
    """
    for number in range(math.ceil(wanted / _ROUND)):
        # Registries only grow, so every round begins with new ones.
        here = directory / str(number)
        kills = min(_ROUND, wanted - number * _ROUND)
        _torture(here, kills, number % 2, f"{seed} {number}", counts)


def _torture(directory: Path, wanted: int, peers: int, seed: str, counts: Counts) -> None:
    task = write(directory / "task" / "AGENT_REGISTRY.json", task_registry(marks=[]))
    global_ = write(directory / "registry" / "GLOBAL_REGISTRY.json", global_registry(marks=[]))
    crowd = _Crowd(task, global_, random.Random(seed))
    try:
        crowd.start(peers)
        for _ in range(wanted):
            crowd.kill_one()
            counts.kills["crowd"] += 1
    finally:
        crowd.stop()
    counts.recovered += crowd.last_activity["recovered"]
    counts.acknowledged += len(crowd.done)
    for path in (task, global_):
        recover_registry(path)
    _judge(crowd, halves_count=not peers, counts=counts)


class _Crowd:
    def __init__(self, task: Path, global_: Path, dice: random.Random) -> None:
        self.task = task
        self.global_ = global_
        self.begun: set[str] = set()
        self.done: set[str] = set()
        self.last_activity: Counter[str] = Counter()
        self._dice = dice
        self._members: dict[int, Member] = {}
        self._peers: list[Member] = []
        self._started = 0
        # The mean duration of a commit in seconds, measured.
        self._usual = 0.001
        self._holding: dict[int, float] = {}
        self._stay, self._stop = os.pipe()

    def start(self, peers: int) -> None:
        for _ in range(peers):
            self._peers.append(self._enlist(self._peer))
        for _ in range(_WRITERS):
            self._enlist(self._writer)

    def kill_one(self) -> None:
        """Kills a writer at a random moment, usually in a commit, and starts another writer."""
        writers = [member for member in self._members.values() if member not in self._peers]
        victim = self._dice.choice(writers)
        if self._dice.random() < 0.9:
            victim = self._next_to_commit()
        moment = time.monotonic() + self._dice.uniform(0, 1.2) * self._usual
        while (left := moment - time.monotonic()) > 0:
            self._listen(left)
        os.kill(victim.pid, signal.SIGKILL)
        self._bury(victim)
        self._enlist(self._writer)

    def _next_to_commit(self) -> Member:
        self._holding.clear()
        deadline = time.monotonic() + _PATIENCE
        while not self._holding:
            assert time.monotonic() < deadline, "nobody does anything"
            self._listen(1.0)
        return self._members[next(iter(self._holding))]

    def stop(self) -> None:
        """Lets the peers finish, and kills the writers."""
        os.close(self._stop)
        for member in list(self._members.values()):
            if member not in self._peers:
                os.kill(member.pid, signal.SIGKILL)
            self._bury(member)
        os.close(self._stay)

    def _enlist(self, role: Callable[[Voice], None]) -> Member:
        self._started += 1
        member = Member(f"{role.__name__.strip('_')}{self._started}", role)
        self._members[member.hear] = member
        return member

    def _bury(self, member: Member) -> None:
        del self._members[member.hear]
        self._holding.pop(member.hear, None)
        self._note(member, member.end())

    def _listen(self, patience: float) -> None:
        ready, _, _ = select.select(list(self._members), [], [], patience)
        for hear in ready:
            said = self._members[hear].lines()
            assert said, f"{self._members[hear].name} died by itself"
            self._note(self._members[hear], said)

    def _note(self, member: Member, said: list[list[str]]) -> None:
        now = time.monotonic()
        for word, what in said:
            self.last_activity[word] += 1
            if word in ("begun", "holding"):
                self.begun.add(what)
            if word == "holding":
                self._holding[member.hear] = now
            elif word == "done":
                self.done.add(what)
                if (began := self._holding.pop(member.hear, None)) is not None:
                    self._usual += (now - began - self._usual) / 20

    def _writer(self, voice: Voice) -> None:
        os.close(self._stop)
        logging.getLogger("registry").addHandler(Telling(voice))
        dice = random.Random(voice.name)
        number = 0
        while True:
            number += 1
            way = dice.choice(("one", "two", "two", "agent"))
            mark = f"{way}-{voice.name}-{number}"
            if way == "one":
                with LockedRegistryFile(self.task, timeout=_PATIENCE) as (registry, file):
                    registry["marks"].append(mark)
                    rewrite(file, registry)
                    voice.say("holding", mark)
            elif way == "two":
                with editing_both(self.task, self.global_, _PATIENCE) as edits:
                    for edit in edits:
                        edit.registry["marks"].append(mark)
                        edit.changed = True
                    voice.say("holding", mark)
            else:
                voice.say("begun", mark)
                atomic_add_agent(self.task, agent(mark), "orchestrator")
            voice.say("done", mark)

    def _peer(self, voice: Voice) -> None:
        os.close(self._stop)
        number = 0
        while not select.select([self._stay], [], [], _BREATH)[0]:
            number += 1
            mark = f"one-{voice.name}-{number}"
            voice.say("begun", mark)

            def append(registry: dict[str, Any], mark: str = mark) -> None:
                registry["marks"].append(mark)

            try:
                careful_update(str(self.task), append)
            except (json.JSONDecodeError, TimeoutError):
                # A writer was killed and no process has recovered the registry yet, or the machine
                # is too busy for a process that polls. Nothing was changed.
                voice.say("refused")
            else:
                voice.say("done", mark)


def _judge(crowd: _Crowd, *, halves_count: bool, counts: Counts) -> None:
    there: list[Counter[str]] = []
    for path in (crowd.task, crowd.global_):
        there_too = {each: each.read_bytes() for each in path.parent.iterdir() if each != path}
        if beside := [each.name for each in without_kept(there_too)]:
            counts.complain("left_behind", f"beside {path.name}: {', '.join(beside)}")
        try:
            registry = json.loads(path.read_bytes())
        except ValueError as error:
            counts.complain("torn", f"crowd: {path.name}: {error}")
            return
        marks = Counter(registry["marks"])
        if path == crowd.task:
            marks.update(each["id"] for each in registry["agents"])
        there.append(marks)
    in_task, in_global = there
    for mark, number in (*in_task.items(), *in_global.items()):
        if number > 1:
            counts.complain("doubled", f"crowd: {mark} is there {number} times")
        if mark not in crowd.begun:
            counts.complain("mixed", f"crowd: nobody wrote {mark}")
    for mark in crowd.done:
        both = mark.startswith("two")
        if mark not in in_task or (both and mark not in in_global):
            counts.complain("lost", f"crowd: {mark} was acknowledged")
    # If a peer writes one file of an interrupted commit, the commit is undone in this file.
    for mark in crowd.begun if halves_count else ():
        if mark.startswith("two") and (mark in in_task) != (mark in in_global):
            counts.complain("halved", f"crowd: {mark}")
