"""Finds orphans: sessions named like an agent's session, but listed by no registry. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.schema import SESSION_PREFIX
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.clock_jumps import ClockJump, seconds_between
from tui.model.policy import Policy
from tui.model.roll import TaskState


def find_orphans(
    states: Iterable[TaskState],
    listed: Iterable[frozenset[str] | None],
    answer: TmuxSnapshot,
    policy: Policy,
    as_of: float,
    jumps: Iterable[ClockJump] = (),
) -> tuple[Session, ...] | None:
    """Returns the orphans, sorted by name.

    Args:
        states: All tasks that muster sees.
        listed: For each global registry, the names that its sessions have in tmux. None if any of
            these names is not certain.
        answer: The answer of tmux.
        policy: The minimum age of an orphan.
        as_of: The earliest time at which one of the registries was read, in seconds since the
            epoch. A session that was created later, or shortly before, may be listed by now.
        jumps: The known jumps of the system clock.

    Returns:
        The orphans. None if they cannot be known, because a registry was never read, or because
        it is not certain which name a listed session has in tmux.
    """
    unaccounted = set(answer.sessions)
    in_tasks = (state.record.tmux_sessions if state.record else None for state in states)
    for names in (*listed, *in_tasks):
        if names is None:
            return None
        unaccounted.difference_update(names)
    jumps = tuple(jumps)
    owned = {session.id for name, session in answer.sessions.items() if name not in unaccounted}
    return tuple(
        session
        for name, session in sorted(answer.sessions.items())
        if name.startswith(SESSION_PREFIX)
        and session.id not in owned
        and seconds_between(session.created, as_of, jumps) >= policy.orphan_grace
    )
