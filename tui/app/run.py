"""Runs the monitor on a terminal, and ends the monitor safely if the terminal disappears."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from registry.dataclass import replace
from registry.schema import Workspace
from tui.app import garbage
from tui.config.load import SettingsError
from tui.config.settings import Settings
from tui.host.tmux import Tmux
from tui.host.tmux_types import CONSIDER_ALL, SetAside
from tui.live.collector import LiveRoll
from tui.model.policy import Policy
from tui.view.view import View

if TYPE_CHECKING:
    from tui.app.app import MusterApp
    from tui.app.screen_state import Keeper

_HUNG_UP = 128 + signal.SIGHUP
_BROKEN = 1

# Seconds for the app to set up the terminal.
_BEGINS_WITHIN = 10.0

# Seconds for a running action to finish after the terminal disappeared.
_PATIENCE = 60.0

# Seconds for the app to end after a signal.
_ENDS_WITHIN = 5.0


def run_monitor(
    workspaces: Sequence[Workspace],
    socket: Path,
    policy: Policy,
    settings: Settings,
    on_hangup: Callable[[], object] = lambda: None,
    notices: Sequence[str] = (),
    set_aside: SetAside = CONSIDER_ALL,
    view: View | None = None,
    keeper: Keeper | None = None,
) -> int:
    """Runs the monitor on this terminal until the user quits.

    Args:
        workspaces: The workspaces to show.
        socket: The tmux socket.
        policy: The thresholds of the verdicts.
        settings: The settings of the monitor.
        on_hangup: Called before the process ends because the terminal disappeared.
        notices: Messages to show when the monitor has started.
        set_aside: Other tmux servers that muster ignores.
        view: The filter and the sort order at the start; None for the kept ones.
        keeper: Keeps what the operator sets; None to keep nothing.

    Returns:
        The exit code.

    Raises:
        SettingsError: The settings contain invalid keys.
    """
    garbage.hold()
    # A reading thread gives way to the drawing thread after this many seconds.
    sys.setswitchinterval(0.001)
    # Textual draws at fixed intervals; a shorter interval halves the delay of a change, and
    # costs nothing without a change. Textual reads the variable when it is imported.
    os.environ.setdefault("TEXTUAL_FPS", "120")
    # Textual would take these for the size of the terminal, and ignore changes of the size.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    tmux = Tmux(socket, set_aside=set_aside)
    live = LiveRoll(workspaces, tmux, policy, recover=not settings.read_only)
    live.start()
    try:
        # Imported after the start of the first roll call, which runs during the import.
        from tui.app.app import MusterApp

        if settings.source is not None and (settings.keys or settings.views):
            # Imported only here, because it imports all screens.
            from tui.app.keymap import effective_keys, key_problems, view_problems

            views = settings.views
            if problems := key_problems(settings.keys, views) + view_problems(views):
                raise SettingsError(settings.source, problems)
            settings = replace(settings, keys=effective_keys(settings.keys, views))
        return _run(MusterApp(workspaces, live, settings, notices, view, keeper), on_hangup)
    finally:
        live.stop()


def _wait_for_hangup(leave: Callable[[], object], ended: int) -> None:
    """Waits until the terminal disappears, and then calls `leave`.

    If muster was started with SIGHUP ignored, no signal reports that the terminal disappeared, and
    Textual would read the end of the input in an endless loop.

    Args:
        leave: Called when the terminal has disappeared.
        ended: The reading end of a pipe; this function closes it. If the writing end is closed
            before the terminal disappears, `leave` is not called.
    """
    poll = select.poll()
    # Even with an empty event mask, poll reports errors and hang-ups.
    poll.register(0, 0)
    poll.register(ended, 0)
    happened = {fd for fd, _ in poll.poll()}
    os.close(ended)
    if ended not in happened:
        leave()


def _run(app: MusterApp, on_hangup: Callable[[], object]) -> int:
    """Runs the app until the user quits or the terminal disappears."""
    # Imported late, because it imports Textual.
    from tui.app.terminal.job_control import (
        noting,
        restore_terminal,
        take_any_byte,
        terminal_modes,
    )

    leaving, is_over, modes = threading.Lock(), threading.Event(), terminal_modes()

    def end_anyway(number: int) -> None:
        if is_over.wait(_ENDS_WITHIN):
            return
        app.roll_screen.wait_for_actions(_PATIENCE)
        if is_over.wait(_ENDS_WITHIN):
            return
        on_hangup()
        restore_terminal(modes)
        os._exit(128 + number)

    def end(number: int) -> None:
        try:
            asyncio.get_running_loop().call_soon_threadsafe(app.exit, None, 128 + number)
        except RuntimeError:
            app.exit(None, 128 + number)
        # If nobody reads the terminal, the drawing thread waits forever, and soon the event loop
        # waits for this thread.
        threading.Thread(target=end_anyway, args=(number,), daemon=True).start()

    def leave() -> None:
        if not leaving.acquire(blocking=False):
            return
        if os.isatty(0):
            # Another process sent the signal, and the terminal must be restored.
            threading.Thread(target=end_anyway, args=(signal.SIGHUP,), daemon=True).start()
            app.has_begun.wait(_BEGINS_WITHIN)
            with suppress(RuntimeError):
                app.call_from_thread(app.exit, None, _HUNG_UP)
                return
        app.roll_screen.wait_for_actions(_PATIENCE)
        on_hangup()
        os._exit(_HUNG_UP)

    # The event loop cannot handle this signal: a write to a vanished terminal blocks the drawing
    # thread forever, and the loop waits for this thread.
    before = signal.signal(
        signal.SIGHUP, lambda *_: threading.Thread(target=leave, name="muster-hangup").start()
    )
    ended, ends = os.pipe()
    watch = threading.Thread(
        target=_wait_for_hangup, args=(leave, ended), name="muster-terminal", daemon=True
    )
    watch.start()
    take_any_byte()
    try:
        # A signal ends only the app, which restores the terminal; then this process ends.
        with noting(end, signal.SIGTERM, signal.SIGINT):
            app.run()
    finally:
        is_over.set()
        os.close(ends)
        watch.join(_BEGINS_WITHIN)
        signal.signal(signal.SIGHUP, before)
    # The code is missing only if neither the user nor an exception ended the app.
    return app.return_code if app.return_code is not None else _BROKEN
