"""The doctor's screen: lists the problems of registries by file, and starts repairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from registry.errors import RegistryError
from registry.text import WHOLE_AT_MOST, shown_name
from tui.app.screens.confirm import LISTED_AT_MOST, ConfirmScreen
from tui.app.widgets.footer import Footer
from tui.doctor.describe import by_file, description, propose_fix, repair
from tui.doctor.examine import Examination
from tui.text.sanitize import harmless, some


class DoctorScreen(ModalScreen[None]):
    """Shows the doctor's findings: the problems of registries and sessions.

    Args:
        examine: Examines registries and sessions. Blocks, so a worker calls it. Returns None
            before the first roll call.
        fix: Starts the repair of the findings, with the operator's reason. Does not block. None
            in read-only mode.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "fix", "Fix", id="doctor.fix"),
        Binding("r", "look", "Look again", id="doctor.look"),
        Binding("escape,enter,q,d", "close", "Close", id="doctor.close"),
        Binding("question_mark", "app.help", "Help", show=False, id="help"),
    ]

    def __init__(
        self,
        examine: Callable[[], Examination | None],
        fix: Callable[[Examination, str], object] | None,
    ) -> None:
        super().__init__()
        self._examine = examine
        self._fix = fix
        self._examination: Examination | None = None
        self._body = Static("looking …", markup=False)

    def compose(self) -> ComposeResult:
        """Yields the findings, and the footer with the keys."""
        with Vertical() as box:
            box.border_title = "Doctor"
            with VerticalScroll():
                yield self._body
            yield Footer()

    def on_screen_resume(self) -> None:
        """Starts an examination each time this screen becomes the top screen."""
        self.action_look()

    def action_look(self) -> None:
        """Starts an examination."""
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        try:
            examination = self._examine()
        except (RegistryError, OSError) as error:
            text = harmless(str(error))
            self.app.call_from_thread(self._body.update, Content.styled(text, "$error"))
            return
        if examination is not None:
            self.app.call_from_thread(self._show, examination)

    def _show(self, examination: Examination) -> None:
        if not self.is_attached:
            return  # The screen was closed during the examination.
        self._examination = examination
        self.query_one(Vertical).border_title = Content(title_of(examination))
        self._body.update(Content.assemble(*finding_parts(examination)))

    def action_fix(self) -> None:
        """Shows the plan of the repair, and asks the operator to confirm the plan."""
        examination, fix = self._examination, self._fix
        if examination is None or fix is None:
            return
        if not examination.fixable:
            none = Content("muster cannot repair any of these findings")
            self.query_one(Vertical).border_subtitle = none
            return

        def answered(reason: str | None) -> None:
            if reason is not None:
                fix(examination, reason)

        self.app.push_screen(ConfirmScreen(propose_fix(examination)), answered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible; hides the repair key in read-only mode."""
        return action != "fix" or self._fix is not None

    def action_close(self) -> None:
        """Closes the screen."""
        self.dismiss(None)


def title_of(examination: Examination) -> str:
    """Returns the screen's title, with the numbers of all findings and of repairable findings."""
    if not examination.findings:
        return "Doctor: could not check everything" if examination.unsure else "Doctor: healthy"
    fixable = (
        f", {len(examination.fixable)} of them can be repaired" if examination.fixable else ""
    )
    return f"Doctor: {some(len(examination.findings), 'finding')}{fixable}"


def finding_parts(examination: Examination) -> Iterator[str | tuple[str, str]]:
    """Yields the text of the screen in pieces; a piece is a text, or a text and its style."""
    for why in examination.unsure:
        yield (f"{harmless(why, 400)}\n", "$warning")
    if not (examination.findings or examination.unsure):
        yield "Healthy: registries, hierarchy and sessions agree.\n"
    for where, findings in by_file(examination.findings[:LISTED_AT_MOST]).items():
        yield (f"\n{shown_name(where, WHOLE_AT_MOST)}\n", "bold")
        for finding in findings:
            yield (f"  {'✗' if finding.fixable else '!'} ", "$error bold")
            yield (f"{finding.kind.value}  ", "dim")
            yield f"{harmless(description(finding))}\n"
            if finding.fixable:
                yield (f"      f: {harmless(repair(finding), 400)}\n", "$success")
            else:
                yield (f"      {harmless(finding.advice)}\n", "$warning")
    if len(examination.findings) > LISTED_AT_MOST:
        yield f"and {len(examination.findings) - LISTED_AT_MOST} more; muster doctor shows all\n"
