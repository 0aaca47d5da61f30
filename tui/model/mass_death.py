"""Many deaths at once: a wrong socket is likelier than as many deaths. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.schema import (
    is_active,
    is_tmux_name_certain,
    tmux_name,
)
from tui.model.evidence import MissingSince
from tui.model.policy import Policy
from tui.model.roll import AgentKey, MassDeath, TaskRoll, Verdict

_MANY = 3
"""So many deaths at once are looked at twice."""


def find_mass_death(
    tasks: Iterable[TaskRoll], missing_since: MissingSince, policy: Policy
) -> MassDeath | None:
    """Whether so many agents went at once that a wrong socket is the likelier reason.

    Args:
        tasks: All tasks that muster sees.
        missing_since: Since when sessions have been missing. What is missing from the
            first answer of all went at once, as far as anybody knows.
        policy: How close together "at once" is.

    Returns:
        All such groups together, each of three or more and over half of the active agents
        that were there until then; None if there is none.
    """
    tasks = tuple(tasks)
    if sum(task.counts[Verdict.ZOMBIE] for task in tasks) < _MANY:
        return None
    there = 0
    gone: list[tuple[float, AgentKey]] = []
    waiting: list[float] = []
    for row in (row for task in tasks for row in task.agents):
        name = row.record.tmux_session
        if not name or not is_active(row.record.status) or not is_tmux_name_certain(name):
            continue
        since = missing_since.get(tmux_name(name))
        if since is None:
            there += 1
        elif row.verdict is Verdict.ZOMBIE:
            gone.append((since, row.key))
        else:
            waiting.append(since)
    agents: set[AgentKey] = set()
    of = 0
    for first in sorted({since for since, _ in gone}):
        group = [key for since, key in gone if first <= since <= first + policy.mass_death_window]
        until_then = there + sum(
            since >= first for since in (*waiting, *(since for since, _ in gone))
        )
        if len(group) >= _MANY and 2 * len(group) > until_then:
            agents.update(group)
            of = of or until_then
    return MassDeath(len(agents), of, frozenset(agents)) if agents else None
