"""The tab bar of the details panel, which also shows the position in the open tab."""

from __future__ import annotations

from enum import StrEnum

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from registry.dataclass import dataclass
from tui.text.sanitize import fit, width


class Tab(StrEnum):
    """The tabs of the panel, in the order in which they are shown."""

    OVERVIEW = "Overview"
    TIMELINE = "Timeline"
    FINDINGS = "Findings"
    PANE = "Pane"
    LOG = "Log"
    AUDIT = "Audit"


TABS = tuple(Tab)


class TabBar(Static):
    """Shows the names of the tabs, shortened if the line is narrow, and a status at the end."""

    DEFAULT_CSS = """
    TabBar { height: 1; background: $panel; }
    """

    @dataclass
    class Chosen(Message, namespace="tabs"):
        """The message that the operator clicked a tab."""

        tab: Tab
        """The clicked tab."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._tab = Tab.OVERVIEW
        self._status = ""
        self._numbered = False
        self._needed = False
        self._drawn: Content | None = None
        self._ends: list[tuple[int, Tab]] = []

    def show(self, tab: Tab, status: str, *, numbered: bool, needed: bool) -> None:
        """Shows the tabs.

        Args:
            tab: The open tab.
            status: A few words for the end of the line; may be empty.
            numbered: Whether number keys open the tabs now, so that the numbers are shown.
            needed: Whether the status must be shown. If the line is too narrow for everything,
                True shortens the names of the tabs, and False leaves out the status.
        """
        self._tab, self._status, self._numbered, self._needed = tab, status, numbered, needed
        self._draw()

    def on_resize(self) -> None:
        """Draws the names for the new width."""
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
        if self._status and (self._needed or left > width(self._status)):
            status = fit(self._status, min(max(0, left), width(self._status)))
            parts.append((" " * (left - width(status)) + status, "dim"))
        content = Content.assemble(*parts)
        if self._drawn is None or not content.is_same(self._drawn):
            self._drawn = content
            self.update(content, layout=False)

    def _names(self, room: int) -> list[str]:
        """Returns the names of the tabs, shortened if the room is too small."""
        numbered = [f" {number} {tab} " for number, tab in enumerate(TABS, 1)]
        plain = [f" {tab} " for tab in TABS]
        status = width(self._status) + 2 if self._status else 0
        if self._numbered and sum(map(width, numbered)) + status <= room:
            return numbered
        if sum(map(width, plain)) + (status if self._needed else 0) <= room:
            return plain
        return [
            f" {tab} " if tab is self._tab else f" {number if self._numbered else tab[0]} "
            for number, tab in enumerate(TABS, 1)
        ]

    def on_click(self, event: events.Click) -> None:
        """Posts `Chosen` with the clicked tab."""
        tab = next((tab for end, tab in self._ends if event.x < end), None)
        if tab is not None:
            self.post_message(self.Chosen(tab))
