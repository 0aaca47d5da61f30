"""The agent list, with its column titles, a line that describes the view, and the filter field.

The view consists of the filter and the sort order.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from registry.dataclass import dataclass, replace
from tui.app.widgets.roll_columns import column_at, heading
from tui.app.widgets.roll_list import RollView
from tui.details.load_history import LoadHistory
from tui.details.reader import Follower
from tui.details.sources import ReportsSource
from tui.host.process.usage import Load, Meter
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import harmless
from tui.view.filter import parse
from tui.view.outline import Key
from tui.view.view import Sort, View

if TYPE_CHECKING:
    from registry.agent_output import LastReport, ProgressReport

MEASURE_EVERY = 3.0
"""The shortest time between two measurements of the sessions' CPU and memory, in seconds."""

# The time between measurements grows up to this number of seconds while the values stay the same.
_MEASURE_RARELY = 12.0

_AT_ONCE = 0.1
_FIRST_AGAIN = 1.0

# The pause after a measurement is this many times as long as the measurement, or longer. So
# measurements take at most 0.25 % of the time.
_SELDOM = 400


class Heading(Static):
    """The line with the titles of the agent list's columns."""

    DEFAULT_CSS = """
    Heading { height: 1; background: $background; text-style: bold dim; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._view = View()
        self._room: int | None = None

    @dataclass
    class Chosen(Message, namespace="heading"):
        """The message that the operator clicked the title of a column that can be sorted."""

        sort: Sort
        """The sort order."""

    def show(self, view: View) -> None:
        """Shows the titles of the columns for a sort order."""
        self._view = view
        self.on_resize()

    def limit_columns(self, room: int | None) -> None:
        """Limits the cells that the columns take; None for no limit."""
        self._room = room
        self.on_resize()

    @property
    def _cells(self) -> int:
        # The scroll bar of the list takes one cell.
        cells = self.size.width - 1
        return cells if self._room is None else min(cells, self._room)

    def on_resize(self) -> None:
        """Draws the titles for the new width."""
        self.update(Content(heading(self._cells, self._view)), layout=False)

    def on_click(self, event: events.Click) -> None:
        """Posts `Chosen` with the sort order of the clicked column."""
        column = column_at(event.x, self._cells, self._view.sort)
        if column is not None and column.sort is not None:
            self.post_message(self.Chosen(column.sort))


class Shown(Static):
    """The line that describes the view; hidden if the view is the default view."""

    DEFAULT_CSS = """
    Shown { height: 1; background: $primary 25%; padding: 0 1; display: none; }
    Shown.shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def show(self, view: View, shown: int, of: int) -> None:
        """Describes a view, which shows `shown` of all `of` agents and orphans."""
        self.set_class(view != View(), "shown")
        self.update(described(view, shown, of), layout=False)


def described(view: View, shown: int, of: int) -> Content:
    """Returns the description of a view that shows `shown` of all `of` agents and orphans."""
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
        reverse = ", reversed" if view.reverse else ""
        parts.append((f"by {view.sort.value}{reverse}", "bold"))
    between = ("  ", "")
    joined = [piece for part in parts for piece in (part, between)]
    return Content.assemble(*joined[:-1])


class FilterField(Input):
    """The input field for the filter."""

    def __init__(self) -> None:
        super().__init__(
            placeholder="filter: words, or status:blocked",
            # If the text was selected, the next key would replace it.
            select_on_focus=False,
            compact=True,
            id="filter",
        )
        self.cursor_blink = False


