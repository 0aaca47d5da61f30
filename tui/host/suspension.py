"""Stops this process when the user presses Ctrl-Z, but not while it reads a database.

A reading that is stopped keeps its locks, perhaps for days. Then no writer can shorten the log of
the database.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A longer reading is stopped, so that Ctrl-Z never seems to fail, in seconds.
_WAIT_AT_MOST = 0.5

_PAUSE = 0.01


@contextmanager
def between_readings(seconds: float = _WAIT_AT_MOST) -> Iterator[bool]:
    """Waits until this process reads no database, and keeps its threads from it in the block.

    Args:
        seconds: The longest wait.

    Yields:
        Whether this process reads no database.
    """
    # Before the first use of a database, nothing imports its module.
    if "registry.database.readings" not in sys.modules:
        yield True
        return
    from registry.database import between_readings as waited

    with waited(seconds) as is_quiet:
        yield is_quiet


def stop_between_readings() -> None:
    """Makes SIGTSTP, which Ctrl-Z sends, wait for the readings of databases.

    An ignored signal stays ignored. Outside of the main thread, this function does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, _Stop())


class _Stop:
    """A handler for SIGTSTP, and for the timer with which it calls itself again."""

    def __init__(self) -> None:
        self._give_up_at: float | None = None

    def __call__(self, _: int, __: FrameType | None) -> None:
        """Stops the process now, or in a moment: the main thread may itself be reading."""
        now = time.monotonic()
        self._give_up_at = self._give_up_at or now + _WAIT_AT_MOST
        with between_readings(max(0.0, self._give_up_at - now)) as is_quiet:
            if is_quiet or time.monotonic() >= self._give_up_at:
                self._give_up_at = None
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                # The kernel ignores the signal if no shell could continue the process.
                signal.signal(signal.SIGTSTP, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTSTP)
                signal.signal(signal.SIGTSTP, self)
                return
        # A timer, because a handler must not start a thread.
        signal.signal(signal.SIGALRM, self)
        signal.setitimer(signal.ITIMER_REAL, _PAUSE)
