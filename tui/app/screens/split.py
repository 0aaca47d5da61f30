"""How the screen is divided between the agent list and the details panel. Pure.

A wider terminal never shows fewer or narrower columns, also where the panel moves from below the
list to its side: below this width, the columns take only the room that they have beside the panel.
"""

from __future__ import annotations

from registry.dataclass import dataclass, replace

WIDE = 190
"""The smallest width, in cells, at which the panel is beside the list by itself."""

ROOM_BESIDE = 104
"""The smallest width, in cells, at which the operator can have the panel beside the list."""

TALL = 34
"""If the terminal has at least this many lines, the panel below the list is higher."""

_PANEL = 45
_WIDER_FROM = 200

_LOW_LINES = 7
_TALL_LINES = 13

# The least size of the panel and of the list, with the panel beside the list and below it.
_PANEL_LEAST, _LIST_LEAST = 24, 48
_PANEL_LINES, _LIST_LINES = 3, 5

# The list's scroll bar takes one cell.
_SCROLL_BAR = 1


@dataclass(frozen=True, slots=True)
class Split:
    """The operator's choice of the panel's place and size.

    Attributes:
        beside: Whether the panel is beside the list; None if the width of the terminal decides.
        wider: The cells by which the panel beside the list is wider than usual.
        higher: The lines by which the panel below the list is higher than usual.
    """

    beside: bool | None = None
    wider: int = 0
    higher: int = 0

    def is_beside(self, width: int) -> bool:
        """Returns whether the panel is beside the list in a terminal of this width."""
        if self.beside is None:
            return width >= WIDE
        return self.beside and width >= ROOM_BESIDE

    def turned(self, width: int) -> Split:
        """Returns the split with the panel on the other side."""
        return replace(self, beside=not self.is_beside(width))

    def moved(self, by: int, width: int, height: int) -> Split:
        """Returns the split with a larger panel; with a smaller one if `by` is negative.

        Args:
            by: The number of cells or lines.
            width: The width of the terminal.
            height: The height of the terminal.
        """
        if self.is_beside(width):
            usual = replace(self, wider=0).columns(width)
            return replace(self, wider=self.columns(width) + by - usual)._within(width, height)
        usual = replace(self, higher=0).lines(height)
        return replace(self, higher=self.lines(height) + by - usual)._within(width, height)

    def _within(self, width: int, height: int) -> Split:
        """Returns the split without the part of the sizes that has no room."""
        if self.is_beside(width):
            return replace(self, wider=self.columns(width) - replace(self, wider=0).columns(width))
        return replace(self, higher=self.lines(height) - replace(self, higher=0).lines(height))

    def columns(self, width: int) -> int:
        """Returns the width of the panel beside the list, with its border."""
        usual = _PANEL + max(0, width - _WIDER_FROM) // 2
        return max(_PANEL_LEAST, min(usual + self.wider, width - _LIST_LEAST))

    def lines(self, height: int) -> int:
        """Returns the height of the panel below the list in a terminal of this height."""
        usual = _TALL_LINES if height >= TALL else _LOW_LINES
        return max(_PANEL_LINES, min(usual + self.higher, height - _LIST_LINES - 6))

    def room(self, width: int) -> int | None:
        """Returns the cells that the list's columns may take; None for no limit."""
        if self.beside is not None or self.is_beside(width):
            return None
        return WIDE - Split().columns(WIDE) - _SCROLL_BAR
