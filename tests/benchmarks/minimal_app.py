"""A minimal Textual app that shows a number of rows: ``python minimal_app.py ROWS``."""

from __future__ import annotations

import sys

from rich.segment import Segment
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip


class Rows(ScrollView, can_focus=True):
    """A list that is drawn line by line."""

    def __init__(self, rows: list[str]) -> None:
        super().__init__()
        self._rows = rows
        self.virtual_size = Size(100, len(rows))

    def render_line(self, y: int) -> Strip:
        number = y + self.scroll_offset.y
        return Strip([Segment(self._rows[number] if number < len(self._rows) else "")])


class MinimalApp(App[None]):
    """An app that only shows the rows."""

    def compose(self) -> ComposeResult:
        yield Rows([f"row-{number:05}  running  40%" for number in range(int(sys.argv[1]))])


if __name__ == "__main__":
    MinimalApp().run()
