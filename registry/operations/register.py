"""Registers an agent before the agent is started, and withdraws the agent if the start fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.dataclass import dataclass, field, replace
from registry.errors import (
    AgentNotFoundError,
    DuplicateAgentError,
    LimitReachedError,
    RegistryError,
    WrongShapeError,
)
from registry.pair import edited_pair, left_out
from registry.schema import counters, edits
from registry.schema.arguments import RegistryPath, further_fields, path_or_none, timestamp
from registry.schema.depth import depth_below
from registry.schema.ids import (
    find_existing_agent,
    generate_unique_agent_id,
    verify_agent_id_unique,
)
from registry.schema.records import ORCHESTRATOR, agent_entries, counts_as_active
from registry.schema.session_names import SESSION_PREFIX
from registry.schema.statuses import ACTIVE_STATUSES
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import is_safe_name
from registry.storage.locked_file import DEFAULT_TIMEOUT, Edit
from registry.text import quoted_name

_log = logging.getLogger(__name__)

_PROMPT_LENGTH = 200

Fields = Mapping[str, Any] | Callable[[str], Mapping[str, Any]] | None
"""Further fields of an agent's entry, or a function that returns such fields for an agent's id."""

_SET_HERE = frozenset({"id", "type", "parent", "depth", "status", "started_at", "prompt"})


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered agent.

    Attributes:
        agent_id: The agent's id.
        tmux_session: The name for the agent's session.
        parent: The id of the agent that starts this agent, or "orchestrator".
        depth: The level below the orchestrator: 1 for the orchestrator's agents, 2 for their
            children, ...
        existing: Whether the agent was already registered before the call. If so, nothing was
            written.
        problems: The reasons why the global registry could not be written.
        status: The status of the agent in the task's registry.
        registries: The paths of the task's registry and of the global registry.
    """

    agent_id: str
    tmux_session: str
    parent: str
    depth: int
    existing: bool = False
    problems: tuple[str, ...] = ()
    status: str = "running"
    registries: tuple[Path, Path | None] | None = field(default=None, compare=False, repr=False)

    def withdraw(self, *, timeout: float = DEFAULT_TIMEOUT) -> Withdrawal:
        """Removes the agent from both registries, because its start failed.

        Call this method after `register_agent`, or in a `registering` block that does not raise
        an exception. A second call changes nothing.

        Args:
            timeout: How long to wait for the locks, in seconds.

        Raises:
            ValueError: The agent was already registered before (`existing`).
            TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
        """
        if self.existing or self.registries is None:
            raise ValueError(
                f"agent {self.agent_id} was not registered by this call, so it is not withdrawn; "
                "use withdraw_agent() or terminate_agents()"
            )
        return withdraw_agent(*self.registries, self.agent_id, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The result of removing an agent from the registries.

    Attributes:
        was_there: Whether the task's registry listed the agent.
        problems: The reasons why the global registry could not be written.
    """

    was_there: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _NewAgent:
    """The agent to register, from the arguments of `register_agent`."""

    type: str
    parent: str
    agent_id: str | None
    reuse: bool
    status: str
    prompt: str
    fields: Callable[[str], Json]


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
    fields: Fields = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Registration:
    """Adds an agent to the task's registry and to the global registry, in one commit.

    While this function holds the locks of both registries, it does these steps:

    - It checks the limits in the task's registry: `max_agents` (listed agents),
      `max_concurrent` (active agents) and `max_depth`.
    - It creates an id that neither registry uses.
    - It sets the new agent's depth to the parent's depth plus 1.
    - It adapts the counters and the hierarchy.

    Start the session immediately after this call. An active agent that has no session some seconds
    after its `started_at` is called dead.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's global registry, or None. If the file is missing, broken
            or locked for too long, only the task's registry is changed. Unless the file is
            missing, `Registration.problems` has the reason.
        agent_type: The type of the agent; the first part of a new id.
        parent: The id of the agent that starts the new agent.
        agent_id: The id of the new agent; None to create an id.
        reuse: Whether to return an active agent of the same type, if such an agent exists. In this
            case nothing is written, and `Registration.status` is the status of that agent.
        status: The status of the new agent, which must be an active status.
        prompt: The instructions for the agent; the first 200 characters are written.
        fields: Further fields of the agent's entry in the task's registry, for example
            ``tmux_session`` if the session's name is not "agent_" and the id. A function that
            receives the id and returns these fields is also accepted. The function is called
            while the locks are held.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        LimitReachedError: A limit does not allow another agent; the error names the limit.
        AgentNotFoundError: The task's registry does not list the parent.
        DuplicateAgentError: The id is already used.
        WrongShapeError: The type or id cannot be part of a file name, the status is not active,
            or an argument or a field of the registry has the wrong type.
        TypeError, ValueError: `fields` contains a value that JSON cannot represent, or a field
            that this function sets itself.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    extra = _fields_of(fields)
    if not (isinstance(status, str) and status in ACTIVE_STATUSES):
        raise WrongShapeError("status", f"must be one of {', '.join(sorted(ACTIVE_STATUSES))}")
    if not isinstance(prompt, str):
        raise WrongShapeError("prompt", "must be a string")
    named = (
        (("type", agent_type),) if agent_id is None else (("type", agent_type), ("id", agent_id))
    )
    for part, name in named:
        if not (isinstance(name, str) and is_safe_name(name)):
            raise WrongShapeError(
                part,
                f"is {quoted_name(name, 80)}: use 1 to 128 letters, digits, '_', '-' and '.', "
                "without a '.' at the start",
            )
    new_agent = _NewAgent(agent_type, parent, agent_id, reuse, status, prompt, extra)
    task = Path(task_registry)
    global_ = path_or_none(global_registry)

    def register(in_task: Edit, in_global: Edit | None, problems: list[str]) -> Registration:
        registration = _find(in_task.registry, new_agent) if reuse else None
        if registration is None:
            listed = in_global.registry if in_global else {}
            entry = _add(in_task.registry, listed, new_agent)
            in_task.changed = True
            if in_global is not None:
                try:
                    _list(in_global.registry, in_task.registry.get("task_id"), entry)
                except WrongShapeError as error:
                    hand_on(error)
                    problems.append(left_out(error.named(in_global.path)))
                else:
                    in_global.changed = True
            registration = Registration(
                entry["id"],
                entry["tmux_session"],
                entry["parent"],
                entry["depth"],
                status=entry["status"],
            )
        return replace(registration, problems=tuple(problems), registries=(task, global_))

    registration = edited_pair(task, global_, register, timeout)
    _log.info("Registered agent %s in %s", registration.agent_id, task)
    return registration


def _fields_of(fields: Fields) -> Callable[[str], Json]:
    """Converts `fields` to a function that returns the checked fields for a given agent's id."""
    if callable(fields):
        return lambda agent_id: _checked(fields(agent_id))
    checked = _checked(fields if fields is not None else {})
    return lambda _: checked


def _checked(fields: Mapping[str, Any]) -> Json:
    extra = further_fields(fields, _SET_HERE, "register_agent")
    if not isinstance(extra.get("tmux_session", ""), str):
        raise WrongShapeError("tmux_session", "must be a string")
    return extra


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
    fields: Fields = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[Registration]:
    """Registers an agent, and withdraws the agent if the `with` block raises an exception.

    An agent that was already registered (`reuse`) is not withdrawn. If the start fails without an
    exception, call `Registration.withdraw`. If the withdrawal fails, the reason is added as a note
    to the exception of the block.

    Args:
        task_registry: See `register_agent`.
        global_registry: See `register_agent`.
        agent_type: See `register_agent`.
        parent: See `register_agent`.
        agent_id: See `register_agent`.
        reuse: See `register_agent`.
        status: See `register_agent`.
        prompt: See `register_agent`.
        fields: See `register_agent`.
        timeout: How long to wait for the locks, in seconds; used for the registration and for the
            withdrawal.

    Raises:
        RegistryError, TypeError, ValueError: See `register_agent`.

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
        # A process that was forked in the block also ends with an exception here.
        if not agent.existing and os.getpid() == registered_by:
            withdraw_after(error, agent, timeout)
        raise


def withdraw_after(error: BaseException, agent: Registration, timeout: float) -> None:
    """Withdraws an agent whose start raised an exception.

    Args:
        error: The exception. If the withdrawal fails, the exception gets a note with the reason.
        agent: The agent, which this process registered.
        timeout: How long to wait for the locks, in seconds.
    """
    try:
        problems = agent.withdraw(timeout=timeout).problems
    except RegistryError as failure:
        hand_on(failure)
        problems = (str(failure),)
    for problem in problems:
        error.add_note(f"cannot withdraw agent {agent.agent_id}: {problem}")


def withdraw_agent(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_id: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> Withdrawal:
    """Removes an agent from both registries after its start failed.

    If the agent has already worked, call `terminate_agents` instead. A global registry that cannot
    be locked or read lists the agent until the next clean-up.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's global registry, or None. It may be missing.
        agent_id: The id of the agent.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    task = Path(task_registry)
    global_ = path_or_none(global_registry)

    def withdraw(in_task: Edit, in_global: Edit | None, problems: list[str]) -> Withdrawal:
        task_id = in_task.registry.get("task_id")
        in_task.changed = edits.remove_agent(in_task.registry, agent_id)
        if in_global is not None:
            in_global.changed = edits.remove_agent(
                in_global.registry, agent_id, is_of_task(task_id)
            )
        return Withdrawal(in_task.changed, tuple(problems))

    withdrawal = edited_pair(task, global_, withdraw, timeout)
    _log.info("Withdrew agent %s from %s", agent_id, task)
    return withdrawal


def is_of_task(task_id: object) -> Callable[[Json], bool]:
    """Returns a function that tells whether an entry of the global registry is of this task.

    An entry without a `task_id` counts as an entry of this task.
    """
    return lambda entry: entry.get("task_id", task_id) == task_id


def _find(task: Json, new_agent: _NewAgent) -> Registration | None:
    entry = find_existing_agent(task.get("task_id", ""), new_agent.type, task)
    if entry is None:
        return None
    agent_id = next(id_ for id_, other in agent_entries(task) if other is entry)
    if not agent_id:
        # Without an id the agent cannot report, and cannot be ended.
        return None
    parent = str(entry.get("parent") or ORCHESTRATOR)
    depth = entry.get("depth")
    if not counters.is_count(depth) or depth < 1:
        depth = depth_below(_by_id(agent_entries(task)), parent)
    session = str(entry.get("tmux_session") or SESSION_PREFIX + agent_id)
    status = str(entry.get("status") or "running")
    return Registration(agent_id, session, parent, depth, existing=True, status=status)


def _by_id(entries: Sequence[tuple[str | None, Json]]) -> dict[str, Json]:
    return {id_: entry for id_, entry in entries if id_}


def _check_limits(task: Json, entries: Sequence[tuple[str | None, Json]], depth: int) -> None:
    listed = len(entries)
    active = sum(counts_as_active(task, entry) for _, entry in entries)
    for limit, found, full, what in (
        ("max_agents", listed, listed + 1, f"{listed} agents are already listed"),
        ("max_concurrent", active, active + 1, f"{active} agents are already active"),
        ("max_depth", depth, depth, f"the agent would be at depth {depth}"),
    ):
        allowed = task.get(limit)
        if allowed is None:
            continue
        if not counters.is_count(allowed):
            raise WrongShapeError(limit, f"is {allowed!r:.80}, not an integer")
        if full > allowed:
            raise LimitReachedError(limit, allowed, found, what)


def _add(task: Json, global_: Json, new_agent: _NewAgent) -> Json:
    """Adds an agent to the task's registry, and returns the agent's entry.

    Args:
        task: The task's decoded registry; changed in place.
        global_: The decoded global registry, which must not contain the agent's id.
        new_agent: The agent to add.
    """
    entries = agent_entries(task)
    by_id = _by_id(entries)
    if isinstance(new_agent.parent, str) and new_agent.parent not in {ORCHESTRATOR, *by_id}:
        raise AgentNotFoundError(new_agent.parent)
    depth = depth_below(by_id, new_agent.parent)
    _check_limits(task, entries, depth)
    agent_id = new_agent.agent_id
    if agent_id is None:
        agent_id = generate_unique_agent_id(new_agent.type, task, global_)
        if not is_safe_name(agent_id):
            raise WrongShapeError("type", "is too long to be part of an id")
    elif not verify_agent_id_unique(agent_id, task, global_):
        raise DuplicateAgentError(agent_id)
    now = timestamp()
    entry: Json = {
        "id": agent_id,
        "type": new_agent.type,
        "tmux_session": SESSION_PREFIX + agent_id,
        "parent": new_agent.parent,
        "depth": depth,
        "status": new_agent.status,
        "started_at": now,
        "progress": 0,
        "last_update": now,
        "prompt": new_agent.prompt[:_PROMPT_LENGTH],
        **new_agent.fields(agent_id),
    }
    edits.add_agent(task, entry, new_agent.parent)
    return entry


def _list(global_: Json, task_id: object, entry: Json) -> None:
    """Adds an agent of a task to the global registry.

    Raises:
        WrongShapeError: A field of the global registry has the wrong type; nothing was changed.
    """
    agent_id = entry["id"]
    kept = ("type", "parent", "started_at", "tmux_session")
    listed = {"id": agent_id, "task_id": task_id} | {name: entry[name] for name in kept}
    edits.add_agent(global_, listed, entry["parent"])
    if isinstance(global_["agents"], dict):
        # In an object the key is the id.
        del global_["agents"][agent_id]["id"]
