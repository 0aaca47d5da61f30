"""The line that names the tabs of the panel, and says where one is in the open one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tui.text.sanitize import fit, width


class Tab(StrEnum):
    """What the panel can show, in the order of the tabs."""

    OVERVIEW = "Overview"
    TIMELINE = "Timeline"
    FINDINGS = "Findings"
    PANE = "Pane"
    LOG = "Log"
    AUDIT = "Audit"


TABS = tuple(Tab)


class TabBar(Static):
    """All tabs with the keys that open them, as far as there is room."""

    DEFAULT_CSS = """
    TabBar { height: 1; background: $panel; }
    """

    @dataclass
    class Chosen(Message, namespace="tabs"):
        """A tab was clicked on."""

        tab: Tab
        """Which."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._tab = Tab.OVERVIEW
        self._said = ""
        self._numbered = False
        self._needed = False
        self._drawn: Content | None = None
        self._ends: list[tuple[int, Tab]] = []

    def show(self, tab: Tab, said: str, *, numbered: bool, needed: bool) -> None:
        """Shows the tabs.

        Args:
            tab: Which is open.
            said: A few words for the end of the line.
            needed: Whether names give way to these words; else the words do.
            numbered: Whether their numbers are keys that open them now.
        """
        self._tab, self._said, self._numbered, self._needed = tab, said, numbered, needed
        self._draw()

    def on_resize(self) -> None:
        """Draws the names as the new width has room for them."""
        self._draw()

    def _draw(self) -> None:
        room = self.size.width
        names = self._names(room)
        self._ends, end = [], 0
        parts: list[tuple[str, str]] = []
        for tab, name in zip(TABS, names, strict=True):
            end += width(name)
            self._ends.append((end, tab))
            parts.append((name, "bold reverse" if tab is self._tab else ""))
        left = room - end - 1
        if self._said and (self._needed or left > width(self._said)):
            said = fit(self._said, min(max(0, left), width(self._said)))
            parts.append((" " * (left - width(said)) + said, "dim"))
        content = Content.assemble(*parts)
        if self._drawn is None or not content.is_same(self._drawn):
            self._drawn = content
            self.update(content, layout=False)

    def _names(self, room: int) -> list[str]:
        """How the tabs are called, as far as there is room."""
        numbered = [f" {number} {tab} " for number, tab in enumerate(TABS, 1)]
        plain = [f" {tab} " for tab in TABS]
        said = width(self._said) + 2 if self._said else 0
        if self._numbered and sum(map(width, numbered)) + said <= room:
            return numbered
        if sum(map(width, plain)) + (said if self._needed else 0) <= room:
            return plain
        return [
            f" {tab} " if tab is self._tab else f" {number if self._numbered else tab[0]} "
            for number, tab in enumerate(TABS, 1)
        ]

    def on_click(self, event: events.Click) -> None:
        """Opens the tab that was clicked on."""
        tab = next((tab for end, tab in self._ends if event.x < end), None)
        if tab is not None:
            self.post_message(self.Chosen(tab))
