"""Keeps the output of a program on the terminal until the user has read it."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Seconds between two looks at the mode of the terminal.
_LOOK_EVERY = 0.05

_PROMPT = b"\r\n\x1b[7mmuster: press any key to return\x1b[0m "


def terminal_descriptor() -> int | None:
    """Returns the descriptor of the terminal from which muster reads keys, or None."""
    try:
        descriptor = sys.__stdin__.fileno() if sys.__stdin__ is not None else None
    except (OSError, ValueError):
        return None
    return descriptor if descriptor is not None and os.isatty(descriptor) else None


class KeyReading:
    """Finds out whether a program reads single keys from the terminal, as pagers and editors do.

    Such a program ends at a key of the user. Other programs, for example ``cat``, end by
    themselves, and muster would draw over their output.

    Args:
        terminal: The descriptor of the terminal, or None.

    Attributes:
        seen: Whether the terminal had the mode for single keys.
    """

    def __init__(self, terminal: int | None) -> None:
        self._terminal = terminal
        self.seen = False

    async def watch(self) -> None:
        """Looks at the mode of the terminal until this coroutine is cancelled."""
        while not self.seen:
            if self._terminal is not None:
                with suppress(termios.error):
                    self.seen = not termios.tcgetattr(self._terminal)[3] & termios.ICANON
            await asyncio.sleep(_LOOK_EVERY)


async def wait_for_key(terminal: int) -> None:
    """Shows a prompt below the output of a program, and waits for a key.

    Args:
        terminal: The descriptor of the terminal.
    """
    loop = asyncio.get_running_loop()
    pressed = asyncio.Event()
    with suppress(OSError, termios.error), _single_keys(terminal):
        os.write(terminal, _PROMPT)
        loop.add_reader(terminal, pressed.set)
        try:
            await pressed.wait()
        finally:
            loop.remove_reader(terminal)


@contextmanager
def _single_keys(terminal: int) -> Iterator[None]:
    """Switches a terminal to single keys without echo; discards all keys before and after."""
    before = termios.tcgetattr(terminal)
    mode = termios.tcgetattr(terminal)
    # Without ISIG, Ctrl-C is a key.
    mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
