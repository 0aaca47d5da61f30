"""The roll with the panel beside or below it, and all that one does with the line one is on."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from registry.text import is_plain, quoted_name, shell_word, shown_name
from tui.app.widgets.details_panel import Panel
from tui.app.widgets.progress_line import ProgressLine
from tui.app.widgets.roll_box import RollPane
from tui.app.widgets.roll_list import RollView
from tui.app.widgets.text_view import TextView
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.text.sanitize import harmless, named
from tui.view.outline import Line

if TYPE_CHECKING:
    from tui.app.terminal.open_file import Openable
    from tui.host.tmux import Tmux

_COPIED_AT_MOST = 512


class Body(Container):
    """Wires the roll to the panel, and the line under the cursor to where it leads.

    Args:
        read_only: Whether nobody is to type into a session from here.

    Attributes:
        roll: What is shown; None until the roll was called.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left_square_bracket", "step(-1)", "Tab before", show=False, id="panel.tab-before"
        ),
        Binding(
            "right_square_bracket", "step(1)", "Next tab", show=False, id="panel.tab-next"
        ),
        Binding("p", "enlarge", "Larger panel", show=False, tooltip="Larger panel, or as it was",
                id="panel.enlarge"),
        Binding("a", "attach", "Attach", show=False, tooltip="Go into the session", id="attach"),
        Binding("enter", "enter", "Attach", show=False,
                tooltip="Go into the session; on a task's line fold or unfold", id="enter"),
        Binding("A", "attach(True)", "Watch", show=False,
                tooltip="Go into the session only to look", id="attach.read-only"),
        Binding("o", "open", "Open", show=False, tooltip="Open a file of it in $PAGER",
                id="open"),
        Binding("y", "copy", "Copy id", show=False, tooltip="Copy its id", id="copy"),
        Binding("Y", "copy(True)", "Copy session", show=False,
                tooltip="Copy the name of its session", id="copy.session"),
    ]  # fmt: skip

    def __init__(self, *, id: str, read_only: bool) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._read_only = read_only
        self.roll: RollCall | None = None
        self._tmux: Tmux | None = None

    def compose(self) -> ComposeResult:
        """The roll and the panel."""
        yield RollPane(id="left")
        yield Panel(id="panel")

    @property
    def _panel(self) -> Panel:
        return self.query_one(Panel)

    @property
    def _line(self) -> Line | None:
        return self.query_one(RollView).current

    def use(self, tmux: Tmux) -> None:
        """Has somebody to ask from now on."""
        self._tmux = self._panel.tmux = tmux
        self.tick()

    def tick(self) -> None:
        """Shows what has become another by the time alone."""
        self.query_one(RollView).refresh_ages()
        self._panel.show(self._line, self.roll)

    # The panel

    @on(RollView.Moved)
    def _show_line(self, message: RollView.Moved) -> None:
        self._panel.show(message.line, self.roll)

    @on(Panel.Left)
    def _to_the_roll(self) -> None:
        self.query_one(RollView).focus()

    @on(TextView.Jumped)
    def _jump(self, message: TextView.Jumped) -> None:
        view = self.query_one(RollView)
        view.go_to(message.target)
        if view.current is None or view.current.key != message.target:
            who = named(message.target.id)
            self._say(f"{who} is not shown: a fold or the filter hides it.")

    def action_step(self, by: int) -> None:
        """Opens the next tab, or the one before."""
        if self._has_room():
            self._panel.step(by)

    def action_enlarge(self) -> None:
        """Gives the panel most of the room, or its own again."""
        if self._has_room():
            self.toggle_class("large")

    def _has_room(self) -> bool:
        if not self._panel.display:
            self._say("There is no room for the panel: make the terminal higher.")
        return self._panel.display

    # Going there

    def action_enter(self) -> None:
        """Goes into an agent's session; folds or unfolds what has no session."""
        line = self._line
        if line is not None and isinstance(line.item, TaskRoll | WorkspaceRoll):
            view = self.query_one(RollView)
            if line.folded:
                view.action_unfold()
            elif line.folded is False:
                view.action_fold()
            return
        self.action_attach()

    def action_attach(self, read_only: bool = False) -> None:
        """Goes into the session of the line under the cursor.

        Args:
            read_only: Only to look.
        """
        if self.roll is None or self._tmux is None:
            self._say("tmux was not asked yet.")
            return
        self.screen.query_one(ProgressLine).wait_for("Asking tmux for the session")
        # Who must change nothing here types nothing there.
        self._go_there(self._tmux, self._line, self.roll, read_only or self._read_only)

    @work(exclusive=True, group="attach")
    async def _go_there(
        self, tmux: Tmux, line: Line | None, roll: RollCall, read_only: bool
    ) -> None:
        from tui.app.terminal.attach import NowhereToGoError, attach

        try:
            said = await attach(self.app, tmux, line, roll.evidence, read_only=read_only)
        except NowhereToGoError as error:
            self._say(str(error))
            return
        if said:
            self.notify(said, markup=False)
        self._panel.show(self._line, self.roll)

    # Files and the clipboard

    def action_open(self) -> None:
        """Opens a file of the line under the cursor."""
        self.screen.query_one(ProgressLine).wait_for("Looking for its files")
        self._open(self._line)

    @work(exclusive=True, group="open")
    async def _open(self, line: Line | None) -> None:
        from tui.app.screens.choice import ChoiceScreen
        from tui.app.terminal.open_file import files_of

        files = await asyncio.to_thread(files_of, line, self.roll)
        if not files:
            self._say("There is no file to open.")
            return
        chosen: int | None = 0
        if len(files) > 1:
            lines = [f"{each.name:<16}{shown_name(each.path)}" for each in files]
            chosen = await self.app.push_screen_wait(ChoiceScreen("Open which file?", lines))
        if chosen is not None:
            await self._view(files[chosen])

    async def _view(self, file: Openable) -> None:
        from tui.app.terminal.handover import NoTerminalError, lend_terminal
        from tui.app.terminal.open_file import NoViewerError, viewer

        try:
            words = [*viewer(os.environ), str(file.path)]
            code, said = await lend_terminal(self.app, words, os.environ)
        except NoViewerError as error:
            self._say(str(error))
        except NoTerminalError:
            self._say("There is no terminal here to show it on.")
        except OSError as error:
            self._say(f"{words[0]} could not be started: {error}")
        else:
            if code != 0:
                self._say(f"{words[0]} failed: {harmless(said, 400) or f'exit code {code}'}")

    def action_copy(self, session: bool = False) -> None:
        """Copies the id of the line under the cursor.

        Args:
            session: The name of its session instead.
        """
        text = _name_of(self._line, session)
        if not text:
            self._say("There is no session to copy." if session else "There is no id to copy.")
        elif text.startswith("-") or not is_plain(text, _COPIED_AT_MOST):
            # Pasted into a shell, a line end in it would act, or a dash make an option of it.
            self._say(f"Not copied: {quoted_name(text, 80)} would not be safe to paste.")
        else:
            # It is pasted behind a command, where a shell must find one word in it.
            copied = shell_word(text)
            self.app.copy_to_clipboard(copied)
            self.notify(f"Copied: {copied}", markup=False)

    def _say(self, why: str) -> None:
        self.notify(harmless(why), severity="warning", markup=False)


def _name_of(line: Line | None, session: bool) -> str:
    item = line.item if line is not None else None
    if isinstance(item, AgentRow):
        return (item.record.tmux_session or "") if session else item.record.id or ""
    if isinstance(item, TaskRoll):
        return "" if session else item.task_id
    if isinstance(item, WorkspaceRoll):
        return "" if session else str(item.path)
    return getattr(item, "name", "")
