"""A screen that shows a text: the outcome of an action, the audit log or the help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from registry.audit import Log, State
from registry.text import shown_name, whole_name
from tui.actions.audit_text import log_blocks, unread
from tui.actions.execute import Outcome, Result
from tui.actions.plan import Verb
from tui.app.screens.confirm import LISTED_AT_MOST
from tui.app.widgets.footer import Footer
from tui.text.sanitize import fit, harmless, some

Part = str | tuple[str, str]

_RESULT_STYLES = {
    Result.DONE: "$success bold",
    Result.LEFT: "$warning bold",
    Result.FAILED: "$error bold",
}


class ReportScreen(ModalScreen[bool]):
    """Shows a text in a box until the operator closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "close", "Close", id="report.close"),
        Binding("question_mark", "app.help", "Help", show=False, id="help"),
    ]

    def __init__(self, title: str, parts: Iterable[Part]) -> None:
        super().__init__()
        self._title = title
        self._parts = tuple(parts)

    def compose(self) -> ComposeResult:
        """Yields the text, and the footer with the keys."""
        with Vertical() as box:
            box.border_title = Content(self._title)
            with VerticalScroll():
                yield Static(Content.assemble(*self._parts), markup=False)
            yield Footer()

    def action_close(self) -> None:
        """Closes the screen."""
        self.dismiss(False)


class OutcomeScreen(ReportScreen):
    """Shows the outcome of an action; the key of undo opens the plan of its undo.

    The result of the screen is whether the operator pressed the key of undo.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("U", "undo", "Undo", tooltip="Undo the last change of registries", id="undo"),
    ]

    def __init__(self, title: str, parts: Iterable[Part], *, can_undo: bool) -> None:
        super().__init__(title, parts)
        self._can_undo = can_undo

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible; False hides the key of the action."""
        return action != "undo" or self._can_undo

    def action_undo(self) -> None:
        """Closes the screen; then the main screen plans the undo."""
        self.dismiss(True)


def outcome_report(outcome: Outcome) -> OutcomeScreen:
    """Makes a screen that shows the outcome of an action, with the result for each agent."""
    failed = sum(step.result is not Result.DONE for step in outcome.steps)
    done = len(outcome.steps) - failed
    title = f"{outcome.verb.value.capitalize()}: {done} done"
    if failed or outcome.problems:
        title += f", {failed} not done"
    # A kill cannot be undone. The outcome of a repair is above the doctor's screen.
    can_undo = bool(outcome.written) and outcome.verb is Verb.COMPLETE
    return OutcomeScreen(title, _outcome_parts(outcome), can_undo=can_undo)


def _outcome_parts(outcome: Outcome) -> Iterator[Part]:
    for step in outcome.steps[:LISTED_AT_MOST]:
        yield (fit(step.result.value, 12), _RESULT_STYLES[step.result])
        yield (f"{whole_name(step.label)}\n", "bold")
        if step.detail:
            yield f"{'':12}{harmless(step.detail, 600)}\n"
    if len(outcome.steps) > LISTED_AT_MOST:
        yield f"and {len(outcome.steps) - LISTED_AT_MOST} more\n"
    for problem in outcome.problems:
        yield (f"\n{harmless(problem, 600)}\n", "$error bold")
    for note in outcome.notes:
        yield f"\n{harmless(note, 600)}\n"
    if outcome.written:
        yield (f"\nChanged {some(len(outcome.written), 'file')}:\n", "bold")
        for path in outcome.written[:LISTED_AT_MOST]:
            yield f"{shown_name(path)}\n"


def log_report(log: Log) -> ReportScreen:
    """Makes a screen that shows the audit log, the newest entry first."""
    return ReportScreen(f"Log: {some(len(log.entries), 'entry', 'entries')}", _log_parts(log))


def _log_parts(log: Log) -> Iterator[Part]:
    if not log.entries and not log.unread:
        yield "The audit log is empty: muster has changed nothing here.\n"
    for block in log_blocks(log, reversed(log.entries[-LISTED_AT_MOST:])):
        yield (f"{block.title}\n", _STATE_STYLES[block.state])
        for line in block.lines:
            yield f"    {line}\n"
    if len(log.entries) > LISTED_AT_MOST:
        yield f"and {len(log.entries) - LISTED_AT_MOST} older entries: muster log --all\n"
    for problem in unread(log):
        yield (f"{problem}\n", "$error bold")


_STATE_STYLES = {
    State.INTENDED: "$warning bold",
    State.DONE: "bold",
    State.FAILED: "$error bold",
    State.VOID: "dim bold",
}
