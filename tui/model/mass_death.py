"""Detects many deaths at once. Their likeliest reason is a wrong tmux socket. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.schema import (
    is_active,
    is_tmux_name_certain,
)
from tui.model.evidence import MissingSince
from tui.model.policy import Policy
from tui.model.roll import AgentKey, MassDeath, TaskRoll, Verdict

_MANY = 3
"""The smallest number of deaths that count as a mass death."""


def find_mass_death(
    tasks: Iterable[TaskRoll], missing_since: MissingSince, policy: Policy
) -> MassDeath | None:
    """Finds groups of agents that died at once.

    A group is at least three zombies that died within `Policy.mass_death_window` seconds. The
    group must contain more than half of the agents that were active before its first death.

    Args:
        tasks: All tasks that muster sees.
        missing_since: When each session was first missing. Sessions that are missing from the
            first answer of tmux are first missing at the same time.
        policy: The settings, with `Policy.mass_death_window`.

    Returns:
        All groups together; None if no group was found.
    """
    tasks = tuple(tasks)
    if sum(task.counts[Verdict.ZOMBIE] for task in tasks) < _MANY:
        return None
    present = 0
    gone: list[tuple[float, AgentKey]] = []
    waiting: list[float] = []
    for row in (row for task in tasks for row in task.agents):
        name = row.record.tmux_session
        if not name or not is_active(row.record.meaning) or not is_tmux_name_certain(name):
            continue
        since = missing_since.get(name)
        if since is None:
            present += 1
        elif row.verdict is Verdict.ZOMBIE:
            gone.append((since, row.key))
        else:
            waiting.append(since)
    agents: set[AgentKey] = set()
    of = 0
    for first in sorted({since for since, _ in gone}):
        group = [key for since, key in gone if first <= since <= first + policy.mass_death_window]
        until_then = present + sum(
            since >= first for since in (*waiting, *(since for since, _ in gone))
        )
        if len(group) >= _MANY and 2 * len(group) > until_then:
            agents.update(group)
            of = of or until_then
    return MassDeath(len(agents), of, frozenset(agents)) if agents else None
