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
from tui.app.bindings import declared, keys_of
from tui.app.widgets.footer import Footer
from tui.text.sanitize import harmless

LISTED_AT_MOST = 200
"""A dialog shows at most this many entries of a list, and the number of the other entries."""


ACCEPT = "confirm.accept"
"""The id of the key that confirms a plan.

The default is no key that moves, opens or closes something elsewhere: not Enter, which other
programs give to "open" and "next".
"""

READ_FIRST = 0.3
"""Seconds for which a plan must be on the screen before a key can confirm the plan."""

HASTE = 0.03
"""A key does not confirm if another key was pressed fewer than this many seconds earlier.

Keys that follow each other so quickly come from a paste.
"""


_REASON_AT_MOST = 2000
"""The longest reason, in characters. The limit protects the audit log from an accidental paste."""


class ReasonInput(Input):
    """The text field for the reason.

    A key confirms the plan as long as the field is empty, and after Enter ended the reason.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "go_ahead", "Go ahead", id=ACCEPT),
    ]

    @dataclass
    class Hasty(Message):
        """The message that a key was pressed too soon to confirm the plan."""

    @dataclass
    class Ended(Message):
        """The message that Enter ended the reason; the plan is not confirmed yet."""

    @dataclass
    class Cancelled(Message):
        """The message that Escape was pressed, directly followed by another key.

        A terminal sends these two keys as one key with Alt.
        """

    def __init__(self) -> None:
        super().__init__(
            placeholder="written to the audit log; may be empty; Enter ends it",
            compact=True,
            max_length=_REASON_AT_MOST,
        )
        # A blinking cursor would send output to the terminal all the time.
        self.cursor_blink = False
        self.shown_at = math.inf
        self._last_key = -math.inf
        self._since_last = math.inf
        self._has_ended = False

    @property
    def _accepting(self) -> list[str]:
        """The keys that confirm the plan."""
        return keys_of(declared(ReasonInput)[0], self.app._keymap)

    @property
    def _takes_answer(self) -> bool:
        """Whether a letter that confirms is an answer, and not a part of the reason."""
        return self._has_ended or not self.value

    def on_key(self, event: events.Key) -> None:
        """Records when each key was pressed, so that a pasted or early key does not confirm."""
        self._since_last = event.time - self._last_key
        self._last_key = event.time
        if event.key.startswith("alt+"):
            self.post_message(self.Cancelled())
            event.stop()
            event.prevent_default()
        elif event.key in self._accepting and self._takes_answer:
            # The field does not insert the letter; the binding confirms.
            event.prevent_default()
        elif event.is_printable or event.key in ("backspace", "delete"):
            self._note_ended(False)

    def _note_ended(self, has_ended: bool) -> None:
        if has_ended != self._has_ended:
            self._has_ended = has_ended
            self.refresh_bindings()

    def on_input_changed(self) -> None:
        """Updates the footer, which shows the key that confirms only while the key confirms."""
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible now; False hides the key of the action."""
        if action != "go_ahead" or self._takes_answer:
            return True
        return any(len(key) > 1 for key in self._accepting)

    async def action_submit(self) -> None:
        """Ends the reason. Enter confirms the plan only if the operator has set this key."""
        if "enter" in self._accepting:
            await self.action_go_ahead()
            return
        self._note_ended(True)
        self.post_message(self.Ended())

    async def action_go_ahead(self) -> None:
        """Confirms the plan with the reason, unless the key was pressed too soon."""
        if self._since_last < HASTE or self._last_key - self.shown_at < READ_FIRST:
            self.post_message(self.Hasty())
            return
        self._note_ended(True)
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
        box.border_subtitle = Content("The key came too soon; press it again")

    @on(ReasonInput.Ended)
    def _say_how(self) -> None:
        self.query_one(Vertical).border_subtitle = Content(self._how())

    @on(Input.Changed)
    def _say_how_after_typing(self, event: Input.Changed) -> None:
        if event.value:
            text = f"Enter ends the reason; then {self._how()}"
            self.query_one(Vertical).border_subtitle = Content(text)

    def _how(self) -> str:
        accept = declared(ReasonInput)[0]
        key = keys_of(accept, self.app._keymap)[0]
        shown = self.app.get_key_display(accept.with_key(key, None))
        return f"{shown} goes ahead, Escape changes nothing"

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
        text = f"{question}\n\n{self._how()}."
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
