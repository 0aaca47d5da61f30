"""Which missing sessions may be there by another name, or as a pane of another. Pure.

Who asks only once cannot have followed them; but when they were made is known still.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from registry.schema import tmux_name
from registry.text import shown_name
from tui.host.pane_origin import PaneOrigin
from tui.host.tmux_types import Session
from tui.model.roll import TaskState

# An agent's session is made about two seconds before its start is written down. The
# window is tight, so that not every session is taken for one that was renamed.
_BEFORE = 15.0
_AFTER = 2.0


class Candidate(NamedTuple):
    """What may be the session of an agent whose own is missing.

    Attributes:
        session: It, or the one that has its pane now.
        why: In words.
        moved: Whether it is known that the pane was moved there, whosever the session is.
    """

    session: Session
    why: str
    moved: bool = False


def find_renamed(
    missing: Collection[str],
    states: Iterable[TaskState],
    listed: Iterable[frozenset[str] | None],
    sessions: Collection[Session],
    begun: Callable[[int], float | None],
    moved: Mapping[int, PaneOrigin],
    seen: Mapping[str, str],
) -> Mapping[str, list[Candidate]]:
    """What missing sessions may be called now.

    Args:
        missing: What tmux called them.
        states: All tasks that muster sees.
        listed: As for `tui.model.orphans.find_orphans`.
        sessions: All sessions that there are.
        begun: When the first process of a pane began, in seconds since the epoch, as far
            as that is known.
        moved: What `PaneOrigins.moved` says of these sessions.
        seen: The ids of sessions of this server, by what they were called when they were
            seen last.

    Returns:
        By what it was called, for each that may be there, those that it may be: sessions
        that no agent claims, made or with a pane begun as the agent started; and those, be
        they other agents', that a pane was moved to which was made in the missing session,
        or where nobody saw that, begun as the agent started.
    """
    claimed: set[str] = set()
    starts: dict[str, list[float]] = {}
    for state in states:
        record = state.record
        if record is None:
            continue
        claimed |= record.tmux_sessions or frozenset()
        for agent in record.expecting:
            name = tmux_name(agent.tmux_session or "")
            if name in missing and agent.started is not None:
                starts.setdefault(name, []).append(agent.started)
    claimed = claimed.union(*(names for names in listed if names))
    found: dict[str, list[Candidate]] = {}
    for session, pid in _foreign_panes(sessions, moved):
        pane, made_in = moved[pid]
        for name in missing:
            if name in seen and seen[name] == made_in:
                why = f"has pane {pane}, which was made in its session: moved?"
            elif name not in seen and any_fits(starts.get(name, ()), begun(pid)):
                why = f"has pane {pane}, which began when this agent started: moved?"
            else:
                continue
            suspect = Candidate(session, f"{_called(session)} {why}", moved=True)
            found.setdefault(name, []).append(suspect)
    for session in sessions if starts else ():
        if session.name in claimed:
            continue
        called = _called(session)
        times = [begun(pid) for pid in session.pids]
        for name, started in starts.items():
            if any_fits(started, session.created):
                why = f"{called} was made when this agent started: renamed?"
            elif any(any_fits(started, time) for time in times):
                why = f"{called} has a pane that began when this agent started: moved?"
            else:
                continue
            found.setdefault(name, []).append(Candidate(session, why))
    return found


def _foreign_panes(
    sessions: Collection[Session], moved: Mapping[int, PaneOrigin]
) -> Iterator[tuple[Session, int]]:
    """Panes of sessions that are gone, by their first processes, and where they are."""
    here = {session.id for session in sessions}
    for session in sessions if moved else ():
        for pid in session.pids:
            if pid in moved and moved[pid].session not in here:
                yield session, pid


def find_mixed(
    sessions: Collection[Session], moved: Mapping[int, PaneOrigin]
) -> Mapping[str, str]:
    """Sessions that cannot be ended with all their own panes, and no others.

    Args:
        sessions: All of one server.
        moved: What `PaneOrigins.moved` says of them.

    Returns:
        Why, by the sessions' ids.
    """
    by_id = {session.id: session for session in sessions}
    found: dict[str, str] = {}
    for session in sessions if moved else ():
        for pid in moved.keys() & set(session.pids):
            pane, made_in = moved[pid]
            advice = "move it back, or end it, in tmux first"
            whose = "a session that is gone"
            if made_in in by_id:
                whose = _called(by_id[made_in])
                why = f"its pane {pane} is in {_called(session)} now; {advice}"
                found.setdefault(made_in, why)
            found[session.id] = f"it holds pane {pane}, which was made in {whose}; {advice}"
    return found


def _called(session: Session) -> str:
    return f"session {shown_name(session.name)}"


def any_fits(starts: Iterable[float], made: float | None) -> bool:
    """Whether a session or process was made as one of some agents started."""
    return made is not None and any(s - _BEFORE <= made <= s + _AFTER for s in starts)
