"""Gives a terminal status to agents whose session no longer exists.

The caller passes the names of all existing sessions; this module does not query tmux.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from registry.dataclass import dataclass, field
from registry.errors import RegistryError, RegistryNotFoundError, WrongShapeError
from registry.operations import health
from registry.operations.finish import end_fields, end_of
from registry.operations.own_ends import OwnEnd, own_ends
from registry.pair import edited_pair, left_out
from registry.schema import edits, zombies
from registry.schema.arguments import RegistryPath, path_or_none
from registry.schema.layout import (
    GLOBAL_FOLDER,
    GLOBAL_REGISTRY,
    Workspace,
    database_beside,
    find_database,
    task_places,
)
from registry.schema.records import agent_entries
from registry.schema.timestamps import Instant, parse_time
from registry.storage.codec import Json
from registry.storage.files.anchor import open_anchor
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on
from registry.storage.locked_file import DEFAULT_TIMEOUT, Edit, edited
from registry.text import shown_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CleanUp:
    """The result of a clean-up.

    Attributes:
        ended: Maps the path of a task's registry to the ids of the agents that got a terminal
            status.
        written: The paths of the registries that were written.
        problems: Maps the path of a registry to the reason why the registry could not be changed.
    """

    ended: Mapping[Path, tuple[str, ...]]
    written: tuple[Path, ...]
    problems: Mapping[Path, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of agents that got a terminal status."""
        return sum(map(len, self.ended.values()))


