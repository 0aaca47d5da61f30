"""Which processes may be ended because a log says that they are left of a session. Pure.

What is read from a log is a claim: whoever could write the log may have made it up. So each
process must prove by itself that it belongs there, and it must be one that the writer of
the log could have ended, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

ROOT = 0
"""Root's user number."""

_INEXACT = 2.0
"""Seconds by which the times of tmux, which are whole ones, and of processes may differ."""

_STILL_ENDING = 10.0
"""Seconds after a kill was put on record in which what it ends may start others."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process must prove besides its environment; see `believed`.

    Attributes:
        users: Whose processes may be ended, by the users' numbers.
        since: When the session was made; seconds since the epoch.
        until: When its end began, likewise.
    """

    users: frozenset[int]
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel says of a process.

    Attributes:
        users: Its real, effective and saved user, by their numbers.
        begun: When it began; seconds since the epoch.
    """

    parent: int
    users: frozenset[int]
    begun: float


def users_believed(told_by: Collection[int], owner: int | None, ourselves: int) -> frozenset[int]:
    """Whose processes may be ended on the word of some users.

    A user's word is good for its own processes alone, as it could end these without us.
    What only root or this user wrote is good for those of the registry's owner and for this
    user's; for root's own only in a registry of root, since all of them are in its reach.

    Args:
        told_by: The users who may have written it, by their numbers.
        owner: Who owns the registry, or None if that is not known.
        ourselves: The user that muster runs as.
    """
    others = frozenset(told_by) - {ROOT, ourselves}
    if others or not told_by:
        return others if len(others) == 1 else frozenset()
    own = frozenset() if owner is None else frozenset({owner})
    return own if ourselves == ROOT else own | {ourselves}


def believed(claim: Claim, facts: Mapping[int, Facts]) -> tuple[set[int], dict[int, str]]:
    """Tells processes that prove a claim from others.

    One that began only after the session's end proves it if one that does started it.

    Args:
        claim: What was read.
        facts: Processes whose environment says that they belong to the session.

    Returns:
        Those that prove it, and why each of the others does not.
    """
    doubts: dict[int, str] = {}
    found: set[int] = set()
    later: set[int] = set()
    for pid, each in facts.items():
        strangers = each.users - claim.users
        if strangers:
            doubts[pid] = f"of another user (id {min(strangers)})"
        elif not each.begun >= claim.since - _INEXACT:
            doubts[pid] = "begun before that session"
        elif each.begun <= claim.until + _STILL_ENDING:
            found.add(pid)
        else:
            later.add(pid)
    while started := {pid for pid in later if facts[pid].parent in found}:
        found |= started
        later -= started
    why = "begun after that session was ended, by nothing that is left of it"
    return found, doubts | dict.fromkeys(later, why)
