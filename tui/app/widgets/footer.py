"""The footer: the bottom line, which shows the active keys. A click on a key presses the key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from registry.dataclass import dataclass

if TYPE_CHECKING:
    from textual.screen import Screen


@dataclass(frozen=True, slots=True)
class Hint:
    """A key and the action of this key.

    Attributes:
        key: Textual's name of the key.
        shown: The name of the key in the footer.
        says: The action in one or two words.
        tooltip: The action in one sentence; may be empty.
        enabled: Whether the action is possible now.
    """

    key: str
    shown: str
    says: str
    tooltip: str
    enabled: bool

    @property
    def text(self) -> str:
        """The text of the hint in the footer."""
        return f"{self.shown} {self.says}".rstrip()

    @property
    def width(self) -> int:
        """The width of the text in cells."""
        return Segment(self.text).cell_length


class Footer(Widget):
    """Shows the keys of the screen and of the focused widget.

    Textual's own footer leaks memory. Each time the focus moves, that footer creates a widget for
    each key, and never drops the references to the old widgets. This footer is a single widget.

    Attributes:
        hints: The keys that are shown, from left to right.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "footer--key",
        "footer--description",
        "footer--hover",
    }
    DEFAULT_CSS = """
    Footer {
        dock: bottom;
        height: 1;
        color: $footer-foreground;
        background: $footer-background;
        .footer--key {
            color: $footer-key-foreground;
            background: $footer-key-background;
            text-style: bold;
        }
        .footer--description {
            color: $footer-description-foreground;
            background: $footer-description-background;
        }
        .footer--hover { background: $block-hover-background; }
        &.-on-a-key { pointer: pointer; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.hints: tuple[Hint, ...] = ()
        self._hovered: Hint | None = None
        # The number of cells that are scrolled out of view on the left.
        self._scrolled = 0

    def on_mount(self) -> None:
        """Subscribes to changes of the screen's active keys."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_updated)

    def _bindings_updated(self, screen: Screen[object]) -> None:
        # A screen below another screen, and a terminal without the focus, have no active keys.
        # The footer keeps its text then.
        if not (self.is_attached and screen.is_active and self.app.app_focus):
            return
        hints = tuple(self._active(screen))
        if hints != self.hints:
            self.hints = hints
            self._hover(None)
            self._scroll_by(0)
            self.refresh()

    def _active(self, screen: Screen[object]) -> Iterator[Hint]:
        seen: set[str] = set()
        for _, binding, enabled, tooltip in screen.active_bindings.values():
            if binding.show and binding.action not in seen:
                seen.add(binding.action)
                shown = self.app.get_key_display(binding)
                yield Hint(binding.key, shown, binding.description, tooltip, enabled)

    def render_line(self, y: int) -> Strip:
        """Returns the footer's line: each key with its action."""
        room = self.size.width
        line = Strip([*self._segments(self.hints), Segment(" " * room, self._background)])
        return line.crop(self._scrolled, self._scrolled + room)

    @property
    def _background(self) -> Style:
        return Style(bgcolor=self.rich_style.bgcolor)

    def _segments(self, hints: Sequence[Hint]) -> Iterator[Segment]:
        for hint in hints:
            style = Style(dim=True) if not hint.enabled else Style()
            if hint is self._hovered:
                hover = self.get_component_rich_style("footer--hover")
                style += Style(bgcolor=hover.bgcolor)
            yield Segment(hint.shown, self.get_component_rich_style("footer--key") + style)
            if hint.says:
                description = self.get_component_rich_style("footer--description") + style
                yield Segment(f" {hint.says}", description)
            yield Segment(" ", self._background)

    def _at(self, x: int) -> Hint | None:
        """Returns the hint at a column; None between two hints."""
        end = -self._scrolled
        for hint in self.hints:
            start, end = end, end + hint.width
            if start <= x < end:
                return hint
            end += 1
        return None

    def _hover(self, hint: Hint | None) -> None:
        if hint is not self._hovered:
            self._hovered = hint
            self.tooltip = hint.tooltip or None if hint is not None else None
            self.set_class(hint is not None, "-on-a-key")
            self.refresh()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Highlights the key under the mouse."""
        self._hover(self._at(event.x))

    def on_leave(self) -> None:
        """Removes the highlight when the mouse leaves the footer."""
        self._hover(None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Does the action of the key under the mouse; rings the bell if the key is disabled."""
        hint = self._at(event.x)
        if hint is None:
            return
        if hint.enabled:
            self.app.simulate_key(hint.key)
        else:
            self.app.bell()

    def on_resize(self) -> None:
        """Scrolls to the left if the new width has room for more keys."""
        self._scroll_by(0)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scrolls to the keys on the right."""
        event.stop()
        self._scroll_by(4)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scrolls to the keys on the left."""
        event.stop()
        self._scroll_by(-4)

    def _scroll_by(self, cells: int) -> None:
        total = sum(hint.width + 1 for hint in self.hints)
        scrolled = max(0, min(self._scrolled + cells, total - self.size.width))
        if scrolled != self._scrolled:
            self._scrolled = scrolled
            self.refresh()
