"""Decides which processes may be killed because of an audit log. Pure.

An audit log lists sessions that left processes behind. A log is not a proof, because a user who
may write the log can invent a session. So a process may be killed only if both conditions are
true:

- The process provably belongs to the session; see `believed`.
- The user who wrote the log could also kill the process without muster; see `users_believed`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from registry.dataclass import dataclass

ROOT = 0
"""The user id of root."""

_INEXACT = 2.0
"""The tolerance for start times, in seconds: tmux's times are whole seconds."""

_STILL_ENDING = 10.0
"""For this many seconds after the start of a kill, the killed processes may start others."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The conditions for the processes of a session that comes from a log; see `believed`.

    Attributes:
        users: The ids of the users whose processes may be killed.
        since: The creation time of the session, in seconds since the epoch.
        until: The start of the session's kill, in seconds since the epoch.
    """

    users: frozenset[int]
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Facts:
    """The kernel's data about a process.

    Attributes:
        parent: The pid of the parent process.
        users: The ids of the process's real, effective and saved user.
        begun: When the process started, in seconds since the epoch.
    """

    parent: int
    users: frozenset[int]
    begun: float


def users_believed(told_by: Collection[int], owner: int | None, ourselves: int) -> frozenset[int]:
    """Returns the ids of the users whose processes may be killed because of a log's content.

    The result depends on the users who may have written the content:

    - Only root or muster's user: the result is the registry's owner and muster's user. Root is in
      the result only if root owns the registry.
    - Exactly one other user: the result is this user, who could also kill these processes without
      muster.
    - Several other users, or unknown users: the result is empty.

    Args:
        told_by: The ids of the users who may have written the content.
        owner: The user id of the registry's owner; None if the owner is not known.
        ourselves: The user id of muster.
    """
    others = frozenset(told_by) - {ROOT, ourselves}
    if others or not told_by:
        return others if len(others) == 1 else frozenset()
    own = frozenset() if owner is None else frozenset({owner})
    return own if ourselves == ROOT else own | {ourselves}


def believed(claim: Claim, facts: Mapping[int, Facts]) -> tuple[set[int], dict[int, str]]:
    """Returns which processes belong to a session that comes from a log.

    A process belongs to the session if the process meets the conditions of the claim. If a process
    started after the end of the session, the parent process must also belong to the session.

    Args:
        claim: The conditions.
        facts: Maps pids to the data of the processes whose environment names the session.

    Returns:
        The pids of the processes that belong to the session, and a map from each other pid to the
        reason why this is not certain.
    """
    doubts: dict[int, str] = {}
    proven: set[int] = set()
    later: set[int] = set()
    for pid, process in facts.items():
        strangers = process.users - claim.users
        if strangers:
            doubts[pid] = f"which runs as another user (id {min(strangers)})"
        elif not process.begun >= claim.since - _INEXACT:
            doubts[pid] = "which started before the session"
        elif process.begun <= claim.until + _STILL_ENDING:
            proven.add(pid)
        else:
            later.add(pid)
    while children := {pid for pid in later if facts[pid].parent in proven}:
        proven |= children
        later -= children
    why = "which started after the end of the session, and whose parent is not of the session"
    return proven, doubts | dict.fromkeys(later, why)
