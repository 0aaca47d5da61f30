"""Runs the user's hook commands."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress


def run_hook(command: Sequence[str], timeout: float) -> str | None:
    """Runs a command without a shell and without a terminal, and waits for its end. Blocks.

    Args:
        command: A program and its arguments.
        timeout: The seconds after which the command's process group is killed.

    Returns:
        An error message; None if the command succeeded.
    """
    words = [word.replace("\0", "") for word in command]
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command, by the word
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot run {words[0]}: {error.strerror or error}"
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"{words[0]} was killed after {timeout:g} s"
    if code:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        return f"{words[0]} failed with {how}"
    return None
