"""A dialog that shows a plan, and asks for a confirmation and a reason."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from registry.dataclass import dataclass
from registry.text import shown_name, whole_name
from tui.actions.preview import Preview, grouped
from tui.app.widgets.footer import Footer
from tui.text.sanitize import harmless

LISTED_AT_MOST = 200
"""A dialog shows at most this many entries of a list, and the number of the other entries."""


READ_FIRST = 0.3
"""Seconds for which a plan must be on the screen before Enter can confirm the plan."""

HASTE = 0.03
"""Enter does not confirm if another key was pressed fewer than this many seconds earlier.

Keys that follow each other so quickly come from a paste.
"""


_REASON_AT_MOST = 2000
"""The longest reason, in characters. The limit protects the audit log from an accidental paste."""


class ReasonInput(Input):
    """The text field for the reason; Enter in this field confirms the plan."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Go ahead", id="confirm.accept"),
    ]

    @dataclass
    class Hasty(Message):
        """The message that Enter was pressed too soon to confirm the plan."""

    @dataclass
    class Cancelled(Message):
        """The message that Escape was pressed, directly followed by another key.

        A terminal sends these two keys as one key with Alt.
        """

    def __init__(self) -> None:
        super().__init__(
            placeholder="written to the audit log; may be empty",
            compact=True,
            max_length=_REASON_AT_MOST,
        )
        # A blinking cursor would send output to the terminal all the time.
        self.cursor_blink = False
        self.shown_at = math.inf
        self._last_key = -math.inf
        self._since_last = math.inf

    def on_key(self, event: events.Key) -> None:
        """Records when each key was pressed, so that a pasted or early Enter does not confirm."""
        self._since_last = event.time - self._last_key
        self._last_key = event.time
        if event.key.startswith("alt+"):
            self.post_message(self.Cancelled())
            event.stop()
            event.prevent_default()

    async def action_submit(self) -> None:
        """Submits the reason, unless Enter was pressed too soon."""
        if self._since_last < HASTE or self._last_key - self.shown_at < READ_FIRST:
            self.post_message(self.Hasty())
            return
        await super().action_submit()


class ConfirmScreen(ModalScreen[str | None]):
    """Asks the operator to confirm a plan and to give a reason.

    The result of the screen is the reason, or None if the operator cancels.
    """

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; }
    ConfirmScreen > Vertical {
        width: 90%; max-width: 110; height: auto; max-height: 90%;
        background: $surface; border: round $warning; padding: 0 1;
        border-title-color: $warning; border-title-style: bold;
    }
    ConfirmScreen VerticalScroll { height: auto; max-height: 60vh; }
    ConfirmScreen VerticalScroll > Static { height: auto; }
    ConfirmScreen Horizontal { height: 1; margin: 1 0; }
    ConfirmScreen Label { width: auto; text-style: bold; }
    ConfirmScreen Input { width: 1fr; background: $boost; }
    ConfirmScreen Footer { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_with(None)", "Change nothing", id="confirm.cancel"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="confirm.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="confirm.page-down"),
    ]

    def __init__(self, preview: Preview) -> None:
        super().__init__()
        self._proposal = preview
        self._questions = list(preview.questions)

    def compose(self) -> ComposeResult:
        """Yields the plan, the text field, and the footer with the keys."""
        with Vertical() as box:
            box.border_title = Content(harmless(self._proposal.title, 200) + "?")
            with VerticalScroll(can_focus=False):
                yield Static(Content.assemble(*self._lines()), markup=False)
            with Horizontal():
                yield Label("Reason: ")
                yield ReasonInput()
            yield Footer()

    def on_mount(self) -> None:
        """Focuses the text field, and records when the plan becomes visible."""
        self.query_one(ReasonInput).focus()
        self._note_shown()

    def _note_shown(self) -> None:
        field = self.query_one(ReasonInput)
        field.shown_at = math.inf

        def shown() -> None:
            field.shown_at = time.monotonic()

        self.call_after_refresh(shown)

    @on(ReasonInput.Hasty)
    def _say_hasty(self) -> None:
        # A toast would cover the keys.
        box = self.query_one(Vertical)
        box.border_subtitle = Content("Enter came too soon; press it again")

    @on(ReasonInput.Cancelled)
    def _cancel(self) -> None:
        self.dismiss(None)

    def _lines(self) -> Iterator[str | tuple[str, str]]:
        preview = self._proposal
        if preview.note:
            note = f"{harmless(preview.note, 400)}\n"
            yield (note, "$warning") if preview.grave else note
        for says, labels in grouped(preview.steps[:LISTED_AT_MOST]):
            if len(labels) == 1:
                yield (f"\n{harmless(labels[0])}\n", "bold")
                yield f"  {harmless(says, 400)}\n"
                continue
            yield (f"\n{harmless(says, 400)}:\n", "bold")
            yield from (f"  {harmless(label)}\n" for label in labels)
        if len(preview.steps) > LISTED_AT_MOST:
            yield f"  and {len(preview.steps) - LISTED_AT_MOST} more\n"
        for remark in preview.remarks[:LISTED_AT_MOST]:
            yield f"\n{harmless(remark, 600)}\n"
        if preview.refused:
            yield ("\nNot touched:\n", "$warning bold")
            for label, why in preview.refused[:LISTED_AT_MOST]:
                yield f"  {whole_name(label)}: {harmless(why, 400)}\n"
        if preview.files:
            yield ("\nFiles that change:\n", "bold")
            for path in preview.files[:LISTED_AT_MOST]:
                yield f"  {shown_name(path)}\n"

    @on(Input.Submitted)
    def _go_ahead(self, event: Input.Submitted) -> None:
        if not self._questions:
            self.dismiss(event.value.strip())
            return
        question = harmless(self._questions.pop(0).asks)
        text = f"{question}\n\nEnter goes ahead, Escape changes nothing."
        box = self.query_one(Vertical)
        box.border_title = Content("Second confirmation")
        box.border_subtitle = Content("")
        pane = self.query_one(VerticalScroll)
        pane.query_one(Static).update(Content.styled(text, "$error bold"))
        pane.scroll_home(animate=False)
        self._note_shown()

    def action_dismiss_with(self, result: str | None) -> None:
        """Closes the dialog with a result; None means that the operator cancelled."""
        self.dismiss(result)

    def action_page(self, by: int) -> None:
        """Scrolls the plan down by pages; a negative number scrolls up."""
        pane = self.query_one(VerticalScroll)
        pane.scroll_relative(y=by * max(1, pane.size.height - 1), animate=False)
