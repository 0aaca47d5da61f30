"""The roll: a list of lines drawn one by one, so that a change costs one line."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.outline import Key, Line, actionable, branches, outline
from tui.roll import AgentRow, RollCall, Verdict
from tui.text import fit
from tui.widgets.cells import Piece, fold_column, line_pieces


class RollView(ScrollView, can_focus=True):
    """Shows the lines of a roll call, with a cursor, marks, folds and a filter."""

    DEFAULT_CSS = """
    RollView {
        height: 1fr;
        scrollbar-size: 0 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
        scrollbar-background: $background;
        scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
        scrollbar-color: $panel-lighten-2;
        background: $background;
    }
    RollView > .roll--live { color: $success; }
    RollView > .roll--stalled { color: $warning; text-style: bold; }
    RollView > .roll--zombie { color: $error; text-style: bold; }
    RollView > .roll--leaked { color: $accent; text-style: bold; }
    RollView > .roll--orphan { color: $secondary; text-style: bold; }
    RollView > .roll--unknown { color: $warning; text-style: italic; }
    RollView > .roll--finished { text-style: dim; }
    RollView > .roll--agent { color: $foreground; }
    RollView > .roll--bar { color: $success; }
    RollView > .roll--task { color: $primary; text-style: bold; }
    RollView > .roll--workspace { color: $primary; text-style: bold underline; }
    RollView > .roll--description { color: $foreground; }
    RollView > .roll--error { color: $error; text-style: bold; }
    RollView > .roll--mark { color: $warning; text-style: bold; }
    RollView > .roll--cursor { background: $block-cursor-background; }
    RollView > .roll--cursor-blurred { background: $panel; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"roll--{name}"
        for name in (
            *(verdict.value for verdict in Verdict),
            "agent",
            "bar",
            "task",
            "workspace",
            "description",
            "error",
            "mark",
            "cursor",
            "cursor-blurred",
        )
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="roll.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="roll.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="roll.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="roll.page-down"),
        Binding("home", "edge(-1)", "First line", show=False, id="roll.first"),
        Binding("end", "edge(1)", "Last line", show=False, id="roll.last"),
        Binding("left", "fold", "Fold, or go to the parent", show=False, id="roll.fold"),
        Binding("right", "unfold", "Unfold, or go inside", show=False, id="roll.unfold"),
        Binding("space", "mark", "Mark", id="roll.mark"),
        Binding(
            "z", "mark_zombies", "Zombies", tooltip="Mark all zombies", id="roll.mark-zombies"
        ),
        Binding("u", "unmark", "Unmark", tooltip="Unmark all", id="roll.unmark"),
    ]

    @dataclass
    class Moved(Message, namespace="roll"):
        """The cursor is on another line, or its line says something else."""

        line: Line | None
        """The line under the cursor; None when there are no lines."""

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, RollView.Moved)

    @dataclass
    class Marked(Message, namespace="roll"):
        """The marks changed."""

        count: int
        """How many there are."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._roll: RollCall | None = None
        self._lines: tuple[Line, ...] = ()
        self._index: dict[Key, int] = {}
        self._cursor = 0
        self._folded: set[Key] = set()
        self._query = ""
        self._shown: dict[int, tuple[Piece, ...]] = {}
        self.marks: set[Key] = set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers only the keys that have a use now."""
        if action == "unmark":
            return bool(self.marks)
        if action == "mark_zombies":
            return self._roll is not None and self._roll.counts[Verdict.ZOMBIE] > 0
        return True

    # What it shows

    def show(self, roll: RollCall) -> None:
        """Shows another roll call; the cursor stays on the same agent."""
        had_zombies = self.check_action("mark_zombies", ())
        before, self._roll = self._roll, roll
        if before is not None and (before.workspaces, before.orphans) == (
            roll.workspaces,
            roll.orphans,
        ):
            # Most roll calls say nothing new; ages have a beat of their own.
            return
        if self.check_action("mark_zombies", ()) != had_zombies:
            self.refresh_bindings()
        gone = self.marks - actionable(roll).keys()
        self._folded &= set(branches(roll))
        if gone:
            self._set_marks(self.marks - gone)
        self._lay_out()

    def filter(self, query: str) -> None:
        """Shows only what contains every word of the query."""
        if query != self._query:
            self._query = query
            self._lay_out()

    @property
    def current(self) -> Line | None:
        """The line under the cursor."""
        return self._lines[self._cursor] if self._lines else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines, folded ones left out."""
        return self._lines

    def go_to(self, key: Key) -> None:
        """Puts the cursor on a line, if it is there."""
        if key in self._index:
            self._put_cursor(self._index[key])

    def refresh_ages(self) -> None:
        """Draws those visible lines anew that say something else by now."""
        self._refresh_changed()

    def _lay_out(self) -> None:
        if self._roll is None:
            return
        before = self.current
        height = len(self._lines)
        on_screen = self._cursor - self.scroll_offset.y
        self._lines = outline(self._roll, self._folded, self._query)
        self._index = {line.key: number for number, line in enumerate(self._lines)}
        cursor = self._index.get(before.key) if before else 0
        if cursor is None:
            cursor = self._nearest(before, self._cursor)
        moved = cursor != self._cursor
        self._cursor = cursor
        if len(self._lines) != height or not self.virtual_size.width:
            self.virtual_size = Size(self._cells, len(self._lines))
        if moved:
            # The line stays where the eye left it; the others move around it.
            self.scroll_to(y=max(0, cursor - on_screen), animate=False, immediate=True)
        self._refresh_changed()
        if self.current != before:
            self.post_message(self.Moved(self.current))

    def _nearest(self, before: Line | None, old: int) -> int:
        """Where the cursor goes when its line is gone: to what it was inside of."""
        if before is not None and isinstance(before.item, AgentRow):
            for number in range(min(old, len(self._lines)) - 1, -1, -1):
                if self._lines[number].level < before.level:
                    return number
        return max(0, min(old, len(self._lines) - 1))

    def _refresh_changed(self) -> None:
        """Refreshes the visible lines whose text or style is not what is shown."""
        now = time.time()
        top = self.scroll_offset.y
        for y in range(top, top + self.size.height):
            if self._shown.get(y) != self._pieces(y, now):
                self.refresh_line(y - top)

    # How it is drawn

    @property
    def _cells(self) -> int:
        return self.scrollable_content_region.width

    def _pieces(self, y: int, now: float) -> tuple[Piece, ...]:
        if y == 0 and not self._lines and (said := self._why_empty()):
            return ((fit(f"  {said}", self._cells), "finished"), ("", ""))
        if y >= len(self._lines):
            return ()
        line = self._lines[y]
        marked = line.key in self.marks
        pieces = line_pieces(line, self._cells, now, marked)
        style = ("cursor" if self.has_focus else "cursor-blurred") if y == self._cursor else ""
        return (*pieces, ("", style))

    def _why_empty(self) -> str:
        if self._roll is None:
            return ""
        if self._query.strip():
            return "Nothing matches the filter; Escape clears it."
        return "No task is here yet; one that comes shows up by itself."

    def refresh_line(self, y: int) -> None:
        """Draws one line of the window anew."""
        self.refresh(Region(0, y, self._cells, 1))

    def render_line(self, y: int) -> Strip:
        """Draws a line of the window (Textual's line API)."""
        row = y + self.scroll_offset.y
        pieces = self._pieces(row, time.time())
        self._shown[row] = pieces
        background = self.rich_style
        if not pieces:
            return Strip.blank(self._cells, background)
        # Reversed as well where there are no colours to tell the cursor by.
        over = self._style(pieces[-1][1])
        if over and (self.app.no_color or self.app.ansi_color):
            over += Style(reverse=True)
        segments = []
        for text, name in pieces[:-1]:
            style = background + self._style(name)
            segments.append(Segment(text, style + over))
        return Strip(segments, self._cells)

    def _style(self, name: str) -> Style:
        if not name:
            return Style()
        return self.get_component_rich_style(f"roll--{name}", partial=True)

    def on_resize(self, _: events.Resize) -> None:
        """Lays the lines out for another width."""
        self._shown.clear()
        self.virtual_size = Size(self._cells, len(self._lines))
        self._scroll_to_cursor()

    def on_focus(self) -> None:
        """Shows the cursor as active."""
        self._refresh_changed()

    def on_blur(self) -> None:
        """Shows the cursor as idle."""
        self._refresh_changed()

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Forgets what was shown where."""
        super().watch_scroll_y(old, new)
        self._shown.clear()

    # Moving

    def _put_cursor(self, number: int) -> None:
        number = max(0, min(number, len(self._lines) - 1))
        if not self._lines or number == self._cursor:
            return
        self._cursor = number
        self._scroll_to_cursor()
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
        """Moves the cursor by lines."""
        self._put_cursor(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Moves the cursor by windows."""
        self._put_cursor(self._cursor + by * max(1, self.size.height - 1))

    def action_edge(self, to: int) -> None:
        """Moves the cursor to the first or the last line."""
        self._put_cursor(0 if to < 0 else len(self._lines) - 1)

    def action_fold(self) -> None:
        """Closes a branch; on a line without one, or a closed one, goes to its parent."""
        line = self.current
        if line is None:
            return
        if line.folded is False and not self._query:
            self._folded.add(line.key)
            self._lay_out()
            return
        for number in range(self._cursor - 1, -1, -1):
            if self._lines[number].level < line.level:
                self._put_cursor(number)
                return

    def action_unfold(self) -> None:
        """Opens a branch; on an open one goes to its first line."""
        line = self.current
        if line is None:
            return
        if line.folded and not self._query:
            self._folded.discard(line.key)
            self._lay_out()
        elif line.folded is False:
            self._put_cursor(self._cursor + 1)

    def on_click(self, event: events.Click) -> None:
        """Selects a line; on its arrow folds or unfolds it."""
        number = event.y + self.scroll_offset.y
        if number >= len(self._lines):
            return
        self._put_cursor(number)
        line = self._lines[number]
        start = fold_column(line)
        if line.folded is not None and start <= event.x < start + 2 and not self._query:
            self._folded ^= {line.key}
            self._lay_out()

    # Marks

    def _set_marks(self, marks: set[Key]) -> None:
        if marks == self.marks:
            return
        other_keys = bool(marks) != bool(self.marks)
        self.marks = marks
        if other_keys:
            self.refresh_bindings()
        self._refresh_changed()
        self.post_message(self.Marked(len(marks)))

    def action_mark(self) -> None:
        """Marks the line, or takes its mark away, and goes to the next."""
        line = self.current
        if line is None or self._roll is None or line.key not in actionable(self._roll):
            return
        self._set_marks(self.marks ^ {line.key})
        self._put_cursor(self._cursor + 1)

    def action_mark_zombies(self) -> None:
        """Marks all zombies, folded or not."""
        if self._roll is None:
            return
        zombies = {row.key for row in self._roll.agents() if row.verdict is Verdict.ZOMBIE}
        self._set_marks(self.marks | zombies)

    def action_unmark(self) -> None:
        """Takes all marks away."""
        self._set_marks(set())

    def targets(self) -> Iterable[Key]:
        """What an action is about: the marked ones, or the line under the cursor."""
        if self.marks:
            return [line for line in self._order() if line in self.marks]
        return [self.current.key] if self.current else []

    def _order(self) -> Iterable[Key]:
        return actionable(self._roll) if self._roll else ()
