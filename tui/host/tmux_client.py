"""Running tmux's client: the one door, for what is asked and for what is done.

A client is only started for a socket that was checked, runs no longer than a time-out,
and not more than so much is taken of what it says.
"""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tui.host.tmux_advice import OTHER_SOCKET, install_advice
from tui.host.tmux_socket import Listener, NoServerError, TmuxError, checked

OUTPUT_AT_MOST = 32 << 20
"""Bytes that are read of what tmux lists: enough for some 100,000 sessions."""

ERRORS_AT_MOST = 8 << 10
"""Bytes that are read of tmux's errors."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Said:
    """How one tmux client ended.

    Attributes:
        output: Its lines.
        errors: The lines of its errors.
        listener: Who listened at the socket; None if nobody did.
    """

    code: int
    output: list[str]
    errors: list[str]
    listener: Listener | None


def run_tmux(
    socket: Path, timeout: float, arguments: Sequence[str], errors: str = "backslashreplace"
) -> Said:
    """Runs one tmux command and waits for its end.

    Args:
        socket: The server's socket.
        timeout: Seconds that it may take; then its process is ended.
        arguments: The command; no target or format in it is foreign.
        errors: What becomes of bytes that are no UTF-8.

    Raises:
        UntrustedSocketError: The server may be another user's; nothing was started.
        NoServerError: There is none; nothing was started.
        TmuxError: tmux is not there, cannot be started, is silent, or says too much.
    """
    try:
        with checked(socket) as door:
            words = ["tmux", f"-S{door.path}", *arguments]
            code, out, err = _run(words, timeout, door.descriptors)
    except FileNotFoundError:
        raise TmuxError(install_advice()) from None
    except NoServerError:
        # Without a tmux nobody can tell either.
        if shutil.which("tmux") is None:
            raise TmuxError(install_advice()) from None
        raise
    except OSError as error:
        why = f"tmux could not be started: {error}"
        raise TmuxError(why, "see which `tmux` is on PATH") from None
    err = err.replace(os.fsencode(door.path), os.fsencode(socket))
    return Said(
        code,
        _lines(out.decode("utf-8", errors)),
        _lines(err.decode("utf-8", errors)),
        door.listener,
    )


def _run(
    words: Sequence[str], timeout: float, descriptors: Sequence[int]
) -> tuple[int, bytes, bytes]:
    """Runs a program; its exit code, output and errors.

    Raises:
        TmuxError: It took too long or said too much; its process was ended.
        OSError: It could not be started.
    """
    deadline = time.monotonic() + timeout
    silent = TmuxError(
        f"tmux did not answer within {timeout:g} s; its server may be stopped",
        f"let it go on (kill -CONT its process), or {OTHER_SOCKET}",
    )
    with subprocess.Popen(  # noqa: S603 - no shell; see run_tmux
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=tuple(descriptors),
        bufsize=0,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        limits = {process.stdout: OUTPUT_AT_MOST, process.stderr: ERRORS_AT_MOST}
        try:
            said = _read(limits, deadline)
            if said is None:
                raise silent
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise silent from None
        finally:
            # Its end does not end its output where a server has that as well.
            if process.returncode is None:
                process.kill()
    return code, said[process.stdout], said[process.stderr]


def _read(limits: dict[IO[bytes], int], deadline: float) -> dict[IO[bytes], bytes] | None:
    """What comes from pipes until they are closed; None if they are not by a deadline.

    Raises:
        TmuxError: It is more than the limit.
    """
    chunks: dict[IO[bytes], list[bytes]] = {pipe: [] for pipe in limits}
    with selectors.DefaultSelector() as selector:
        for pipe in limits:
            selector.register(pipe, selectors.EVENT_READ, pipe)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                return None
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fd)
                    continue
                chunks[key.data].append(chunk)
                limits[key.data] -= len(chunk)
                if limits[key.data] < 0:
                    raise TmuxError(
                        "tmux said more than a list of sessions or an error can be long",
                        f"see which `tmux` is on PATH, or {OTHER_SOCKET}",
                    )
    return {pipe: b"".join(those) for pipe, those in chunks.items()}


def _lines(output: str) -> list[str]:
    # Not splitlines(): a session's name may hold what that takes for an end.
    return output.removesuffix("\n").split("\n") if output else []
