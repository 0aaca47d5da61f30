"""Programs that use `registry`, many at once; `main` lists the roles.

Each program prints "ready", and waits for a line before it begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from registry import (
    AgentNotFoundError,
    Audit,
    DuplicateAgentError,
    LockedRegistryFile,
    LostLockError,
    atomic_add_agent,
    atomic_increment_counts,
    atomic_mark_agents_completed,
    atomic_update_agent_status,
    finish_agents,
    publish_metrics,
    validate_and_repair_registry,
)
from registry.audit import log as audit
from registry.audit import undo
from registry.storage import metrics
from tests.support.peers import stamped
from tests.support.records import numbered_record
from tests.support.registries import rewrite

STATUSES = ("running", "working", "blocked", "completed", "error", "failed", "terminated", "odd")

# Short, so that the worker is busy; long enough for a peer that polls every 0.1 s.
_BREATH = 0.004


def _say(word: str) -> None:
    print(word, flush=True)


def add(path: str, agent_id: str) -> None:
    """Adds an agent. After a timeout, which a busy machine can cause, tries again."""
    agent = {"id": agent_id, "type": "test", "status": "running"}
    while True:
        try:
            atomic_add_agent(path, agent, "orchestrator")
        except TimeoutError:
            continue
        return


def add_and_count(path: str, name: str, adds: str, counts: str) -> None:
    """Adds agents, then changes counters, with a short pause after each change."""
    for number in range(int(adds)):
        add(path, f"{name}-{number}")
        time.sleep(_BREATH)
    for _ in range(int(counts)):
        atomic_increment_counts(path, total=1)
        time.sleep(_BREATH)


def mix(path: str, seed: str, operations: str, global_path: str | None = None) -> None:
    """Carries out random operations on shared agents; prints how many agents it added."""
    dice = random.Random(seed)
    added = 0
    for number in range(int(operations)):
        some = [f"agent-{dice.randrange(12)}" for _ in range(3)]
        target = global_path if global_path and dice.random() < 0.3 else path
        action = dice.choice(("add", "status", "status", "complete", "finish", "repair"))
        if action == "add":
            # Half of the ids may be in the registry already.
            name = some[0] if dice.random() < 0.5 else f"agent-{seed}-{number}"
            with contextlib.suppress(DuplicateAgentError):
                atomic_add_agent(target, {"id": name, "status": "running"}, "orchestrator")
                added += target == path
        elif action == "status":
            with contextlib.suppress(AgentNotFoundError):
                atomic_update_agent_status(target, some[0], dice.choice(STATUSES))
        elif action == "complete":
            atomic_mark_agents_completed(target, some)
        elif action == "finish":
            finish_agents(path, global_path, some, status="terminated", reason="dice")
        else:
            validate_and_repair_registry(target, None)
        time.sleep(dice.random() * _BREATH)
    _say(json.dumps(added))


def hold(path: str) -> None:
    """Holds the lock until a line arrives."""
    with LockedRegistryFile(path):
        _say("held")
        sys.stdin.readline()


def hold_and_fork(path: str) -> None:
    """Holds the lock, and forks a child that lives until the input ends."""
    with LockedRegistryFile(path):
        child = os.fork()
        if child == 0:
            sys.stdin.read()
            os._exit(0)
        _say(str(child))
        os.waitpid(child, 0)


def fork_inside(path: str) -> None:
    """Forks in the block. The child leaves the block first, with another text than the parent."""
    child = -1
    try:
        with LockedRegistryFile(path) as (registry, file):
            child = os.fork()
            if child == 0:
                # The child reuses the number of the descriptor that held the lock.
                os.dup2(os.open(os.devnull, os.O_RDWR), file.fileno())
                rewrite(file, registry | {"written_by": "child"})
            else:
                _, status = os.waitpid(child, 0)
                rewrite(file, registry | {"written_by": "parent", "child_ended": status})
    except LostLockError:
        os._exit(7 if child == 0 else 8)


def restamp(path: str, rounds: str) -> None:
    """Writes one state after another; all parts of a state carry the same number."""
    for generation in range(int(rounds)):
        with LockedRegistryFile(path) as (registry, file):
            registry.update(stamped(generation))
            rewrite(file, registry)
        time.sleep(0.001)


def log_records(log: str, name: str, count: str, rotate_at: str) -> None:
    """Appends numbered records of various sizes to an audit log."""
    audit.ROTATE_AT = int(rotate_at)
    for number in range(int(count)):
        audit.append(Path(log), numbered_record(name, number))


def undo_last(log: str, *known: str) -> None:
    """Undoes the last action of a log; prints the action's id, and the refused changes."""
    found = audit.read_log(Path(log))
    action = next(undo.last_actions(found), None)
    assert action is not None
    refused: dict[str, str] = {}
    for step in undo.undoables(found, action, [Path(each) for each in known]):
        assert step.refused is None, step.refused
        refused |= undo.take_back(step, Audit("undo", "in another process")).result.refused
    _say(json.dumps([action, refused]))


def publish(workspace: str, registry: str, rounds: str) -> None:
    """In each round, counts one wait for a lock, and publishes the metrics."""
    for _ in range(int(rounds)):
        metrics.count_wait(Path(registry), 0.001)
        while True:
            try:
                publish_metrics(workspace)
            except TimeoutError:
                continue
            break


def main(arguments: list[str]) -> None:
    """Runs the role that the first argument names."""
    roles: tuple[Callable[..., None], ...] = (
        add,
        add_and_count,
        mix,
        hold,
        hold_and_fork,
        fork_inside,
        restamp,
        log_records,
        undo_last,
        publish,
    )
    role, *rest = arguments
    _say("ready")
    sys.stdin.readline()
    {each.__name__: each for each in roles}[role](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
