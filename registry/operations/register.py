"""Writing an agent down before it is deployed, and taking it out when that fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.errors import (
    AgentNotFoundError,
    DuplicateAgentError,
    LimitReachedError,
    RegistryError,
    WrongShapeError,
    naming,
)
from registry.pair import editing_pair, left_out
from registry.schema import edits
from registry.schema.arguments import RegistryPath, path_or_none, timestamp
from registry.schema.ids import (
    find_existing_agent,
    generate_unique_agent_id,
    verify_agent_id_unique,
)
from registry.schema.records import (
    ACTIVE_STATUSES,
    ORCHESTRATOR,
    SESSION_PREFIX,
    agent_entries,
    counts_as_active,
    is_active,
)
from registry.storage.codec import Json, plain
from registry.storage.interruption import hand_on
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.storage.safe_open import is_safe_name
from registry.text import quoted_name

_log = logging.getLogger(__name__)

_PROMPT_LENGTH = 200

_OURS = frozenset({"id", "type", "parent", "depth", "status", "started_at", "prompt"})


@dataclass(frozen=True, slots=True)
class Registration:
    """An agent that was written down.

    Attributes:
        agent_id: Its id.
        tmux_session: What its session is to be called.
        parent: The agent that starts it, or "orchestrator".
        depth: 1 for an agent of the orchestrator, 2 for its children, ...
        existing: Whether it was there before, and nothing was written.
        problems: Why the global registry was not written, if so.
    """

    agent_id: str
    tmux_session: str
    parent: str
    depth: int
    existing: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What became of a withdrawal.

    Attributes:
        was_there: Whether the task's registry had the agent.
        problems: Why the global registry was not written, if so.
    """

    was_there: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Wish:
    """Who is to be written down."""

    type: str
    parent: str
    agent_id: str | None
    reuse: bool
    status: str
    prompt: str
    fields: Json


