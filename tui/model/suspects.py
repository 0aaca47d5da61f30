"""Finds missing sessions that may have been renamed, or whose panes may have been moved. Pure.

If a session was renamed before muster started, muster cannot follow the session by its id. But
the creation times of sessions and panes show which session may be the missing session.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from registry.text import shown_name
from tui.host.process.pane_origin import PaneOrigin, unknown_among
from tui.host.tmux_types import Session
from tui.model.roll import TaskState

# An agent's session is created about two seconds before the recorded start of the agent. The
# limits are narrow, so that few other sessions are candidates.
_BEFORE = 15.0
_AFTER = 2.0

_MAY_BE_MOVED = "has a pane that began {when}; was the pane moved there from the agent's session?"


class Candidate(NamedTuple):
    """A session that may be the missing session of an agent.

    Attributes:
        session: The session with its present name, or the session that now has a pane of the
            missing session.
        why: The reason in words.
        moved: Whether a pane was certainly moved into the session.
        about: The registries of the agents that expect the missing session.
    """

    session: Session
    why: str
    moved: bool = False
    about: frozenset[Path] = frozenset()


def _always(_claimant: Path, _about: Path) -> bool:
    return True


def find_renamed(
    missing: Collection[str],
    states: Iterable[TaskState],
    listed: Iterable[frozenset[str] | None],
    sessions: Collection[Session],
    begun: Callable[[int], float | None],
    origins: Mapping[int, PaneOrigin],
    seen: Mapping[str, str],
    *,
    globals_: Mapping[Path, frozenset[str] | None] | None = None,
    believed: Callable[[Path, Path], bool] = _always,
    now: float = math.inf,
    known: Collection[str] = (),
) -> Mapping[str, list[Candidate]]:
    """Finds candidates for missing sessions that were renamed, or whose panes were moved.

    A session is a candidate for the missing session of an agent if any of these is true:

    - The session is not claimed, and was created when the agent started.
    - The session is not claimed. It has a pane that began when the agent started, and it is not
      known in which session this pane was created.
    - The session has a pane that began when the agent started, but not with this session, and it
      is not known in which session this pane was created.
    - A pane of the missing session was moved into the session.

    A session is claimed if its name is in `listed`, or if `is_claimed` is true for the session. If
    muster never saw the missing session, a pane counts as moved if both are true: the pane was
    created in a session that is gone, and the pane began when the agent started.

    If an agent's start is not known, or is in the future (another clock or time zone), any time
    may be its start. So each session that is not claimed is a candidate, unless muster saw the
    missing session itself.

    Args:
        missing: The names of the missing sessions.
        states: All tasks that muster sees.
        listed: Names of sessions whose agents are known for certain.
        sessions: All sessions of a server.
        begun: Returns the start time of a pane's first process in seconds since the epoch; None
            if the time is not known.
        origins: The result of `PaneOrigins.read` for these sessions.
        seen: Maps earlier session names of this server to the last known ids of these sessions.
        globals_: Maps each global registry to the sessions that it lists.
        believed: See `is_claimed`.
        now: Seconds since the epoch.
        known: The names of the missing sessions that muster saw on any server.

    Returns:
        Maps the name of each missing session to its candidates.
    """
    claims: dict[str, set[Path]] = {}
    starts: dict[str, list[float | None]] = {}
    expecting: dict[str, set[Path]] = {}
    existing = {session.name for session in sessions}
    # The clock of an agent that started just now may be ahead. A time zone is ahead by more.
    latest = now + _BEFORE - _AFTER
    for state in states:
        record = state.record
        if record is None:
            continue
        for claimed in existing & (record.tmux_sessions or frozenset()):
            claims.setdefault(claimed, set()).add(state.registry)
        for agent in record.expecting:
            name = agent.tmux_session or ""
            if name not in missing:
                continue
            possible: list[float | None] = [*agent.possible_starts]
            if name not in known and not any(start <= latest for start in agent.possible_starts):
                possible.append(None)
            if possible:
                starts.setdefault(name, []).extend(possible)
                expecting.setdefault(name, set()).add(state.registry)
    for path, names in (globals_ or {}).items():
        for claimed in existing & (names or frozenset()):
            claims.setdefault(claimed, set()).add(path)
    certain = frozenset[str]().union(*(names for names in listed if names))
    candidates: dict[str, list[Candidate]] = {}
    for session, pid in _foreign_panes(sessions, origins):
        pane, made_in = origins[pid]
        for name in missing:
            if name in seen and seen[name] == made_in:
                why = (
                    f"contains pane {pane}, which was created in the agent's missing session; "
                    "was the pane moved?"
                )
            elif name not in seen and (when := _fit(starts.get(name, ()), begun(pid))):
                why = (
                    f"has pane {pane}, which began {when}; was the pane moved there from the "
                    "agent's session?"
                )
            else:
                continue
            candidate = Candidate(session, f"{_called(session)} {why}", moved=True)
            candidates.setdefault(name, []).append(candidate)
    unknown = unknown_among(origins, sessions, begun) if starts else {}
    for pid, session in unknown.items():
        for name, started in starts.items():
            if when := _fit(started, begun(pid)):
                why = f"{_called(session)} {_MAY_BE_MOVED.format(when=when)}"
                candidates.setdefault(name, []).append(Candidate(session, why, moved=True))
    for session in sessions if starts else ():
        if session.name in certain:
            continue
        called = _called(session)
        times = [begun(pid) for pid in session.pids if pid not in {*origins, *unknown}]
        for name, started in starts.items():
            if when := _fit(started, session.created):
                why = f"{called} was created {when}; was the session renamed?"
            elif when := next(filter(None, (_fit(started, time) for time in times)), None):
                why = f"{called} {_MAY_BE_MOVED.format(when=when)}"
            else:
                continue
            about = frozenset(expecting[name])
            if not is_claimed(claims.get(session.name, ()), about, believed):
                candidates.setdefault(name, []).append(Candidate(session, why, about=about))
    return candidates


def is_claimed(
    claimants: Iterable[Path], about: Collection[Path], believed: Callable[[Path, Path], bool]
) -> bool:
    """Returns whether an entry in a registry proves that a session belongs to another agent.

    Args:
        claimants: The registries that list the session.
        about: The registries of the agents to which the session might belong.
        believed: Called with a registry of `claimants` and a registry of `about`. Returns whether
            the entry in the first registry proves that the session does not belong to an agent of
            the second registry.
    """
    return any(all(believed(claimant, path) for path in about) for claimant in claimants)


def _foreign_panes(
    sessions: Collection[Session], origins: Mapping[int, PaneOrigin]
) -> Iterator[tuple[Session, int]]:
    """Yields the panes that were created in a session that is gone.

    Yields:
        The session that has the pane now, and the pid of the pane's first process.
    """
    existing = {session.id for session in sessions}
    for session in sessions if origins else ():
        for pid in session.pids:
            if pid in origins and origins[pid].session not in existing:
                yield session, pid


def find_mixed(
    sessions: Collection[Session],
    moved: Mapping[int, PaneOrigin],
    unknown: Mapping[int, Session],
) -> Mapping[str, str]:
    """Finds sessions into which, or out of which, a pane was moved.

    If muster ended such a session, a pane of another session would end, or a pane of this session
    would remain.

    Args:
        sessions: All sessions of one server.
        moved: The result of `moved_among` for these sessions.
        unknown: The result of `unknown_among` for these sessions.

    Returns:
        Maps the id of each such session to the reason in words.
    """
    by_id = {session.id: session for session in sessions}
    reasons: dict[str, str] = {}
    for session in sessions if moved else ():
        for pid in moved.keys() & set(session.pids):
            pane, made_in = moved[pid]
            advice = "first end that pane in tmux"
            whose = "a session that is gone"
            if made_in in by_id:
                advice = "first move that pane back in tmux, or end that pane in tmux"
                whose = _called(by_id[made_in])
                why = f"the session's pane {pane} is in {_called(session)} now; {advice}"
                reasons.setdefault(made_in, why)
            why = f"the session has pane {pane}, which was created in {whose}; {advice}"
            reasons[session.id] = why
    for pid, session in unknown.items():
        why = (
            f"it is not known in which session the pane of process {pid} was created, because the "
            "process names no pane in its environment; first end that pane in tmux"
        )
        reasons.setdefault(session.id, why)
    return reasons


def _called(session: Session) -> str:
    return f"session {shown_name(session.name)}"


def _fit(starts: Collection[float | None], made: float | None) -> str | None:
    """Returns in words why a session or process may be an agent's, by its creation; None if not.

    Args:
        starts: The possible start times of the agent; None for a start that is not known.
        made: The time of the creation; None if it is not known.
    """
    if any_fits((start for start in starts if start is not None), made):
        return "when this agent started"
    unknown = "at a time that may be this agent's start, which is unknown"
    return unknown if None in starts else None


def any_fits(starts: Iterable[float], made: float | None, after: float = _AFTER) -> bool:
    """Returns whether a session or process was created when an agent started.

    Args:
        starts: The possible start times of the agent.
        made: The time of the creation. It fits from 15 seconds before a start to `after` seconds
            after this start.
        after: The limit in seconds. A session usually exists before its agent is registered.
    """
    return made is not None and any(s - _BEFORE <= made <= s + after for s in starts)
