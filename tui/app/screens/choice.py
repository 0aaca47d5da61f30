"""A dialog that asks the operator to choose one of several lines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList

from tui.app.widgets.footer import Footer


class _Lines(OptionList):
    """A list whose page keys never raise an error.

    Textual's list raises LookupError if the terminal has no room for any line.
    """

    def action_page_up(self) -> None:
        """Moves the highlight up by a page."""
        with suppress(LookupError):
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        """Moves the highlight down by a page."""
        with suppress(LookupError):
            super().action_page_down()  # type: ignore[no-untyped-call]


class ChoiceScreen(ModalScreen[int | None]):
    """Asks the operator to choose a line.

    The result of the screen is the index of the line, or None if the operator cancels.

    Args:
        title: The question.
        lines: The lines, without control characters.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel", id="choice.cancel"),
    ]

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = tuple(lines)

    def compose(self) -> ComposeResult:
        """Yields the lines, each with the digit that chooses it."""
        with Vertical() as box:
            box.border_title = Content(self._title)
            yield _Lines(
                *(Content(f"{number}  {line}") for number, line in enumerate(self._lines, 1)),
                markup=False,
                compact=True,
            )
            yield Footer()

    def on_mount(self) -> None:
        """Highlights the first line."""
        self.query_one(OptionList).highlighted = 0

    def on_key(self, event: events.Key) -> None:
        """Chooses the line whose digit was pressed."""
        if event.character and event.character in "123456789"[: len(self._lines)]:
            # Otherwise the next screen would get the key too.
            event.stop()
            self.dismiss(int(event.character) - 1)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)

    def action_cancel(self) -> None:
        """Closes the dialog without a choice."""
        self.dismiss(None)
