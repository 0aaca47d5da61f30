"""Running the monitor on a terminal, also when the terminal goes away."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from registry.schema import Workspace
from tui.app import garbage
from tui.config.load import SettingsError
from tui.config.settings import Settings
from tui.host.tmux import Tmux
from tui.live.collector import LiveRoll
from tui.model.policy import Policy

if TYPE_CHECKING:
    from tui.app.app import MusterApp

_HUNG_UP = 128 + signal.SIGHUP
_BROKEN = 1

# Seconds that the app may take to set the terminal up.
_BEGINS_WITHIN = 10.0

# Seconds that an action may go on after the terminal went away.
_PATIENCE = 60.0


def run_monitor(
    workspaces: Sequence[Workspace],
    socket: Path,
    policy: Policy,
    settings: Settings,
    on_hangup: Callable[[], object] = lambda: None,
) -> int:
    """Opens the monitor on this terminal until the user quits.

    Args:
        workspaces: What to show.
        socket: The tmux socket to ask.
        policy: When a verdict is sure enough.
        settings: How it looks, which keys it has, what it tells of and may do.
        on_hangup: Called before the process ends because its terminal went away.

    Returns:
        The exit code.

    Raises:
        SettingsError: Keys in the settings are wrong.
    """
    garbage.hold()
    # The thread that draws waits no longer than that, in seconds, for one that reads.
    sys.setswitchinterval(0.001)
    # Textual draws at the beats of a clock: with twice as many a change waits half as long
    # for the next, and nothing is drawn at a beat without one. Read when it is imported.
    os.environ.setdefault("TEXTUAL_FPS", "120")
    live = LiveRoll(workspaces, Tmux(socket), policy, recover=not settings.read_only)
    live.start()
    try:
        # Textual takes longer to import than the roll to be called meanwhile.
        from tui.app.app import MusterApp

        if settings.source is not None and settings.keys:
            # It imports every screen.
            from tui.app.keymap import key_problems

            if problems := key_problems(settings.keys):
                raise SettingsError(settings.source, problems)
        return _run(MusterApp(workspaces, live, settings), on_hangup)
    finally:
        live.stop()


def _run(app: MusterApp, on_hangup: Callable[[], object]) -> int:
    """Runs the app until it ends, by the user or with its terminal."""
    # It imports Textual.
    from tui.app.terminal.job_control import noting, take_any_byte

    def leave() -> None:
        if os.isatty(0):
            # Sent by somebody: there still is a terminal to put in order.
            app.has_begun.wait(_BEGINS_WITHIN)
            with suppress(RuntimeError):
                app.call_from_thread(app.exit, None, _HUNG_UP)
                return
        app.roll_screen.wait_for_actions(_PATIENCE)
        on_hangup()
        os._exit(_HUNG_UP)

    # Not by way of the event loop: writing to a terminal that is gone stops the
    # thread that draws, and then, for good, the loop that waits for it.
    before = signal.signal(
        signal.SIGHUP, lambda *_: threading.Thread(target=leave, name="muster-hangup").start()
    )
    take_any_byte()
    try:
        # From before the terminal is taken until it is given back, only the app ends.
        with noting(lambda number: app.exit(None, 128 + number), signal.SIGTERM, signal.SIGINT):
            app.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    # Without a code it did not end by anybody's will, nor by an exception of its own.
    return app.return_code if app.return_code is not None else _BROKEN
