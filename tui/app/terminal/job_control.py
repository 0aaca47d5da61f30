"""What Textual leaves to us: any byte on the keyboard, signals, and what it keeps for good."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial

from textual.app import App, SuspendNotSupported


def take_any_byte() -> None:
    """Has bytes on the keyboard that are no UTF-8 taken for U+FFFD.

    Textual's input thread decodes strictly, and ends the app with the first such byte: a
    paste, or a terminal of another locale, would close the monitor.
    """
    from textual.drivers import linux_driver

    linux_driver.getincrementaldecoder = _forgiving  # type: ignore[attr-defined, assignment]


def keep_no_drawings() -> None:
    """Has Textual keep nothing of widgets that are gone.

    It caches two styles for each object that has drawn a widget, by that object: the last
    thousand of these stay, with every line that they drew.
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
    """Only notes signals in a block: what they do otherwise would leave the terminal as it is.

    An event loop that takes them in the block has them until it is closed.

    Args:
        note: Gets the number of each that comes.
        numbers: Of the signals; those that are ignored stay so.
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


def take_stops(app: App[None]) -> None:
    """From now on hands the terminal back while stopped, and has it whole when continued.

    Textual's own handlers resume what was never suspended, with a second thread that
    reads the keyboard, and run wherever the main thread happens to be.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTSTP, stop, app, os.getpid())
    loop.add_signal_handler(signal.SIGCONT, _continued, app)


def leave_stops() -> None:
    """Has this process stop and go on like any other: its terminal is lent."""
    loop = asyncio.get_running_loop()
    loop.remove_signal_handler(signal.SIGTSTP)
    loop.remove_signal_handler(signal.SIGCONT)


def stop(app: App[None], whom: int = 0) -> None:
    """Hands the terminal back and stops, until somebody continues this in the foreground.

    Where nobody could, the system lets nothing be stopped, and this goes on at once.

    Args:
        app: Whose terminal it is.
        whom: This process, or 0 for all of its job.
    """
    if not app.is_running:
        return
    with suppress(SuspendNotSupported), app.suspend():
        leave_stops()
        try:
            os.kill(whom, signal.SIGTSTP)
            while not _in_front():
                os.kill(whom, signal.SIGSTOP)
        finally:
            take_stops(app)


def _continued(app: App[None]) -> None:
    """Sets the terminal up anew: whoever had it since a SIGSTOP left it as they liked."""
    # On the way out it is being given back.
    if app.is_running and _in_front():
        with suppress(SuspendNotSupported), app.suspend():
            pass


def _in_front() -> bool:
    """Whether this process may use its terminal; also if that knows of no jobs."""
    try:
        return sys.__stdin__ is None or os.tcgetpgrp(sys.__stdin__.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
