"""Runs programs on pseudo-terminals, and measures the resources that they use."""

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

import pyte

LINES, COLUMNS = 50, 160

PYTHON = (sys.executable, "-P")
_HERE = str(Path(__file__).parent / "minimal_app.py")

_PATIENCE = 60.0

# Requests about the keyboard, which the emulated terminal does not know.
_KEYBOARD = re.compile(rb"\x1b\[[<>=?][\d;]*u")


def muster(socket: Path, workspace: Path) -> tuple[str, ...]:
    """Returns the command line of the monitor."""
    return (*PYTHON, "-m", "tui", "-S", str(socket), str(workspace))


def minimal_app(rows: int) -> tuple[str, ...]:
    """Returns the command line of a Textual app that only shows a number of rows."""
    return (*PYTHON, _HERE, str(rows))


@dataclass
class Program:
    """A program on a pseudo-terminal. Times are in seconds of the monotonic clock.

    Attributes:
        pid: The process id.
        fd: The benchmark's end of the terminal.
        started: The time of the start.
        count: The number of bytes of output.
        last_activity: The newest output, at most a megabyte.
        heard_at: The time of the newest output.
        screen: What the terminal showed when it was last asked for.
    """

    pid: int
    fd: int
    started: float
    count: int = 0
    last_activity: bytearray = field(default_factory=bytearray)
    heard_at: float = 0.0
    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(COLUMNS, LINES))
    _unseen: bytearray = field(default_factory=bytearray)
    _stream: pyte.ByteStream = field(default_factory=pyte.ByteStream)

    def __post_init__(self) -> None:
        self._stream.attach(self.screen)

    def read(self, timeout: float) -> bytes:
        """Waits for output and returns it; empty after the timeout."""
        if not select.select([self.fd], [], [], max(0.0, timeout))[0]:
            return b""
        data = os.read(self.fd, 1 << 16)
        self.heard_at = time.monotonic()
        self.count += len(data)
        self.last_activity += data
        del self.last_activity[: -(1 << 20)]
        self._unseen += data
        return data

    def lines(self) -> list[str]:
        """Returns the lines on the terminal."""
        self._stream.feed(_KEYBOARD.sub(b"", bytes(self._unseen)))
        self._unseen.clear()
        return list(self.screen.display)

    def wait_until_shown(self, text: str) -> float:
        """Waits for a text on the terminal; returns the time of the output that completed it.

        A text that was sent whole since the last `forget` may have scrolled away.
        """
        deadline = time.monotonic() + _PATIENCE
        whole = text.encode()
        while whole not in self.last_activity and not any(text in line for line in self.lines()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{text!r} was not shown within {_PATIENCE} s")
            self.read(0.5)
        return self.heard_at

    def resize(self, columns: int, lines: int) -> None:
        """Changes the size of the terminal."""
        self.lines()
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, text: bytes) -> float:
        """Waits for a text in the output after the last `forget`; returns the time."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.last_activity:
            if time.monotonic() > deadline:
                raise SystemExit(f"{text!r} did not come within {_PATIENCE} s")
            self.read(0.5)
        return self.heard_at

    def forget(self) -> None:
        """Clears the recorded output, but not the terminal."""
        self.last_activity.clear()
        self.lines()

    def settle(self, seconds: float = 0.3) -> None:
        """Waits until the program has written nothing for a number of seconds."""
        while self.read(seconds):
            pass

    def watch(self, seconds: float) -> None:
        """Records the output for a number of seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def press(self, keys: bytes) -> None:
        """Types keys."""
        os.write(self.fd, keys)


@contextmanager
def on_terminal(command: Sequence[str]) -> Iterator[Program]:
    """Runs a program on a terminal until the block ends, and then kills it."""
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
    """Runs a program; returns the milliseconds until its end."""
    began = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return 1000 * (time.monotonic() - began)


def used(pid: int) -> tuple[float, float]:
    """Returns the CPU milliseconds of a process's threads, and of its children that have ended."""
    own = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        own += int((task / "schedstat").read_text().split()[0])
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[13]) + int(fields[14])
    return own / 1e6, ticks * 1000 / os.sysconf("SC_CLK_TCK")


def wake_ups(pid: int) -> int:
    """Returns how often the threads of a process have begun to wait."""
    return sum(
        int(number)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for number in re.findall(r"^voluntary_ctxt.*\t(\d+)", (task / "status").read_text(), re.M)
    )


def memory(pid: int) -> float:
    """Returns the megabytes of a process, with its part of shared memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss:\s+(\d+)", rollup, re.M)
    return int(kilobytes) / 1024