def register_agent(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_type: str,
    *,
    parent: str = ORCHESTRATOR,
    agent_id: str | None = None,
    reuse: bool = False,
    status: str = "running",
    prompt: str = "",
    fields: Mapping[str, Any] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Registration:
    """Writes an agent down in the task's registry and in the global one, as one change.

    Under the locks, and so against what is there at that moment: the limits
    `max_agents` (agents listed), `max_concurrent` (agents active) and `max_depth`
    of the task's registry, where it sets them; an id that neither registry has;
    the depth, from the parent's; counters and hierarchy.

    Start the session right afterwards: an active agent without one is taken for
    dead some seconds after its `started_at`.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's, or None. One that is not there is left out;
            so is one that is broken or locked too long, and
            `Registration.problems` says so.
        agent_type: What it does; the first part of its id.
        parent: The agent that starts it.
        agent_id: Its id; None makes one.
        reuse: Take an active agent of the same type, if there is one, and write nothing.
        status: Its status, one of the active ones.
        prompt: What it is told; the first 200 characters are kept.
        fields: Further fields of its entry in the task's registry, for example
            ``tmux_session`` where it is not "agent_" and the id.
        timeout: Seconds to wait for the locks.

    Raises:
        LimitReachedError: A limit leaves no room; it names which.
        AgentNotFoundError: The parent is in the task's registry neither.
        DuplicateAgentError: The id is taken.
        WrongShapeError: The type or id cannot name files and sessions; the status is
            no active one; or the registry's fields cannot take an agent.
        TypeError, ValueError: JSON has no word for something in `fields`, or they
            hold what is worked out here.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    extra = plain(fields if fields is not None else {})
    if not _OURS.isdisjoint(extra):
        raise ValueError(f"fields may not hold {', '.join(sorted(_OURS & extra.keys()))}")
    if not isinstance(extra.get("tmux_session", ""), str):
        raise WrongShapeError("tmux_session", "must be a string")
    if not is_active(status):
        raise WrongShapeError("status", f"must be one of {', '.join(sorted(ACTIVE_STATUSES))}")
    if not isinstance(prompt, str):
        raise WrongShapeError("prompt", "must be a string")
    named = (
        (("type", agent_type),) if agent_id is None else (("type", agent_type), ("id", agent_id))
    )
    for field, name in named:
        if not (isinstance(name, str) and is_safe_name(name)):
            raise WrongShapeError(
                field,
                f"is {quoted_name(name, 80)}: 1 to 128 letters, digits, '_', '-' and '.' are "
                "taken, no '.' at the beginning",
            )
    wish = _Wish(agent_type, parent, agent_id, reuse, status, prompt, extra)
    task = Path(task_registry)
    global_ = path_or_none(global_registry)
    with naming(task), editing_pair(task, global_, timeout) as (in_task, in_global, problems):
        found = _find(in_task.registry, wish) if reuse else None
        if found is None:
            listed = in_global.registry if in_global else {}
            entry = _add(in_task.registry, listed, wish)
            in_task.changed = True
            if in_global is not None:
                try:
                    _list(in_global.registry, in_task.registry.get("task_id"), entry)
                except WrongShapeError as error:
                    hand_on(error)
                    problems.append(left_out(error.named(in_global.path)))
                else:
                    in_global.changed = True
            found = Registration(
                entry["id"], entry["tmux_session"], entry["parent"], entry["depth"]
            )
    _log.info("Registered agent %s in %s", found.agent_id, task)
    return replace(found, problems=tuple(problems))


@contextmanager
def registering(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_type: str,
    *,
    parent: str = ORCHESTRATOR,
    agent_id: str | None = None,
    reuse: bool = False,
    status: str = "running",
    prompt: str = "",
    fields: Mapping[str, Any] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[Registration]:
    """Registers an agent while it is deployed, and withdraws it if that fails.

    One that was there already (`reuse`) stays.

    Args:
        task_registry: As `register_agent`.
        global_registry: As `register_agent`.
        agent_type: As `register_agent`.
        parent: As `register_agent`.
        agent_id: As `register_agent`.
        reuse: As `register_agent`.
        status: As `register_agent`.
        prompt: As `register_agent`.
        fields: As `register_agent`.
        timeout: As `register_agent`; the withdrawal waits as long.

    Raises:
        RegistryError, TypeError, ValueError: As `register_agent`. What is raised in the
            block passes through; where the agent could not be withdrawn either, from
            both registries, a note on it says so.

    Example:
        >>> with registering(task, global_, "fixer", prompt=prompt) as agent:
        ...     start_session(agent.tmux_session, agent.agent_id)
    """
    registered_by = os.getpid()
    agent = register_agent(
        task_registry,
        global_registry,
        agent_type,
        parent=parent,
        agent_id=agent_id,
        reuse=reuse,
        status=status,
        prompt=prompt,
        fields=fields,
        timeout=timeout,
    )
    try:
        yield agent
    except BaseException as error:
        # A child that was forked in the block ends with an exception, too.
        if not agent.existing and os.getpid() == registered_by:
            try:
                withdrawal = withdraw_agent(
                    task_registry, global_registry, agent.agent_id, timeout=timeout
                )
            except RegistryError as failure:
                hand_on(failure)
                error.add_note(f"agent {agent.agent_id} could not be withdrawn: {failure}")
            else:
                for problem in withdrawal.problems:
                    error.add_note(f"agent {agent.agent_id} could not be withdrawn: {problem}")
        raise


def withdraw_agent(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_id: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> Withdrawal:
    """Takes an agent out of both registries as if it had never been registered.

    For a deployment that failed. Whoever has worked is terminated instead. Where the
    global registry cannot be had it still lists the agent, until a clean-up ends it there.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's, or None; left out where it is not there.
        agent_id: Which agent.
        timeout: Seconds to wait for the locks.

    Raises:
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    task = Path(task_registry)
    global_ = path_or_none(global_registry)
    with naming(task), editing_pair(task, global_, timeout) as (in_task, in_global, problems):
        task_id = in_task.registry.get("task_id")
        in_task.changed = edits.remove_agent(in_task.registry, agent_id)
        if in_global is not None:
            in_global.changed = edits.remove_agent(
                in_global.registry, agent_id, is_of_task(task_id)
            )
        there = in_task.changed
    _log.info("Withdrew agent %s from %s", agent_id, task)
    return Withdrawal(there, tuple(problems))


def is_of_task(task_id: object) -> Callable[[Json], bool]:
    """Whether an entry of the global registry is of this task."""
    return lambda entry: entry.get("task_id", task_id) == task_id


def _find(task: Json, wish: _Wish) -> Registration | None:
    entry = find_existing_agent(task.get("task_id", ""), wish.type, task)
    if entry is None:
        return None
    agent_id = next(id_ for id_, each in agent_entries(task) if each is entry)
    if not agent_id:
        # Nobody could report for it, or end it.
        return None
    parent = str(entry.get("parent") or ORCHESTRATOR)
    depth = entry.get("depth")
    if not edits.is_count(depth) or depth < 1:
        depth = _depth_below(_by_id(agent_entries(task)), parent)
    session = str(entry.get("tmux_session") or SESSION_PREFIX + agent_id)
    return Registration(agent_id, session, parent, depth, existing=True)


def _by_id(entries: Sequence[tuple[str | None, Json]]) -> dict[str, Json]:
    return {id_: entry for id_, entry in entries if id_}


def _depth_below(by_id: Mapping[str, Json], parent: object) -> int:
    """The depth of an agent that this one starts; 1 below the orchestrator and below nobody.

    From the nearest agent upward that states its own.
    """
    depth, above, seen = 1, parent, set[str]()
    while isinstance(above, str) and above in by_id and above not in seen:
        stated = by_id[above].get("depth")
        if edits.is_count(stated) and stated > 0:
            return depth + stated
        seen.add(above)
        depth += 1
        above = by_id[above].get("parent")
    return depth


def _check_limits(task: Json, entries: Sequence[tuple[str | None, Json]], depth: int) -> None:
    listed = len(entries)
    active = sum(counts_as_active(task, entry) for _, entry in entries)
    for limit, found, full, what in (
        ("max_agents", listed, listed + 1, f"{listed} agents are listed already"),
        ("max_concurrent", active, active + 1, f"{active} agents are active already"),
        ("max_depth", depth, depth, f"the agent would be at depth {depth}"),
    ):
        allowed = task.get(limit)
        if allowed is None:
            continue
        if not edits.is_count(allowed):
            raise WrongShapeError(limit, f"is {allowed!r:.80}, not a whole number")
        if full > allowed:
            raise LimitReachedError(limit, allowed, found, what)


def _add(task: Json, global_: Json, wish: _Wish) -> Json:
    """Adds the agent to the task's registry; returns its entry.

    Args:
        task: The task's registry; changed in place.
        global_: The global one, whose ids are taken too.
        wish: Who is to be added.
    """
    entries = agent_entries(task)
    by_id = _by_id(entries)
    if isinstance(wish.parent, str) and wish.parent not in {ORCHESTRATOR, *by_id}:
        raise AgentNotFoundError(wish.parent)
    depth = _depth_below(by_id, wish.parent)
    _check_limits(task, entries, depth)
    agent_id = wish.agent_id
    if agent_id is None:
        agent_id = generate_unique_agent_id(wish.type, task, global_)
        if not is_safe_name(agent_id):
            raise WrongShapeError("type", "is too long to be part of an id")
    elif not verify_agent_id_unique(agent_id, task, global_):
        raise DuplicateAgentError(agent_id)
    now = timestamp()
    entry: Json = {
        "id": agent_id,
        "type": wish.type,
        "tmux_session": SESSION_PREFIX + agent_id,
        "parent": wish.parent,
        "depth": depth,
        "status": wish.status,
        "started_at": now,
        "progress": 0,
        "last_update": now,
        "prompt": wish.prompt[:_PROMPT_LENGTH],
        **wish.fields,
    }
    edits.add_agent(task, entry, wish.parent)
    return entry


def _list(global_: Json, task_id: object, entry: Json) -> None:
    """Adds an agent of a task to the global registry.

    Raises:
        WrongShapeError: `agents` there cannot take one; nothing was changed.
    """
    agent_id = entry["id"]
    kept = ("type", "parent", "started_at", "tmux_session")
    listed = {"id": agent_id, "task_id": task_id} | {name: entry[name] for name in kept}
    edits.add_agent(global_, listed, entry["parent"])
    if isinstance(global_["agents"], dict):
        # There the key is the id.
        del global_["agents"][agent_id]["id"]
