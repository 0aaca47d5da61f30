"""What a terminal may do to muster: odd bytes, stops and continues, in a real one."""

from __future__ import annotations

import os
import select
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.fixture_workspace import workspace as workspace
from tests.support.selection import in_torture
from tests.support.terminal import MUSTER, Terminal, on_pty, until

PUSH, POP = b"\x1b[>25u", b"\x1b[<u"
"""Of kitty's keyboard modes: what is pushed once too often stays when muster is gone."""


class Line:
    """A pseudo-terminal with muster on it, which reads along.

    Attributes:
        seen: All that was sent to it.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._ours, self.process = on_pty(arguments)
        self.seen = bytearray()

    def read(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, f"no {what}: {bytes(self.seen[-2000:])!r}"
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self._ours, 65536)
                except OSError:
                    # The other end is gone; how it ended is asked for next.
                    self.process.wait(30)

    def shows(self, text: bytes) -> None:
        """Waits until a text is sent that was not sent before this was asked for last."""
        self.read(lambda: text in self.seen, repr(text))
        del self.seen[: self.seen.index(text) + len(text)]

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def ends(self) -> int:
        self.read(lambda: self.process.poll() is not None, "end")
        return self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def on_a_line(workspace: Path, tmp_path: Path) -> Iterator[Line]:
    line = Line(["-S", str(tmp_path / "none"), str(workspace)])
    try:
        line.read(lambda: b"26 finished" in line.seen and b"Quit" in line.seen, "roll")
        yield line
    finally:
        line.close()


@pytest.mark.parametrize(
    "writes",
    [
        (b"\xe9", b"j"),
        (b"\x1b[200~a\xffb\x1b[201~",),
        *in_torture((b"\xe9j",), (b"\xff\xfe",)),
    ],
)
def test_bytes_that_are_no_text_end_nothing(
    workspace: Path, tmp_path: Path, writes: tuple[bytes, ...]
) -> None:
    with on_a_line(workspace, tmp_path) as line:
        for each in writes:
            line.press(each)
        line.press(b"d")
        line.shows(b"Doctor")
        line.press(b"\x03")
        assert line.ends() == 0
        assert b"Traceback" not in line.seen


@pytest.mark.parametrize("stopped", [False, True])
def test_a_continue_sets_the_terminal_up_anew_once(
    workspace: Path, tmp_path: Path, stopped: bool
) -> None:
    with on_a_line(workspace, tmp_path) as line:
        running = psutil.Process(line.process.pid)
        threads = running.num_threads()
        sent = bytearray(line.seen)
        for _ in range(3):
            if stopped:
                line.process.send_signal(signal.SIGSTOP)
                until(lambda: running.status() == psutil.STATUS_STOPPED, "it is stopped")
            line.seen.clear()
            line.process.send_signal(signal.SIGCONT)
            # All of it is drawn again.
            line.read(lambda: b"26 finished" in line.seen and b"Quit" in line.seen, "roll")
            sent += line.seen
        assert sent.count(PUSH) - sent.count(POP) == 1
        until(lambda: running.num_threads() <= threads + 1, "no further thread stays")
        line.seen.clear()
        line.press(b"q")
        assert line.ends() == 0
        assert line.seen.count(POP) - line.seen.count(PUSH) == 1


@contextmanager
def in_a_shell(workspace: Path, tmp_path: Path) -> Iterator[Terminal]:
    """muster as a job of a shell, beneath a program that waits for it as uv does."""
    screen = Terminal(tmp_path / "outer")
    screen.tmux(
        "new-session", "-d", "-x", "100", "-y", "30", "-e", "PS1=shell> ", "--",
        "env", "-u", "TMUX", "-u", "TMUX_PANE", "bash", "--norc", "--noprofile", "-i",
    )  # fmt: skip
    try:
        screen.shows("shell>")
        words = [*MUSTER, "-S", str(tmp_path / "none"), str(workspace)]
        # The colon keeps the inner shell from giving its place to muster.
        screen.type(f"clear; sh -c {shlex.quote(shlex.join(words) + '; :')}")
        screen.press("Enter")
        screen.shows("26 finished", "q Quit")
        yield screen
    finally:
        screen.tmux("kill-server")


def muster_in(workspace: Path) -> psutil.Process:
    (found,) = [
        each
        for each in psutil.process_iter(["cmdline"])
        if (words := each.info["cmdline"]) and str(workspace) in words
    ]
    return found


def test_suspended_it_gives_the_terminal_to_the_shell_and_is_back_as_it_was(
    workspace: Path, tmp_path: Path
) -> None:
    with in_a_shell(workspace, tmp_path) as screen:
        before = screen.screen()
        for _ in range(2):
            screen.press("C-z")
            screen.shows("shell>", "Stopped")
            screen.hides("26 finished")
            # In the background it has no use for the terminal.
            screen.type("bg")
            screen.press("Enter")
            screen.type("echo typed $((40 + 2))")
            screen.press("Enter")
            screen.shows("typed 42")
            screen.type("fg")
            screen.press("Enter")
            screen.shows("26 finished", "q Quit")
        assert screen.screen().split("\n")[0] == before.split("\n")[0]
        screen.press("q")
        until(lambda: screen.screen().rstrip().endswith("shell>"), "the shell's prompt")
        screen.type("echo ended $?")
        screen.press("Enter")
        screen.shows("ended 0")


def test_a_stop_from_elsewhere_gives_the_terminal_back_until_it_is_continued(
    workspace: Path, tmp_path: Path
) -> None:
    with in_a_shell(workspace, tmp_path) as screen:
        running = muster_in(workspace)
        for _ in range(2):
            running.send_signal(signal.SIGTSTP)
            screen.hides("26 finished")
            until(lambda: running.status() == psutil.STATUS_STOPPED, "it is stopped")
            running.send_signal(signal.SIGCONT)
            screen.shows("26 finished", "q Quit")
        screen.press("q")
        screen.shows("shell>")
