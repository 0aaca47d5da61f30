"""Ending, in the registries, the agents whose session is gone: a task, or a whole workspace.

The live sessions are an argument: nothing here knows tmux.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from registry import changes, health
from registry.codec import Json
from registry.errors import RegistryError, RegistryNotFoundError, WrongShapeError, naming
from registry.finishing import END_FIELDS
from registry.locked_file import DEFAULT_TIMEOUT, editing
from registry.operations import RegistryPath, timestamp
from registry.recorded import editing_pair
from registry.records import agent_entries, is_terminal
from registry.workspace import GLOBAL_FOLDER, GLOBAL_REGISTRY, TASK_REGISTRY

_log = logging.getLogger(__name__)

Ends = Mapping[str, changes.End]
"""By agent: the terminal status its task's registry gives it, and what goes with it."""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """What a clean-up did.

    Attributes:
        ended: Ids of the agents that were ended, by their task's registry.
        written: The registries that were written.
        problems: By registry, why it could not be cleaned up.
    """

    ended: Mapping[Path, tuple[str, ...]]
    written: tuple[Path, ...]
    problems: Mapping[Path, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many agents were ended."""
        return sum(map(len, self.ended.values()))


def clean_up_task(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    live_sessions: Collection[str],
    *,
    status: Literal["completed", "terminated"] = "terminated",
    reason: str = health.GONE,
    grace: float = health.START_GRACE,
    timeout: float = DEFAULT_TIMEOUT,
) -> CleanUp:
    """Ends all agents of a task whose session is gone, in both registries as one change.

    At most one read and one write of each file. The global registry follows the
    task's also where it had been left behind before.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's, or None.
        live_sessions: Names of all sessions that there are. tmux must have
            answered: where it cannot be asked, do not call this. To be sure of a
            death, ask twice, some 750 ms apart, and pass what either answer has.
        status: What they become.
        reason: Why, as `termination_reason` or `completion_reason`.
        grace: Agents started within that many seconds are left alone: they may
            have come after the sessions were listed.
        timeout: Seconds to wait for the locks.

    Raises:
        TypeError: `live_sessions` is no collection of names.
        WrongShapeError: The status is neither of the two, or `agents` holds what
            cannot be counted; nothing was written.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    task = Path(task_registry)
    global_ = Path(global_registry) if global_registry is not None else None
    sweep = _Sweep.of(live_sessions, status, reason, grace)
    with naming(task), editing_pair(task, global_, timeout) as (in_task, in_global, problems):
        ended = sweep.end(in_task.registry)
        in_task.changed = bool(ended)
        if in_global is not None:
            ends = {_task_id(in_task.registry): _ends(in_task.registry)}
            in_global.changed = _follow(in_global.registry, ends)
        written = [each.path for each in (in_task, in_global) if each and each.changed]
    _log.info("Cleaned up %s: %d agents ended", task, len(ended))
    said = {global_: "; ".join(problems)} if problems and global_ is not None else {}
    return CleanUp({task: ended} if ended else {}, tuple(written), said)


def clean_up_workspace(
    workspace: RegistryPath,
    live_sessions: Collection[str],
    *,
    status: Literal["completed", "terminated"] = "terminated",
    reason: str = health.GONE,
    grace: float = health.START_GRACE,
    timeout: float = DEFAULT_TIMEOUT,
) -> CleanUp:
    """Ends all agents of a workspace whose session is gone.

    One locked pass over each task's registry, and then one over the global one: at
    most one read and one write of each file, and never two locks at once. What a
    crash in between leaves the global registry behind by, the next clean-up mends.
    A registry that cannot be had is left out, and said.

    Args:
        workspace: The `.agent-workspace`.
        live_sessions: As `clean_up_task`.
        status: As `clean_up_task`.
        reason: As `clean_up_task`.
        grace: As `clean_up_task`.
        timeout: Seconds to wait for each lock.

    Raises:
        TypeError: `live_sessions` is no collection of names.
        WrongShapeError: The status is neither of the two.
        OSError: The workspace cannot be listed.
    """
    root = Path(workspace)
    sweep = _Sweep.of(live_sessions, status, reason, grace)
    ended: dict[Path, tuple[str, ...]] = {}
    written: list[Path] = []
    problems: dict[Path, str] = {}
    ends: dict[object, Ends] = {}
    for task in _tasks(root):
        try:
            with naming(task), editing(task, timeout) as edit:
                gone = sweep.end(edit.registry)
                edit.changed = bool(gone)
                ends[_task_id(edit.registry)] = _ends(edit.registry)
        except RegistryError as error:
            problems[task] = str(error)
            continue
        if gone:
            ended[task] = gone
            written.append(task)
    global_ = root / GLOBAL_FOLDER / GLOBAL_REGISTRY
    try:
        with naming(global_), editing(global_, timeout) as edit:
            edit.changed = _follow(edit.registry, ends)
            if edit.changed:
                written.append(global_)
    except RegistryNotFoundError:
        pass
    except RegistryError as error:
        problems[global_] = str(error)
    found = CleanUp(ended, tuple(written), problems)
    _log.info("Cleaned up %s: %d agents ended", root, found.count)
    return found


def _tasks(root: Path) -> Iterable[Path]:
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        if name != GLOBAL_FOLDER and (root / name / TASK_REGISTRY).is_file():
            yield root / name / TASK_REGISTRY


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Who is gone, and what becomes of them."""

    live: frozenset[str]
    status: str
    fields: Mapping[str, Any]
    as_of: float
    grace: float

    @classmethod
    def of(cls, live: Collection[str], status: str, reason: str, grace: float) -> _Sweep:
        if status not in ("completed", "terminated"):
            raise WrongShapeError("status", f"must be 'completed' or 'terminated', not {status!r}")
        word = "completion_reason" if status == "completed" else "termination_reason"
        fields = {f"{status}_at": timestamp(), word: reason}
        return cls(health.session_names(live), status, fields, time.time(), grace)

    def end(self, task: Json) -> tuple[str, ...]:
        changes.check_agents(task)
        gone = health.zombies_in(task, self.live, self.as_of, self.grace)
        dead = [entry for _, entry in gone]
        done = changes.finish_each(
            task,
            lambda _, entry: (
                (self.status, self.fields) if any(entry is each for each in dead) else None
            ),
        )
        return tuple(each.agent_id for each in done)


def _task_id(task: Json) -> object:
    return task.get("task_id")


def _ends(task: Json) -> dict[str, changes.End]:
    found: dict[str, changes.End] = {}
    for id_, entry in agent_entries(task):
        status = entry.get("status")
        if id_ and isinstance(status, str) and is_terminal(status):
            found[id_] = status, {name: entry[name] for name in END_FIELDS if name in entry}
    return found


def _follow(global_: Json, ends: Mapping[object, Ends]) -> bool:
    """Ends in the global registry who is through in a task's."""
    changes.check_agents(global_)

    def end_of(agent_id: str | None, entry: Json) -> changes.End | None:
        # An id of one task may be another agent's in another task.
        task_id = entry.get("task_id")
        if not isinstance(task_id, str) or task_id not in ends:
            return None
        return ends[task_id].get(agent_id or "")

    return bool(changes.finish_each(global_, end_of))
