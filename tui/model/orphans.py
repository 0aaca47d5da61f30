"""Sessions that no registry accounts for. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.schema import (
    SESSION_PREFIX,
)
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.policy import Policy
from tui.model.roll import TaskState


def find_orphans(
    states: Iterable[TaskState],
    listed: Iterable[frozenset[str] | None],
    answer: TmuxSnapshot,
    policy: Policy,
    as_of: float,
) -> tuple[Session, ...] | None:
    """Sessions named like an agent's that no registry accounts for, by name.

    Args:
        states: All tasks that muster sees.
        listed: What tmux calls the sessions that each global registry has; None where that
            is not certain.
        answer: What tmux said.
        policy: When a verdict is sure enough.
        as_of: Until when the registries are known; seconds since the epoch. A session
            made later, or shortly before, may be in one that was not read since.

    Returns:
        None if nobody can tell: a registry was never read, or names a session
        that tmux calls otherwise.
    """
    unaccounted = frozenset(answer.sessions)
    in_tasks = (state.record.tmux_sessions if state.record else None for state in states)
    for names in (*listed, *in_tasks):
        if names is None:
            return None
        unaccounted -= names
    owned = {each.id for name, each in answer.sessions.items() if name not in unaccounted}
    return tuple(
        session
        for name, session in sorted(answer.sessions.items())
        if name.startswith(SESSION_PREFIX)
        and session.id not in owned
        and as_of - session.created >= policy.orphan_grace
    )
