"""Finds the ends that agents without a session have reported themselves.

An orchestrator ends the session of such an agent first, and writes the agent's registry up to 4 s
later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.agent_output.reported_end import reported_ends
from registry.operations.finish import reported_end_fields
from registry.schema import edits, zombies
from registry.schema.layout import TASK_REGISTRY
from registry.schema.records import is_global
from registry.schema.timestamps import parse_time
from registry.storage.codec import Json
from registry.storage.files.safe_open import is_safe_name
from registry.storage.partner import workspace_of

ENDING = None
"""The value of an agent that has just reported its end; the orchestrator writes its registry."""

OwnEnd = edits.End | None
"""The end that an agent reported, or `ENDING`."""


def own_ends(
    path: Path, registry: Json, entries: Iterable[tuple[str | None, Json]]
) -> Mapping[int, OwnEnd]:
    """Returns the ends that agents of a registry reported; see `reported_ends`.

    An agent is left out if its start is not known, or if entries with its id have different
    starts: then its report may be the report of another deployment.

    Args:
        path: The path of the registry.
        registry: A task's registry or a global registry, decoded.
        entries: The ids and entries of agents whose session is gone.

    Returns:
        Maps ``id(entry)`` of each agent that reported its end to the new status and fields. The
        value is `ENDING` if the agent reported its end less than `zombies.END_DELAY` ago.
    """
    found = [(id_, entry) for id_, entry in entries if id_]
    starts: dict[tuple[Path, str], set[float | None]] = {}
    for id_, entry in found:
        task = _task_of(path, registry, entry)
        if task is not None:
            of_agent = starts.setdefault((task, id_), set())
            of_agent.add(parse_time(entry.get("started_at")))
    by_task: dict[Path, dict[str, float]] = {}
    for (task, id_), of_agent in starts.items():
        started = next(iter(of_agent)) if len(of_agent) == 1 else None
        if started is not None:
            by_task.setdefault(task, {})[id_] = started
    reported = {task: reported_ends(task, started) for task, started in by_task.items()}
    now = time.time()
    ends: dict[int, OwnEnd] = {}
    for id_, entry in found:
        task = _task_of(path, registry, entry)
        end = reported.get(task, {}).get(id_) if task is not None else None
        if end is not None:
            is_ending = now - end.written < zombies.END_DELAY
            ends[id(entry)] = ENDING if is_ending else (end.status, reported_end_fields(end))
    return ends


def _task_of(path: Path, registry: Json, entry: Json) -> Path | None:
    """Returns the path of the registry of an agent's task; None if it is not known."""
    if not is_global(registry):
        return path
    task_id = entry.get("task_id")
    if not isinstance(task_id, str) or not is_safe_name(task_id):
        return None
    return workspace_of(path) / task_id / TASK_REGISTRY
