"""Runs the tmux client. All tmux commands except ``attach-session`` use `run_tmux`.

`run_tmux` first checks the socket, and limits the time and the output of the client.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from registry.dataclass import dataclass
from tui.host.silent_server import silence
from tui.host.tmux_advice import OTHER_SOCKET, install_advice
from tui.host.tmux_socket import CheckedSocket, Listener, NoServerError, TmuxError, checked

OUTPUT_AT_MOST = 32 << 20
"""The number of bytes that are read of tmux's output; enough for about 100,000 sessions."""

ERRORS_AT_MOST = 8 << 10
"""The number of bytes that are read of tmux's standard error."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Said:
    """The result of a tmux client.

    Attributes:
        code: The client's exit code.
        output: The lines of the client's output.
        errors: The lines of the client's standard error.
        listener: The process that listened at the socket; None if no process listened.
    """

    code: int
    output: list[str]
    errors: list[str]
    listener: Listener | None


def run_tmux(
    socket: Path,
    timeout: float,
    arguments: Sequence[str],
    errors: str = "backslashreplace",
    *,
    to_start: bool = False,
) -> Said:
    """Runs a tmux command and waits for its end.

    Args:
        socket: The socket of the server.
        timeout: The seconds after which the client is killed.
        arguments: The command. Its targets and formats must not contain untrusted text.
        errors: The handling of bytes that are not UTF-8, as for `bytes.decode`.
        to_start: Whether the client may start a server if no process listens at the socket.

    Raises:
        UntrustedSocketError: The server may belong to another user; no client was started.
        NoServerError: No server runs; no client was started.
        TmuxError: tmux is not installed or cannot be started, or its output is late or too long.
    """
    try:
        with checked(socket, to_start=to_start) as door:
            words = ["tmux", f"-S{door.path}", *arguments]
            code, out, err = _run(words, timeout, door)
    except FileNotFoundError:
        raise TmuxError(install_advice()) from None
    except NoServerError:
        # Without tmux it is unknown whether a server runs.
        if _installed() is None:
            raise TmuxError(install_advice()) from None
        raise
    except OSError as error:
        why = f"cannot start tmux: {error}"
        raise TmuxError(why, "check which `tmux` is on PATH") from None
    err = err.replace(os.fsencode(door.path), os.fsencode(socket))
    return Said(
        code,
        _lines(out.decode("utf-8", errors)),
        _lines(err.decode("utf-8", errors)),
        door.listener,
    )


def _installed() -> str | None:
    """Returns the path of the first tmux in the directories of PATH, or None."""
    # Not `shutil.which`, because its import is slow: shutil imports compressors.
    programs = (os.path.join(directory, "tmux") for directory in os.get_exec_path())
    found = (path for path in programs if os.path.isfile(path) and os.access(path, os.X_OK))
    return next(found, None)


def _run(words: Sequence[str], timeout: float, door: CheckedSocket) -> tuple[int, bytes, bytes]:
    """Runs a tmux client; returns the exit code, the output and the standard error.

    Raises:
        TmuxError: The output is late or too long; the client was killed.
        OSError: The client cannot be started.
    """
    deadline = time.monotonic() + timeout
    with subprocess.Popen(  # noqa: S603 - no shell; see run_tmux
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=door.descriptors,
        bufsize=0,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        limits = {process.stdout: OUTPUT_AT_MOST, process.stderr: ERRORS_AT_MOST}
        try:
            texts = _read(limits, deadline)
            if texts is None:
                raise silence(door.listener, process.pid, _installed(), timeout)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise silence(door.listener, process.pid, _installed(), timeout) from None
        finally:
            # A server may keep the output open after the end of the client.
            if process.returncode is None:
                process.kill()
    return code, texts[process.stdout], texts[process.stderr]


def _read(limits: dict[IO[bytes], int], deadline: float) -> dict[IO[bytes], bytes] | None:
    """Reads pipes until they are closed; returns None after the deadline.

    Raises:
        TmuxError: The output is longer than its limit.
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
                        "the output of tmux is longer than a list of sessions can be",
                        f"check which `tmux` is on PATH, or {OTHER_SOCKET}",
                    )
    return {pipe: b"".join(pieces) for pipe, pieces in chunks.items()}


def _lines(output: str) -> list[str]:
    # Not splitlines(): a session's name may contain other line separators.
    return output.removesuffix("\n").split("\n") if output else []
