"""Processes that a kill easily misses, some of them with children."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.real_tmux import runs
from tests.support.waiting import until

KINDS = {
    "child": "does nothing special",
    "setsid": "leaves the session",
    "nohup": "ignores HUP",
    "double-fork": "leaves the session and is handed over to init",
    "wiped": "is handed over to init, with an environment that says nothing",
    "stubborn": "ignores HUP and TERM",
    "stopped": "was stopped by SIGSTOP",
    "relay": "on TERM hands over to a child that left the session, and ends",
    "forking": "on TERM starts one child after another, each outside the session",
}
"""Maps each kind of process to a description."""

_CHILDLESS = ("wiped", "stubborn", "relay", "forking")

_SOURCE = """
    import os, signal, sys, time
    home, kinds = os.environ["ZOO"], sys.argv[1:]

    def write(kind):
        with open(f"{home}/{kind}", "w") as file:
            file.write(str(os.getpid()))

    def hand_over(*_):
        if os.fork():
            os._exit(0)
        os.setsid()

    def multiply(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(100):
            if os.fork() == 0:
                os.setsid()
                time.sleep(1000)
            time.sleep(0.02)

    def settle(kind):
        if kind != "child":
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if kind in TERM:
            signal.signal(signal.SIGTERM, TERM[kind])
        if kind in ("setsid", "double-fork"):
            os.setsid()
        if kind in ("double-fork", "wiped") and os.fork():
            os._exit(0)
        if kind == "wiped":
            again = [*sys.orig_argv[: -len(kinds)], "nobody"]
            os.execve(sys.executable, again, {"ZOO": home})
        if kind not in CHILDLESS and os.fork() == 0:
            kind += "'s child"
        write(kind)
        if kind == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)

    TERM = {"stubborn": signal.SIG_IGN, "relay": hand_over, "forking": multiply}
    name = "wiped" if kinds == ["nobody"] else "keeper"
    for kind in kinds if name == "keeper" else ():
        if os.fork() == 0:
            settle(kind)
            break
    else:
        write(name)
    while True:
        time.sleep(100)
"""


def program_in(directory: Path) -> Path:
    """Writes the program of a zoo; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "zoo.py"
    source = textwrap.dedent(_SOURCE).replace("CHILDLESS", repr(_CHILDLESS))
    program.write_text(source, encoding="utf-8")
    return program


class Zoo:
    """A program that starts one process of each kind.

    Two zoos may run the same program with the same arguments. Only the directory, which is in the
    environment, tells their processes apart.

    Args:
        directory: The directory where the processes write their pids.
        program: The program; None to write a new one.
    """

    def __init__(self, directory: Path, program: Path | None = None) -> None:
        directory.mkdir(parents=True)
        self._home = directory
        self._program = program or program_in(directory / "program")

    @property
    def arguments(self) -> list[str]:
        """The program and its arguments, which are equal for all zoos with this program."""
        return [sys.executable, "-S", str(self._program), *KINDS]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the program outside tmux."""
        inherited = {name: value for name, value in os.environ.items() if "TMUX" not in name}
        return inherited | {"ZOO": str(self._home)}

    @property
    def command(self) -> str:
        """The command for a shell, with the environment."""
        return f"export ZOO={shlex.quote(str(self._home))}; exec {shlex.join(self.arguments)}"

    def pids(self) -> dict[str, int]:
        """Waits until all processes run; returns their pids by name."""
        return until(self._written, "everybody in the zoo")

    def _written(self) -> dict[str, int]:
        found = {}
        for name in (
            "keeper",
            *KINDS,
            *(f"{kind}'s child" for kind in KINDS if kind not in _CHILDLESS),
        ):
            path = self._home / name
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            if not text:
                return {}
            found[name] = int(text)
        return found

    def alive(self) -> set[str]:
        """Returns the names of the running processes; the pid for a process that is new."""
        names = {pid: name for name, pid in self.pids().items()}
        return {names.get(pid, str(pid)) for pid in self._running()}

    def _running(self) -> Iterator[int]:
        for process in psutil.process_iter():
            try:
                if process.environ().get("ZOO") == str(self._home) and runs(process.pid):
                    yield process.pid
            except psutil.Error:
                continue

    def close(self) -> None:
        """Kills all remaining processes."""
        while left := list(self._running()):
            for pid in left:
                try:
                    psutil.Process(pid).kill()
                except psutil.Error:
                    continue
