"""Signals that come while muster starts or ends: no traceback, and the terminal as it was."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fixture_workspace import workspace as workspace
from tests.support.terminal import MUSTER
from tests.support.waiting import Patience


class Trial:
    """One muster on a pseudo-terminal of its own.

    Attributes:
        seen: All that it wrote.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._ours, self._theirs = pty.openpty()
        self._before = termios.tcgetattr(self._theirs)
        self.seen = b""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        self.process = subprocess.Popen(
            arguments,
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs,
            start_new_session=True,
            env=environment | {"TERM": "xterm-256color", "PYTHONFAULTHANDLER": ""},
        )  # fmt: skip

    def read(self, seconds: float = 0.0) -> None:
        """Reads for so long what there is."""
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            if not select.select([self._ours], [], [], left)[0]:
                return
            self.seen += os.read(self._ours, 65536)

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        patience = Patience(60.0, pause=0.0)
        while self.process.poll() is None:
            self.read(0.02)
            if patience.is_over():
                states = "\n".join(threads_of(self.process.pid))
                raise AssertionError(f"it goes on: {self.seen[-2000:]!r}\n{states}")
        self.read(0.02)
        return self.process.wait()

    def is_in_order(self) -> bool:
        """Whether the terminal is as it was."""
        opened, closed = self.seen.count(b"\x1b[?1049h"), self.seen.count(b"\x1b[?1049l")
        return self.has_its_modes() and opened <= closed

    def has_its_modes(self) -> bool:
        """Whether the terminal has the modes that it had before."""
        return termios.tcgetattr(self._theirs) == self._before

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def begins(self) -> None:
        """Waits until the first line of muster was run.

        What comes before is Python's own start, of which it prints tracebacks.
        """
        seen = False
        patience = Patience(60.0, pause=0.0)
        while (caught := catches(self.process.pid, signal.SIGINT)) or not seen:
            seen = seen or caught
            if catches(self.process.pid, signal.SIGTERM) or self.process.poll() is not None:
                # That moment was missed: muster takes signals itself by now, or has ended.
                return
            assert not patience.is_over()

    def hang_up(self) -> int:
        """Closes the terminal, and waits for the end; the exit code."""
        os.close(self._ours)
        self._ours = -1
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)
        os.close(self._theirs)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal, as Python has for SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def threads_of(pid: int) -> Iterator[str]:
    """The state of each thread of a process, for a message."""
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        status = (task / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        wanted = ("Name", "State", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
        said = [line.replace("\t", " ") for line in status if line.startswith(wanted)]
        with contextlib.suppress(OSError):
            said.append((task / "wchan").read_text(encoding="ascii"))
        yield " ".join(said)


@pytest.fixture
def trials() -> Iterator[Callable[[list[str]], Trial]]:
    opened: list[Trial] = []

    def trial(arguments: list[str]) -> Trial:
        while opened:
            opened.pop().close()
        opened.append(Trial(arguments))
        return opened[-1]

    yield trial
    while opened:
        opened.pop().close()


MOMENTS = range(16)
"""When a signal comes after the start, in steps of 25 ms."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_even_if_nobody_reads_the_terminal(
    trials: Callable[[list[str]], Trial], workspace: Path, tmp_path: Path, number: signal.Signals
) -> None:
    trial = trials([*MUSTER, "-S", str(tmp_path / "none"), str(workspace)])
    termios.tcsetwinsize(trial._ours, (40, 120))
    trial.begins()
    patience = Patience(60.0, pause=0.0)
    while b"Kill" not in trial.seen:
        trial.read(0.1)
        assert not patience.is_over()
    main_thread = Path(f"/proc/{trial.process.pid}/task/{trial.process.pid}/wchan")
    while not main_thread.read_text().startswith("futex"):
        # Each of these keys draws the screen anew.
        trial.press(b"t")
        time.sleep(0.05)
        assert not patience.is_over()
    trial.process.send_signal(number)
    # A shell sees the same code for both: an exit, or an end by the signal itself.
    assert trial.process.wait(60) in (128 + number, -number)
    assert trial.has_its_modes()


@pytest.mark.parametrize(
    "moments",
    [MOMENTS[2::8], pytest.param(MOMENTS, marks=pytest.mark.torture)],
    ids=["some moments", "all moments"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["", "list", "watch"])
def test_a_signal_at_any_time_leaves_the_terminal_in_order(
    trials: Callable[[list[str]], Trial],
    workspace: Path,
    tmp_path: Path,
    command: str,
    number: signal.Signals,
    moments: range,
) -> None:
    words = [*command.split(), "-S", str(tmp_path / "none"), str(workspace)]
    for moment in moments:
        trial = trials([*MUSTER, *words])
        trial.begins()
        trial.read(moment * 0.025)
        trial.process.send_signal(number)
        code = trial.ended()
        assert b"Traceback" not in trial.seen and b"Exception" not in trial.seen, trial.seen
        assert trial.is_in_order(), (moment, trial.seen)
        # It was through before the signal came, or else that has ended it.
        assert code == -number or (command == "list" and code == 0), (moment, trial.seen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_right_after_the_terminal_was_taken_gives_it_back(
    trials: Callable[[list[str]], Trial], workspace: Path, tmp_path: Path, number: signal.Signals
) -> None:
    program = Path(__file__).parents[1] / "support" / "signalled_early.py"
    words = [sys.executable, "-P", str(program), str(int(number)), *MUSTER[3:]]
    trial = trials([*words, "-S", str(tmp_path / "none"), str(workspace)])
    assert trial.ended() == -number
    assert b"\x1b[?1049h" in trial.seen and b"Traceback" not in trial.seen
    assert trial.is_in_order()


def test_a_closed_terminal_ends_it_even_if_hangups_are_ignored(
    trials: Callable[[list[str]], Trial], workspace: Path, tmp_path: Path
) -> None:
    muster = [*MUSTER, "-S", str(tmp_path / "none"), str(workspace)]
    trial = trials(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *muster])
    patience = Patience(60.0, pause=0.0)
    while b"\x1b[?1049h" not in trial.seen:
        trial.read(0.02)
        assert not patience.is_over()
    assert trial.hang_up() == 128 + signal.SIGHUP


def test_a_key_that_was_typed_ahead_ends_it_in_order(
    trials: Callable[[list[str]], Trial], workspace: Path, tmp_path: Path
) -> None:
    trial = trials([*MUSTER, "-S", str(tmp_path / "none"), str(workspace)])
    trial.press(b"q")
    assert trial.ended() == 0
    assert b"Traceback" not in trial.seen
    assert trial.is_in_order()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("list", 0),
        ("list --json", 0),
        ("completion bash", 0),
        ("doctor", -signal.SIGPIPE),
        ("--help", 0),
    ],
)
def test_without_a_reader_a_command_ends_quietly(
    workspace: Path, tmp_path: Path, words: str, code: int
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*MUSTER, *words.split(), "-S", str(tmp_path / "none"), str(workspace)]
            if words not in ("--help", "completion bash")
            else [*MUSTER, *words.split()],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert done.stderr == b""
    assert done.returncode == code
