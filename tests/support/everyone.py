"""Every operation that writes a registry, and every operation that reads one, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import (
    LockedRegistryFile,
    SessionEnd,
    atomic_add_agent,
    atomic_decrement_active_count,
    atomic_increment_counts,
    atomic_mark_agents_completed,
    atomic_update_agent_status,
    clean_up_task,
    finish_agents,
    register_agent,
    registry_health_check,
    report_progress,
    terminate_agents,
    validate_and_repair_registry,
    withdraw_agent,
)
from registry.snapshots import read_agent_fields, read_global, read_registry, read_task
from tests.support.registries import agent, rewrite

Use = Callable[[Path], object]


def _rewritten(path: Path) -> None:
    with LockedRegistryFile(path) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})


WRITERS: dict[str, Use] = {
    "LockedRegistryFile": _rewritten,
    "add": lambda path: atomic_add_agent(path, agent("new"), "orchestrator"),
    "update": lambda path: atomic_update_agent_status(path, "busy", "completed"),
    "increment": lambda path: atomic_increment_counts(path, total=1),
    "decrement": atomic_decrement_active_count,
    "complete": lambda path: atomic_mark_agents_completed(path, ["busy"]),
    "finish": lambda path: finish_agents(path, None, ["busy"], status="terminated"),
    "repair": lambda path: validate_and_repair_registry(path, []),
    "register": lambda path: register_agent(path, None, "new", agent_id="new"),
    "withdraw": lambda path: withdraw_agent(path, None, "busy"),
    "report": lambda path: report_progress(path, None, "busy", status="completed"),
    "terminate": lambda path: terminate_agents(
        path, None, {"busy": SessionEnd.ENDED}, reason="stopped"
    ),
    "clean up": lambda path: clean_up_task(path, None, []),
}

READERS: dict[str, Use] = {
    "read_task": read_task,
    "read_global": read_global,
    "read_agent_fields": lambda path: read_agent_fields(path, "busy"),
    "read_registry": read_registry,
    "health check": lambda path: registry_health_check(path, []),
    "dry run": lambda path: validate_and_repair_registry(path, [], dry_run=True),
}

every_writer = pytest.mark.parametrize("use", WRITERS.values(), ids=WRITERS)
every_reader = pytest.mark.parametrize("use", READERS.values(), ids=READERS)
everyone = pytest.mark.parametrize(
    "use", [*WRITERS.values(), *READERS.values()], ids=[*WRITERS, *READERS]
)

# Operations on a task's registry and the global registry, which is optional.
OF_BOTH: dict[str, Callable[[Path, Path], object]] = {
    "register": lambda task, global_: register_agent(task, global_, "new", agent_id="new"),
    "report": lambda task, global_: report_progress(task, global_, "busy", status="completed"),
    "finish": lambda task, global_: finish_agents(task, global_, ["busy"], status="terminated"),
    "withdraw": lambda task, global_: withdraw_agent(task, global_, "busy"),
    "clean up": lambda task, global_: clean_up_task(task, global_, []),
}

everyone_of_task = pytest.mark.parametrize("use", OF_BOTH.values(), ids=OF_BOTH)
