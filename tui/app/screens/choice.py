"""Asks which of several things is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList

from tui.app.widgets.footer import Footer


class ChoiceScreen(ModalScreen[int | None]):
    """A list to choose one line from; its number in the list, or None, is the result.

    Args:
        title: What is asked.
        lines: What there is to choose from; harmless text.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel", id="choice.cancel"),
    ]

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = tuple(lines)

    def compose(self) -> ComposeResult:
        """The lines, each with a digit that chooses it."""
        with Vertical() as box:
            box.border_title = Content(self._title)
            yield OptionList(
                *(Content(f"{number}  {line}") for number, line in enumerate(self._lines, 1)),
                markup=False,
                compact=True,
            )
            yield Footer()

    def on_mount(self) -> None:
        """Begins at the first line."""
        self.query_one(OptionList).highlighted = 0

    def on_key(self, event: events.Key) -> None:
        """A digit chooses its line."""
        if event.character and event.character in "123456789"[: len(self._lines)]:
            # It must not go on to what is shown next.
            event.stop()
            self.dismiss(int(event.character) - 1)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)

    def action_cancel(self) -> None:
        """Chooses nothing."""
        self.dismiss(None)
