"""What is wrong, file by file; from here it is set right."""

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
from tui.doctor.describe import by_file, propose_fix, remedy, said
from tui.doctor.examine import Examination
from tui.text.sanitize import harmless, some


class DoctorScreen(ModalScreen[None]):
    """What was found; looks again whenever it comes to the front.

    Args:
        examine: Looks at everything; blocks, and is called in a worker. None while
            there is no roll to look at.
        fix: Sets right what was found, with the reason; does not block. None where
            nothing may be changed.
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
        self._found: Examination | None = None
        self._body = Static("looking …", markup=False)

    def compose(self) -> ComposeResult:
        """The findings and the keys."""
        with Vertical() as box:
            box.border_title = "Doctor"
            with VerticalScroll():
                yield self._body
            yield Footer()

    def on_screen_resume(self) -> None:
        """Looks, the first time and after every question and report."""
        self.action_look()

    def action_look(self) -> None:
        """Looks at everything again."""
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        try:
            found = self._examine()
        except (RegistryError, OSError) as error:
            said_ = harmless(str(error))
            self.app.call_from_thread(self._body.update, Content.styled(said_, "$error"))
            return
        if found is not None:
            self.app.call_from_thread(self._show, found)

    def _show(self, found: Examination) -> None:
        if not self.is_attached:
            return  # Closed while it was looking.
        self._found = found
        self.query_one(Vertical).border_title = Content(title_of(found))
        self._body.update(Content.assemble(*finding_parts(found)))

    def action_fix(self) -> None:
        """Shows the plan that sets right what can be, and asks."""
        found, fix = self._found, self._fix
        if found is None or fix is None:
            return
        if not found.fixable:
            self.notify("Nothing here can be set right by muster.", markup=False)
            return

        def answered(reason: str | None) -> None:
            if reason is not None:
                fix(found, reason)

        self.app.push_screen(ConfirmScreen(propose_fix(found)), answered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides what may not be done."""
        return action != "fix" or self._fix is not None

    def action_close(self) -> None:
        """Goes back to the roll."""
        self.dismiss(None)


def title_of(found: Examination) -> str:
    """How many there are, and how many can be set right."""
    if not found.findings:
        return "Doctor: not all could be told" if found.unsure else "Doctor: healthy"
    fixable = f", {len(found.fixable)} of them can be fixed" if found.fixable else ""
    return f"Doctor: {some(len(found.findings), 'finding')}{fixable}"


def finding_parts(found: Examination) -> Iterator[str | tuple[str, str]]:
    """The screen's text."""
    for why in found.unsure:
        yield (f"{harmless(why, 400)}\n", "$warning")
    if not (found.findings or found.unsure):
        yield "Nothing is wrong: registries, hierarchy and sessions all agree.\n"
    for where, there in by_file(found.findings[:LISTED_AT_MOST]).items():
        yield (f"\n{shown_name(where, WHOLE_AT_MOST)}\n", "bold")
        for each in there:
            yield (f"  {'✗' if each.fixable else '!'} ", "$error bold")
            yield (f"{each.kind.value}  ", "dim")
            yield f"{harmless(said(each))}\n"
            if each.fixable:
                yield (f"      f: {harmless(remedy(each), 400)}\n", "$success")
            else:
                yield (f"      {harmless(each.advice)}\n", "$warning")
    if len(found.findings) > LISTED_AT_MOST:
        yield f"and {len(found.findings) - LISTED_AT_MOST} more: muster doctor\n"
