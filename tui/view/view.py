"""The view of the agent list: the filter and the sort order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from registry.dataclass import dataclass, replace
from registry.text import quoted_name
from tui.host.process.usage import Load
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, Verdict
from tui.view.filter import Filter, parse
from tui.view.sort import Order, order_key, urgency_of

Key = TypeVar("Key")


class Sort(StrEnum):
    """The sort orders of the lines."""

    HIERARCHY = "hierarchy"
    URGENCY = "urgency"
    AGE = "age"
    PROGRESS = "progress"
    CPU = "CPU"
    MEMORY = "memory"
    HEARD = "heard"
    STATUS = "status"

    @property
    def by_load(self) -> bool:
        """Whether lines are sorted by the CPU or memory of their sessions."""
        return self in (Sort.CPU, Sort.MEMORY)

    @classmethod
    def named(cls, name: str) -> Sort:
        """Returns the order with this name in options and settings, such as ``tree`` or ``cpu``.

        Raises:
            ValueError: No order has this name; the message lists all names.
        """
        orders = {"tree" if sort is cls.HIERARCHY else sort.value.casefold(): sort for sort in cls}
        if name not in orders:
            raise ValueError(f"must be one of {', '.join(orders)}, not {quoted_name(name, 40)}")
        return orders[name]

    def after(self, steps: int) -> Sort:
        """Returns the order that is `steps` places later; the first order follows the last."""
        all_ = list(Sort)
        return all_[(all_.index(self) + steps) % len(all_)]


@dataclass(frozen=True, slots=True)
class View:
    """The choice of the agents that are shown, and of their order.

    Attributes:
        query: The filter as typed; see `tui.view.filter`.
        sort: The sort order.
        only: The only verdict to show, or None for all verdicts.
        hide_finished: Whether finished agents are left out.
        reverse: Whether the sort order is reversed; the hierarchy is never reversed.
    """

    query: str = ""
    sort: Sort = Sort.HIERARCHY
    only: Verdict | None = None
    hide_finished: bool = False
    reverse: bool = False

    @property
    def wanted(self) -> Filter:
        """The parsed filter."""
        return parse(self.query)

    @property
    def narrows(self) -> bool:
        """Whether the view has a filter or shows only one verdict; if so, no line is folded."""
        return bool(self.wanted) or self.only is not None

    @property
    def hides(self) -> bool:
        """Whether the view may leave agents out."""
        return self.narrows or self.hide_finished

    def has(self, verdict: Verdict) -> bool:
        """Returns whether the view may show agents with this verdict."""
        if self.only is not None:
            return verdict is self.only
        return not (self.hide_finished and verdict is Verdict.FINISHED)

    def sorted_by(self, sort: Sort) -> View:
        """Returns the view in another sort order; the same order again is reversed."""
        reverse = sort is self.sort and sort is not Sort.HIERARCHY and not self.reverse
        return replace(self, sort=sort, reverse=reverse)

    def cleared(self) -> View:
        """Returns the view without the filter and without the limit to one verdict."""
        return replace(self, query="", only=None)


def sort_key(
    sort: Sort, loads: Mapping[Key, Load]
) -> Callable[[Key, AgentRow | Session], tuple[Any, ...]]:
    """Returns the function that makes a line's sort key from the line's key and item.

    The lowest sort key comes first.

    Args:
        sort: The sort order; not the hierarchy.
        loads: Maps keys of lines to the CPU and memory of sessions.
    """
    if sort.by_load:

        def cost(key: Key, _: AgentRow | Session) -> tuple[Any, ...]:
            load = loads.get(key)
            spent = None if load is None else load.cpu if sort is Sort.CPU else load.memory
            # Lines with an unknown load come last.
            return (1.0,) if spent is None else (0.0, -spent)

        return cost
    order = Order(sort.value)
    of_row = order_key(order)

    def place(_: Key, item: AgentRow | Session) -> tuple[Any, ...]:
        if isinstance(item, AgentRow):
            return of_row(item)
        if order is Order.URGENCY:
            return urgency_of(Verdict.ORPHAN), item.created
        if order is Order.STATUS:
            return ("",)
        if order is Order.HEARD:
            return (item.activity,)
        return (item.created if order is Order.AGE else float("inf"),)

    return place
