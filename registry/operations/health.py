"""One registry against a set of live sessions: what is wrong, and setting it right.

The live sessions are an argument: nothing here knows tmux. None stands for
"tmux could not be asked", and then no agent is called dead.

In a workspace with a database (`registry.schema.layout.find_database`) the JSON registries may
be stale: nobody keeps their counters, the database may list what looks like an orphan, and
an agent that seems dead may have completed. That is said, and nothing is repaired.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import WrongShapeError, naming
from registry.schema import edits
from registry.schema.arguments import timestamp
from registry.schema.counters import (
    START_GRACE,
    CounterDrift,
    check_grace,
    counter_drifts,
    named_session,
    session_names,
    zombies_in,
)
from registry.schema.layout import database_beside
from registry.schema.records import (
    SESSION_PREFIX,
    agent_entries,
    is_terminal,
    tmux_name,
)
from registry.snapshots import read_registry
from registry.storage.codec import Json
from registry.storage.interruption import hand_on
from registry.storage.locked_file import editing

_log = logging.getLogger(__name__)


GONE = "session_not_found"
"""The `termination_reason` of an agent whose session is gone."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What `registry_health_check` found.

    Attributes:
        sessions_known: False when no list of sessions was given: `zombies`,
            `leaked` and `orphans` are then empty because nobody could tell.
        zombies: Ids of active agents whose session is gone.
        leaked: Ids of terminal agents whose session is still there.
        orphans: Sessions named like an agent's that no agent accounts for.
        drifts: Counters that differ from what they count.
        recommendations: What to do, one sentence each.
        warnings: Why something could not be checked, one sentence each.
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
        """Whether nothing was found."""
        return not (self.zombies or self.leaked or self.orphans or self.drifts or self.warnings)


@dataclass(frozen=True, slots=True)
class Repair:
    """One field that `validate_and_repair_registry` set, or would set.

    Attributes:
        agent_id: None for a field of the registry itself; empty for an agent without id.
        before: The value in the file, None where it was missing.
        after: The value that is written.
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
    """Holds one registry against the live sessions. Reads only, waits for no lock.

    In a workspace with a database no orphans and no counters are told, and
    `HealthReport.warnings` says so.

    Args:
        registry_path: A task's registry or the global one.
        live_sessions: Names of all tmux sessions that are there, or None if
            tmux could not be asked.
        other_sessions: Names that other registries account for, which are
            therefore no orphans.
        grace: Agents started within that many seconds are not called dead.

    Raises:
        WrongShapeError: The grace is no number.
        FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    check_grace(grace)
    as_of = time.time()
    path = Path(registry_path)
    registry = read_registry(path)
    database = database_beside(path)
    warnings: tuple[str, ...] = () if database is None else (str(database),)
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
        zombies = tuple(id_ or "" for id_, _ in zombies_in(registry, live, as_of, grace))
        entries = agent_entries(registry)
        leaked = tuple(
            id_ or ""
            for id_, entry in entries
            if is_terminal(entry.get("status")) and named_session(entry) in live
        )
        listed = {tmux_name(str(entry.get("tmux_session"))) for _, entry in entries}
        unlisted = live - listed - frozenset(map(tmux_name, others))
        if database is None:
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
        advice.append("tmux could not be asked: find out why before anything is repaired.")
    if zombies:
        advice.append(
            f"{len(zombies)} active agents have no session: "
            "validate_and_repair_registry() terminates them."
        )
    if leaked:
        advice.append(f"{len(leaked)} agents are through but left a session: kill it.")
    if orphans:
        advice.append(f"{len(orphans)} sessions belong to no agent here: look, then kill them.")
    if drifts:
        names = ", ".join(drift.counter for drift in drifts)
        advice.append(f"Counters are off ({names}): validate_and_repair_registry() sets them.")
    return advice


def _recommend_beside_database(
    live: Collection[str] | None, zombies: Collection[str], leaked: Collection[str]
) -> list[str]:
    advice = _recommend(live, (), (), (), ())
    if zombies or leaked:
        advice.append(
            f"{len(zombies) + len(leaked)} agents have another status than their sessions "
            "tell: the database may have a newer one, look there first."
        )
    return advice


def validate_and_repair_registry(
    registry_path: str | os.PathLike[str],
    live_sessions: Collection[str] | None,
    dry_run: bool = False,
    *,
    grace: float = START_GRACE,
) -> tuple[Repair, ...]:
    """Terminates zombies and sets counters right, in one locked pass.

    A zombie becomes `terminated` with `terminated_at` and the
    `termination_reason` "session_not_found". In a workspace with a database nothing is
    repaired: what JSON says there may be stale.

    Args:
        registry_path: A task's registry or the global one.
        live_sessions: As in `registry_health_check`; with None only the
            counters are repaired.
        dry_run: Say what would be done and write nothing.
        grace: Agents started within that many seconds are left alone.

    Returns:
        Every field that was set (or would be); empty when all is well.

    Raises:
        ValueError: `agents` holds something that cannot be counted, or the grace is no
            number; nothing was changed.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    check_grace(grace)
    as_of = time.time()
    path = Path(registry_path)
    if dry_run:
        registry = read_registry(path)
        with naming(path):
            repairs = _repair(path, registry, live_sessions, as_of, grace)
    else:
        with editing(path) as edit:
            repairs = _repair(path, edit.registry, live_sessions, as_of, grace)
            edit.changed = bool(repairs)
        _log.info("Repaired %d fields in %s", len(repairs), path)
    return tuple(repairs)


def _repair(
    path: Path, registry: Json, live: Collection[str] | None, as_of: float, grace: float
) -> list[Repair]:
    edits.check_agents(registry)
    if (database := database_beside(path)) is not None:
        _log.warning("Nothing is repaired in %s: %s", path, database)
        return []
    repairs = []
    if live is not None:
        fields = {
            "status": "terminated",
            "terminated_at": timestamp(),
            "termination_reason": GONE,
        }
        for agent_id, entry in zombies_in(registry, session_names(live), as_of, grace):
            for field, value in fields.items():
                repairs.append(Repair(agent_id or "", field, entry.get(field), value))
                entry[field] = value
    for drift in counter_drifts(registry):
        repairs.append(Repair(None, drift.counter, drift.written, drift.counted))
        registry[drift.counter] = drift.counted
    return repairs
