"""Changes Textual's handling of invalid input bytes, job control signals and a style cache."""

from __future__ import annotations

import asyncio
import codecs
import os
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any

from textual.app import App, SuspendNotSupported

from tui.host.suspension import between_readings

# Ends the modes of Textual for the mouse, pasted text, the focus, the keyboard and the alternate
# screen, and shows the cursor.
_RESTORES = (
    b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[<u"
    b"\x1b[?1049l\x1b[?25h"
)


def take_any_byte() -> None:
    """Makes Textual read input bytes that are not UTF-8 as U+FFFD.

    Without this, the first invalid byte ends the app. Pasted text, or a terminal with another
    encoding, can contain such bytes.
    """
    from textual.drivers import linux_driver

    linux_driver.getincrementaldecoder = _forgiving  # type: ignore[attr-defined, assignment]


def keep_no_drawings() -> None:
    """Stops a cache of Textual from keeping the drawn lines of removed widgets in memory.

    The keys of the cache contain the `StylesCache` object of a widget. So the cache keeps the last
    1024 of these objects in memory, each with all lines that it drew.
    """
    from textual._styles_cache import StylesCache

    cached = vars(StylesCache)["get_inner_outer"]
    if hasattr(cached, "__wrapped__") and not isinstance(cached, staticmethod):
        by_colors = lru_cache(1024)(partial(cached.__wrapped__, StylesCache))
        StylesCache.get_inner_outer = staticmethod(by_colors)  # type: ignore[assignment]


def _forgiving(encoding: str) -> Callable[[], codecs.IncrementalDecoder]:
    return partial(codecs.getincrementaldecoder(encoding), "replace")


@contextmanager
def noting(note: Callable[[int], None], *numbers: int) -> Iterator[None]:
    """While a `with` block runs, calls `note` for each signal instead of the usual handler.

    The default handlers would end the process without restoring the terminal. `note` is called in
    the main thread, even while an event loop in this thread is blocked.

    Args:
        note: Called with the number of each received signal.
        numbers: The numbers of the signals. Ignored signals stay ignored.
    """
    before = {}
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda number, _: note(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def terminal_modes() -> list[Any] | None:
    """Returns the modes of the terminal at standard input; None without a terminal."""
    try:
        return termios.tcgetattr(0)
    except (OSError, termios.error):
        return None


def restore_terminal(modes: list[Any] | None) -> None:
    """Restores the terminal without waiting, if Textual can no longer do this.

    Output that nobody has read is discarded.

    Args:
        modes: The result of `terminal_modes` before the app started.
    """
    if modes is None:
        return
    with suppress(OSError, termios.error):
        termios.tcsetattr(0, termios.TCSANOW, modes)
        termios.tcflush(0, termios.TCOFLUSH)
        if select.select((), (0,), (), 0)[1]:
            os.write(0, _RESTORES)


def take_stops(app: App[None]) -> None:
    """Installs the handlers for job control: for SIGTSTP and SIGCONT.

    Textual's own handlers have two faults. They resume an app that was not suspended; then two
    threads read the keyboard. They also interrupt the main thread at any point.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTSTP, stop, app, os.getpid())
    loop.add_signal_handler(signal.SIGCONT, _continued, app)


def leave_stops() -> None:
    """Removes the handlers of `take_stops`, so that another program can get the terminal."""
    loop = asyncio.get_running_loop()
    loop.remove_signal_handler(signal.SIGTSTP)
    loop.remove_signal_handler(signal.SIGCONT)


def stop(app: App[None], pid: int = 0) -> None:
    """Restores the terminal, and stops this process until the shell continues it.

    If no shell could continue the process, the kernel ignores SIGTSTP, and this function returns
    at once.

    Args:
        app: The app on the terminal.
        pid: The id of this process, or 0 for the whole process group.
    """
    if not app.is_running:
        return
    with suppress(SuspendNotSupported), app.suspend():
        leave_stops()
        try:
            with between_readings():
                os.kill(pid, signal.SIGTSTP)
                while not _in_front():
                    os.kill(pid, signal.SIGSTOP)
        finally:
            take_stops(app)


def _continued(app: App[None]) -> None:
    """Sets the terminal's mode again, which another program may have changed after a SIGSTOP."""
    # An app that is ending restores the terminal itself.
    if app.is_running and _in_front():
        with suppress(SuspendNotSupported), app.suspend():
            pass


def _in_front() -> bool:
    """Returns whether this process is in the terminal's foreground; True without a terminal."""
    try:
        return sys.__stdin__ is None or os.tcgetpgrp(sys.__stdin__.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
