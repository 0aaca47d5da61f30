"""The monitor's Textual app: themes, signals, and the keys that work on every screen."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, work
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.screen import ModalScreen

from registry.schema import Workspace
from tui.app.bindings import HELP, declared, keys_of
from tui.app.garbage import Collector, forget_sizes
from tui.app.notifier import Notifier
from tui.app.screen_state import Keeper, ScreenState
from tui.app.screens.roll import RollScreen
from tui.app.terminal.driver import ClearingDriver
from tui.app.terminal.job_control import keep_no_drawings, stop, take_stops
from tui.app.terminal.key_queue import Followed, TypeAhead
from tui.app.terminal.picture import CellsUpdate, Picture
from tui.app.theme import FAILED, OURS
from tui.app.widgets.ascii_filter import ascii_filters
from tui.app.widgets.contrast_filter import ContrastFilter
from tui.app.widgets.progress_line import opening_workers
from tui.app.widgets.toasts import ToastHandler
from tui.config.settings import Settings
from tui.text.sanitize import harmless
from tui.view.view import View

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.await_complete import AwaitComplete
    from textual.filter import LineFilter
    from textual.notifications import SeverityLevel
    from textual.screen import Screen

    from tui.live.collector import LiveRoll

LOW = 18
"""If the terminal has fewer lines than this, the app shows no panel and no column titles."""

_PUBLISH_EVERY = 15.0

# What the operator sets is saved within this many seconds, and at the end.
_KEEP_EVERY = 5.0

# The number of toasts that wait until a dialog is closed; older ones are dropped.
_TOASTS_AT_MOST = 10

# Seconds after the start at which the modules in `_LATER` are imported. Usually, the agent list
# is on the screen by then.
_SHOWN_BY = 1.0
_LATER = (
    "tui.actions.execute",
    "tui.app.terminal.attach",
    "tui.doctor.fix",
    "tui.app.terminal.open_file",
    "tui.details.pages",
    "tui.app.palette",
    "tui.live.publish_metrics",
    "tui.app.screens.choice",
    "tui.app.screens.doctor",
    "tui.app.screens.help",
    "tui.app.screens.metrics",
    "tui.app.screens.report",
    "tui.actions.undo",
)

_INPUT = (events.InputEvent, events.Paste, events.Resize)


class MusterApp(App[None]):
    """Shows the agents, tasks and orphaned sessions of workspaces, and updates them.

    Args:
        workspaces: The workspaces to show.
        live: The object that delivers the roll calls. The caller starts and stops this object.
        settings: The settings; None for the defaults.
        notices: Messages to show when the app has started.
        view: The filter and the sort order at the start; None for the kept ones.
        keeper: Keeps what the operator sets; None to keep nothing.

    Attributes:
        roll_screen: The main screen.
        has_begun: An event that is set when the app has started.
    """

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "muster"
    # The palette's key is in BINDINGS, so that a user can change this key.
    ENABLE_COMMAND_PALETTE = False
    VERTICAL_BREAKPOINTS = [(0, "tiny"), (LOW, "low")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Roll or panel", show=False, id="focus.next"),
        Binding("question_mark", "help", "Help", id="help"),
        Binding("f1", "help", "Help", show=False, priority=True, id="help.anywhere"),
        Binding(
            "ctrl+p",
            "command_palette",
            "Palette",
            show=False,
            priority=True,
            tooltip="Find any action by name",
            id="palette",
        ),
        Binding(
            "ctrl+z",
            "suspend_process",
            "Suspend",
            show=False,
            priority=True,
            tooltip="Stop muster and go to the shell; fg returns",
            id="suspend",
        ),
        Binding("ctrl+l", "redraw", "Redraw", show=False, priority=True, id="redraw"),
        Binding("q", "quit", "Quit", id="quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True, id="quit.interrupt"),
    ]

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        live: LiveRoll,
        settings: Settings | None = None,
        notices: Sequence[str] = (),
        view: View | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        super().__init__(driver_class=ClearingDriver)
        self._notices = notices
        keep_no_drawings()
        self.animation_level = "none"
        self._settings = settings or Settings()
        self._ascii = ascii_filters(self._settings.ascii)
        colors = self.console._color_system
        self._contrast = () if colors is None or self.no_color else (ContrastFilter(colors),)
        for theme in OURS:
            self.register_theme(theme)
        self._keeper = keeper or Keeper(None)
        kept = self._keeper.kept
        self.theme = (not self._settings.theme_is_set and kept.theme) or self._settings.theme
        self.set_keymap(self._settings.keys)
        self._type_ahead = TypeAhead(
            super().on_event, lambda: self.focused or self.screen, self.set_timer
        )
        self.has_begun = threading.Event()
        self._ending: tuple[None, int, RenderableType | None] | None = None
        self._collector = Collector(self.set_timer)
        self._picture = Picture()
        self._held_toasts: deque[Callable[[], None]] = deque(maxlen=_TOASTS_AT_MOST)
        self._homes = tuple(workspace.path for workspace in workspaces)
        self._notifier = Notifier(self, self._settings.notify)
        self.roll_screen = RollScreen(
            workspaces,
            live,
            self._settings,
            self._notifier.see,
            kept.view if view is None else view,
            kept.split,
        )

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Returns the colours of muster that Textual's themes do not define."""
        return {"failed": FAILED}

    def get_default_screen(self) -> Screen[None]:
        """Returns the main screen, which is below all other screens."""
        return self.roll_screen

    async def on_event(self, event: events.Event) -> None:
        """Handles each key after the previous key has taken effect; see `TypeAhead`."""
        if isinstance(event, _INPUT):
            self._collector.note_input()
        if isinstance(event, events.Resize):
            self._picture.forget()
        if isinstance(event, events.Key) and not event.is_forwarded:
            await self._type_ahead.take(event)
        else:
            await super().on_event(event)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Sends the cells that differ from the cells on the terminal."""
        is_sent = self._running and not (
            self._batch_count or self._closed or self.is_headless or self._driver is None
        )
        if is_sent and isinstance(renderable, LayoutUpdate | ChopsUpdate):
            sequences = self._picture.change(renderable, self.console)
            cursor = self.screen.outer_size.clamp_offset(self.cursor_position)
            if not sequences and cursor == self._previous_cursor_position:
                return
            super()._display(screen, cast("RenderableType", CellsUpdate(sequences)))
            return
        super()._display(screen, renderable)

    def _suspend_signal(self) -> None:
        self._picture.forget()
        super()._suspend_signal()

    def action_redraw(self) -> None:
        """Sends the whole screen again, for example after another program wrote on it."""
        self._picture.forget()
        self.refresh()

    def on_roll_actions_restoring(self, message: RollScreen.Restoring) -> None:
        """Prevents notifications about the agents of an undo by the operator."""
        self._notifier.expect(message.agents)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Shows a toast; if a dialog is open, after the dialog is closed."""
        show = partial(
            super().notify, message, title=title, severity=severity, timeout=timeout, markup=markup
        )
        if self._is_dialog_open:
            self._held_toasts.append(show)
        else:
            show()

    def _refresh_notifications(self) -> None:
        # A toast must not cover a dialog or the dialog's keys.
        if not self._is_dialog_open:
            super()._refresh_notifications()

    @property
    def _is_dialog_open(self) -> bool:
        return bool(self.screen_stack) and isinstance(self.screen_stack[-1], ModalScreen)

    def on_resize(self) -> None:
        """Frees the memory of results that Textual cached for the previous terminal size."""
        forget_sizes()

    def pop_screen(self) -> AwaitComplete:
        """Closes the top screen, shows held toasts, and schedules a garbage collection."""
        self._collector.note_closed()
        closed = super().pop_screen()
        if not self._is_dialog_open:
            self._refresh_notifications()
            while self._held_toasts:
                self._held_toasts.popleft()()
        return closed

    async def on_followed(self, message: Followed) -> None:
        """Lets `TypeAhead` handle the next key."""
        await self._type_ahead.followed(message)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Returns Textual's filters, and those for readable colours and for ASCII mode."""
        return [*super().get_line_filters(), *self._contrast, *self._ascii]

    def get_key_display(self, binding: Binding) -> str:
        """Returns the text that stands for a key on the screen; in ASCII mode, only ASCII text."""
        shown = super().get_key_display(binding)
        return binding.key if self._ascii and not shown.isascii() else shown

    def on_mount(self) -> None:
        """Installs the handlers for job control, and timers."""
        logging.getLogger().addHandler(ToastHandler(self))
        take_stops(self)
        self.set_interval(_PUBLISH_EVERY, self._publish)
        self.set_timer(_SHOWN_BY, self._import_the_rest)
        self._note_state()
        self.set_interval(_KEEP_EVERY, self._keep_state)

    def on_ready(self) -> None:
        """Shows the notices of the caller; quits if `exit` was called during the start."""
        self.has_begun.set()
        for notice in self._notices:
            self.notify(harmless(notice), severity="warning", timeout=30, markup=False)
        if self._ending is not None:
            super().exit(*self._ending)

    def exit(
        self, result: None = None, return_code: int = 0, message: RenderableType | None = None
    ) -> None:
        """Quits the app, but not before the app is ready.

        Textual cannot stop an app that is still starting.
        """
        if self.has_begun.is_set():
            super().exit(result, return_code, message)
        else:
            self._ending = result, return_code, message

    @work(thread=True)
    def _import_the_rest(self) -> None:
        # Import all modules that a key may need. If a key imported them days later, after an
        # update of muster, this process would mix modules of two versions.
        for name in _LATER:
            import_module(name)
        self._collector.begin()

    def _note_state(self) -> bool:
        screen = self.roll_screen
        return self._keeper.note(ScreenState(self.theme, screen.view, screen.split))

    def _keep_state(self) -> None:
        if self._note_state():
            self._save_state()

    @work(thread=True, exclusive=True, group="state")
    def _save_state(self) -> None:
        self._keeper.save()

    @property
    def keeps_theme(self) -> bool:
        """Whether the next start of muster shows a theme that the operator chooses now."""
        return self._keeper.can_keep and not self._settings.theme_is_set

    async def on_unmount(self) -> None:
        """Saves what the operator set, and publishes the lock metrics of this process."""
        from tui.live.publish_metrics import publish_quietly

        if self._note_state():
            await asyncio.to_thread(self._keeper.save)
        if not self._settings.read_only:
            await asyncio.to_thread(publish_quietly, self._homes)

    @work(thread=True, exclusive=True, group="publish")
    def _publish(self) -> None:
        from tui.live.publish_metrics import publish_quietly

        if not self._settings.read_only:
            publish_quietly(self._homes)

    @property
    def _takes_no_keys(self) -> bool:
        return self.screen is self.roll_screen and any(opening_workers(self))

    def on_key(self, event: events.Key) -> None:
        """Ignores keys while a worker prepares the screen for another key; see `opening_workers`.

        Exceptions: Escape cancels the worker, and a quit key ends muster. Textual calls this
        method for each key before any binding acts.
        """
        if not self._takes_no_keys:
            return
        if event.key == "escape":
            self.roll_screen.give_up()
        elif any(
            event.key in keys_of(binding, self._settings.keys)
            for binding in declared(type(self))
            if binding.action == "quit"
        ):
            return
        event.prevent_default()

    def action_help(self) -> None:
        """Opens the help for the present screen."""
        from tui.app.screens.help import help_of

        if self._takes_no_keys:
            return
        help_ = help_of(self.screen, self._settings.keys, self._settings.read_only)
        self.push_screen(help_)

    def action_suspend_process(self) -> None:
        """Suspends muster; the shell's command `fg` continues muster."""
        # Stop the whole job: the shell waits for the job's first process, which may be uv.
        stop(self)

    def action_command_palette(self) -> None:
        """Opens the command palette, which finds the actions of the present screen by name."""
        from tui.app.palette import Palette

        if not (self._takes_no_keys or isinstance(self.screen, Palette)):
            self.push_screen(Palette())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible now; False hides the key of the action."""
        if action == "help":
            return self.screen.id != HELP and not isinstance(self.screen, CommandPalette)
        return True
