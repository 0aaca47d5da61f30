"""Ending, in the registries, the agents whose session is gone: a task, or a whole workspace.

The live sessions are an argument: nothing here knows tmux.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from registry.errors import RegistryError, RegistryNotFoundError, WrongShapeError, naming
from registry.operations import health
from registry.operations.finish import end_fields, end_of
from registry.pair import editing_pair, left_out
from registry.schema import counters, edits
from registry.schema.arguments import RegistryPath, path_or_none
from registry.schema.layout import (
    GLOBAL_FOLDER,
    GLOBAL_REGISTRY,
    Workspace,
    database_beside,
    find_database,
    task_places,
)
from registry.schema.records import agent_entries, parse_time
from registry.storage.anchor import open_anchor
from registry.storage.codec import Json
from registry.storage.descriptor import close_read
from registry.storage.interruption import hand_on
from registry.storage.locked_file import DEFAULT_TIMEOUT, editing
from registry.text import shown_name

_log = logging.getLogger(__name__)


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
    grace: float = counters.START_GRACE,
    timeout: float = DEFAULT_TIMEOUT,
) -> CleanUp:
    """Ends all agents of a task whose session is gone, in both registries as one change.

    At most one read and one write of each file. The global registry follows the
    task's also where it had been left behind before; an agent that it lists for the
    task and the task has not is ended there if its session is gone. In a workspace with
    a database nobody is ended: who seems dead in JSON may have completed.

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
    global_ = path_or_none(global_registry)
    sweep = _Sweep.of(live_sessions, status, reason, grace)
    if (database := database_beside(task)) is not None:
        return CleanUp({}, (), {task: f"nobody is ended: {database}"})
    with naming(task), editing_pair(task, global_, timeout) as (in_task, in_global, problems):
        ended = sweep.end(in_task.registry)
        in_task.changed = bool(ended)
        if in_global is not None:
            # With both locks in hand nothing comes in between.
            seen = _by_task_id(in_task.registry, math.inf)
            try:
                in_global.changed = sweep.follow(in_global.registry, seen)
            except WrongShapeError as error:
                hand_on(error)
                problems.append(left_out(error.named(in_global.path)))
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
    grace: float = counters.START_GRACE,
    timeout: float = DEFAULT_TIMEOUT,
) -> CleanUp:
    """Ends all agents of a workspace whose session is gone.

    One locked pass over each task's registry, and then one over the global one: at
    most one read and one write of each file, and never two locks at once. The global
    registry follows as in `clean_up_task`, but for whoever reports in between, and for
    tasks whose directory has another name than they. What a crash in between leaves
    it behind by, the next clean-up mends. A registry that cannot be had is left out,
    and said. In a workspace with a database nobody is ended, as in `clean_up_task`.

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
        ReplacedWorkspaceError: Its path leads to another workspace than before.
        OSError: The workspace cannot be listed.
    """
    # Symlinks are kept: what they lead to now would be another name, and no change be noticed.
    root = Path(workspace).absolute()
    close_read(open_anchor(root))
    sweep = _Sweep.of(live_sessions, status, reason, grace)
    if (database := find_database(root)) is not None:
        return CleanUp({}, (), {database.path: f"nobody is ended: {database}"})
    ended: dict[Path, tuple[str, ...]] = {}
    written: list[Path] = []
    problems: dict[Path, str] = {}
    seen: dict[str, _Seen] = {}
    for place in task_places(Workspace(root), {}):
        task = place.registry
        if place.problem is not None:
            problems[task] = f"{shown_name(task)} {place.problem}"
            continue
        try:
            with naming(task), editing(task, timeout) as edit:
                gone = sweep.end(edit.registry)
                edit.changed = bool(gone)
                found = _by_task_id(edit.registry, time.time())
        except RegistryError as error:
            hand_on(error)
            problems[task] = str(error)
            continue
        # A copy of a task's directory does not speak for the task.
        seen |= {id_: each for id_, each in found.items() if id_ == task.parent.name}
        if gone:
            ended[task] = gone
            written.append(task)
    global_ = root / GLOBAL_FOLDER / GLOBAL_REGISTRY
    try:
        with naming(global_), editing(global_, timeout) as edit:
            edit.changed = sweep.follow(edit.registry, seen)
        if edit.changed:
            written.append(global_)
    except RegistryNotFoundError as error:
        hand_on(error)
    except RegistryError as error:
        hand_on(error)
        problems[global_] = str(error)
    cleaned = CleanUp(ended, tuple(written), problems)
    _log.info("Cleaned up %s: %d agents ended", root, cleaned.count)
    return cleaned


@dataclass(frozen=True, slots=True)
class _Seen:
    """A task's agents, as its registry has them.

    Attributes:
        known: Ids of all of them.
        ends: Those that are through.
        at: When that was so, in seconds since the epoch.
    """

    known: frozenset[str]
    ends: Mapping[str, edits.End]
    at: float


def _by_task_id(task: Json, at: float) -> dict[str, _Seen]:
    task_id = task.get("task_id")
    if not isinstance(task_id, str):
        return {}
    ends: dict[str, edits.End] = {}
    entries = agent_entries(task)
    for id_, entry in entries:
        if id_ and (end := end_of(entry)) is not None:
            ends[id_] = end
    known = frozenset(id_ for id_, _ in entries if id_)
    return {task_id: _Seen(known, ends, at)}


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
        fields = end_fields(status, reason)
        counters.check_grace(grace)
        return cls(counters.session_names(live), status, fields, time.time(), grace)

    def end(self, task: Json) -> tuple[str, ...]:
        """Ends in a task's registry who is gone; returns their ids."""
        edits.check_agents(task)
        dead = self._dead(task)
        done = edits.finish_each(
            task, lambda _, entry: (self.status, self.fields) if id(entry) in dead else None
        )
        return tuple(each.agent_id for each in done)

    def follow(self, global_: Json, seen: Mapping[str, _Seen]) -> bool:
        """Ends in the global registry who is through in a task's.

        Also who is gone and is not in the task's at all: a withdrawal that could not
        reach the global registry leaves such.

        Returns:
            Whether anybody was ended.

        Raises:
            WrongShapeError: The agents there cannot be counted; nothing was changed.
        """
        edits.check_agents(global_)
        dead, now = self._dead(global_), time.time()

        def end_in_task(agent_id: str | None, entry: Json) -> edits.End | None:
            # An id of one task may be another agent's in another task.
            task_id = entry.get("task_id")
            task = seen.get(task_id) if isinstance(task_id, str) else None
            if task is None or not agent_id or _touched(entry, task.at, now):
                return None
            if agent_id not in task.known:
                return (self.status, self.fields) if id(entry) in dead else None
            return task.ends.get(agent_id)

        return bool(edits.finish_each(global_, end_in_task))

    def _dead(self, registry: Json) -> frozenset[int]:
        """The entries, by identity, of who is gone."""
        gone = counters.zombies_in(registry, self.live, self.as_of, self.grace)
        return frozenset(id(entry) for _, entry in gone)


def _touched(entry: Json, since: float, until: float) -> bool:
    """Whether an agent was registered, or reported, after its task was looked at."""
    times = (parse_time(entry.get(name)) for name in ("started_at", "last_update"))
    return any(time_ is not None and since <= time_ <= until for time_ in times)
