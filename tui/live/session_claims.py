"""Whether registries around sessions list them as agents that must be spared. Blocks."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from registry.schema import is_terminal, tmux_names
from registry.snapshots import while_busy
from registry.text import shown_name
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.nearby_workspaces import Around, NearbyWorkspaces, Reading, called
from tui.model.policy import Policy
from tui.model.roll import TaskState


@dataclass(frozen=True, slots=True)
class Holder:
    """The agent whose session is to be ended.

    Attributes:
        id: Its id.
        registry: The registry that says so.
        names: What registries may call its session.
        is_through: Whether it has a terminal status there.
        identities: Device and inode of that registry, as it was read.
    """

    id: str
    registry: Path
    names: frozenset[str]
    is_through: bool
    identities: frozenset[tuple[int, int]] = frozenset()


def claims_on(
    nearby: NearbyWorkspaces, held: Mapping[Session, Holder | None], answer: TmuxSnapshot
) -> dict[Session, str]:
    """Why sessions must not be ended as orphans, or as their holders'. Blocks.

    Whether an agent at work has its session alone cannot always be known. It is then
    ended, for its own registry says that it is there; that of one that is through is not.

    Args:
        nearby: The workspaces that the sessions' holders are in, and those around; what
            did not change since they were read last is not read again.
        held: Whose each session is, as tmux lists it now; None for an orphan.
        answer: What tmux said.

    Returns:
        In words, for those that another agent, or any, may be in.
    """
    if not held:
        return {}
    found: dict[Session, str] = {}
    for _ in while_busy(lambda: nearby.busy):
        around = nearby.read_around(held, answer, frozenset())
        listed, unsure = _listed(nearby, around, held, answer)
        claimed, unclear = _claimed(nearby, around, held)
        found = listed | claimed
        if not (unsure or unclear):
            break
    return found


def _listed(
    nearby: NearbyWorkspaces,
    around: Mapping[Session, Around],
    held: Mapping[Session, Holder | None],
    answer: TmuxSnapshot,
) -> tuple[dict[Session, str], bool]:
    """Why orphans may be agents', and whether that cannot be known of any."""
    orphans = {session: each for session, each in around.items() if held[session] is None}
    # Whether they are old enough was said by the roll.
    ageless = replace(Policy(), orphan_grace=float("-inf"))
    judged = nearby.judge_around(orphans, answer, ageless, time.time())
    unsure, nobodys = ({each.id for each in those} for those in (judged.unsure, judged.orphans))
    why = "nobody can tell whether it is in a registry: one cannot be read, or its processes"
    if judged.databases:
        why = f"nobody can tell whether it is an agent's: {judged.databases[0]}"
    listed = {
        each: why if each.id in unsure else "it is in a registry now"
        for each in orphans
        if each.id not in nobodys
    }
    return listed, bool(unsure)


def _claimed(
    nearby: NearbyWorkspaces,
    around: Mapping[Session, Around],
    held: Mapping[Session, Holder | None],
) -> tuple[dict[Session, str], bool]:
    """Why another agent than its holder may be in sessions, and whether that cannot be known."""
    at_work = {path: _at_work_in(each) for path, each in nearby.readings.items()}
    active = {path: _active_in(each) for path, each in nearby.readings.items()}
    found: dict[Session, str | None] = {}
    for session, each in around.items():
        holder = held[session]
        if holder is None:
            continue
        paths = {*nearby.always, *(each.near or ())}
        unread = any(path not in at_work or at_work[path][1] for path in paths)
        if each.near is None or unread:
            databases = [str(database) for database in nearby.databases_of(paths)]
            known = databases and holder.is_through
            found[session] = f"it may be at work: {databases[0]}" if known else None
        for path, (names, _) in at_work.items():
            # That an agent at work is at work itself is no claim of another's.
            others = names if holder.is_through else _others(active[path], holder)
            if not others.isdisjoint(holder.names):
                found[session] = (
                    f"an agent in {shown_name(path)} has its session as well, and is not through"
                )
    unknown = (
        "nobody can tell whether another agent has its session as well: "
        "a registry around it cannot be read, or its processes"
    )
    claimed = {
        session: why or unknown
        for session, why in found.items()
        if why is not None or ((holder := held[session]) is not None and holder.is_through)
    }
    return claimed, None in found.values()


_Active = Mapping[str, Collection[tuple[TaskState, str]]]
"""The registries and ids of agents that are not through, by what tmux may call their session."""


def _active_in(reading: Reading) -> _Active:
    found: dict[str, list[tuple[TaskState, str]]] = {}
    for state in reading.states:
        for agent in state.record.agents if state.record is not None else ():
            if not is_terminal(agent.status):
                found.setdefault(called(agent), []).append((state, agent.id))
    return found


def _others(active: _Active, holder: Holder) -> frozenset[str]:
    """Under which of its names another agent than the holder has its session."""
    return frozenset(
        name
        for name in holder.names
        if any(
            agent_id != holder.id or not _is_same_registry(state, holder)
            for state, agent_id in active.get(name, ())
        )
    )


def _is_same_registry(state: TaskState, holder: Holder) -> bool:
    """Whether a registry is the holder's, which may be mounted twice.

    By what was read: where the paths lead by now, another user may have changed.
    """
    return state.registry == holder.registry or state.identity in holder.identities


def _at_work_in(reading: Reading) -> tuple[frozenset[str], bool]:
    """What tmux may call the sessions of agents that are not through; whether of more."""
    agents = [a for state in reading.states if state.record for a in state.record.agents]
    names = frozenset(called(each) for each in agents if not is_terminal(each.status))
    # An agent that only the global registry lists has no known status.
    listed = reading.listed
    only_listed = frozenset[str]().union(*filter(None, listed)) - set(map(called, agents))
    unclear = None in listed or tmux_names(names) is None or reading.is_unclear
    return names | only_listed, unclear
