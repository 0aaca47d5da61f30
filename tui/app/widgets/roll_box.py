"""The roll with what belongs to it: what is shown of it, its columns, the filter's field."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from tui.app.widgets.roll_cells import heading
from tui.app.widgets.roll_list import RollView
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.host.usage import Load, Meter
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import harmless
from tui.view.filter import parse
from tui.view.outline import Key
from tui.view.view import Sort, View

MEASURE_EVERY = 3.0
"""Seconds between two looks at what sessions cost, at least."""

# And at most, where two looks at the same sessions found the same.
_MEASURE_RARELY = 12.0

_AT_ONCE = 0.1
_FIRST_AGAIN = 1.0

# So much of the time at most, one part in so many, goes into looking.
_SELDOM = 400


class Heading(Static):
    """The names of the roll's columns."""

    DEFAULT_CSS = """
    Heading { height: 1; background: $background; text-style: bold dim; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._sort = Sort.HIERARCHY

    def show(self, sort: Sort) -> None:
        """Shows the columns of another order."""
        self._sort = sort
        self.on_resize()

    def on_resize(self) -> None:
        """Fits the names to another width; one cell is the scrollbar's."""
        self.update(Content(heading(self.size.width - 1, self._sort)), layout=False)


class Shown(Static):
    """What is looked at, where that is not simply everything; else not there."""

    DEFAULT_CSS = """
    Shown { height: 1; background: $primary 25%; padding: 0 1; display: none; }
    Shown.shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def show(self, view: View, shown: int, of: int) -> None:
        """Says how the roll is looked at, and how much of it that is."""
        self.set_class(view != View(), "shown")
        self.update(described(view, shown, of), layout=False)


def described(view: View, shown: int, of: int) -> Content:
    """In one line: the filter, what is hidden, the order, how many are left."""
    parts: list[tuple[str, str]] = []
    if view.query.strip():
        parts.append((f"filter {harmless(view.query.strip(), 200)}", "$warning bold"))
    if view.only is not None:
        parts.append((f"only {VERDICTS[view.only].glyph} {view.only.value}", "$warning bold"))
    if view.hides:
        parts.append((f"{shown} of {of}", ""))
    if view != view.cleared():
        parts.append(("Escape clears", "dim"))
    if view.hide_finished:
        parts.append(("finished hidden", "bold"))
    if view.sort is not Sort.HIERARCHY:
        parts.append((f"by {view.sort.value}", "bold"))
    between = ("  ", "")
    joined = [piece for part in parts for piece in (part, between)]
    return Content.assemble(*joined[:-1])


class FilterField(Input):
    """Where a filter is typed."""

    def __init__(self) -> None:
        super().__init__(
            placeholder="filter: words, or status:blocked",
            # A kept filter is typed on.
            select_on_focus=False,
            compact=True,
            id="filter",
        )
        self.cursor_blink = False


class RollPane(Vertical):
    """The roll, and how it is looked at."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._meter: Meter[Key] = Meter()
        self._found: Mapping[Key, Load] = {}
        self._fresh_for = MEASURE_EVERY
        self._stale_at = 0.0
        self._sort: Sort | None = None

    def compose(self) -> ComposeResult:
        """What is shown, the columns, the lines, the filter's field."""
        yield Shown()
        yield Heading()
        yield RollView(id="roll")
        yield FilterField()

    @property
    def roll(self) -> RollView:
        """The lines."""
        return self.query_one(RollView)

    @on(RollView.Viewed)
    def _viewed(self, message: RollView.Viewed) -> None:
        self.query_one(Shown).show(message.view, message.shown, message.of)
        self.query_one(Heading).show(message.view.sort)
        if self._sort is None or (
            message.view.sort is not self._sort and message.view.sort.by_load
        ):
            self._measure_soon(_AT_ONCE)
        self._sort = message.view.sort

    # The filter

    def open_filter(self) -> None:
        """Opens the filter's field."""
        field = self.query_one(FilterField)
        field.add_class("shown")
        # At once: the next key is meant for it.
        self.screen.set_focus(field)

    @property
    def is_narrowed(self) -> bool:
        """Whether there is something to clear."""
        is_open = self.query_one(FilterField).has_class("shown")
        return is_open or self.roll.view != self.roll.view.cleared()

    def clear(self) -> None:
        """Shows everybody again, but for who is hidden as finished; the order stays."""
        self.query_one(FilterField).value = ""
        self.roll.look(self.roll.view.cleared())
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one(FilterField).remove_class("shown")
        self.screen.set_focus(self.roll)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        # As the roll's own doing: what it says in a handler of this, its parent, ends here.
        self.roll.call_later(self._look_for, event.value)
        event.input.set_class(bool(parse(event.value).problems), "mistaken")

    def _look_for(self, query: str) -> None:
        self.roll.look(replace(self.roll.view, query=query))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        for problem in parse(event.value).problems:
            self.notify(harmless(problem), severity="warning", markup=False)
        self._close_filter()

    # What sessions cost

    def on_mount(self) -> None:
        """Starts to look at what the visible sessions cost."""
        self._measuring = self.set_timer(MEASURE_EVERY, self._measure)

    def _measure_soon(self, seconds: float) -> None:
        self._measuring.stop()
        self._measuring = self.set_timer(seconds, self._measure)

    def on_app_focus(self, _: events.AppFocus) -> None:
        """Looks again once somebody looks here."""
        self._measure_soon(_AT_ONCE)

    def _measure(self) -> None:
        sessions, answer = self.roll.to_measure()
        # Nobody sees it: where the terminal says whether it has the focus, it is asked.
        unseen = not self.app.app_focus or len(self.app.screen_stack) > 1
        known = sessions.keys() == self._found.keys() and time.monotonic() < self._stale_at
        if unseen or answer is None or not sessions or known:
            self._measure_soon(MEASURE_EVERY)
        else:
            self._measure_all(sessions, answer)

    @work(thread=True, exclusive=True, group="measure")
    def _measure_all(self, sessions: Mapping[Key, Session], answer: TmuxSnapshot) -> None:
        started = time.thread_time()
        found = self._meter.measure(sessions, answer)
        took = time.thread_time() - started
        self.app.call_from_thread(self._measured, found, took)

    def _measured(self, found: Mapping[Key, Load], took: float) -> None:
        if self.is_attached:
            # CPU is known from the second look on.
            if any(load.cpu is None for load in found.values()):
                self._fresh_for = _FIRST_AGAIN
            elif found == self._found:
                self._fresh_for = min(2 * self._fresh_for, _MEASURE_RARELY)
            else:
                self._fresh_for = MEASURE_EVERY
            self._stale_at = time.monotonic() + self._fresh_for
            self._found = found
            self.roll.show_loads(found)
            pause = min(self._fresh_for, MEASURE_EVERY)
            self._measure_soon(max(pause, _SELDOM * took))
