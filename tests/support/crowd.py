"""Runs processes that work on one file at the same time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 60.0
"""Seconds after which a process that has not ended counts as hung."""


class Member:
    """One process of a crowd. The process and the test exchange lines of text."""

    def __init__(self, module: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def hear(self) -> str:
        """Waits for the next line that the process prints; returns the line."""
        line = _there(self.process.stdout).readline()
        assert line, f"it died: {_there(self.process.stderr).read()}"
        return line.rstrip("\n")

    def tell(self, line: str = "") -> None:
        """Sends a line to the process."""
        pipe = _there(self.process.stdin)
        pipe.write(line + "\n")
        pipe.flush()

    def finish(self) -> str:
        """Waits until the process ends with exit code 0; returns its last output."""
        said, complaints = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, complaints
        return said.strip()

    def kill(self) -> None:
        """Kills the process with SIGKILL, and waits until it is gone."""
        self.process.kill()
        self.process.wait()


class Crowd:
    """Processes that begin at the same moment, so that they disturb each other.

    All processes are killed at the end of the ``with`` block.
    """

    def __init__(self) -> None:
        self.members: list[Member] = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for member in self.members:
            member.kill()
            for pipe in (member.process.stdin, member.process.stdout, member.process.stderr):
                # Text that a killed process has not read cannot be flushed.
                with contextlib.suppress(BrokenPipeError):
                    _there(pipe).close()

    def enlist(self, module: str, *arguments: object) -> Member:
        """Starts a process, which waits for `go`."""
        member = Member(module, *arguments)
        self.members.append(member)
        return member

    def go(self) -> None:
        """Waits until all processes are ready, then lets them begin."""
        for member in self.members:
            assert member.hear() == "ready"
        for member in self.members:
            member.tell()

    def finish(self) -> list[Any]:
        """Waits for all processes; returns the decoded output of each process with output."""
        said = [member.finish() for member in self.members]
        return [json.loads(each) for each in said if each]


def _there(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
