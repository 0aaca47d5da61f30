"""Demos in terminals, and the processes of a demo."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

from tests.support import waiting

SPEED = 6.0
PATIENCE = 40.0
DRIVER = Path(__file__).with_name("demo_driver.py")


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    waiting.until(condition, what, seconds)


def processes_of(root: Path) -> list[str]:
    """Returns every process that names the demo in its arguments or its environment."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            # Of a process that has ended both are empty.
            words, environment, name = (
                Path("/proc", pid, part).read_bytes() for part in ("cmdline", "environ", "comm")
            )
        except OSError:
            continue
        if os.fsencode(root) in words + environment:
            found.append(os.fsdecode(words.replace(b"\0", b" ").strip() or name.strip()))
    return found


def is_gone(root: Path) -> bool:
    return not root.exists() and not processes_of(root)


class Bystander:
    """A user's tmux server, in which the demo is started."""

    def __init__(self, home: Path, sockets: Path) -> None:
        self.marker = home / "configuration-was-read"
        (home / ".tmux.conf").write_text(f"run-shell 'touch {self.marker}'\n")
        self._plain = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        self._plain |= {"HOME": str(home), "TMUX_TMPDIR": str(sockets)}
        self._tmux("-f", os.devnull, "new-session", "-d", "-s", "agent_of_mine", "sleep 600")
        socket, pid = self._tmux("display-message", "-p", "#{socket_path} #{pid}").split()
        self.environment = self._plain | {"TMUX": f"{socket},{pid},0", "TMUX_PANE": "%0"}

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", *arguments], env=self._plain, check=True, capture_output=True, text=True
        ).stdout

    def state(self) -> str:
        """Returns everything that the demo could have changed in this server."""
        return self._tmux(
            *("list-panes", "-a", "-F", "#{session_name} #{pane_id} #{pane_pid} #{history_bytes}"),
            *(";", "show-options", "-g", ";", "show-environment", "-g", ";", "list-clients"),
        )

    def close(self) -> None:
        self._tmux("kill-server")


class Terminal:
    """`muster demo` as the first process of a real terminal."""

    def __init__(self, note: Path, how: str, environment: dict[str, str], *words: str) -> None:
        self._note = note
        self.fd, inside = os.openpty()
        os.set_blocking(self.fd, False)
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(DRIVER), str(note), how, *words],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=environment | {"TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.before = termios.tcgetattr(inside)
        os.close(inside)
        self.output = b""

    def drain(self) -> None:
        try:
            self.output += os.read(self.fd, 1 << 16)
        except OSError:
            return

    def opened(self) -> dict[str, object]:
        """Waits until the monitor is open; returns the arguments of the monitor."""

        def noted() -> bool:
            self.drain()
            assert self._note.exists() or self.process.poll() is None, self.output
            return self._note.exists()

        until(noted, "the monitor")
        said: dict[str, object] = json.loads(self._note.read_text())
        return said

    def ended(self) -> int:
        def over() -> bool:
            ended = self.process.poll() is not None
            if self.fd >= 0:
                self.drain()
            return ended

        until(over, "the end of the program")
        return self.process.returncode

    def hang_up(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.fd >= 0:
            os.close(self.fd)


Open = Callable[..., Terminal]
