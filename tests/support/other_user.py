"""Runs a process of another user that looks like a tmux server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OTHER = 64101
"""The id of a user that does not exist."""

needs_another_user = pytest.mark.skipif(
    os.getuid() != 0, reason="root alone can run something as another user"
)

# The process has the name of a tmux server and one child, and prints how many clients connected
# and how many bytes they sent. The child must not hold a pipe of the test open.
_SERVER = """
import ctypes, os, select, socket, subprocess, sys
path, bind_as, listen_as = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
at = socket.socket(socket.AF_UNIX)
os.umask(0)
os.seteuid(bind_as)
at.bind(path)
os.seteuid(0)
os.setgroups([])
os.setgid(listen_as)
os.setuid(listen_as)
at.listen()
ctypes.CDLL(None).prctl(15, b"tmux: server", 0, 0, 0)
child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
print(flush=True)
came = sent = 0
here = []
while True:
    ready, _, _ = select.select([0, at, *here], [], [])
    if at in ready:
        here.append(at.accept()[0])
        came += 1
    for each in [each for each in here if each in ready]:
        got = len(each.recv(65536))
        sent += got
        if not got:
            here.remove(each)
    if ready == [0]:
        break
child.kill()
print(came, sent, flush=True)
"""


class FakeServer:
    """A process of another user to which a tmux client could connect."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def asked(self) -> tuple[int, int]:
        """Ends the process; returns how many clients connected, and how many bytes they sent."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        came, sent = self._process.stdout.readline().split()
        self._process.wait()
        return int(came), int(sent)


@contextmanager
def fake_server(path: Path, *, bound_by: int = OTHER, run_by: int = OTHER) -> Iterator[FakeServer]:
    """Runs a listener that looks like a tmux server, until the block ends.

    Args:
        path: The path of the socket; every user may connect to it.
        bound_by: The user that owns the socket.
        run_by: The user of the listening process.
    """
    words = [sys.executable, "-S", "-c", _SERVER, str(path), str(bound_by), str(run_by)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield FakeServer(process)
        if process.poll() is None and process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
