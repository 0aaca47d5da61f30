"""The agent list with the details panel, and the keys that act on the line under the cursor."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from registry.errors import RegistryError
from registry.text import is_plain, quoted_name, shell_word, shown_name
from tui.app.screens.split import ROOM_BESIDE, Split
from tui.app.widgets.details_panel import Panel
from tui.app.widgets.progress_line import ProgressLine
from tui.app.widgets.roll_bindings import LINE_KEYS
from tui.app.widgets.roll_box import RollPane
from tui.app.widgets.roll_list import RollView
from tui.app.widgets.tab_bar import Tab
from tui.app.widgets.text_view import TextView
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.text.sanitize import harmless, named
from tui.view.outline import Line

if TYPE_CHECKING:
    from tui.app.terminal.open_file import Openable
    from tui.host.tmux import Tmux

_COPIED_AT_MOST = 512


class Body(Container):
    """Contains the agent list and the details panel, and has the actions of the keys for both.

    Args:
        read_only: Whether the operator can only watch sessions, and type nothing into them.
        split: The place and size of the panel at the start.

    Attributes:
        roll: The newest roll call; None before the first one.
        split: The place and size of the panel.
    """

    BINDINGS: ClassVar[list[BindingType]] = LINE_KEYS

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - Textual's name
        read_only: bool,
        split: Split,
    ) -> None:
        super().__init__(id=id)
        self._read_only = read_only
        self._panel = Panel(id="panel")
        self.roll: RollCall | None = None
        self._tmux: Tmux | None = None
        self._tab_before: Tab | None = None
        self.split = split

    def compose(self) -> ComposeResult:
        """Yields the agent list and the details panel."""
        yield RollPane(id="left")
        yield self._panel
        self._divide()

    def on_resize(self) -> None:
        """Divides the room anew."""
        self._divide()

    def on_mount(self) -> None:
        """Limits the columns of the agent list."""
        self._limit_columns()

    def _divide(self) -> None:
        """Sets the place and the size of the panel."""
        width, height = self.app.size
        beside, large = self.split.is_beside(width), self.has_class("large")
        self.set_class(beside, "beside")
        styles = self._panel.styles
        if beside:
            styles.width, styles.height = "3fr" if large else self.split.columns(width), "1fr"
        else:
            styles.width, styles.height = "1fr", "3fr" if large else self.split.lines(height)
        self._limit_columns()

    def _limit_columns(self) -> None:
        for pane in self.query(RollPane):
            if pane.is_mounted:
                pane.limit_columns(self.split.room(self.app.size.width))

    def action_turn(self) -> None:
        """Puts the panel beside the agent list, or below it."""
        width = self.app.size.width
        if not self.split.is_beside(width) and width < ROOM_BESIDE:
            self._say(f"No room beside the roll; make the terminal {ROOM_BESIDE} columns wide.")
        elif self._has_room():
            self.split = self.split.turned(width)
            self._divide()

    def action_divide(self, by: int) -> None:
        """Moves the divider, so that the panel becomes larger, or smaller if `by` is negative."""
        if self._has_room():
            step = 4 if self.split.is_beside(self.app.size.width) else 1
            self._move_divider(by * step)

    @on(Panel.Dragged)
    def _dragged(self, message: Panel.Dragged) -> None:
        width, height = self.app.size
        split = self.split
        now = split.columns(width) if split.is_beside(width) else split.lines(height)
        if message.size != now:
            self._move_divider(message.size - now)

    def _move_divider(self, by: int) -> None:
        self._set_large(False)
        self.split = self.split.moved(by, *self.app.size)
        self._divide()

    def _set_large(self, large: bool) -> None:
        self.set_class(large, "large")
        self._divide()

    @property
    def _line(self) -> Line | None:
        return self.query_one(RollView).current

    def use(self, tmux: Tmux) -> None:
        """Sets the access to tmux, which the Pane tab and the attach keys need."""
        self._tmux = self._panel.tmux = tmux
        self.tick()

    def tick(self) -> None:
        """Updates texts that change only because time passes, such as ages."""
        self.query_one(RollView).refresh_ages()
        self._panel.show(self._line, self.roll)

    # Panel

    @on(RollView.Moved)
    def _show_line(self, message: RollView.Moved) -> None:
        self._panel.show(message.line, self.roll)

    @on(RollPane.Measured)
    def _show_history(self) -> None:
        self._panel.show_history(self.query_one(RollPane).history)

    @on(Panel.Left)
    def _to_the_roll(self) -> None:
        self.query_one(RollView).focus()
        if self._tab_before is not None:
            self._panel.open_tab(self._tab_before)
            self._tab_before = None
            self._set_large(False)

    @on(TextView.Jumped)
    def _jump(self, message: TextView.Jumped) -> None:
        view = self.query_one(RollView)
        view.go_to(message.target)
        if view.current is None or view.current.key != message.target:
            agent = named(message.target.id)
            self._say(f"{agent} is not shown: a fold or the filter hides this agent.")

    def action_step(self, by: int) -> None:
        """Opens the next tab of the details panel if `by` is 1, the previous tab if it is -1."""
        if self._has_room():
            self._panel.step(by)

    def action_enlarge(self) -> None:
        """Enlarges the details panel, or restores its usual size."""
        if self._has_room():
            self._set_large(not self.has_class("large"))

    def _has_room(self) -> bool:
        if not self._panel.display:
            self._say("No room for the panel; make the terminal higher.")
        return self._panel.display

    # Attaching

    def action_enter(self) -> None:
        """Shows what an agent does now, in the enlarged panel; folds or unfolds a task.

        If the panel already takes the keys, the roll takes them again. Then the panel gets its
        former tab and size back.
        """
        line = self._line
        if line is None:
            return
        if self._panel.has_focus_within:
            self._to_the_roll()
        elif isinstance(line.item, AgentRow | Session):
            if self._has_room():
                self._show_activity()
        elif line.folded:
            self.query_one(RollView).action_unfold()
        elif line.folded is False:
            self.query_one(RollView).action_fold()

    def _show_activity(self) -> None:
        if not self.has_class("large"):
            self._tab_before = self._panel.tab
            self._set_large(True)
        self._panel.show_activity()

    def action_attach(self, read_only: bool = False) -> None:
        """Attaches to the session of the line under the cursor.

        Args:
            read_only: Whether the operator only watches the session, and types nothing into it.
        """
        if self.roll is None or self._tmux is None:
            self._say("tmux has not answered yet; try again in a moment.")
            return
        self.screen.query_one(ProgressLine).wait_for("Asking tmux for the session")
        # Read-only mode also forbids typing into a session.
        self._go_there(self._tmux, self._line, self.roll, read_only or self._read_only)

    @work(exclusive=True, group="attach")
    async def _go_there(
        self, tmux: Tmux, line: Line | None, roll: RollCall, read_only: bool
    ) -> None:
        from tui.actions.attach import NowhereToGoError
        from tui.app.terminal.attach import attach

        try:
            message = await attach(self.app, tmux, line, roll.evidence, read_only=read_only)
        except NowhereToGoError as error:
            self._say(str(error))
            return
        if message:
            self.notify(message, markup=False)
        self._panel.show(self._line, self.roll)

    # Files and the clipboard

    def action_open(self) -> None:
        """Opens a file of the line under the cursor; if there are several, asks which file."""
        self.screen.query_one(ProgressLine).wait_for("Looking for files")
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
            lines = [f"{file.name:<16}{shown_name(file.path)}" for file in files]
            chosen = await self.app.push_screen_wait(ChoiceScreen("Open which file?", lines))
        if chosen is not None:
            await self._view(files[chosen])

    async def _view(self, file: Openable) -> None:
        from tui.app.terminal.handover import NoTerminalError, lend_terminal
        from tui.app.terminal.open_file import (
            NoViewerError,
            command_line,
            line_of,
            opened,
            viewer,
        )

        try:
            words = viewer(os.environ, read_only=self._read_only)
            line = await asyncio.to_thread(line_of, file)
            with ExitStack() as stack:
                opening = opened(file.path)
                path, descriptors = await asyncio.to_thread(stack.enter_context, opening)
                shown = command_line(words, path, line)
                code, errors = await lend_terminal(
                    self.app, shown, os.environ, descriptors, shows_text=True
                )
        except NoViewerError as error:
            self._say(str(error))
        except RegistryError as error:
            self._say(f"cannot open the file: {error}")
        except NoTerminalError:
            self._say("cannot show the file: muster does not run on a terminal")
        except OSError as error:
            self._say(f"cannot start {words[0]}: {error}")
        else:
            if code != 0:
                self._say(f"{words[0]} failed: {harmless(errors, 400) or f'exit code {code}'}")

    def action_copy(self, session: bool = False) -> None:
        """Copies the id of the line under the cursor to the clipboard.

        The id is an agent's or task's id, a workspace's path, or an orphaned session's name.

        Args:
            session: Whether to copy the name of the agent's session instead of the agent's id.
        """
        text = _name_of(self._line, session)
        if not text:
            self._say("There is no session to copy." if session else "There is no id to copy.")
        elif text.startswith("-") or not is_plain(text, _COPIED_AT_MOST):
            # In a shell, a pasted line end would run a command, and a dash would start an option.
            self._say(f"Not copied: {quoted_name(text, 80)} would not be safe to paste.")
        else:
            # Quoted, so that a shell reads the text as one word.
            copied = shell_word(text)
            self.app.copy_to_clipboard(copied)
            self.notify(f"Copied: {copied}", markup=False)

    def _say(self, why: str) -> None:
        self.notify(harmless(why), severity="warning", markup=False)


def _name_of(line: Line | None, session: bool) -> str:
    item = line.item if line is not None else None
    if isinstance(item, AgentRow):
        # tmux may spell the name of the session differently than the registry.
        name = item.record.tmux_session if item.session is None else item.session.name
        return (name or "") if session else item.record.id or ""
    if isinstance(item, TaskRoll):
        return "" if session else item.task_id
    if isinstance(item, WorkspaceRoll):
        return "" if session else str(item.path)
    return getattr(item, "name", "")
