"""The panel beside or below the roll: all about the line under the cursor, in tabs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from registry.agent_output import FINDINGS, PROGRESS, STREAM_LOG
from tui.app.widgets.tab_bar import TABS, Tab, TabBar
from tui.app.widgets.text_view import TextView
from tui.details.overview import overview
from tui.details.reader import STUCK, Follower
from tui.details.rows import Row, row
from tui.details.sources import (
    AuditSource,
    Fields,
    FieldsSource,
    FileSource,
    PanelSource,
    PaneSource,
    Record,
    Screen,
    Tail,
)
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.text.sanitize import harmless
from tui.view.outline import Line, OrphanKey, OrphansKey

if TYPE_CHECKING:
    from registry.sources import TaskSource
    from tui.host.tmux import Tmux

KEPT_RECORDS = 500
"""Records of a file that are shown, the last ones."""

_FOLLOWED = (Tab.LOG, Tab.PANE)
_FILES = {Tab.TIMELINE: PROGRESS, Tab.FINDINGS: FINDINGS, Tab.LOG: STREAM_LOG}
_OF_AGENTS = "Only agents have this: put the cursor on one."


class Panel(Vertical):
    """Tabs, rows to be read and a field to search them with.

    Attributes:
        tmux: Who is asked for panes; None until there is somebody.
    """

    DEFAULT_CSS = """
    Panel { background: $surface; }
    Panel Input { display: none; height: 1; border: none; padding: 0 1; background: $panel; }
    Panel Input.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                str(number),
                f"tab({number - 1})",
                tab.value,
                show=False,
                tooltip=f"Panel: {tab.value}",
                id=f"panel.{tab.value.lower()}",
            )
            for number, tab in enumerate(TABS, 1)
        ),
        Binding("slash", "search", "Search", show=False, id="panel.search"),
        Binding("escape", "leave", "Back to the roll", show=False, id="panel.leave"),
    ]

    @dataclass
    class Found(Message, namespace="panel"):
        """Something was read."""

        key: Hashable
        """What was wanted."""
        found: object
        """What there is."""

        def can_replace(self, message: Message) -> bool:
            """Each is all there is, so the newest will do."""
            return isinstance(message, Panel.Found) and message.key == self.key

    @dataclass
    class Left(Message, namespace="panel"):
        """The keys are to go to the roll again."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.tmux: Tmux | None = None
        self.tab = Tab.OVERVIEW
        self._line: Line | None = None
        self._roll: RollCall | None = None
        self._key: Hashable = None
        self._found: object = None
        self._activity = 0
        self._late: Timer | None = None
        self._follower = Follower(lambda key, found: self.post_message(self.Found(key, found)))

    def compose(self) -> ComposeResult:
        """The tabs, the rows, the field."""
        yield TabBar()
        yield TextView()
        field = Input(placeholder="search", compact=True, max_length=1000)
        field.cursor_blink = False
        yield field

    def on_unmount(self) -> None:
        """Stops reading."""
        self._follower.stop()

    # What it shows

    def show(self, line: Line | None, roll: RollCall | None) -> None:
        """Shows another line, or what became of the one that is shown."""
        self._line, self._roll = line, roll
        self._look()

    def open_tab(self, tab: Tab) -> None:
        """Shows another tab."""
        if tab is not self.tab:
            self.tab = tab
            self._look()

    def action_tab(self, number: int) -> None:
        """Opens a tab by its number."""
        self.open_tab(TABS[number])

    def step(self, by: int) -> None:
        """Shows the next tab, or the one before."""
        self.open_tab(TABS[(TABS.index(self.tab) + by) % len(TABS)])

    @on(TabBar.Chosen)
    def _tab_clicked(self, message: TabBar.Chosen) -> None:
        self.open_tab(message.tab)

    def _look(self) -> None:
        """Has read what is to be shown now."""
        key = (self.tab, self._line.key if self._line is not None else None, self._whose())
        if key == self._key:
            session = self._session()
            activity = session.activity if session is not None else 0
            # Of a pane only output is news: the roll call tells of it.
            if self.tab is not Tab.PANE or activity != self._activity:
                self._follower.wake()
            self._activity = activity
            self._draw()
            return
        self._key, self._found = key, None
        source = self._source()
        if source is not None:
            self._follower.follow(key, source)
            if self._late is not None:
                self._late.stop()
            self._late = self.set_timer(STUCK, self._say_late)
        self._draw()

    def _session(self) -> Session | None:
        item = self._line.item if self._line is not None else None
        if isinstance(item, AgentRow):
            return item.session
        return item if isinstance(item, Session) else None

    def _whose(self) -> Hashable:
        """Which session's pane is open."""
        session = self._session()
        if self.tab is not Tab.PANE or session is None or self._roll is None:
            return None
        answer = self._roll.answer
        there = self.tmux is not None
        return session.id, session.created, session.panes, answer.server, there

    def _source(self) -> PanelSource | None:
        """Where what is to be shown is read; None where nothing is."""
        item = self._line.item if self._line is not None else None
        if self.tab is Tab.AUDIT:
            return self._audit_source()
        if self.tab is Tab.PANE:
            session = self._session()
            if self.tmux is None or session is None or self._roll is None:
                return None
            return PaneSource(self.tmux, session, self._roll.answer)
        task = self._shown_task()
        if task is None or not isinstance(item, AgentRow):
            return None
        if self.tab is Tab.OVERVIEW:
            return FieldsSource(task, item.key)
        return FileSource(task, item.key.id, cast(Any, _FILES[self.tab]), KEPT_RECORDS)

    def _shown_task(self) -> TaskSource | None:
        """The task that the line is of, or that its agent belongs to; None where it is of none."""
        item = self._line.item if self._line is not None else None
        if isinstance(item, AgentRow) and self._roll is not None:
            item = self._roll.task_of(item.key)
        return item.state.source if isinstance(item, TaskRoll) else None

    def _audit_source(self) -> AuditSource | None:
        from registry.audit import log_in

        item, task = self._line.item if self._line is not None else None, self._shown_task()
        if task is not None:
            return AuditSource(task.audit_log)
        if isinstance(item, WorkspaceRoll):
            return AuditSource(log_in(item.path))
        return None

    @on(Found)
    def _read(self, message: Found) -> None:
        # What was wanted before is dropped for what is wanted now.
        if message.key == self._key:
            self._found = message.found
            self._draw()

    def _say_late(self) -> None:
        if self._found is None and self._source() is not None:
            said = f"No answer for {STUCK:g} s; it is shown once it comes."
            self._show([row((said, "warning"))])

    # The rows

    def _draw(self) -> None:
        self._show(tuple(self._rows()))

    def _show(self, rows: Iterable[Row]) -> None:
        for paper in self.query(TextView):
            paper.show(self._key, tuple(rows), follow=self.tab in _FOLLOWED)
        self._place()

    def _rows(self) -> Iterable[Row]:
        line, found, now = self._line, self._found, time.time()
        if self.tab is Tab.OVERVIEW:
            more = found if isinstance(found, Fields) else Fields(None)
            return overview(line, self._roll, more, now)
        if self.tab is Tab.PANE:
            return self._pane()
        if self.tab is Tab.AUDIT:
            return self._audit()
        if line is None or not isinstance(line.item, AgentRow):
            return [row((_OF_AGENTS, "dim"))]
        if not isinstance(found, Tail):
            return []
        from tui.details import pages

        make: dict[Tab, Callable[[], tuple[Row, ...]]] = {
            Tab.TIMELINE: lambda: pages.timeline(
                found, self.query_one(TextView).cells, now, ascii_only=not _draws_blocks()
            ),
            Tab.FINDINGS: lambda: pages.findings(found),
            Tab.LOG: lambda: pages.log(found),
        }
        return make[self.tab]()

    def _pane(self) -> Iterable[Row]:
        if isinstance(self._found, Screen):
            from tui.details import pages

            return pages.pane(self._found)
        item = self._line.item if self._line is not None else None
        if self._session() is not None:
            return []
        if isinstance(item, AgentRow):
            why = f": {harmless(item.note, 400)}" if item.note else ""
            return [row((f"It has no session to show; {item.verdict}{why}.", "dim"))]
        return [row((_OF_AGENTS, "dim"))]

    def _audit(self) -> Iterable[Row]:
        item = self._line.item if self._line is not None else None
        if self._audit_source() is None:
            key = self._line.key if self._line is not None else None
            orphan = isinstance(key, OrphanKey | OrphansKey)
            said = "What was done to orphans is in the log: `l`." if orphan else ""
            return [row((said, "dim"))]
        if not isinstance(self._found, Record):
            return []
        from tui.details import pages

        if isinstance(item, AgentRow):
            return pages.audit(self._found, item.key.id, None)
        if isinstance(item, TaskRoll):
            return pages.audit(self._found, None, item.state.source.audit_name)
        return pages.audit(self._found, None, None)

    @on(TextView.Placed)
    def _place(self) -> None:
        """Says where one is in the rows."""
        for bar in self.query(TabBar):
            paper = self.query_one(TextView)
            said = [paper.search_words] if paper.search_words else []
            if self.tab in _FOLLOWED and paper.follows:
                said.append("following")
            elif paper.below:
                said.append(f"{paper.below} below")
            bar.show(
                self.tab,
                ", ".join(said),
                numbered=self.has_focus_within,
                needed=bool(paper.search_words),
            )

    def on_descendant_focus(self) -> None:
        """Names the keys that open tabs: they are those of the panel now."""
        self._place()

    def on_descendant_blur(self) -> None:
        """Names no keys that have another use now."""
        self._place()

    def on_resize(self) -> None:
        """Draws the chart for the new width."""
        if self.tab is Tab.TIMELINE:
            self._draw()

    # Searching

    def action_search(self) -> None:
        """Opens the field to search with."""
        field = self.query_one(Input)
        field.add_class("shown")
        field.focus()

    def action_leave(self) -> None:
        """Ends the search; without one goes back to the roll."""
        field = self.query_one(Input)
        if not field.has_class("shown"):
            self.post_message(self.Left())
            return
        field.value = ""
        field.remove_class("shown")
        self.query_one(TextView).focus()

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one(TextView).search(event.value)

    @on(Input.Submitted)
    def _searched(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value:
            event.input.remove_class("shown")
        self.query_one(TextView).focus()


def _draws_blocks() -> bool:
    """Whether the terminal takes more than ASCII."""
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    return encoding.casefold().replace("-", "").startswith("utf")
