"""Compares one registry with the live sessions, and repairs the differences.

The caller passes the names of the live sessions; this module does not query tmux. If tmux could
not be queried, the caller passes None, and no agent is called dead.

A registry may be older than the database of its workspace
(`registry.schema.layout.database_beside`). Then nothing is repaired, and a warning gives the
reason.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from registry.dataclass import dataclass
from registry.errors import WrongShapeError, naming
from registry.operations.own_ends import ENDING, own_ends
from registry.schema import edits
from registry.schema.arguments import timestamp
from registry.schema.counters import CounterDrift, counter_drifts
from registry.schema.layout import database_beside, find_database
from registry.schema.records import agent_entries
from registry.schema.session_names import SESSION_PREFIX, replaced_spellings, spellings
from registry.schema.statuses import is_terminal
from registry.schema.timestamps import Instant
from registry.schema.zombies import (
    START_GRACE,
    check_grace,
    named_session,
    session_names,
    zombies_in,
)
from registry.snapshots import read_registry
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.locked_file import Edit, edited
from registry.storage.partner import workspace_of

_log = logging.getLogger(__name__)


GONE = "session_not_found"
"""The `termination_reason` of an agent whose session no longer exists."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The result of `registry_health_check`.

    Attributes:
        path: The registry.
        sessions_known: Whether a list of sessions was given. If not, `zombies`, `leaked` and
            `orphans` are empty, because they cannot be known.
        zombies: The ids of active agents whose session does not exist. Agents that reported their
            end in the last ten seconds are left out.
        leaked: The ids of agents with a terminal status whose session still exists.
        orphans: The sessions that are named like an agent's session, but are neither in the
            registry nor in `other_sessions`.
        drifts: The counters with a wrong value.
        recommendations: The recommended actions, one sentence each.
        warnings: The reasons why parts of the registry could not be checked, one sentence each.
    """

    path: Path
    sessions_known: bool
    zombies: tuple[str, ...]
    leaked: tuple[str, ...]
    orphans: tuple[str, ...]
    drifts: tuple[CounterDrift, ...]
    recommendations: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether the check found nothing wrong, and there is no warning."""
        return not (self.zombies or self.leaked or self.orphans or self.drifts or self.warnings)


@dataclass(frozen=True, slots=True)
class Repair:
    """One field that `validate_and_repair_registry` sets, or would set.

    Attributes:
        agent_id: The agent's id; empty if the agent has no id; None for a field of the registry
            itself.
        field: The name of the field.
        before: The value in the file; None if the field is missing.
        after: The new value.
    """

    agent_id: str | None
    field: str
    before: Any
    after: Any


