"""The panel beside or below the agent list: details of the line under the cursor, in tabs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from registry.agent_output import FINDINGS, PROGRESS, STREAM_LOG
from registry.dataclass import dataclass, replace
from registry.sources import Dialect
from tui.app.widgets.tab_bar import TABS, Tab, TabBar
from tui.app.widgets.text_view import TextView
from tui.details.load_history import LoadHistory
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
    TaskFilesSource,
)
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.text.sanitize import harmless
from tui.view.outline import Key, Line, OrphanKey, OrphansKey

if TYPE_CHECKING:
    from registry.sources import TaskSource
    from tui.host.tmux import Tmux

KEPT_RECORDS = 500
"""The panel shows at most this many records of a file: the last records."""

KEPT_OF_EACH = 100
"""The panel shows at most this many records of each agent of a task: the last records."""

# The files of so many agents of a task are read: of the agents that were active last.
_AGENTS_AT_MOST = 50

_FOLLOWED = (Tab.LOG, Tab.PANE)
_OF_TASKS = (Tab.TIMELINE, Tab.LOG)
_FILES = {Tab.TIMELINE: PROGRESS, Tab.FINDINGS: FINDINGS, Tab.LOG: STREAM_LOG}
_OF_AGENTS = "Only agents have this tab: move the cursor to an agent."


class Panel(Vertical):
    """Shows details of the line under the cursor in tabs, with a search field.

    Attributes:
        tmux: The access to tmux, which captures panes; None until `Body.use` sets it.
        tab: The open tab.
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
        """The message that the content of a tab was read."""

        key: Hashable
        """The tab, the line and the session to which the content belongs."""
        found: object
        """The content."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet.

            Each message has the whole content of its tab.
            """
            return isinstance(message, Panel.Found) and message.key == self.key

    @dataclass
    class Dragged(Message, namespace="panel"):
        """The message that the operator dragged the divider between the list and the panel."""

        size: int
        """The width or the height of the panel that the operator wants, in cells or lines."""

    @dataclass
    class Left(Message, namespace="panel"):
        """The message that the operator left the panel; the agent list gets the focus."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.tmux: Tmux | None = None
        self.tab = Tab.OVERVIEW
        self._line: Line | None = None
        self._roll: RollCall | None = None
        self._key: Hashable = None
        self._content: object = None
        self._activity = 0
        self._late: Timer | None = None
        self._drags = False
        self._of_task: TaskFilesSource[Any] | None = None
        self.history: LoadHistory[Key] = LoadHistory()
        self._follower = Follower(lambda key, found: self.post_message(self.Found(key, found)))

    def compose(self) -> ComposeResult:
        """Yields the tab bar, the view of the text, and the search field."""
        yield TabBar()
        yield TextView()
        field = Input(placeholder="search", compact=True, max_length=1000)
        field.cursor_blink = False
        yield field

    def on_unmount(self) -> None:
        """Stops the reading thread."""
        self._follower.stop()

    # Content

    def show(self, line: Line | None, roll: RollCall | None) -> None:
        """Shows the details of a line of the agent list.

        Args:
            line: The line under the cursor; None if there is no line.
            roll: The roll call from which the line was made; None before the first one.
        """
        self._line, self._roll = line, roll
        self._look()

    def open_tab(self, tab: Tab) -> None:
        """Opens a tab."""
        if tab is not self.tab:
            self.tab = tab
            self._look()

    def show_activity(self) -> None:
        """Opens the tab that shows what the agent does now, or did last, and takes the keys."""
        self.open_tab(Tab.PANE if self._session() is not None else Tab.LOG)
        self.query_one(TextView).focus()

    def action_tab(self, number: int) -> None:
        """Opens the tab with this number; the first tab has the number 0."""
        self.open_tab(TABS[number])

    def step(self, by: int) -> None:
        """Opens the next tab if `by` is 1, the previous tab if it is -1; wraps at both ends."""
        self.open_tab(TABS[(TABS.index(self.tab) + by) % len(TABS)])

    @on(TabBar.Chosen)
    def _tab_clicked(self, message: TabBar.Chosen) -> None:
        self.open_tab(message.tab)

    def _look(self) -> None:
        """Starts to read the content of the open tab, or reads the same content again."""
        key = (self.tab, self._line.key if self._line is not None else None, self._pane_identity())
        if key == self._key:
            session = self._session()
            activity = session.activity if session is not None else 0
            # A pane is captured again only if the roll call reports new output.
            if self.tab is not Tab.PANE or activity != self._activity:
                self._follower.wake()
            self._activity = activity
            if self._of_task is not None and isinstance(self._line_item, TaskRoll):
                self._of_task.agent_ids = _newest(self._line_item)
            self._draw()
            return
        self._key, self._content, self._of_task = key, None, None
        source = self._source()
        if source is not None:
            self._follower.follow(key, source)
            if self._late is not None:
                self._late.stop()
            self._late = self.set_timer(STUCK, self._say_late)
        self._draw()

    @property
    def _line_item(self) -> object:
        return self._line.item if self._line is not None else None

    def _session(self) -> Session | None:
        item = self._line.item if self._line is not None else None
        if isinstance(item, AgentRow):
            return item.session
        return item if isinstance(item, Session) else None

    def _pane_identity(self) -> Hashable:
        """Returns the identity of the session whose pane is shown; None if no pane is shown."""
        session = self._session()
        if self.tab is not Tab.PANE or session is None or self._roll is None:
            return None
        answer = self._roll.answer
        return session.id, session.created, session.panes, answer.server, self.tmux is not None

    def _source(self) -> PanelSource | None:
        """Returns the source of the open tab's content; None if nothing must be read."""
        item = self._line.item if self._line is not None else None
        if self.tab is Tab.AUDIT:
            return self._audit_source()
        if self.tab is Tab.PANE:
            session = self._session()
            if self.tmux is None or session is None or self._roll is None:
                return None
            return PaneSource(self.tmux, session, self._roll.answer)
        task = self._shown_task()
        if task is not None and isinstance(item, TaskRoll) and self.tab in _OF_TASKS:
            self._of_task = TaskFilesSource(
                task, _newest(item), cast(Any, _FILES[self.tab]), KEPT_OF_EACH
            )
            return self._of_task
        if task is None or not isinstance(item, AgentRow):
            return None
        if self.tab is Tab.OVERVIEW:
            return FieldsSource(task, item.key)
        return FileSource(task, item.key.id, cast(Any, _FILES[self.tab]), KEPT_RECORDS)

    def _shown_task(self) -> TaskSource | None:
        """Returns the task of a task's line or of an agent's line; None for other lines."""
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
        # If the operator went to another line or tab meanwhile, the content is dropped.
        if message.key == self._key:
            self._content = message.found
            self._draw()

    def _say_late(self) -> None:
        if self._content is None and self._source() is not None:
            text = f"Still reading after {STUCK:g} s; the content appears as soon as it is read."
            self._show([row((text, "warning"))])

    # Rows

    def _draw(self) -> None:
        self._show(tuple(self._rows()))

    def _show(self, rows: Iterable[Row]) -> None:
        for text_view in self.query(TextView):
            text_view.show(self._key, tuple(rows), follow=self.tab in _FOLLOWED)
        self._place()

    def _rows(self) -> Iterable[Row]:
        line, content, now = self._line, self._content, time.time()
        if self.tab is Tab.OVERVIEW:
            fields = content if isinstance(content, Fields) else Fields(None)
            if line is not None:
                fields = replace(fields, loads=self.history.of(line.key))
            return overview(line, self._roll, fields, now)
        if self.tab is Tab.PANE:
            return self._pane()
        if self.tab is Tab.AUDIT:
            return self._audit()
        if isinstance(self._line_item, TaskRoll) and self.tab in _OF_TASKS:
            return self._task_files(self._line_item, now)
        if line is None or not isinstance(line.item, AgentRow):
            return [row((_OF_AGENTS, "dim"))]
        if not isinstance(content, Tail):
            return []
        from tui.details import pages

        make: dict[Tab, Callable[[], tuple[Row, ...]]] = {
            Tab.TIMELINE: lambda: pages.timeline(
                content, self.query_one(TextView).cells, now, ascii_only=not _draws_blocks()
            ),
            Tab.FINDINGS: lambda: pages.findings(content),
            Tab.LOG: lambda: pages.log(content),
        }
        return make[self.tab]()

    def _task_files(self, task: TaskRoll, now: float) -> Iterable[Row]:
        from tui.details import pages

        content = self._content
        if not isinstance(content, dict):
            return []
        if self.tab is Tab.TIMELINE:
            return pages.task_timeline(content, task.state.registry, now)
        return pages.task_log(content, task.state.registry)

    def show_history(self, history: LoadHistory[Key]) -> None:
        """Shows the CPU and memory of the last ten minutes."""
        self.history = history
        if self.tab is Tab.OVERVIEW:
            self._draw()

    def _pane(self) -> Iterable[Row]:
        if isinstance(self._content, Screen):
            from tui.details import pages

            return pages.pane(self._content)
        item = self._line.item if self._line is not None else None
        if self._session() is not None:
            return []
        if isinstance(item, AgentRow):
            why = f": {harmless(item.note, 400)}" if item.note else ""
            text = f"There is no session to show; the agent is {item.verdict}{why}."
            return [row((text, "dim"))]
        return [row((_OF_AGENTS, "dim"))]

    def _audit(self) -> Iterable[Row]:
        item = self._line.item if self._line is not None else None
        if self._audit_source() is None:
            key = self._line.key if self._line is not None else None
            orphan = isinstance(key, OrphanKey | OrphansKey)
            text = "The changes to orphans are in the audit log: press l." if orphan else ""
            return [row((text, "dim"))]
        if not isinstance(self._content, Record):
            return []
        from tui.details import pages

        if isinstance(item, AgentRow):
            return pages.audit(self._content, item.key.id, None)
        if isinstance(item, TaskRoll):
            source = item.state.source
            shared = source.dialect is Dialect.SQLITE
            agents = {row.key.id for row in item.agents} if shared else None
            return pages.audit(self._content, None, source.audit_name, agents)
        return pages.audit(self._content, None, None)

    @on(TextView.Placed)
    def _place(self) -> None:
        """Shows the tabs, and the position in the text at the end of the tab bar."""
        for bar in self.query(TabBar):
            text_view = self.query_one(TextView)
            status = [text_view.search_words] if text_view.search_words else []
            if self.tab in _FOLLOWED and text_view.follows:
                status.append("following")
            elif text_view.below:
                status.append(f"{text_view.below} below")
            bar.show(
                self.tab,
                ", ".join(status),
                numbered=self.has_focus_within,
                needed=bool(text_view.search_words),
            )

    def on_descendant_focus(self) -> None:
        """Shows the numbers of the tabs: while the panel has the focus, number keys open tabs."""
        self._place()

    def on_descendant_blur(self) -> None:
        """Hides the numbers of the tabs: without the focus, number keys do not open tabs."""
        self._place()

    def on_resize(self) -> None:
        """Draws the chart of the Timeline tab for the new width."""
        if self.tab is Tab.TIMELINE:
            self._draw()

    # The divider: the border at the left, or the tab bar

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Starts to drag the divider, if the mouse is on it."""
        self._drags = self._is_divider(event)
        if self._drags:
            self.capture_mouse()
            event.stop()

    def _is_divider(self, event: events.MouseEvent) -> bool:
        x, y = event.screen_offset
        region = self.region
        return x == region.x if self._is_beside else y == region.y

    @property
    def _is_beside(self) -> bool:
        return self.parent is not None and self.parent.has_class("beside")

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Moves the divider to the mouse."""
        if self._drags:
            x, y = event.screen_offset
            region = self.region
            self.post_message(
                self.Dragged(region.right - x if self._is_beside else region.bottom - y)
            )

    def on_mouse_up(self, _: events.MouseUp) -> None:
        """Ends the dragging."""
        if self._drags:
            self._drags = False
            self.release_mouse()

    # Searching

    def action_search(self) -> None:
        """Opens the search field."""
        field = self.query_one(Input)
        field.add_class("shown")
        field.focus()

    def action_leave(self) -> None:
        """Closes the search field; if the field is not open, leaves the panel."""
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


def _newest(task: TaskRoll) -> tuple[str, ...]:
    """Returns the ids of the agents of a task that were active last."""
    newest = sorted(task.agents, key=lambda row: row.last_activity or 0.0, reverse=True)
    return tuple(dict.fromkeys(row.key.id for row in newest[:_AGENTS_AT_MOST]))


def _draws_blocks() -> bool:
    """Returns whether standard output has a UTF encoding, which has block characters."""
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    return encoding.casefold().replace("-", "").startswith("utf")
