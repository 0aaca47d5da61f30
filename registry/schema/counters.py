"""What a registry's counters must say, and which of its agents have no session. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from registry.errors import WrongShapeError
from registry.schema import edits
from registry.schema.arguments import strings
from registry.schema.records import (
    agent_entries,
    counts_as_active,
    is_tmux_name_certain,
    parse_time,
    tmux_name,
)
from registry.storage.codec import Json

START_GRACE = 5.0
"""Seconds after its start in which an agent without a session is not called dead.

The list of sessions was taken before the registry is read, so an agent that was
registered in between is missing from it.
"""


@dataclass(frozen=True, slots=True)
class CounterDrift:
    """A counter that differs from what it counts.

    Attributes:
        written: The value in the file, of whatever type.
        counted: What it should be.
    """

    counter: str
    written: Any
    counted: int


def session_names(sessions: Iterable[str]) -> frozenset[str]:
    """Names of sessions; a lone string is no collection of them, and bytes are no names.

    Raises:
        TypeError: It is one, or something in it is no string: whoever is compared with
            that is missing.
    """
    return frozenset(strings("sessions", sessions))


def check_grace(grace: float) -> None:
    """Makes sure that a grace is one.

    Raises:
        WrongShapeError: It is no finite number: whoever is compared with that is not new.
    """
    number = isinstance(grace, (int, float)) and not isinstance(grace, bool)
    if not number or not math.isfinite(grace):
        raise WrongShapeError("grace", f"is {grace!r:.80}, no number of seconds")


def zombies_in(
    registry: Json, live: Collection[str], as_of: float, grace: float
) -> list[tuple[str | None, Json]]:
    """The active agents of a decoded registry whose session is gone, with their ids.

    Args:
        registry: A task's registry or the global one.
        live: Names of the sessions that there are.
        as_of: When those were listed, in seconds since the epoch.
        grace: Agents started since so many seconds before it are left out. (Not those
            whose start is yet to come: their clock is wrong.)
    """
    found = []
    now = time.time()
    for agent_id, entry in agent_entries(registry):
        session = named_session(entry)
        if session is None or session in live:
            continue
        started = parse_time(entry.get("started_at"))
        # Also who was registered while this waited for the lock.
        just_started = started is not None and as_of - grace < started < now + grace
        if counts_as_active(registry, entry) and not just_started:
            found.append((agent_id, entry))
    return found


def counter_drifts(registry: Json) -> tuple[CounterDrift, ...]:
    """Counters of agents that differ from what they count. Pure.

    Args:
        registry: A decoded registry, of a task or the global one, whose agents can be
            counted (`changes.check_agents`).
    """
    names = edits.counter_names(registry)
    counted = {
        names.active: edits.count_active(registry),
        names.total: edits.count_all(registry),
    }
    if names.completed is not None:
        counted[names.completed] = edits.count_completed(registry)
    return tuple(
        CounterDrift(counter, registry.get(counter), right)
        for counter, right in counted.items()
        if not edits.is_count(registry.get(counter)) or registry[counter] != right
    )


def named_session(entry: Json) -> str | None:
    """The session of an agent, by the name that tmux gives it; None if nobody can tell."""
    session = entry.get("tmux_session")
    if not isinstance(session, str) or not session or not is_tmux_name_certain(session):
        return None
    return tmux_name(session)