def registry_health_check(
    registry_path: str | os.PathLike[str],
    live_sessions: Collection[str] | None,
    *,
    other_sessions: Collection[str] = (),
    grace: float = START_GRACE,
) -> HealthReport:
    """Compares one registry with the live sessions. Changes no file, and waits for no lock.

    If a database may have newer data of the agents (`database_beside`), orphans and counters are
    not reported. In each workspace with a database, orphans are not reported, because the database
    may list the sessions. `HealthReport.warnings` has the reason.

    Args:
        registry_path: A task's registry or the global registry.
        live_sessions: The names of all existing tmux sessions; None if tmux could not be
            queried.
        other_sessions: The names of sessions that other registries list. These sessions are not
            orphans.
        grace: An agent that started less than this many seconds before the call is not called
            dead.

    Raises:
        WrongShapeError: `grace` is not a finite number.
        FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    check_grace(grace)
    listed_at = Instant.now()
    path = Path(registry_path)
    registry = read_registry(path)
    database = database_beside(path)
    other = None if database is not None else find_database(workspace_of(path))
    warnings: tuple[str, ...] = () if database is None else (str(database),)
    if other is not None:
        warnings = (f"orphans are not reported, because other {other}",)
    drifts: tuple[CounterDrift, ...] = ()
    try:
        edits.check_agents(registry)
        drifts = counter_drifts(registry) if database is None else ()
    except WrongShapeError as error:
        hand_on(error)
        warnings += (str(error),)
    zombies: tuple[str, ...] = ()
    leaked: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    if live_sessions is not None:
        live, others = session_names(live_sessions), session_names(other_sessions)
        dead = zombies_in(registry, live, listed_at, grace)
        ends = own_ends(path, registry, dead)
        zombies = tuple(id_ or "" for id_, entry in dead if ends.get(id(entry), ()) is not ENDING)
        entries = agent_entries(registry)
        listed = {str(entry.get("tmux_session")) for _, entry in entries}
        replaced, _ = replaced_spellings(listed | others)
        leaked = tuple(
            id_ or ""
            for id_, entry in entries
            if is_terminal(entry.get("status"))
            and (name := named_session(entry)) is not None
            and (name in live or replaced.get(name) in live)
        )
        unlisted = live.difference(*map(spellings, listed | others))
        if database is None and other is None:
            orphans = tuple(sorted(n for n in unlisted if n.startswith(SESSION_PREFIX)))
    return HealthReport(
        path=path,
        sessions_known=live_sessions is not None,
        zombies=zombies,
        leaked=leaked,
        orphans=orphans,
        drifts=drifts,
        recommendations=tuple(
            _recommend(live_sessions, zombies, leaked, orphans, drifts)
            if database is None
            else _recommend_beside_database(live_sessions, zombies, leaked)
        ),
        warnings=warnings,
    )


def _recommend(
    live: Collection[str] | None,
    zombies: Collection[str],
    leaked: Collection[str],
    orphans: Collection[str],
    drifts: Collection[CounterDrift],
) -> list[str]:
    advice = []
    if live is None:
        advice.append("tmux could not be queried: find the reason before you repair anything.")
    if zombies:
        advice.append(
            f"{len(zombies)} active agents have no session: "
            "validate_and_repair_registry() terminates them."
        )
    if leaked:
        advice.append(
            f"{len(leaked)} agents have a terminal status but still a session: kill the sessions."
        )
    if orphans:
        advice.append(
            f"{len(orphans)} sessions belong to no agent of this registry: check these sessions, "
            "then kill them."
        )
    if drifts:
        names = ", ".join(drift.counter for drift in drifts)
        advice.append(
            f"Counters are wrong ({names}): validate_and_repair_registry() corrects them."
        )
    return advice


def _recommend_beside_database(
    live: Collection[str] | None, zombies: Collection[str], leaked: Collection[str]
) -> list[str]:
    advice = _recommend(live, (), (), (), ())
    if zombies or leaked:
        advice.append(
            f"{len(zombies) + len(leaked)} agents have a status that does not match their "
            "sessions: first check the database, which may have a newer status."
        )
    return advice


def validate_and_repair_registry(
    registry_path: str | os.PathLike[str],
    live_sessions: Collection[str] | None,
    dry_run: bool = False,
    *,
    grace: float = START_GRACE,
) -> tuple[Repair, ...]:
    """Terminates zombies in a registry, and repairs the registry's counters.

    A zombie is an active agent whose session does not exist. A zombie gets the status
    `terminated`, the time `terminated_at`, and the `termination_reason` "session_not_found". A
    zombie that itself reported its end gets this end, with its message as the reason. In the first
    ten seconds after its report, it is not changed, because the orchestrator writes its end.

    If a database may have newer data of the agents (`database_beside`), nothing is repaired.

    Args:
        registry_path: A task's registry or the global registry.
        live_sessions: The names of all existing tmux sessions; None to repair only the counters.
        dry_run: Whether to return the repairs without writing them.
        grace: An agent that started less than this many seconds before the call is not terminated.

    Returns:
        All fields that were set, or would be set; empty if nothing needs repair.

    Raises:
        ValueError: `agents` contains an entry that is not an object, or `grace` is not a finite
            number; nothing was changed.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    check_grace(grace)
    listed_at = Instant.now()
    path = Path(registry_path)
    if dry_run:
        registry = read_registry(path)
        with naming(path):
            repairs = _repair(path, registry, live_sessions, listed_at, grace)
    else:

        def repair(edit: Edit) -> list[Repair]:
            made = _repair(path, edit.registry, live_sessions, listed_at, grace)
            edit.changed = bool(made)
            return made

        repairs = edited(path, repair)
        _log.info("Repaired %d fields in %s", len(repairs), path)
    return tuple(repairs)


def _repair(
    path: Path, registry: Json, live: Collection[str] | None, listed_at: Instant, grace: float
) -> list[Repair]:
    edits.check_agents(registry)
    if (database := database_beside(path)) is not None:
        _log.warning("Nothing is repaired in %s: %s", path, database)
        return []
    repairs = []
    if live is not None:
        usual = "terminated", {"terminated_at": timestamp(), "termination_reason": GONE}
        dead = zombies_in(registry, session_names(live), listed_at, grace)
        ends = own_ends(path, registry, dead)
        for agent_id, entry in dead:
            end = ends.get(id(entry), usual)
            if end is ENDING:
                continue
            for field, value in {"status": end[0], **end[1]}.items():
                repairs.append(Repair(agent_id or "", field, entry.get(field), value))
                entry[field] = value
    for drift in counter_drifts(registry):
        repairs.append(Repair(None, drift.counter, drift.written, drift.counted))
        registry[drift.counter] = drift.counted
    return repairs
