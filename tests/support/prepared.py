"""Runs muster in a forked child of a process that has already imported muster's modules."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.support.terminal import MUSTER

Done = subprocess.CompletedProcess[str]

# Variables that Python reads only at its start.
_AT_START = ("LANG", "LC_", "PYTHON")


def run_prepared(
    arguments: Sequence[str],
    directory: Path | str,
    environment: Mapping[str, str],
    timeout: float = 60.0,
) -> Done:
    """Runs muster without input; returns its exit code and output.

    Args:
        arguments: The arguments of muster.
        directory: The working directory of muster.
        environment: The whole environment of muster.
        timeout: Seconds after which muster is killed.

    Raises:
        subprocess.TimeoutExpired: muster did not end in time.
    """
    kept = {name: os.environ.get(name) for name in environment if name.startswith(_AT_START)}
    if kept != {name: environment[name] for name in kept}:
        return subprocess.run(
            [*MUSTER, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=environment,
            timeout=timeout,
            check=False,
        )
    # A forked child of the tests may be another user, so it gets another server.
    return _server(os.getpid()).run(arguments, directory, environment, timeout)


@cache
def _server(_: int) -> _Server:
    return _Server()


class _Server:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair()
        # The process is shared by all tests.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        with theirs:
            self._process = subprocess.Popen(
                [*MUSTER, "--prepared"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=environment,
            )
        atexit.register(self._close, os.getpid())

    def _close(self, owner: int) -> None:
        self._requests.close()
        if os.getpid() == owner:
            self._process.wait()

    def run(
        self,
        arguments: Sequence[str],
        directory: Path | str,
        environment: Mapping[str, str],
        timeout: float,
    ) -> Done:
        request = json.dumps([[*arguments], str(directory), {**environment}])
        with (
            self._lock,
            open(os.devnull, "rb") as nothing,
            tempfile.TemporaryFile() as asked,
            tempfile.TemporaryFile() as said,
            tempfile.TemporaryFile() as complained,
        ):
            asked.write(request.encode())
            asked.seek(0)
            files = [each.fileno() for each in (asked, nothing, said, complained)]
            socket.send_fds(self._requests, [b"x"], files)
            child = self._receive(None)
            try:
                status = self._receive(timeout)
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                self._receive(None)
                raise subprocess.TimeoutExpired([*MUSTER, *arguments], timeout) from None
            return Done(
                [*MUSTER, *arguments],
                os.waitstatus_to_exitcode(status),
                _text(said),
                _text(complained),
            )

    def _receive(self, timeout: float | None) -> int:
        self._requests.settimeout(timeout)
        said = b""
        while len(said) < 4:
            more = self._requests.recv(4 - len(said))
            assert more, "the process that runs muster has ended"
            said += more
        return int.from_bytes(said)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")
