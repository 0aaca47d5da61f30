"""Finds sessions that must not be ended, because another agent may use them. Blocks."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from registry.dataclass import dataclass, replace
from registry.schema import AgentRecord, is_terminal, is_tmux_name_certain, spellings
from registry.snapshots import while_busy
from registry.storage import outsider_of
from registry.text import shown_name
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.nearby_workspaces import NearbyWorkspaces, Reading, session_name_of
from tui.live.surroundings import Around
from tui.model.policy import Policy
from tui.model.roll import TaskState


@dataclass(frozen=True, slots=True)
class Holder:
    """An agent whose session the operator wants to end.

    Attributes:
        id: The id of the agent.
        registry: The registry that lists the agent.
        names: The possible names of the agent's session in registries.
        has_terminal_status: Whether the agent has a terminal status in `registry`.
        identities: The device and inode of `registry` at each of its readings.
        listing: The files in which a user can list an agent of the task, besides `registry`.
    """

    id: str
    registry: Path
    names: frozenset[str]
    has_terminal_status: bool
    identities: frozenset[tuple[int, int]] = frozenset()
    listing: tuple[Path, ...] = ()


def claims_on(
    nearby: NearbyWorkspaces, held: Mapping[Session, Holder | None], answer: TmuxSnapshot
) -> dict[Session, str]:
    """Finds the sessions that must not be ended, because another agent may have them.

    If it cannot be known whether another agent has an agent's session, the session may be ended
    only if both are true:

    - The agent is active.
    - Only root, this user and the user of tmux may write the agent's registry. Any other user
      could have listed the session there.

    Args:
        nearby: The workspaces of the agents, and the workspaces near the sessions. Unchanged files
            are not read again.
        held: Maps each session to its agent; None for an orphan.
        answer: The answer of tmux.

    Returns:
        Maps each session that must not be ended to the reason.
    """
    if not held:
        return {}
    reasons: dict[Session, str] = {}
    for _ in while_busy(lambda: nearby.busy):
        around = nearby.read_around(held, answer, frozenset())
        listed, unsure = _listed(nearby, around, held, answer)
        claimed, unclear = _claimed(nearby, around, held, answer)
        reasons = listed | claimed
        if not (unsure or unclear):
            break
    return reasons


def _listed(
    nearby: NearbyWorkspaces,
    around: Mapping[Session, Around],
    held: Mapping[Session, Holder | None],
    answer: TmuxSnapshot,
) -> tuple[dict[Session, str], bool]:
    """Returns the orphans that must not be ended, each with the reason.

    The second result is True if a registry or process near any orphan could not be read.
    """
    orphans = {session: near for session, near in around.items() if held[session] is None}
    # The roll call has already checked the age of the orphans.
    ageless = replace(Policy(), orphan_grace=float("-inf"))
    judged = nearby.judge_around(orphans, answer, ageless, time.time())
    unsure = {session.id for session in judged.unsure}
    proven = {session.id for session in judged.orphans}
    why = (
        "unknown whether a registry lists the session: cannot read a registry near the session, "
        "the orchestrator's list of workspaces, or the session's processes"
    )
    if judged.databases:
        why = f"unknown whether the session belongs to an agent: {judged.databases[0]}"
    listed = {
        session: why if session.id in unsure else "a registry lists the session now"
        for session in orphans
        if session.id not in proven
    }
    return listed, bool(unsure)


def _claimed(
    nearby: NearbyWorkspaces,
    around: Mapping[Session, Around],
    held: Mapping[Session, Holder | None],
    answer: TmuxSnapshot,
) -> tuple[dict[Session, str], bool]:
    """Returns the agents' sessions that must not be ended, each with the reason.

    The second result is True if a registry or process near any session could not be read.
    """
    at_work = {path: _at_work_in(reading, answer) for path, reading in nearby.readings.items()}
    active = {path: _active_in(reading, answer) for path, reading in nearby.readings.items()}
    reasons: dict[Session, str | None] = {}
    for session, surroundings in around.items():
        holder = held[session]
        if holder is None:
            continue
        paths = {*nearby.always, *surroundings.near}
        unread = any(path not in at_work or at_work[path][1] for path in paths)
        if unread or not surroundings.is_whole:
            databases = [str(database) for database in nearby.databases_of(paths)]
            known = databases and holder.has_terminal_status
            reasons[session] = f"the agent may be active: {databases[0]}" if known else None
        for path, (names, _) in at_work.items():
            # The registry also lists an active holder itself. So only other agents count.
            others = names if holder.has_terminal_status else _others(active[path], holder)
            if not others.isdisjoint(holder.names):
                agent = f"an agent in {shown_name(path)} without a terminal status"
                reasons[session] = f"{agent} has the same session"
    claimed = {
        session: why
        for session, reason in reasons.items()
        if (why := reason or _why_unknown(held[session], answer)) is not None
    }
    return claimed, None in reasons.values()


def _why_unknown(holder: Holder | None, answer: TmuxSnapshot) -> str | None:
    """Returns why a session must not be ended if it is unknown whether another agent has it.

    Returns None if the session may be ended anyway; see `claims_on`.
    """
    why = (
        "unknown whether another agent has the same session: "
        "cannot read a registry near the session, or the session's processes"
    )
    if holder is None or holder.has_terminal_status:
        return why
    trusted = () if answer.server_user is None else (answer.server_user,)
    for path in dict.fromkeys((holder.registry, *holder.listing)):
        other = outsider_of(path, trusted)
        if other is not None:
            return (
                f"{why}; and {other} may write {shown_name(path)}. If no other agent has the "
                "session, end the session in tmux, and kill the agent again"
            )
    return None


_Active = Mapping[str, Collection[tuple[TaskState, str]]]
"""Maps each possible name of a session to the agents without a terminal status that have it."""


def _active_in(reading: Reading, answer: TmuxSnapshot) -> _Active:
    active: dict[str, list[tuple[TaskState, str]]] = {}
    for state in reading.states:
        for agent in state.record.with_sessions if state.record is not None else ():
            if not is_terminal(agent.meaning):
                for name in _names_of(agent, answer):
                    active.setdefault(name, []).append((state, agent.id))
    return active


def _names_of(agent: AgentRecord, answer: TmuxSnapshot) -> frozenset[str]:
    """Returns the possible names of an agent's session; only one if tmux has exactly this name."""
    name = session_name_of(agent)
    exact = answer.sessions.get(name)
    is_exact = exact is not None and exact.name == name
    return frozenset({name}) if is_exact else spellings(name)


