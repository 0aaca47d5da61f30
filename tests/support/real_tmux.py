"""A real tmux server on a private socket, which ends with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import psutil
import pytest

from tests.support.terminal import PREFIX
from tests.support.waiting import until
from tui.host.tmux import Tmux
from tui.host.tmux_advice import install_advice

SLEEP = "exec sleep 1000"
"""A command for a session that only has to exist."""


def runs(pid: int) -> bool:
    """Whether a process exists and is not a zombie process."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class RealTmux:
    """A private tmux server, which starts with the first session.

    Attributes:
        directory: A directory with a short path, because a socket's path has at most 107 bytes.
        socket: The server's socket.
        directories: The directories of all servers of this process.
    """

    directories: ClassVar[set[Path]] = set()

    def __init__(self) -> None:
        if shutil.which("tmux") is None:
            pytest.fail(install_advice())
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.directories.add(self.directory)
        self.socket = self.directory / "s"
        self._servers: set[int] = set()
        self._starting = False

    def __enter__(self) -> RealTmux:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in self._servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.kill_server()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *arguments: str, **environment: str) -> str:
        """Runs one tmux command; returns its output."""
        done = subprocess.run(
            ["tmux", "-u", "-f", "/dev/null", "-S", str(self.socket), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout.strip()

    def start(self, name: str, command: str = SLEEP, *, keep: bool = True) -> str:
        """Creates a session; returns its id.

        Args:
            name: The session's name.
            command: The shell command of the session.
            keep: Whether the server still runs after the end of its last session.
        """
        made = ["new-session", "-d", "-P", "-F", "#{session_id} #{pid}", "-s", name]
        size = ["-x", "80", "-y", "24"]
        after = [";", "set-option", "-s", "exit-empty", "off"] if keep else []
        self._starting = True
        session_id, pid = self.run(*made, *size, command, *after).split(" ")
        self._servers.add(int(pid))
        self._starting = False
        return session_id

    def takes(self, name: str) -> bool:
        """Creates a session on the running server; returns whether tmux accepts the name.

        tmux 3.7 refuses control characters, which earlier versions escape.
        """
        try:
            self.run("new-session", "-d", "-s", name, "-x", "80", "-y", "24", SLEEP)
        except AssertionError as error:
            if "invalid session name: " in str(error):
                return False
            raise
        return True

    def names(self) -> set[str]:
        """Returns the names of all sessions, queried without muster."""
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self.socket), "list-sessions", "-F", "#{session_name}"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return set(done.stdout.splitlines())

    def kill(self, session_id: str) -> None:
        """Ends a session by its id."""
        self.run("kill-session", "-t", session_id)

    def server_pid(self) -> int:
        """Returns the pid of the server."""
        return int(self.run("display-message", "-p", "#{pid}"))

    def pane_pids(self) -> set[int]:
        """Returns the pids of the first processes of all panes."""
        listed = self.run("list-panes", "-a", "-F", "#{pane_pid}")
        return {int(pid) for pid in listed.split()}

    def kill_server(self) -> None:
        """Ends the server, and waits for its end; the socket stays."""
        subprocess.run(
            ["tmux", "-S", str(self.socket), "kill-server"],
            capture_output=True,
            timeout=20,
            check=False,
        )
        if self._starting:
            # A timeout came before tmux reported the pid of the server.
            self._servers |= self._running()
            self._starting = False
        for pid in self._servers:
            # tmux cannot reach a server whose socket was removed.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            until(lambda pid=pid: not runs(pid), "the tmux server to end")  # type: ignore[misc]
        self._servers.clear()

    def _running(self) -> set[int]:
        """Returns the pid of every process that was started for this socket."""
        listed = psutil.process_iter(["cmdline"])
        return {each.pid for each in listed if str(self.socket) in (each.info["cmdline"] or ())}

    def client(self, timeout: float = 10.0) -> Tmux:
        """Returns muster's client for this server."""
        return Tmux(self.socket, timeout)


def fake_binary(directory: Path, script: str) -> Path:
    """Writes a shell script named ``tmux``; returns the directory for PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    binary = directory / "tmux"
    binary.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    binary.chmod(0o755)
    return directory
