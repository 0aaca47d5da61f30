"""Programs on pseudo-terminals of their own, and what they use of the machine."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LINES, COLUMNS = 50, 160

PYTHON = (sys.executable, "-P")
_HERE = str(Path(__file__).parent / "minimal_app.py")

_PATIENCE = 60.0


def muster(socket: Path, workspace: Path) -> tuple[str, ...]:
    """The monitor's command line."""
    return (*PYTHON, "-m", "tui", "-S", str(socket), str(workspace))


def minimal_app(rows: int) -> tuple[str, ...]:
    """The command line of a Textual app that shows so many rows and does nothing else."""
    return (*PYTHON, _HERE, str(rows))


@dataclass
class Program:
    """A program on a terminal of its own.

    Attributes:
        pid: Its process.
        started: When it was started; seconds of the monotonic clock, as all times here.
        count: How many bytes it has written.
        last_activity: The latest of what it has written.
        heard_at: When the last of them came.
    """

    pid: int
    fd: int
    started: float
    count: int = 0
    last_activity: bytearray = field(default_factory=bytearray)
    heard_at: float = 0.0

    def read(self, timeout: float) -> bytes:
        """Takes in what it writes, or waits for it; empty if nothing came."""
        if not select.select([self.fd], [], [], max(0.0, timeout))[0]:
            return b""
        data = os.read(self.fd, 1 << 16)
        self.heard_at = time.monotonic()
        self.count += len(data)
        self.last_activity += data
        del self.last_activity[: -(1 << 20)]
        return data

    def wait_for(self, text: bytes) -> float:
        """When a text came, of all that was heard since `forget`."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.last_activity:
            if time.monotonic() > deadline:
                raise SystemExit(f"{text!r} did not come within {_PATIENCE} s")
            self.read(0.5)
        return self.heard_at

    def forget(self) -> None:
        """Forgets what was heard."""
        self.last_activity.clear()

    def settle(self, seconds: float = 0.3) -> None:
        """Waits until it has written nothing for so long."""
        while self.read(seconds):
            pass

    def watch(self, seconds: float) -> None:
        """Takes in what it writes for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def press(self, keys: bytes) -> None:
        """Types."""
        os.write(self.fd, keys)


@contextmanager
def on_terminal(command: Sequence[str]) -> Iterator[Program]:
    """Runs a program on a terminal for the length of a block; ends it with SIGKILL."""
    started = time.monotonic()
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        os.environ["TERM"] = "xterm-256color"
        for name in ("COLUMNS", "LINES", "TMUX", "TMUX_PANE"):
            os.environ.pop(name, None)
        os.execvp(command[0], list(command))
    try:
        yield Program(pid, fd, started)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


def took(command: Sequence[str]) -> float:
    """Milliseconds that a program takes from start to end."""
    began = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return 1000 * (time.monotonic() - began)


def used(pid: int) -> tuple[float, float]:
    """Milliseconds of CPU of a process's threads, and of its children that have ended."""
    own = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        own += int((task / "schedstat").read_text().split()[0])
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[13]) + int(fields[14])
    return own / 1e6, ticks * 1000 / os.sysconf("SC_CLK_TCK")


def wake_ups(pid: int) -> int:
    """How often its threads have begun to wait for something."""
    return sum(
        int(number)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for number in re.findall(r"^voluntary_ctxt.*\t(\d+)", (task / "status").read_text(), re.M)
    )


def memory(pid: int) -> float:
    """Megabytes that it holds and shares with nobody, and its part of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss:\s+(\d+)", rollup, re.M)
    return int(kilobytes) / 1024
