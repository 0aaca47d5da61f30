"""What became of agents between two roll calls that somebody should hear of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.text import shown_name
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict

_FAILED = frozenset({"error", "failed"})

_NAMED = 3


Kinds = Mapping[AgentKey, str | None]
"""By agent what it is of those somebody should hear of, "" for none of them, and None
while nobody could tell since it was first seen."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was last known of every agent.

    Attributes:
        tasks: By registry the task that was seen, and its agents' kinds.
        first: Who was there when nobody had looked yet: what they are is no news.
    """

    tasks: Mapping[Path, tuple[TaskRoll, Kinds]] = field(default_factory=dict)
    first: frozenset[AgentKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Item:
    """One agent that became something."""

    kind: str
    key: AgentKey


def kind_of(row: AgentRow) -> str | None:
    """What an agent is of those somebody should hear of; None while nobody can tell."""
    if row.record.status in _FAILED:
        return "failed"
    if row.verdict is Verdict.UNKNOWN:
        return None
    return {Verdict.ZOMBIE: "zombie", Verdict.STALLED: "stalled"}.get(row.verdict, "")


def news(before: Seen | None, roll: RollCall) -> tuple[Seen, tuple[Item, ...]]:
    """Who became something since.

    An agent of whom nobody can tell for a while counts as what it was before.

    Args:
        before: What was known; None at first.
        roll: What is known now.

    Returns:
        What is known now, and the news.
    """
    tasks: dict[Path, tuple[TaskRoll, Kinds]] = {}
    waiting = set(before.first) if before is not None else set()
    items: list[Item] = []
    for task in roll.tasks():
        at = task.state.registry
        known = before.tasks.get(at) if before is not None else None
        if known is not None and known[0] is task:
            # Nothing is new in it.
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
            kinds[key] = was if now is None else now
            is_first = before is None or key in before.first
            if is_first and now is None and was is None:
                waiting.add(key)
            else:
                waiting.discard(key)
                if now and now != was and not (is_first and was is None):
                    items.append(Item(now, key))
        tasks[at] = task, kinds
    return Seen(tasks, frozenset(waiting)), tuple(items)


def _changed(before: Sequence[AgentRow], rows: Sequence[AgentRow]) -> list[AgentRow] | None:
    """The rows that are not what they were; None if others are there now."""
    if len(before) != len(rows):
        return None
    changed = [(was, row) for was, row in zip(before, rows, strict=True) if row is not was]
    same = all(was.key == row.key for was, row in changed)
    return [row for _, row in changed] if same else None


def still(items: Sequence[Item], roll: RollCall) -> list[tuple[Item, AgentRow]]:
    """Those items that are so by now, each once, with the agents' rows."""
    rows = {row.key: row for row in roll.agents()}
    return [
        (item, rows[item.key])
        for item in dict.fromkeys(items)
        if item.key in rows and kind_of(rows[item.key]) == item.kind
    ]


def sentence(kind: str, rows: Sequence[AgentRow]) -> str:
    """What is said of agents that became something."""
    became = {
        "zombie": ("became a zombie", "became zombies"),
        "stalled": ("stalled", "stalled"),
        "failed": ("failed", "failed"),
    }[kind]
    names = [
        shown_name(row.record.id, 80) if row.record.id else "(no id)" for row in rows[:_NAMED]
    ]
    if len(rows) == 1:
        return f"{names[0]} {became[0]}"
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{len(rows)} agents {became[1]}: {', '.join(names)}{more}"


class Pace:
    """When to tell: a moment after the first news, and not again for a while.

    Args:
        gather: Seconds that news are gathered, for what happens at once is one note.
        pause: Seconds between two notes.
    """

    def __init__(self, gather: float, pause: float) -> None:
        self._gather = gather
        self._pause = pause
        self._last: float | None = None
        self._items: list[Item] = []

    def add(self, items: Sequence[Item], now: float) -> float | None:
        """Takes news in.

        Returns:
            In how many seconds they are to be taken out; None when that was said already,
            or when there are none.
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
        """Hands all news out."""
        taken, self._items = tuple(self._items), []
        self._last = now
        return taken
