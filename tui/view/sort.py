"""The sort orders of agents, and the urgency of each verdict. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tui.model.roll import AgentRow, Verdict
from tui.model.verdicts import VERDICTS


class Order(StrEnum):
    """The sort orders of agents."""

    URGENCY = "urgency"
    """The most urgent verdict comes first; of the failed agents, the one that ended last."""
    AGE = "age"
    """The agent that started first comes first."""
    PROGRESS = "progress"
    """The agent with the least progress comes first."""
    HEARD = "heard"
    """The agent that has been silent for the longest time comes first."""
    STATUS = "status"
    """The statuses in alphabetical order."""
    ID = "id"


def urgency(row: AgentRow) -> int:
    """Returns an agent's rank; the lowest rank is the most urgent."""
    return urgency_of(row.verdict)


def urgency_of(verdict: Verdict) -> int:
    """Returns a verdict's rank; the lowest rank is the most urgent."""
    return VERDICTS[verdict].urgency


def urgency_words() -> tuple[str, ...]:
    """Returns the verdicts, the most urgent first."""
    return tuple(verdict.value for verdict in sorted(VERDICTS, key=urgency_of))


_UNKNOWN = float("inf")


def _within_urgency(row: AgentRow) -> float:
    """Returns an agent's rank among the agents of the same urgency; the lowest comes first."""
    if row.verdict is Verdict.FAILED:
        # Old failures stay in the registry, so the newest one is what the operator looks for.
        return -(row.record.recorded or row.record.started or 0.0)
    return row.record.started or _UNKNOWN


_KEYS: dict[Order, Callable[[AgentRow], tuple[Any, ...]]] = {
    Order.URGENCY: lambda row: (urgency(row), _within_urgency(row)),
    Order.AGE: lambda row: (row.record.started or _UNKNOWN,),
    Order.PROGRESS: lambda row: (
        _UNKNOWN if row.record.progress is None else row.record.progress,
    ),
    Order.HEARD: lambda row: (row.last_activity or _UNKNOWN,),
    Order.STATUS: lambda row: (row.record.status.casefold(),),
    Order.ID: lambda row: (row.record.id,),
}


def order_key(order: Order) -> Callable[[AgentRow], tuple[Any, ...]]:
    """Returns the function that makes an agent's sort key; the lowest key comes first."""
    return _KEYS[order]
