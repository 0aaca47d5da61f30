"""What agents are sorted by, and how urgent each is. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tui.model.roll import AgentRow, Verdict
from tui.model.verdicts import VERDICTS

# Between the stalled agents and the next verdict.
_BLOCKED = 2 * VERDICTS[Verdict.STALLED].urgency + 1


class Order(StrEnum):
    """What agents can be sorted by."""

    URGENCY = "urgency"
    """The most urgent verdict first; a blocked agent comes after the stalled ones."""
    AGE = "age"
    """Who started first comes first."""
    PROGRESS = "progress"
    """Who is least far comes first."""
    ID = "id"


def urgency(row: AgentRow) -> int:
    """How urgent an agent is; less is more urgent."""
    if row.record.status == "blocked" and row.verdict is Verdict.LIVE:
        return _BLOCKED
    return urgency_of(row.verdict)


def urgency_of(verdict: Verdict) -> int:
    """How urgent a verdict is by itself."""
    # In steps of two: a blocked agent has its place between two verdicts.
    return 2 * VERDICTS[verdict].urgency


def urgency_words() -> tuple[str, ...]:
    """What agents are called when they are sorted by urgency, the most urgent first."""
    ranks = {verdict.value: urgency_of(verdict) for verdict in VERDICTS}
    ranks["blocked"] = _BLOCKED
    return tuple(sorted(ranks, key=ranks.__getitem__))


_UNKNOWN = float("inf")


_KEYS: dict[Order, Callable[[AgentRow], tuple[Any, ...]]] = {
    Order.URGENCY: lambda row: (urgency(row), row.record.started or _UNKNOWN),
    Order.AGE: lambda row: (row.record.started or _UNKNOWN,),
    Order.PROGRESS: lambda row: (
        _UNKNOWN if row.record.progress is None else row.record.progress,
    ),
    Order.ID: lambda row: (row.record.id,),
}


def order_key(order: Order) -> Callable[[AgentRow], tuple[Any, ...]]:
    """What agents are sorted by; less comes first."""
    return _KEYS[order]