def clean_up_task(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    live_sessions: Collection[str],
    *,
    status: Literal["completed", "terminated"] = "terminated",
    reason: str = health.GONE,
    grace: float = zombies.START_GRACE,
    timeout: float = DEFAULT_TIMEOUT,
) -> CleanUp:
    """Gives a terminal status to each active agent of a task if the agent's session is gone.

    An agent that itself reported its end gets this end, with its message as the reason, instead of
    `status` and `reason`. In the first ten seconds after its report, the agent is not changed,
    because the orchestrator writes its end.

    The task's registry and the global registry are changed in one commit. In the global registry,
    two further kinds of agents are changed:

    - An agent with a terminal status in the task's registry gets this status.
    - An agent that is only in the global registry gets a terminal status if the agent's session
      is gone.

    If a database may have newer data of the agents (see `database_beside`), no agent is changed.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's global registry, or None.
        live_sessions: The names of all existing sessions. If tmux cannot be queried, do not call
            this function. To be certain, query tmux twice, about 750 ms apart, and pass every
            session that is in at least one of the two results.
        status: The new status.
        reason: The value for `termination_reason` or `completion_reason`.
        grace: An agent that started less than this many seconds before the call is not changed.
            Its session may have been created after the caller listed the sessions.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        TypeError: `live_sessions` is not a collection of strings.
        WrongShapeError: The status is neither ``completed`` nor ``terminated``, `grace` is not a
            finite number, or `agents` contains an entry that is not an object. Nothing was
            written.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    task = Path(task_registry)
    global_ = path_or_none(global_registry)
    rule = _CleanUpRule.of(live_sessions, status, reason, grace)
    if (database := database_beside(task)) is not None:
        return CleanUp({}, (), {task: f"no agent was changed: {database}"})

    def clean_up(in_task: Edit, in_global: Edit | None, problems: list[str]) -> CleanUp:
        ended = rule.end(task, in_task.registry)
        in_task.changed = bool(ended)
        if in_global is not None:
            # Both locks are held, so no other change comes in between.
            seen = _by_task_id(in_task.registry, ended, None)
            try:
                in_global.changed = rule.follow(in_global.registry, seen)
            except WrongShapeError as error:
                hand_on(error)
                problems.append(left_out(error.named(in_global.path)))
        written = [edit.path for edit in (in_task, in_global) if edit and edit.changed]
        by_path = {global_: "; ".join(problems)} if problems and global_ is not None else {}
        return CleanUp({task: ended} if ended else {}, tuple(written), by_path)

    cleaned = edited_pair(task, global_, clean_up, timeout)
    _log.info("Cleaned up %s: %d agents ended", task, cleaned.count)
    return cleaned


def clean_up_workspace(
    workspace: RegistryPath,
    live_sessions: Collection[str],
    *,
    status: Literal["completed", "terminated"] = "terminated",
    reason: str = health.GONE,
    grace: float = zombies.START_GRACE,
    timeout: float = DEFAULT_TIMEOUT,
) -> CleanUp:
    """Gives a terminal status to each active agent of a workspace if the agent's session is gone.

    Changes the registries of all tasks one after the other, then the global registry. Two locks
    are never held at the same time. A registry that cannot be locked or read is skipped, and
    `CleanUp.problems` has the reason.

    The global registry is changed as in `clean_up_task`, but these agents are not changed there:

    - agents that were registered or reported after their task's registry was changed,
    - agents of a task whose directory does not have the task's id as its name.

    In a workspace with a database (see `find_database`) no agent is changed.

    Args:
        workspace: The `.agent-workspace`.
        live_sessions: See `clean_up_task`.
        status: See `clean_up_task`.
        reason: See `clean_up_task`.
        grace: See `clean_up_task`.
        timeout: How long to wait for each lock, in seconds.

    Raises:
        TypeError: `live_sessions` is not a collection of strings.
        WrongShapeError: The status is neither ``completed`` nor ``terminated``, or `grace` is not
            a finite number.
        ReplacedWorkspaceError: The path leads to another directory than when this process first
            opened the workspace.
        OSError: The workspace cannot be listed.
    """
    # Symlinks are not resolved, so that `open_anchor` notices a path that was redirected.
    root = Path(workspace).absolute()
    close_read(open_anchor(root))
    rule = _CleanUpRule.of(live_sessions, status, reason, grace)
    if (database := find_database(root)) is not None:
        return CleanUp({}, (), {database.path: f"no agent was changed: {database}"})
    ended: dict[Path, tuple[str, ...]] = {}
    written: list[Path] = []
    problems: dict[Path, str] = {}
    seen: dict[str, _TaskAgents] = {}
    for place in task_places(Workspace(root), {}):
        task = place.registry
        if place.problem is not None:
            problems[task] = f"{shown_name(task)} {place.problem}"
            continue
        try:
            gone, agents = edited(task, partial(rule.end_and_see, task), timeout)
        except RegistryError as error:
            hand_on(error)
            problems[task] = str(error)
            continue
        # A directory with another name than the task's id may be a copy, and is not used here.
        seen |= {id_: of_task for id_, of_task in agents.items() if id_ == task.parent.name}
        if gone:
            ended[task] = gone
            written.append(task)
    global_ = root / GLOBAL_FOLDER / GLOBAL_REGISTRY
    try:
        if edited(global_, partial(rule.end_listed, seen=seen), timeout):
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
class _TaskAgents:
    """The agents in a task's registry.

    Attributes:
        known: The ids of all agents.
        ends: Maps the id of each agent with a terminal status to this status and the fields that
            describe the agent's end. Agents for which `ended_just_now` is true are left out.
        at: When the registry was read; None if this process still holds the registry's lock.
    """

    known: frozenset[str]
    ends: Mapping[str, edits.End]
    at: Instant | None


def _by_task_id(task: Json, ours: Collection[str], at: Instant | None) -> dict[str, _TaskAgents]:
    task_id = task.get("task_id")
    if not isinstance(task_id, str):
        return {}
    ends: dict[str, edits.End] = {}
    entries = agent_entries(task)
    now = time.time()
    for id_, entry in entries:
        is_settled = id_ in ours or not zombies.ended_just_now(entry, now)
        if id_ and is_settled and (end := end_of(entry)) is not None:
            ends[id_] = end
    known = frozenset(id_ for id_, _ in entries if id_)
    return {task_id: _TaskAgents(known, ends, at)}


@dataclass(frozen=True, slots=True)
class _CleanUpRule:
    """The arguments of a clean-up, with methods that clean up decoded registries."""

    live: frozenset[str]
    status: str
    fields: Mapping[str, Any]
    listed_at: Instant
    grace: float

    @classmethod
    def of(cls, live: Collection[str], status: str, reason: str, grace: float) -> _CleanUpRule:
        fields = end_fields(status, reason)
        zombies.check_grace(grace)
        return cls(zombies.session_names(live), status, fields, Instant.now(), grace)

    def end(self, path: Path, task: Json) -> tuple[str, ...]:
        """Gives a terminal status to the dead agents in a task's registry; returns their ids.

        Args:
            path: The path of the registry.
            task: The decoded registry; changed in place.
        """
        edits.check_agents(task)
        dead = zombies.zombies_in(task, self.live, self.listed_at, self.grace)
        ends: dict[int, OwnEnd] = dict.fromkeys(
            (id(entry) for _, entry in dead), (self.status, self.fields)
        )
        if dead:
            # Only the files of dead agents are read while the lock is held.
            ends |= own_ends(path, task, dead)
        done = edits.finish_each(task, lambda _, entry: ends.get(id(entry)))
        return tuple(change.agent_id for change in done)

    def end_and_see(
        self, path: Path, edit: Edit
    ) -> tuple[tuple[str, ...], dict[str, _TaskAgents]]:
        """Gives a terminal status to the dead agents of a task.

        Args:
            path: The path of the registry.
            edit: The registry, which this process has locked.

        Returns:
            The ids of these agents; and a mapping of the task's id to all agents of the task.
        """
        gone = self.end(path, edit.registry)
        edit.changed = bool(gone)
        return gone, _by_task_id(edit.registry, gone, Instant.now())

    def end_listed(self, edit: Edit, seen: Mapping[str, _TaskAgents]) -> bool:
        """Calls `follow` for the locked global registry; returns whether an agent was changed."""
        edit.changed = self.follow(edit.registry, seen)
        return edit.changed

    def follow(self, global_: Json, seen: Mapping[str, _TaskAgents]) -> bool:
        """Copies terminal statuses from the tasks' registries to the global registry.

        A dead agent that only the global registry lists also gets a terminal status. Such an agent
        exists if `withdraw_agent` could not change the global registry.

        Args:
            global_: The decoded global registry; changed in place.
            seen: Maps the id of each task to the agents in the task's registry.

        Returns:
            Whether an agent was changed.

        Raises:
            WrongShapeError: `agents` contains an entry that is not an object; nothing was
                changed.
        """
        edits.check_agents(global_)
        dead = self._dead(global_)

        def end_in_task(agent_id: str | None, entry: Json) -> edits.End | None:
            # Another task may have a different agent with the same id.
            task_id = entry.get("task_id")
            task = seen.get(task_id) if isinstance(task_id, str) else None
            if task is None or not agent_id or _reported_after(entry, task.at):
                return None
            if agent_id not in task.known:
                return (self.status, self.fields) if id(entry) in dead else None
            return task.ends.get(agent_id)

        return bool(edits.finish_each(global_, end_in_task))

    def _dead(self, registry: Json) -> frozenset[int]:
        """Returns ``id(entry)`` for the entry of each active agent whose session is gone."""
        gone = zombies.zombies_in(registry, self.live, self.listed_at, self.grace)
        return frozenset(id(entry) for _, entry in gone)


def _reported_after(entry: Json, read_at: Instant | None) -> bool:
    """Returns whether an agent was registered or reported after `read_at`.

    Args:
        entry: The agent's entry in the global registry.
        read_at: When the task's registry was read; None gives False.
    """
    if read_at is None:
        return False
    since, until = read_at.by_clock(), time.time()
    times = (parse_time(entry.get(name)) for name in ("started_at", "last_update"))
    return any(time_ is not None and since <= time_ <= until for time_ in times)
