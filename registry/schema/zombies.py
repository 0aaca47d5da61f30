"""Finds active agents in JSON registries whose session does not exist. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable

from registry.errors import WrongShapeError
from registry.schema.arguments import strings
from registry.schema.records import agent_entries, is_certainly_active
from registry.schema.session_names import is_tmux_name_certain, spellings
from registry.schema.statuses import is_terminal
from registry.schema.timestamps import Instant, parse_time
from registry.storage.codec import Json

START_GRACE = 5.0
"""For this many seconds after an agent's start, the agent is not called dead.

The caller lists the sessions before the registry is read. If an agent is registered between these
two steps, the agent's session is missing from the list.
"""

END_DELAY = 10.0
"""For this many seconds after an agent reported its end, the orchestrator may still write it.

The orchestrator appends the report to the agent's progress file first. Then it ends the session,
and writes the task's registry and the global registry up to 4 s later. In this time:

- The agent is not called dead. The time counts from the report, not from the moment when the
  session was first missing: a command that has just started cannot know that moment.
- The end is not copied from the task's registry to the global registry. The orchestrator decreases
  `active_agents`, whatever status the agent's entry in the global registry has. If muster had
  already written the end to this entry, the counter would become too low.
"""


def session_names(sessions: Iterable[str]) -> frozenset[str]:
    """Returns the names of the sessions as a set.

    Raises:
        TypeError: `sessions` is a single string, or contains an object that is not a string.
    """
    return frozenset(strings("sessions", sessions))


def check_grace(grace: float) -> None:
    """Checks that a grace period is a number of seconds.

    Raises:
        WrongShapeError: The grace period is not a finite number.
    """
    number = isinstance(grace, (int, float)) and not isinstance(grace, bool)
    if not number or not math.isfinite(grace):
        raise WrongShapeError("grace", f"is {grace!r:.80}, not a number of seconds")


def zombies_in(
    registry: Json, live: Collection[str], listed_at: Instant, grace: float
) -> list[tuple[str | None, Json]]:
    """Returns the ids and entries of active agents whose session does not exist.

    Args:
        registry: A task's registry or the global registry, decoded.
        live: The names of the existing sessions.
        listed_at: When the sessions were listed.
        grace: Agents that started after `listed_at`, or less than this many seconds before
            `listed_at`, are left out. A start time that is more than `grace` seconds in the future
            is ignored.
    """
    zombies = []
    now, as_of = time.time(), listed_at.by_clock()
    for agent_id, entry in agent_entries(registry):
        session = named_session(entry)
        # A session with the replaced spelling may belong to another agent. This cannot be known.
        if session is None or not spellings(session).isdisjoint(live):
            continue
        started = parse_time(entry.get("started_at"))
        # This includes agents that were registered while this process waited for the lock.
        just_started = started is not None and as_of - grace < started < now + grace
        if is_certainly_active(registry, entry) and not just_started:
            zombies.append((agent_id, entry))
    return zombies


def ended_just_now(entry: Json, now: float) -> bool:
    """Returns whether an agent reported its end less than `END_DELAY` seconds before `now`.

    An agent's report sets `last_update`. A kill, or a completion by another process, does not set
    this field.

    Args:
        entry: The agent's entry in the task's registry.
        now: The time of the check, in seconds since the epoch.
    """
    if not is_terminal(entry.get("status")):
        return False
    reported = parse_time(entry.get("last_update"))
    return reported is not None and now - END_DELAY < reported <= now


def named_session(entry: Json) -> str | None:
    """Returns the `tmux_session` field of an agent's entry.

    The result is None if the field is missing, or if the name of this session in tmux is not
    certain (`is_tmux_name_certain`).
    """
    session = entry.get("tmux_session")
    if not isinstance(session, str) or not session or not is_tmux_name_certain(session):
        return None
    return session