def _others(active: _Active, holder: Holder) -> frozenset[str]:
    """Returns the names of the holder's session that a registry lists for another active agent."""
    return frozenset(
        name
        for name in holder.names
        if any(
            agent_id != holder.id or not _is_same_registry(state, holder)
            for state, agent_id in active.get(name, ())
        )
    )


def _is_same_registry(state: TaskState, holder: Holder) -> bool:
    """Returns whether a registry is the holder's registry, even under another path.

    The device and inode of the read files are compared, because another user may have changed
    after the reading where the paths lead.
    """
    return state.registry == holder.registry or state.identity in holder.identities


def _at_work_in(reading: Reading, answer: TmuxSnapshot) -> tuple[frozenset[str], bool]:
    """Returns the possible session names of active agents, and whether names may be missing."""
    agents = [a for state in reading.states if state.record for a in state.record.with_sessions]
    active = (_names_of(agent, answer) for agent in agents if not is_terminal(agent.meaning))
    names = frozenset[str]().union(*active)
    # An agent that only the global registry lists has no known status.
    listed = reading.listed
    only_listed = frozenset[str]().union(*filter(None, listed))
    only_listed = only_listed.difference(*(spellings(session_name_of(agent)) for agent in agents))
    unclear = None in listed or not all(map(is_tmux_name_certain, names)) or reading.is_unclear
    return names | only_listed, unclear
