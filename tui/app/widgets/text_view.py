"""A widget that shows rows of text, which the operator can scroll and search."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from registry.dataclass import dataclass
from tui.details.rows import Piece, Row, marked, wrapped
from tui.model.roll import AgentKey

_Line = tuple[Piece, ...]


class TextView(ScrollView, can_focus=True):
    """Shows rows of text, wrapped to the width. A change redraws only the changed lines."""

    DEFAULT_CSS = """
    TextView {
        height: 1fr;
        scrollbar-size: 0 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
        background: $surface;
        scrollbar-background: $surface;
        scrollbar-background-hover: $surface;
        scrollbar-background-active: $surface;
        scrollbar-color: $panel-lighten-2;
        padding: 0 1;
    }
    TextView > .paper--dim { text-style: dim; }
    TextView > .paper--bold { text-style: bold; }
    TextView > .paper--error { color: $error; text-style: bold; }
    TextView > .paper--warning { color: $warning; }
    TextView > .paper--success { color: $success; }
    TextView > .paper--link { color: $secondary; }
    TextView > .paper--match { color: $background; background: $warning; }
    TextView > .paper--chosen { background: $block-cursor-background; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"paper--{name}"
        for name in (
            "dim",
            "bold",
            "error",
            "warning",
            "success",
            "link",
            "match",
            "chosen",
        )
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="panel.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="panel.down"),
        Binding("left", "shift(-8)", "Left", show=False, id="panel.left"),
        Binding("right", "shift(8)", "Right", show=False, id="panel.right"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="panel.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="panel.page-down"),
        Binding("home", "edge(-1)", "First line", show=False, id="panel.first"),
        Binding(
            "end", "edge(1)", "Last line", show=False, tooltip="To the end, and show new lines",
            id="panel.last",
        ),
        Binding("enter", "jump", "Go to the agent", show=False, id="panel.jump"),
        Binding("n", "match(1)", "Next match", show=False, id="panel.match-next"),
        Binding("N", "match(-1)", "Previous match", show=False, id="panel.match-before"),
    ]  # fmt: skip

    @dataclass
    class Jumped(Message, namespace="paper"):
        """The message that the operator chose an agent in the text, to go to it."""

        target: AgentKey
        """The agent."""

    @dataclass
    class Placed(Message, namespace="paper"):
        """The message that the scroll position or the result of the search may have changed."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, TextView.Placed)

    def __init__(self) -> None:
        super().__init__()
        self._key: Hashable = None
        self._rows: tuple[Row, ...] = ()
        self._wrapped: dict[Row, tuple[_Line, ...]] = {}
        self._lines: list[_Line] = []
        self._owners: list[Row] = []
        self._links: tuple[AgentKey, ...] = ()
        self._chosen: AgentKey | None = None
        self._query = ""
        self._match = -1
        self._follows = False
        self._shift = 0
        self._shown: dict[int, _Line] = {}

    # Content

    def show(self, key: Hashable, rows: Sequence[Row], *, follow: bool = False) -> None:
        """Replaces the rows.

        Args:
            key: The identity of the content, such as one file. A new key resets the scroll
                position.
            rows: The rows.
            follow: Whether to start at the last row, and to stay at the end when rows are added.
                If False, the view starts at the first row.
        """
        new = key != self._key
        if not new and tuple(rows) == self._rows:
            return
        at_end = self.at_end
        self._key, self._rows = key, tuple(rows)
        self._links = tuple(row.target for row in rows if row.target is not None)
        if self._chosen not in self._links:
            self._chosen = None
        if new:
            self._follows, self._shift, self._chosen = follow, 0, None
        if self._chosen is None and self._links and self.has_focus:
            self._chosen = self._links[0]
        self._lay_out()
        if new or (self._follows and at_end):
            y = self.max_scroll_y if self._follows else 0
            self.scroll_to(y=y, animate=False, immediate=True, force=True)
        self._refresh_changed()
        self.post_message(self.Placed())

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows before they are wrapped."""
        return self._rows

    @property
    def text(self) -> str:
        """The text of all rows, separated by line ends."""
        return "\n".join(row.text for row in self._rows)

    @property
    def cells(self) -> int:
        """The width of a line in cells."""
        return max(1, self.scrollable_content_region.width)

    @property
    def at_end(self) -> bool:
        """Whether the last line is visible."""
        return self.scroll_offset.y >= self.max_scroll_y

    @property
    def follows(self) -> bool:
        """Whether the view stays at the end when rows are added."""
        return self._follows and self.at_end

    @property
    def below(self) -> int:
        """The number of lines below the visible lines."""
        return max(0, self.max_scroll_y - self.scroll_offset.y)

    def _lay_out(self) -> None:
        before, self._wrapped = self._wrapped, {}
        self._lines, self._owners = [], []
        for row in self._rows:
            lines = self._wrapped.get(row) or before.get(row) or wrapped(row, self.cells)
            self._wrapped[row] = lines
            self._lines += lines
            self._owners += [row] * len(lines)
        size = Size(self.cells, len(self._lines))
        if size != self.virtual_size:
            self.virtual_size = size

    # Drawing

    def _pieces(self, y: int) -> _Line:
        if y >= len(self._lines):
            return ()
        target = self._owners[y].target
        chosen = target is not None and target == self._chosen and self.has_focus
        end: Piece = ("", "chosen" if chosen else "")
        return (*marked(self._lines[y], self._query), end)

    def _refresh_changed(self) -> None:
        top = self.scroll_offset.y
        for y in range(top, top + self.size.height):
            if self._shown.get(y) != self._pieces(y):
                self.refresh(Region(0, y - top, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """Returns the drawn line for a row of the widget (Textual's line API)."""
        number = y + self.scroll_offset.y
        pieces = self._pieces(number)
        self._shown[number] = pieces
        base = self.rich_style
        if not pieces:
            return Strip.blank(self.cells, base)
        over = self._style(pieces[-1][1])
        if pieces[-1][1] and (self.app.no_color or self.app.ansi_color):
            over += Style(reverse=True)
        strip = Strip(
            [Segment(text, base + self._style(style) + over) for text, style in pieces[:-1]]
        )
        return strip.crop_extend(self._shift, self._shift + self.cells, base + over)

    def _style(self, style: str | Style) -> Style:
        if isinstance(style, Style):
            return style
        return self.get_component_rich_style(f"paper--{style}", partial=True) if style else Style()

    def on_resize(self, _: events.Resize) -> None:
        """Wraps the rows for the new width."""
        at_end = self._follows and self.at_end
        self._wrapped, self._shown = {}, {}
        self._lay_out()
        if at_end:
            self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True, force=True)
        self.refresh()
        self.post_message(self.Placed())

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Drops the record of what each row shows, because scrolling moves the rows."""
        super().watch_scroll_y(old, new)
        self._shown.clear()
        self.post_message(self.Placed())

    def on_focus(self) -> None:
        """Chooses and highlights the first agent that the text names, if any."""
        if self._chosen is None and self._links:
            self._chosen = self._links[0]
        self._refresh_changed()

    def on_blur(self) -> None:
        """Removes the highlight of the chosen agent."""
        self._refresh_changed()

    # Moving

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible now; False disables the key of the action."""
        if action == "jump":
            return self._chosen is not None
        if action == "match":
            return bool(self._query)
        return True

    def _go(self, y: int) -> None:
        self.scroll_to(
            y=max(0, min(y, self.max_scroll_y)), animate=False, immediate=True, force=True
        )
        self._refresh_changed()

    def action_move(self, by: int) -> None:
        """Chooses the next agent that the text names; scrolls by lines if there is none.

        If `by` is negative, chooses the previous agent, or scrolls up.
        """
        if self._chosen is not None and self._links:
            number = self._links.index(self._chosen) + by
            if 0 <= number < len(self._links):
                self._chosen = self._links[number]
                self._into_sight(self._owner_line(self._chosen))
                return
        self._go(self.scroll_offset.y + by)

    def _owner_line(self, target: AgentKey) -> int:
        return next(n for n, row in enumerate(self._owners) if row.target == target)

    def _into_sight(self, line: int) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height)
        if not top <= line < top + height:
            self._go(line - height // 2)
        self._refresh_changed()

    def action_page(self, by: int) -> None:
        """Scrolls down by a number of pages; a negative number scrolls up."""
        self._go(self.scroll_offset.y + by * max(1, self.size.height - 1))

    def action_edge(self, to: int) -> None:
        """Scrolls to the last line; to the first line if `to` is negative."""
        self._go(0 if to < 0 else len(self._lines))

    def action_shift(self, by: int) -> None:
        """Scrolls to the right by a number of cells; a negative number scrolls to the left."""
        widest = max((_width(line) for line in self._lines), default=0)
        shift = max(0, min(self._shift + by, widest - self.cells))
        if shift != self._shift:
            self._shift = shift
            self.refresh()

    def action_jump(self) -> None:
        """Posts `Jumped` with the chosen agent."""
        if self._chosen is not None:
            self.post_message(self.Jumped(self._chosen))

    def on_click(self, event: events.Click) -> None:
        """Posts `Jumped` with the agent that the clicked line names, if any."""
        number = event.y + self.scroll_offset.y
        target = self._owners[number].target if number < len(self._owners) else None
        if target is not None:
            self.post_message(self.Jumped(target))

    # Searching

    def search(self, query: str) -> None:
        """Highlights all matches of a text; scrolls to the first match from the top of the view.

        If all matches are above the view, scrolls to the last match.
        """
        folded = query.casefold()
        if folded == self._query:
            return
        self._query = folded
        self._match, matches = -1, self.matches
        if matches:
            top = self.scroll_offset.y
            self._match = next((n for n in matches if n >= top), matches[-1])
            self._into_sight(self._match)
        self._refresh_changed()
        self.post_message(self.Placed())

    @property
    def search_words(self) -> str:
        """The result of the search, such as "2/7" or "not found"; empty without a search."""
        if not self._query:
            return ""
        matches = self.matches
        if not matches:
            return "not found"
        number = matches.index(self._match) + 1 if self._match in matches else "?"
        return f"{number}/{len(matches)}"

    @property
    def matches(self) -> list[int]:
        """The numbers of the lines that contain the searched text."""
        if not self._query:
            return []
        return [
            number
            for number, line in enumerate(self._lines)
            if any(style == "match" for _, style in marked(line, self._query))
        ]

    def action_match(self, by: int) -> None:
        """Goes to the next match; to the previous match if `by` is negative."""
        matches = self.matches
        if not matches:
            return
        after = [n for n in matches if n > self._match]
        before = [n for n in matches if n < self._match]
        self._match = (after or matches)[0] if by > 0 else (before or matches)[-1]
        self._into_sight(self._match)
        self.post_message(self.Placed())


def _width(line: _Line) -> int:
    return sum(cell_len(text) for text, _ in line)
