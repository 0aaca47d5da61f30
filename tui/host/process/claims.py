"""Decides which processes may be killed because a log lists them as leftovers. Pure.

The content of a log is only a claim, because the writer of the log may have invented the content.
So each process must prove that it belongs to the session. And the writer of the log must be a user
who could have killed the process without muster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from registry.dataclass import dataclass

ROOT = 0
"""The user id of root."""

_INEXACT = 2.0
"""The tolerance for start times, in seconds: tmux's times are whole seconds."""

_STILL_ENDING = 10.0
"""For this many seconds after the start of a kill, dying processes may still start others."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The conditions for a process whose environment names a session; see `believed`.

    Attributes:
        users: The ids of the users whose processes may be killed.
        since: The creation time of the session, in seconds since the epoch.
        until: When the end of the session began, in seconds since the epoch.
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

    - If one other user may have written the content, the result is that user alone, who could also
      kill these processes without muster.
    - If several other users may have written the content, the result is empty.
    - If only root or this user may have written the content, the result is the registry's owner
      and this user. Root is in the result only if root owns the registry.

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
    """Separates the processes that prove a claim from the processes that do not.

    A process that started after the session's end proves the claim only if its parent process
    proves the claim.

    Args:
        claim: The conditions.
        facts: Maps the pids of the processes whose environment names the session to their data.

    Returns:
        The pids that prove the claim, and the reason for each other pid.
    """
    doubts: dict[int, str] = {}
    proven: set[int] = set()
    later: set[int] = set()
    for pid, process in facts.items():
        strangers = process.users - claim.users
        if strangers:
            doubts[pid] = f"of another user (id {min(strangers)})"
        elif not process.begun >= claim.since - _INEXACT:
            doubts[pid] = "started before that session"
        elif process.begun <= claim.until + _STILL_ENDING:
            proven.add(pid)
        else:
            later.add(pid)
    while children := {pid for pid in later if facts[pid].parent in proven}:
        proven |= children
        later -= children
    why = "started after the end of that session, by a process that does not belong to it"
    return proven, doubts | dict.fromkeys(later, why)