class RollPane(Vertical):
    """Contains the agent list, the lines above it, and the filter field.

    Attributes:
        history: The CPU and memory of sessions in the last ten minutes.
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._meter: Meter[Key] = Meter()
        self._loads: Mapping[Key, Load] = {}
        self._fresh_for = MEASURE_EVERY
        self._stale_at = 0.0
        self._sort: Sort | None = None
        self.history: LoadHistory[Key] = LoadHistory()
        self._seen: Hashable = None
        self._reports: dict[Path, dict[str, LastReport]] = {}
        self._follower = Follower(self._deliver_reports)

    def compose(self) -> ComposeResult:
        """Yields the description of the view, the titles, the agent list and the filter field."""
        yield Shown()
        yield Heading()
        yield RollView(id="roll")
        yield FilterField()

    @property
    def roll(self) -> RollView:
        """The agent list."""
        return self.query_one(RollView)

    @on(RollView.Viewed)
    def _viewed(self, message: RollView.Viewed) -> None:
        self.query_one(Shown).show(message.view, message.shown, message.of)
        self.query_one(Heading).show(message.view)
        if self._sort is None or (
            message.view.sort is not self._sort and message.view.sort.by_load
        ):
            self._measure_soon(_AT_ONCE)
        self._sort = message.view.sort

    @on(Heading.Chosen)
    def _sort_by(self, message: Heading.Chosen) -> None:
        self.roll.call_later(self.roll.sort_by, message.sort)

    def limit_columns(self, room: int | None) -> None:
        """Limits the cells that the columns of the list take; None for no limit."""
        self.query_one(Heading).limit_columns(room)
        self.roll.limit_columns(room)

    # Reports

    @dataclass
    class Reported(Message, namespace="reports"):
        """The message that the reports of the visible agents were read."""

        reports: Mapping[tuple[Path, str], ProgressReport]
        """Maps the path of a task's registry and the id of an agent to the agent's last report."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, RollPane.Reported)

    @on(RollView.Seen)
    def _follow_reports(self) -> None:
        seen = self.roll.seen
        if seen == self._seen:
            self._follower.wake()
        elif seen:
            self._seen = seen
            self._follower.follow(seen, ReportsSource(seen, self._reports))

    def _deliver_reports(self, _: Hashable, reports: object) -> None:
        self.post_message(self.Reported(cast(Any, reports)))

    @on(Reported)
    def _show_reports(self, message: Reported) -> None:
        self.roll.show_reports(message.reports)

    def on_unmount(self) -> None:
        """Stops the thread that reads the reports."""
        self._follower.stop()

    # Filter

    def begin(self, view: View) -> None:
        """Shows a view, and its filter in the filter field."""
        self.query_one(FilterField).value = view.query
        self.roll.look(view)

    def open_filter(self) -> None:
        """Opens the filter field."""
        field = self.query_one(FilterField)
        field.add_class("shown")
        # Not at the next refresh: the next key must already be typed into the field.
        self.screen.set_focus(field)

    @property
    def is_narrowed(self) -> bool:
        """Whether a filter or a single verdict is set, or the filter field is open."""
        is_open = self.query_one(FilterField).has_class("shown")
        return is_open or self.roll.view != self.roll.view.cleared()

    def clear(self) -> None:
        """Removes the filter and the limit to one verdict, and closes the filter field.

        The sort order stays. If finished agents are hidden, they stay hidden.
        """
        self.query_one(FilterField).value = ""
        self.roll.look(self.roll.view.cleared())
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one(FilterField).remove_class("shown")
        self.screen.set_focus(self.roll)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        # Textual regards the widget whose handler runs as the sender of a new message, and does
        # not bubble a message beyond its sender. So the agent list makes this call itself.
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

    # Load of the sessions

    @dataclass
    class Measured(Message, namespace="loads"):
        """The message that CPU and memory were measured; see `RollPane.history`."""

    def on_mount(self) -> None:
        """Starts the timer for the measurements of the sessions' CPU and memory."""
        self._measuring = self.set_timer(MEASURE_EVERY, self._measure)

    def _measure_soon(self, seconds: float) -> None:
        self._measuring.stop()
        self._measuring = self.set_timer(seconds, self._measure)

    def on_app_focus(self, _: events.AppFocus) -> None:
        """Measures again when the terminal gets the focus."""
        self._measure_soon(_AT_ONCE)

    def _measure(self) -> None:
        sessions, roots, answer = self.roll.to_measure()
        # Measure only if the operator can see the result. Some terminals report a lost focus.
        unseen = not self.app.app_focus or len(self.app.screen_stack) > 1
        measured = sessions.keys() | roots.keys()
        known = measured == self._loads.keys() and time.monotonic() < self._stale_at
        if unseen or answer is None or not measured or known:
            self._measure_soon(MEASURE_EVERY)
        else:
            self._measure_all(sessions, answer, roots)

    @work(thread=True, exclusive=True, group="measure")
    def _measure_all(
        self,
        sessions: Mapping[Key, Session],
        answer: TmuxSnapshot,
        roots: Mapping[Key, tuple[int, int]],
    ) -> None:
        started = time.thread_time()
        loads = self._meter.measure(sessions, answer, roots)
        took = time.thread_time() - started
        self.app.call_from_thread(self._measured, loads, took)

    def _measured(self, loads: Mapping[Key, Load], took: float) -> None:
        if self.is_attached:
            # CPU is known from the second measurement on.
            if any(load.cpu is None for load in loads.values()):
                self._fresh_for = _FIRST_AGAIN
            elif loads == self._loads:
                self._fresh_for = min(2 * self._fresh_for, _MEASURE_RARELY)
            else:
                self._fresh_for = MEASURE_EVERY
            self._stale_at = time.monotonic() + self._fresh_for
            self._loads = loads
            self.history.add(loads, time.time())
            self.roll.show_loads(loads)
            self.post_message(self.Measured())
            pause = min(self._fresh_for, MEASURE_EVERY)
            self._measure_soon(max(pause, _SELDOM * took))
