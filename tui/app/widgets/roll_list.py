"""The agent list: the lines of workspaces, tasks, agents and orphaned sessions.

Each line is drawn separately, so that a change redraws only the changed lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from registry.dataclass import dataclass, replace
from tui.app.widgets.progress_line import opening_workers
from tui.app.widgets.roll_bindings import ROLL_KEYS
from tui.app.widgets.roll_cells import Drawing
from tui.app.widgets.roll_columns import fold_column, shows_loads
from tui.app.widgets.roll_lines import line_pieces, why_empty
from tui.app.widgets.styled_text import Piece
from tui.host.process.usage import Load
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.roll import AgentRow, RollCall, Verdict
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import fit
from tui.view.marks import Marks
from tui.view.outline import (
    Key,
    Line,
    Outliner,
    actionable,
    branches,
    is_asked_for,
    matching,
    nearest,
    roots_of,
    sessions_of,
)
from tui.view.view import Sort, View

if TYPE_CHECKING:
    from registry.agent_output import ProgressReport
    from registry.sources import TaskSource


# With more sessions, only the visible ones are measured.
_MEASURED_AT_MOST = 32
_FEW_LINES = 500


def _rules(style: str) -> str:
    """Converts a style such as ``$error bold`` to the rules of a style sheet."""
    words = style.split()
    colours = [f"color: {word};" for word in words if word.startswith("$")]
    styles = " ".join(word for word in words if not word.startswith("$"))
    return " ".join((*colours, f"text-style: {styles};" if styles else "")).strip()


class RollView(ScrollView, can_focus=True):
    """The agent list, with a cursor, marks, folds, a filter and a sort order.

    Attributes:
        view: The filter and the sort order.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"roll--{name}"
        for name in (
            *VERDICTS,
            "agent",
            "bar",
            "task",
            "workspace",
            "description",
            "report",
            "error",
            "mark",
            "cursor",
            "cursor-blurred",
            "match",
        )
    }
    DEFAULT_CSS = "\n".join(
        f"RollView > .roll--{verdict} {{ {_rules(entry.style)} }}"
        for verdict, entry in VERDICTS.items()
    )
    BINDINGS: ClassVar[list[BindingType]] = ROLL_KEYS

    @dataclass
    class Moved(Message, namespace="roll"):
        """The message that the cursor moved, or that the content of the cursor's line changed."""

        line: Line | None
        """The line under the cursor; None if the list is empty."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, RollView.Moved)

    @dataclass
    class Marked(Message, namespace="roll"):
        """The message that the marks changed."""

        count: int
        """The number of marked agents and orphans."""
        out_of_sight: int
        """The number of marked agents and orphans that a fold or the filter hides."""

    @dataclass
    class Viewed(Message, namespace="roll"):
        """The message that the filter, the sort order, or the number of shown agents changed."""

        view: View
        """The filter and the sort order."""
        shown: int
        """The number of agents and orphans that the view shows if no line is folded."""
        of: int
        """The number of all agents and orphans."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, RollView.Viewed)

    @dataclass
    class Seen(Message, namespace="roll"):
        """The message that other agents may be visible, or that an agent changed."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, RollView.Seen)

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._roll: RollCall | None = None
        self._lines: tuple[Line, ...] = ()
        self._outliner = Outliner()
        self._viewed: RollView.Viewed | None = None
        self._numbers: dict[Key, int] | None = {}
        self._cursor = 0
        self._folded: set[Key] = set()
        self._shown: dict[int, tuple[Piece, ...]] = {}
        self._text_styles: dict[str, Style] = {}
        self._styles_of: object = None
        self._marks = Marks()
        self._loads: Mapping[Key, Load] = {}
        self._reports: Mapping[tuple[Path, str], ProgressReport] = {}
        self._room: int | None = None
        self.view = View()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible now; False disables the key of the action."""
        if action == "unmark":
            return bool(self.marks)
        if action == "mark_zombies":
            return self._roll is not None and self._roll.counts[Verdict.ZOMBIE] > 0
        return action != "leave_range" or self._marks.start is not None

    # Content

    def show(self, roll: RollCall) -> None:
        """Shows a new roll call; the cursor stays on the same agent."""
        had_zombies = self.check_action("mark_zombies", ())
        before, self._roll = self._roll, roll
        if before is not None and (before.workspaces, before.orphans) == (
            roll.workspaces,
            roll.orphans,
        ):
            # Most roll calls change nothing here; `refresh_ages` redraws the ages.
            return
        if self.check_action("mark_zombies", ()) != had_zombies:
            self.refresh_bindings()
        if self._folded:
            self._folded &= set(branches(roll))
        self._lay_out()
        if self.marks:
            self._mark(self._marks.alive(actionable(roll).keys()))

    def look(self, view: View) -> None:
        """Changes the view: the filter and the sort order.

        The cursor stays on its agent if the agent matches the filter; otherwise the cursor moves
        to the first agent that matches. But a new sort order, except the hierarchy, moves the
        cursor to the top.
        """
        if view == self.view:
            return
        same = (view.sort, view.reverse) == (self.view.sort, self.view.reverse)
        to_top = not same and view.sort is not Sort.HIERARCHY
        self.view = view
        self._shown.clear()
        self._lay_out()
        self.refresh()
        if to_top:
            self.action_edge(-1)
        if view.narrows and (self.current is None or not is_asked_for(self.current)):
            # The operator's next key is meant for an agent that the filter matches.
            matched = (n for n, line in enumerate(self._lines) if is_asked_for(line))
            self._put_cursor(next(matched, self._cursor))

    def show_loads(self, loads: Mapping[Key, Load]) -> None:
        """Shows new measurements of CPU and memory.

        Args:
            loads: Maps the key of a line to the CPU and memory of the line's session.
        """
        # The first measurement sorts the lines; a cursor at the top stays at the top.
        to_top = self.view.sort.by_load and not self._loads and self._cursor == 0
        self._loads = loads
        if self.view.sort.by_load:
            self._lay_out()
        else:
            self._refresh_changed()
        if to_top:
            self.action_edge(-1)

    def show_reports(self, reports: Mapping[tuple[Path, str], ProgressReport]) -> None:
        """Shows the last reports of the visible agents."""
        self._reports = reports
        self._refresh_changed()

    def limit_columns(self, room: int | None) -> None:
        """Limits the cells that the columns take; None for no limit."""
        if room != self._room:
            self._room = room
            self._shown.clear()
            self.refresh()

    @property
    def seen(self) -> tuple[tuple[TaskSource, tuple[str, ...]], ...]:
        """The agents on the visible lines: each task with the ids of its agents."""
        tasks = (
            {}
            if self._roll is None
            else {task.state.registry: task.state.source for task in self._roll.tasks()}
        )
        ids: dict[Path, list[str]] = {}
        top = self.scroll_offset.y
        for line in self._lines[top : top + self.size.height]:
            if isinstance(line.item, AgentRow) and line.item.key.registry in tasks:
                ids.setdefault(line.item.key.registry, []).append(line.item.key.id)
        return tuple((tasks[registry], tuple(of_task)) for registry, of_task in ids.items())

    def to_measure(
        self,
    ) -> tuple[dict[Key, Session], dict[Key, tuple[int, int]], TmuxSnapshot | None]:
        """Returns what to measure now: sessions, processes of agents, and the tmux snapshot.

        All lines are measured if the list is sorted by CPU or memory. The same applies if there
        are only a few sessions, because the panel shows the last ten minutes of each. Otherwise
        the line under the cursor is measured, and the visible lines if the column CPU is shown.
        """
        if self._roll is None:
            return {}, {}, None
        few = len(self._roll.answer.sessions) <= _MEASURED_AT_MOST
        lines = self._lines
        if not (self.view.sort.by_load or (few and len(lines) <= _FEW_LINES)):
            top = self.scroll_offset.y
            shown = shows_loads(self._drawing().columns, self.view.sort)
            current = (self.current,) if self.current is not None else ()
            lines = (*(lines[top : top + self.size.height] if shown else ()), *current)
        return sessions_of(lines), roots_of(lines), self._roll.answer

    @property
    def current(self) -> Line | None:
        """The line under the cursor; None if the list is empty."""
        return self._lines[self._cursor] if self._lines else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines, without the lines that are folded away."""
        return self._lines

    def go_to(self, key: Key) -> None:
        """Moves the cursor to the line with this key, if such a line exists."""
        if (number := self._index.get(key)) is not None:
            self._put_cursor(number)

    @property
    def _index(self) -> dict[Key, int]:
        """Maps the key of each line to the line's index."""
        if self._numbers is None:
            self._numbers = {line.key: number for number, line in enumerate(self._lines)}
        return self._numbers

    def _number_of(self, line: Line) -> int | None:
        """Returns the present index of a line with the same key, or None."""
        at = self._cursor
        if at < len(self._lines) and self._lines[at].key == line.key:
            return at
        return self._index.get(line.key)

    def refresh_ages(self) -> None:
        """Redraws the visible lines whose ages have changed."""
        self._refresh_changed()

    def _lay_out(self) -> None:
        if self._roll is None:
            return
        before, lines_before = self.current, self._lines
        on_screen = self._cursor - self.scroll_offset.y
        self._lines = self._outliner.outline(self._roll, self._folded, self.view, self._loads)
        self._numbers = None
        cursor = self._number_of(before) if before else 0
        if cursor is None:
            cursor = nearest(self._lines, before, self._cursor)
        moved = cursor != self._cursor
        self._cursor = cursor
        if len(self._lines) != len(lines_before) or not self.virtual_size.width:
            self.virtual_size = Size(self._cells, len(self._lines))
        if moved:
            # The cursor's line keeps its place on the screen; the other lines move around it.
            self.scroll_to(y=max(0, cursor - on_screen), animate=False, immediate=True)
        self._refresh_changed(() if moved else lines_before)
        if self.current != before:
            self.post_message(self.Moved(self.current))
        of = sum(self._roll.counts.values())
        if self.view.narrows:
            shown = sum(is_asked_for(line) for line in self._lines)
        else:
            shown = of - self.view.hide_finished * self._roll.counts[Verdict.FINISHED]
        self.post_message(self.Seen())
        viewed = self.Viewed(self.view, shown, of)
        if viewed != self._viewed:
            self._viewed = viewed
            self.post_message(viewed)
        if self.marks:
            self._tell_marks()

    def _refresh_changed(self, same_as: Sequence[Line] = ()) -> None:
        """Redraws the visible lines whose text or style changed.

        Args:
            same_as: The previous lines. A line is skipped if the same object is at the same index.
        """
        drawing = self._drawing()
        top = self.scroll_offset.y
        for y in range(top, top + self.size.height):
            if y < min(len(same_as), len(self._lines)) and self._lines[y] is same_as[y]:
                continue
            if self._shown.get(y) != self._pieces(y, drawing):
                self.refresh_line(y - top)

    # Drawing

    @property
    def _cells(self) -> int:
        return self.scrollable_content_region.width

    def _drawing(self) -> Drawing:
        now = time.time()
        return Drawing(self._cells, now, self.view, self._loads, self._reports, self._room)

    def _pieces(self, y: int, drawing: Drawing) -> tuple[Piece, ...]:
        if y == 0 and not self._lines and self._roll is not None:
            text = why_empty(self.view)
            return ((fit(f"  {text}", self._cells), "finished"), ("", ""))
        if y >= len(self._lines):
            return ()
        line = self._lines[y]
        pieces = line_pieces(line, drawing, line.key in self.marks)
        style = ("cursor" if self.has_focus else "cursor-blurred") if y == self._cursor else ""
        return (*pieces, ("", style))

    def refresh_line(self, y: int) -> None:
        """Redraws the line at a row of the widget; row 0 is at the top."""
        self.refresh(Region(0, y, self._cells, 1))

    def render_line(self, y: int) -> Strip:
        """Returns the drawn line for a row of the widget (Textual's line API)."""
        row = y + self.scroll_offset.y
        pieces = self._pieces(row, self._drawing())
        self._shown[row] = pieces
        self._drop_old_styles()
        background = self.rich_style
        if not pieces:
            return Strip.blank(self._cells, background)
        # Without colours, only reversed text shows the cursor.
        over = self._style(pieces[-1][1])
        if over and (self.app.no_color or self.app.ansi_color):
            over += Style(reverse=True)
        segments = []
        for text, name in pieces[:-1]:
            style = background + self._style(name)
            segments.append(Segment(text, style + over))
        return Strip(segments, self._cells)

    def _drop_old_styles(self) -> None:
        # Textual replaces all component styles together, for example if the theme changes.
        now = self.get_component_styles("roll--cursor")
        if now is not self._styles_of:
            self._styles_of = now
            self._text_styles.clear()

    def _style(self, name: str) -> Style:
        if (style := self._text_styles.get(name)) is None:
            # `get_component_rich_style` would also combine the styles of all ancestors.
            styles = (
                self.get_component_styles(f"roll--{word}").partial_rich_style
                for word in name.split()
            )
            style = self._text_styles[name] = sum(styles, Style())
        return style

    def on_resize(self, _: events.Resize) -> None:
        """Adapts the list to the new size."""
        self._shown.clear()
        self.virtual_size = Size(self._cells, len(self._lines))
        self._scroll_to_cursor()
        self.post_message(self.Seen())

    def on_focus(self) -> None:
        """Draws the cursor in the style for a focused list."""
        self._refresh_changed()

    def on_blur(self) -> None:
        """Draws the cursor in the style for a list without the focus."""
        self._refresh_changed()

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Drops the record of what each row shows, because scrolling moves the rows."""
        super().watch_scroll_y(old, new)
        self._shown.clear()
        self.post_message(self.Seen())

    # Moving

    def _put_cursor(self, number: int) -> None:
        number = max(0, min(number, len(self._lines) - 1))
        if not self._lines or number == self._cursor:
            return
        self._cursor = number
        self._scroll_to_cursor()
        self._reach()
        self._refresh_changed()
        self.post_message(self.Moved(self.current))

    def _scroll_to_cursor(self) -> None:
        top = self.scroll_offset.y
        height = max(1, self.size.height)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False, immediate=True)

    def action_move(self, by: int) -> None:
        """Moves the cursor down by a number of lines; a negative number moves it up."""
        self._put_cursor(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Moves the cursor down by a number of pages; a negative number moves it up."""
        self._put_cursor(self._cursor + by * max(1, self.size.height - 1))

    def action_edge(self, to: int) -> None:
        """Moves the cursor to the last line; to the first line if `to` is negative."""
        self._put_cursor(0 if to < 0 else len(self._lines) - 1)

    def action_fold(self) -> None:
        """Folds the line under the cursor; if this is impossible, goes to the parent."""
        line = self.current
        if line is None:
            return
        if line.folded is False and not self.view.narrows:
            self._folded.add(line.key)
            self._lay_out()
            return
        for number in range(self._cursor - 1, -1, -1):
            if self._lines[number].level < line.level:
                self._put_cursor(number)
                return

    def action_unfold(self) -> None:
        """Unfolds the line under the cursor; if the line is unfolded, goes to the first child."""
        line = self.current
        if line is None:
            return
        if line.folded and not self.view.narrows:
            self._folded.discard(line.key)
            self._lay_out()
        elif line.folded is False:
            self._put_cursor(self._cursor + 1)

    def on_click(self, event: events.Click) -> None:
        """Moves the cursor to the clicked line; a click on a fold arrow also folds or unfolds."""
        number = event.y + self.scroll_offset.y
        if number >= len(self._lines) or any(opening_workers(self.app)):
            return
        self._put_cursor(number)
        line = self._lines[number]
        start = fold_column(line, self._drawing().columns)
        on_arrow = line.folded is not None and start <= event.x < start + 2
        if on_arrow and not self.view.narrows:
            self._folded ^= {line.key}
            self._lay_out()

    # View

    def action_triage(self) -> None:
        """Changes the sort order from the tree to urgency, or from any other order to the tree."""
        is_tree = self.view.sort is Sort.HIERARCHY
        sort = Sort.URGENCY if is_tree else Sort.HIERARCHY
        self.look(replace(self.view, sort=sort, reverse=False))

    def action_sort(self, steps: int) -> None:
        """Changes to the next sort order if `steps` is 1, to the previous one if it is -1."""
        self.look(replace(self.view, sort=self.view.sort.after(steps), reverse=False))

    def action_reverse(self) -> None:
        """Reverses the sort order; the tree has no reverse."""
        self.sort_by(self.view.sort)

    def sort_by(self, sort: Sort) -> None:
        """Sorts the lines; a second call with the same order reverses the order."""
        self.look(self.view.sorted_by(sort))

    def action_hide_finished(self) -> None:
        """Hides finished agents, or shows them again."""
        self.look(replace(self.view, hide_finished=not self.view.hide_finished))

    def action_only(self, verdict: str) -> None:
        """Shows only the agents with this verdict; a second call shows all agents again."""
        only = Verdict(verdict)
        self.look(replace(self.view, only=None if self.view.only is only else only))

    # Marks

    @property
    def marks(self) -> frozenset[Key]:
        """The keys of the marked agents and orphans."""
        return self._marks.keys

    def _mark(self, marks: Marks) -> None:
        before, self._marks = self._marks, marks
        if bool(marks.keys) != bool(before.keys) or marks.start != before.start:
            self.refresh_bindings()
        if marks.keys != before.keys:
            self._refresh_changed()
            self._tell_marks()

    def _tell_marks(self) -> None:
        hidden = self._folded or self.view.hides
        unseen = len(self.marks - self._index.keys()) if hidden else 0
        self.post_message(self.Marked(len(self.marks), unseen))

    def _between(self, first: int, last: int) -> set[Key]:
        lines = self._lines[min(first, last) : max(first, last) + 1]
        return {line.key for line in lines if is_asked_for(line)}

    def _matched_keys(self) -> Set[Key]:
        return matching(self._roll, self.view).keys() if self._roll is not None else set()

    def action_mark(self) -> None:
        """Toggles the mark of the line under the cursor, and moves the cursor to the next line."""
        if self.current is not None and isinstance(self.current.item, AgentRow | Session):
            self._mark(self._marks.inverting({self.current.key}))
            self._put_cursor(self._cursor + 1)

    def action_range(self) -> None:
        """Starts a range of marked lines at the cursor, or ends the range."""
        if self._marks.start is not None:
            self.action_leave_range()
        elif self.current is not None:
            self._mark(self._marks.starting(self.current.key))
            self._reach()

    def _reach(self) -> None:
        """Marks the lines from the start of the range to the cursor, if a range was started."""
        if self._marks.start is None:
            return
        if (start := self._index.get(self._marks.start)) is not None:
            self._mark(self._marks.reaching(self._between(start, self._cursor)))
        else:
            self.action_leave_range()

    def action_leave_range(self) -> None:
        """Ends the range of marked lines. These lines stay marked."""
        self._mark(self._marks.ended())

    def action_extend(self, by: int) -> None:
        """Moves the cursor by `by` lines, and marks all lines from the old to the new line."""
        start = self._cursor
        self.action_leave_range()
        self._put_cursor(start + by)
        self._mark(self._marks.adding(self._between(start, self._cursor)))

    def action_mark_found(self) -> None:
        """Marks all agents and orphans that match the filter, even if they are folded away."""
        self._mark(self._marks.adding(self._matched_keys()))

    def action_invert(self) -> None:
        """Inverts the marks of all agents and orphans that match the filter."""
        self._mark(self._marks.inverting(self._matched_keys()))

    def action_mark_zombies(self) -> None:
        """Marks all zombies, even if they are folded away."""
        if self._roll is not None:
            zombies = matching(self._roll, View(only=Verdict.ZOMBIE))
            self._mark(self._marks.adding(zombies.keys()))

    def action_unmark(self) -> None:
        """Removes all marks."""
        self._mark(Marks())

    def targets(self) -> Iterable[Key]:
        """Returns the keys of the marked lines; without marks, the key of the cursor's line."""
        if self.marks and self._roll is not None:
            return [key for key in actionable(self._roll) if key in self.marks]
        return [self.current.key] if self.current else []
