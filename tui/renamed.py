"""Which missing sessions may be there by another name, or as a pane of another. Pure.

Who asks only once cannot have followed them; but when they were made is known still.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from registry.records import kept_name
from tui.host.sessions import Session
from tui.roll import TaskState
from tui.text import harmless

# An agent's session is made about two seconds before its start is written down. The
# window is tight, so that not every session is taken for one that was renamed.
_BEFORE = 15.0
_AFTER = 2.0


class Suspect(NamedTuple):
    """What may be the session of an agent whose own is missing.

    Attributes:
        session: It, or the one that has its pane now.
        why: In words.
    """

    session: Session
    why: str


def find_renamed(
    missing: Collection[str],
    states: Iterable[TaskState],
    listed: Iterable[frozenset[str] | None],
    sessions: Iterable[Session],
    begun: Callable[[Session], Iterable[float]],
) -> Mapping[str, list[Suspect]]:
    """What missing sessions may be called now.

    Args:
        missing: What tmux called them.
        states: All tasks that muster sees.
        listed: As for `tui.rollcall.find_orphans`.
        sessions: All sessions that there are.
        begun: When the processes of a session's panes began, in seconds since the
            epoch, as far as that is known.

    Returns:
        By what it was called, for each that may be there, those that it may be: sessions
        that no agent claims, made or with a pane begun as the agent started.
    """
    claimed: set[str] = set()
    starts: dict[str, list[float]] = {}
    for state in states:
        record = state.record
        if record is None:
            continue
        claimed |= record.kept_sessions or frozenset()
        for agent in record.expecting:
            name = kept_name(agent.tmux_session or "")
            if name in missing and agent.started is not None:
                starts.setdefault(name, []).append(agent.started)
    claimed = claimed.union(*(names for names in listed if names))
    found: dict[str, list[Suspect]] = {}
    for session in sessions if starts else ():
        if session.name in claimed:
            continue
        called = f"session {harmless(session.name, 100)}"
        renamed = Suspect(session, f"{called} was made when this agent started: renamed?")
        moved = Suspect(session, f"{called} has a pane that began when this agent started: moved?")
        times = tuple(begun(session))
        for name, started in starts.items():
            if any(_fits(each, session.created) for each in started):
                found.setdefault(name, []).append(renamed)
            elif any(_fits(each, time) for each in started for time in times):
                found.setdefault(name, []).append(moved)
    return found


def _fits(started: float, made: float) -> bool:
    return started - _BEFORE <= made <= started + _AFTER
