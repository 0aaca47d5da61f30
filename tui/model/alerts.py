"""Finds agents that failed, stalled, blocked or became zombies after the last roll call. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass, field
from registry.schema import FAILED_STATUSES, is_terminal
from registry.text import shown_name
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict

_TOLD = frozenset({Verdict.ZOMBIE, Verdict.STALLED, Verdict.BLOCKED})
"""The verdicts of which the operator is told; failed agents are told whatever their verdict."""

_NAMED = 3


Kinds = Mapping[AgentKey, str | None]
"""Maps each agent to its last known kind, from `kind_of`; None if its kind was never known."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The last known state of all agents.

    Attributes:
        tasks: Maps each task's registry to the last roll of the task, and the kinds of its agents.
        first: Agents of the first roll call whose kind is not known yet. Their first known kind
            is not reported.
        restored: The ids of agents to which the operator gives an active status again. Their first
            known kind with an active status is not reported.
    """

    tasks: Mapping[Path, tuple[TaskRoll, Kinds]] = field(default_factory=dict)
    first: frozenset[AgentKey] = frozenset()
    restored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Item:
    """An agent whose kind has changed.

    Attributes:
        kind: ``failed``, ``zombie``, ``stalled`` or ``blocked``.
        key: The agent.
    """

    kind: str
    key: AgentKey


def kind_of(row: AgentRow) -> str | None:
    """Returns ``failed``, ``zombie``, ``stalled``, ``blocked``, or else an empty string.

    Returns None if the verdict is unknown.
    """
    if row.record.meaning in FAILED_STATUSES:
        return "failed"
    if row.verdict is Verdict.UNKNOWN:
        return None
    return row.verdict.value if row.verdict in _TOLD else ""


def news(before: Seen | None, roll: RollCall) -> tuple[Seen, tuple[Item, ...]]:
    """Compares a roll call with the last known state.

    If the verdict on an agent becomes unknown, the agent keeps its last known kind.

    Args:
        before: The last known state; None for the first roll call.
        roll: The new roll call.

    Returns:
        The new state, and the agents whose kind has changed.
    """
    tasks: dict[Path, tuple[TaskRoll, Kinds]] = {}
    waiting = set(before.first) if before is not None else set()
    restored = set(before.restored) if before is not None else set()
    items: list[Item] = []
    for task in roll.tasks():
        at = task.state.registry
        known = before.tasks.get(at) if before is not None else None
        if known is not None and known[0] is task:
            # The same object: nothing has changed in the task.
            tasks[at] = known
            continue
        kinds: dict[AgentKey, str | None] = {}
        rows: Sequence[AgentRow] = task.agents
        if known is not None and (changed := _changed(known[0].agents, rows)) is not None:
            kinds, rows = dict(known[1]), changed
        for row in rows:
            key = row.key
            was = known[1].get(key) if known is not None else None
            now = kind_of(row)
            is_first = before is None or key in before.first
            if key.id in restored and not is_terminal(row.record.meaning):
                restored.remove(key.id)
                is_first, was = True, None
            kinds[key] = was if now is None else now
            if is_first and now is None and was is None:
                waiting.add(key)
            else:
                waiting.discard(key)
                is_new = now != was and not (is_first and was is None)
                # The agent was blocked before it stalled, or seemed to be a zombie for a moment.
                still_blocked = now == "blocked" and was in ("stalled", "zombie")
                if now and is_new and not still_blocked:
                    items.append(Item(now, key))
        tasks[at] = task, kinds
    return Seen(tasks, frozenset(waiting), frozenset(restored)), tuple(items)


def _changed(before: Sequence[AgentRow], rows: Sequence[AgentRow]) -> list[AgentRow] | None:
    """Returns the changed rows; None if agents were added, removed or moved."""
    if len(before) != len(rows):
        return None
    changed = [(was, row) for was, row in zip(before, rows, strict=True) if row is not was]
    same = all(was.key == row.key for was, row in changed)
    return [row for _, row in changed] if same else None


def still_true(items: Sequence[Item], roll: RollCall) -> list[tuple[Item, AgentRow]]:
    """Returns the items whose agent still has this kind, with the agent's row; no duplicates."""
    rows = {row.key: row for row in roll.agents()}
    return [
        (item, rows[item.key])
        for item in dict.fromkeys(items)
        if item.key in rows and kind_of(rows[item.key]) == item.kind
    ]


def sentence(kind: str, rows: Sequence[AgentRow]) -> str:
    """Returns a notification about agents, for example "a-1 failed".

    Args:
        kind: The result of `kind_of` for all these agents.
        rows: The agents.
    """
    became = {
        "zombie": ("became a zombie", "became zombies"),
        "stalled": ("stalled", "stalled"),
        "failed": ("failed", "failed"),
        "blocked": ("is blocked", "are blocked"),
    }[kind]
    names = [
        shown_name(row.record.id, 80) if row.record.id else "(no id)" for row in rows[:_NAMED]
    ]
    if len(rows) == 1:
        return f"{names[0]} {became[0]}"
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{len(rows)} agents {became[1]}: {', '.join(names)}{more}"


class Pace:
    """Collects items, and computes when the user is to be notified of all of them together.

    Args:
        gather: The least time in seconds from the first item to its notification.
        pause: The least time in seconds between two notifications.
    """

    def __init__(self, gather: float, pause: float) -> None:
        self._gather = gather
        self._pause = pause
        self._last: float | None = None
        self._items: list[Item] = []

    def add(self, items: Sequence[Item], now: float) -> float | None:
        """Adds items.

        Returns:
            The seconds until the caller must call `take`. None if an earlier call has already
            returned this time, or if there are no items.
        """
        was_waiting = bool(self._items)
        self._items += items
        if was_waiting or not self._items:
            return None
        wait = self._gather
        if self._last is not None:
            wait = max(wait, self._last + self._pause - now)
        return wait

    def take(self, now: float) -> tuple[Item, ...]:
        """Returns and removes all items; `now` counts as the time of the notification."""
        taken, self._items = tuple(self._items), []
        self._last = now
        return taken
