"""Hands the terminal to another program, and takes it back when this program ends."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress

from textual.app import App, SuspendNotSupported

from tui.app.terminal.job_control import leave_stops, take_stops
from tui.app.terminal.key_wait import KeyReading, terminal_descriptor, wait_for_key

_ERRORS_AT_MOST = 2000


class NoTerminalError(Exception):
    """The app does not run on a terminal."""


async def lend_terminal(
    app: App[None],
    words: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
    *,
    shows_text: bool = False,
) -> tuple[int, str]:
    """Runs a program on the terminal, and waits until the program ends. The event loop continues.

    Args:
        app: The app, which draws nothing until the program ends.
        words: The program and its arguments; no shell is involved.
        environment: The program's environment variables.
        descriptors: File descriptors that the program inherits under the same numbers.
        shows_text: Whether the program's output stays on the terminal until a key is pressed. If
            the program reads keys itself, its end is the end.

    Returns:
        The program's exit code, and the start of its standard error.

    Raises:
        NoTerminalError: The app does not run on a terminal.
        OSError: The program cannot be started.
    """
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as errors, app.batch_update():
        try:
            with app.suspend():
                # Ctrl-C sends SIGINT to muster too; only the program should react to it.
                loop.add_signal_handler(signal.SIGINT, lambda: None)
                leave_stops()
                try:
                    run = _run(words, environment, errors.fileno(), descriptors)
                    code = await (_run_and_keep(run) if shows_text else run)
                finally:
                    take_stops(app)
                    loop.add_signal_handler(signal.SIGINT, app.exit, None, 128 + signal.SIGINT)
        except SuspendNotSupported:
            raise NoTerminalError from None
        errors.seek(0)
        return code, errors.read(_ERRORS_AT_MOST).decode("utf-8", "replace").strip()


async def _run_and_keep(run: Coroutine[object, object, int]) -> int:
    """Awaits the end of a program; then waits for a key if the program did not read keys."""
    terminal = terminal_descriptor()
    reading = KeyReading(terminal)
    watching = asyncio.create_task(reading.watch())
    try:
        code = await run
    finally:
        watching.cancel()
    if code == 0 and not reading.seen and terminal is not None:
        await wait_for_key(terminal)
    return code


async def _run(
    words: Sequence[str], environment: Mapping[str, str], errors: int, descriptors: Sequence[int]
) -> int:
    # `errors` is a file: tmux passes standard error to its server, which may keep a pipe open.
    process = await asyncio.create_subprocess_exec(
        *words, stderr=errors, env=dict(environment), pass_fds=tuple(descriptors)
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            # muster is ending, so no process would take the terminal back from the program.
            with suppress(ProcessLookupError):
                process.terminate()
