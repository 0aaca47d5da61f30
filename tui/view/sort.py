"""The sort orders of agents, and the urgency of each verdict. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tui.model.roll import AgentRow, Verdict
from tui.model.verdicts import VERDICTS

# The rank of blocked agents: after stalled agents, and before agents with the next verdict.
_BLOCKED = 2 * VERDICTS[Verdict.STALLED].urgency + 1


class Order(StrEnum):
    """The sort orders of agents."""

    URGENCY = "urgency"
    """The most urgent verdict comes first; blocked agents come directly after stalled agents."""
    AGE = "age"
    """The agent that started first comes first."""
    PROGRESS = "progress"
    """The agent with the least progress comes first."""
    ID = "id"


def urgency(row: AgentRow) -> int:
    """Returns an agent's rank; the lowest rank is the most urgent."""
    if row.record.meaning == "blocked" and row.verdict is Verdict.LIVE:
        return _BLOCKED
    return urgency_of(row.verdict)


def urgency_of(verdict: Verdict) -> int:
    """Returns a verdict's rank; the lowest rank is the most urgent."""
    # Even numbers only, so that blocked agents have a rank between two verdicts.
    return 2 * VERDICTS[verdict].urgency


def urgency_words() -> tuple[str, ...]:
    """Returns the verdicts and "blocked", the most urgent first."""
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
    """Returns the function that makes an agent's sort key; the lowest key comes first."""
    return _KEYS[order]
