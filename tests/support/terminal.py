"""Runs muster in a real terminal: in a private tmux server, or on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.own_processes import start_of_this
from tests.support.waiting import Patience
from tui.host.tmux_advice import install_advice

PREFIX = f"mst{os.getpid()}-"
"""The prefix of the directories in which tests start tmux servers."""

MUSTER = [
    *(sys.executable, "-P", str(Path(__file__).parent / "alone.py")),
    *(PREFIX, str(start_of_this())),
]
"""A command that runs muster so that it sees only the servers and processes of the test run."""


def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Waits until a condition is true; raises AssertionError after `seconds`."""
    patience = Patience(seconds)
    while not condition():
        if patience.is_over():
            raise AssertionError(f"not within {seconds:g} s: {what}")


def on_pty(arguments: list[str], **variables: str) -> tuple[int, subprocess.Popen[bytes]]:
    """Runs muster on a pseudo-terminal of 80x24; returns the test's end of it, and the process."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
    process = subprocess.Popen(
        [*MUSTER, *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"} | variables,
    )  # fmt: skip
    os.close(theirs)
    return ours, process


def said_on_pty(arguments: list[str], **variables: str) -> tuple[int, str]:
    """Runs muster on a pseudo-terminal; returns its exit code, and what it wrote."""
    ours, process = on_pty(arguments, **variables)
    said = b""
    # The end of the terminal is an error when the last program has closed it.
    with suppress(OSError), open(ours, "rb", buffering=0) as terminal:
        while more := terminal.read(4096):
            said += more
    return process.wait(30), said.decode().replace("\r\n", "\n")


class Terminal:
    """A program in a tmux session, on a tmux server that only this session uses."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *arguments: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        try:
            done = subprocess.run(
                ["tmux", "-u", "-S", str(self._socket), "-f", os.devnull, *arguments],
                capture_output=True,
                text=True,
                env=environment,
                check=False,
            )
        except FileNotFoundError:
            raise AssertionError(install_advice()) from None
        return done.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", "%0")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "%0", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", "%0", "-l", text)

    def confirm(self) -> None:
        """Ends the reason, and presses y until the question is gone: an early y is ignored."""
        patience = Patience(30.0, pause=0.2)
        self.press("Enter")
        while "Change nothing" in self.screen():
            self.press("y")
            if patience.is_over():
                raise AssertionError(f"still asked:\n{self.screen()}")

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-t", "@0", "-x", str(columns), "-y", str(rows))

    def shows(self, *texts: str) -> None:
        """Waits until the screen contains all texts."""
        patience = Patience(30.0)
        while not all(text in (screen := self.screen()) for text in texts):
            if patience.is_over():
                raise AssertionError(f"{texts} not all on the screen:\n{screen}")

    def exit_code(self) -> int:
        """Waits until muster has ended; returns its exit code, or 128 plus the signal's number."""
        asked = "#{pane_dead},#{pane_dead_status},#{pane_dead_signal}"
        ended: list[str] = []

        def has_ended() -> bool:
            dead, status, number = self.tmux("display-message", "-p", "-t", "%0", asked).split(",")
            if dead == "1" and not (status or number.strip()):
                # tmux 3.3a sometimes misses the SIGCHLD of a pane's process, and never reaps the
                # process. The end of another child makes tmux check again.
                self.tmux("run-shell", "-b", "true")
            if dead == "1" and (shown := re.search(r"Pane is dead \(signal (\d+)", self.screen())):
                # tmux before 3.3 shows the signal only on the screen.
                number = shown[1]
            ended[:] = [status, number.strip()]
            return any(ended)

        until(has_ended, "muster has ended")
        status, number = ended
        return int(status) if status else 128 + int(number)

    def hides(self, text: str) -> None:
        until(lambda: text not in self.screen(), f"{text!r} is gone from the screen")


@contextmanager
def terminal(
    directory: Path, arguments: list[str], columns: int, rows: int, **environment: str
) -> Iterator[Terminal]:
    """Runs muster in a terminal of this size until the block ends."""
    there = Terminal(directory / "outer")
    # With the option -e of tmux, TERM would have no effect.
    settings = [f"{name}={value}" for name, value in environment.items()]
    # Set before muster starts, which may end at once.
    there.tmux(
        "start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";",
        "new-session", "-d", "-x", str(columns), "-y", str(rows), "--",
        "env", "-u", "TMUX", "-u", "TMUX_PANE", *settings, *MUSTER, *arguments,
    )  # fmt: skip
    # tmux 3.2 ignores the size of a new session that is not attached.
    there.resize(columns, rows)
    try:
        yield there
    finally:
        there.tmux("kill-server")
