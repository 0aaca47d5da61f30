"""Processes that a kill likes to miss, each kind with children of its own."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import psutil

from tests.tui.real_tmux import runs
from tests.tui.waiting import until

KINDS = ("setsid", "nohup", "double-fork", "stubborn", "stopped", "child")

_SOURCE = """
    import os, signal, sys, time
    pids, kinds = sys.argv[1], sys.argv[2:]

    def settle(kind):
        if kind in ("stubborn", "nohup"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if kind == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if kind in ("setsid", "double-fork"):
            os.setsid()
        if kind == "double-fork" and os.fork():
            os._exit(0)
        if kind != "stubborn" and os.fork() == 0:
            kind += "'s child"
        with open(f"{pids}/{kind}", "w") as file:
            file.write(str(os.getpid()))
        if kind == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            time.sleep(100)

    for kind in kinds:
        if os.fork() == 0:
            settle(kind)
    with open(f"{pids}/keeper", "w") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(100)
"""


class Zoo:
    """A program that starts one of each kind and writes down who they are.

    Args:
        directory: Where its program and its pids are kept.
        kinds: Which it keeps.
    """

    def __init__(self, directory: Path, kinds: tuple[str, ...] = KINDS) -> None:
        self._pids = directory / "pids"
        self._pids.mkdir(parents=True)
        self._kinds = kinds
        self._program = directory / "zoo.py"
        self._program.write_text(textwrap.dedent(_SOURCE), encoding="utf-8")

    @property
    def arguments(self) -> list[str]:
        """The program and its arguments."""
        return [sys.executable, "-S", str(self._program), str(self._pids), *self._kinds]

    @property
    def command(self) -> str:
        """The same for a shell."""
        return "exec " + " ".join(f"'{each}'" for each in self.arguments)

    def pids(self) -> dict[str, int]:
        """Everybody, once all are there."""
        forking = [kind for kind in self._kinds if kind != "stubborn"]
        everybody = {"keeper", *self._kinds, *(f"{kind}'s child" for kind in forking)}

        def written() -> dict[str, int]:
            found = {}
            for name in everybody:
                path = self._pids / name
                text = path.read_text(encoding="utf-8") if path.exists() else ""
                if not text:
                    return {}
                found[name] = int(text)
            return found

        return until(written, "everybody in the zoo")

    def alive(self) -> set[str]:
        """Who of them still runs."""
        return {name for name, pid in self.pids().items() if runs(pid)}

    def close(self) -> None:
        """Ends whoever is left."""
        for name in os.listdir(self._pids):
            text = (self._pids / name).read_text(encoding="utf-8")
            if text and runs(int(text)):
                found = psutil.Process(int(text))
                if str(self._program) in found.cmdline():
                    found.kill()
