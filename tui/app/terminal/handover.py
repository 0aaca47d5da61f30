"""Lending the terminal to another program, and having it back as it was."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

from textual.app import App, SuspendNotSupported

from tui.app.terminal.job_control import leave_stops, take_stops

_SAID_AT_MOST = 2000


class NoTerminalError(Exception):
    """There is no terminal that could be lent."""


async def lend_terminal(
    app: App[None],
    words: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
) -> tuple[int, str]:
    """Runs a program on the terminal until it ends. The event loop goes on meanwhile.

    Args:
        app: Whose terminal it is; draws nothing while it is lent.
        words: The program and its arguments; no shell sees them.
        environment: What the program is to have of an environment.
        descriptors: What it is to inherit besides the terminal, by the same numbers.

    Returns:
        Its exit code, and what it said on standard error.

    Raises:
        NoTerminalError: There is none, or it is a browser.
        OSError: The program cannot be started.
    """
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as said, app.batch_update():
        try:
            with app.suspend():
                # Ctrl-C is for the program, although it reaches every process of the terminal.
                loop.add_signal_handler(signal.SIGINT, lambda: None)
                leave_stops()
                try:
                    code = await _run(words, environment, said.fileno(), descriptors)
                finally:
                    take_stops(app)
                    loop.add_signal_handler(signal.SIGINT, app.exit, None, 128 + signal.SIGINT)
        except SuspendNotSupported:
            raise NoTerminalError from None
        said.seek(0)
        return code, said.read(_SAID_AT_MOST).decode("utf-8", "replace").strip()


async def _run(
    words: Sequence[str], environment: Mapping[str, str], said: int, descriptors: Sequence[int]
) -> int:
    # Not a pipe: tmux hands its standard error to its server, which may keep it open.
    process = await asyncio.create_subprocess_exec(
        *words, stderr=said, env=dict(environment), pass_fds=tuple(descriptors)
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            # muster is told to end; nobody could come back from there.
            with suppress(ProcessLookupError):
                process.terminate()


def outside_tmux(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which tmux does not mind that it runs inside of itself."""
    return {
        name: value for name, value in environment.items() if name not in ("TMUX", "TMUX_PANE")
    }
