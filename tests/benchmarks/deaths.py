"""The time from the death of a session to the word zombie on the screen, and the cost of a sweep.

The monitor runs on a pseudo-terminal, with sessions on a private tmux server. Sessions are killed
one at a time, and the output of the monitor is read as a terminal would read it. Run with ``uv run
--group dev python -m tests.benchmarks.deaths``.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.figures import percentile
from tests.benchmarks.programs import PYTHON, on_terminal, used
from tests.support.real_tmux import RealTmux
from tests.support.seclusion import seclude
from tests.support.workspaces import Files, entry, stamp
from tui.host.tmux import Tmux
from tui.model.policy import Policy

_VISIBLE = 35
_PATIENCE = 20.0
_AT_A_TIME = 50
_EVERY = 1.0
_NEVER = 1e6

_TOKEN = re.compile(
    rb"\x1b\[(?P<row>\d+);\d+H|(?P<new>\n)|\x1b\[[0-9;?]*[A-Za-z]|(?P<text>[^\x1b\n]+)|\x1b."
)
_AGENT = re.compile(rb"bench-(\d{4})")


@dataclass
class Screen:
    """The verdicts on the monitor's screen.

    Attributes:
        rows: Maps an agent's number to its line on the screen.
        verdicts: Maps a line to the verdict that was drawn last.
    """

    fd: int
    rows: dict[int, int] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)
    _rest: bytes = b""
    _row: int = 0

    def read(self, timeout: float) -> None:
        """Waits for new output of the monitor, and reads it."""
        if select.select([self.fd], [], [], timeout)[0]:
            data = self._rest + os.read(self.fd, 1 << 16)
            # The end of the data may cut an escape sequence or a character.
            keep = max(data.rfind(b"\x1b"), data.rfind(b"\n"))
            data, self._rest = (data, b"") if len(data) - keep > 200 else _split(data, keep)
            self._take(data)

    def _take(self, data: bytes) -> None:
        for token in _TOKEN.finditer(data):
            if token["row"]:
                self._row = int(token["row"])
            elif token["new"]:
                self._row += 1
            elif token["text"]:
                text = token["text"]
                for glyph, word in ((b"\xe2\x97\x8f", "live"), (b"\xe2\x9c\x97", "zombie")):
                    if glyph + b" " + word.encode() in text:
                        self.verdicts[self._row] = word
                if b"? unknown" in text:
                    self.verdicts[self._row] = "unknown"
                if (agent := _AGENT.search(text)) is not None:
                    self.rows.setdefault(int(agent[1]), self._row)

    def wait(self, agent: int, word: str) -> float:
        """Waits until a verdict is drawn beside an agent; returns the monotonic time."""
        deadline = time.monotonic() + _PATIENCE
        while self.verdicts.get(self.rows.get(agent, -1)) != word:
            if time.monotonic() > deadline:
                raise SystemExit(f"{word} did not come for agent {agent}: {self.verdicts}")
            self.read(0.5)
        return time.monotonic()


def _split(data: bytes, at: int) -> tuple[bytes, bytes]:
    """Splits before an escape sequence that may be incomplete."""
    if at < 0 or re.match(rb"\x1b\[[0-9;?]*[A-Za-z].*", data[at:], re.DOTALL):
        return data, b""
    return data[:at], data[at:]


@contextmanager
def _monitor(
    server: RealTmux, files: Files, sweep_every: float | None = None
) -> Iterator[tuple[Screen, int]]:
    """Runs the monitor on a terminal until the block ends; yields its screen and its pid."""
    setting = f"live.SWEEP = {sweep_every}; " if sweep_every is not None else ""
    code = (
        "from tui.cli import main as cli; from tui.live import collector as live; "
        # Hides the other tmux servers of this host.
        "from tui.host import tmux_servers; tmux_servers.servers_of = lambda _: (); "
        f"{setting}cli.main()"
    )
    where = ("-S", str(server.socket), str(files.path))
    with on_terminal((*PYTHON, "-c", code, *where)) as program:
        yield Screen(program.fd), program.pid


@contextmanager
def _crew(size: int) -> Iterator[tuple[RealTmux, Files]]:
    """Creates active agents, each with a session, until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="msb"))
    names = [f"bench-{number:04}" for number in range(size)]
    try:
        with RealTmux() as server:
            server.start("keeper")
            client = Tmux(server.socket, 60.0)
            for at in range(0, size, _AT_A_TIME):
                some = names[at : at + _AT_A_TIME]
                client.start_sessions({f"agent_{each}": ("sleep", "3600") for each in some})
            seen = stamp(0)
            agents = [entry(each, last_update=seen) for each in names]
            yield server, Files(directory, {"TASK-1": agents})
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def deaths(size: int, kills: int) -> list[float]:
    """Returns the seconds from the kill of a session to the word zombie beside the agent."""
    found: list[float] = []
    while len(found) < kills:
        with _crew(size) as (server, files), _monitor(server, files) as (screen, _):
            ids = {each.name: each.id for each in server.client().ask().sessions.values()}
            for number in range(min(size, kills - len(found), _VISIBLE)):
                screen.wait(number, "live")
                _settle(screen)
                killed_at = time.monotonic()
                server.kill(ids[f"agent_bench-{number:04}"])
                found.append(screen.wait(number, "zombie") - killed_at)
    return found


def _settle(screen: Screen) -> None:
    until = time.monotonic() + 0.3
    while (left := until - time.monotonic()) > 0:
        screen.read(left)


@dataclass(frozen=True)
class Sweep:
    """The CPU milliseconds of a sweep: a monitor with sweeps minus a monitor without sweeps.

    Attributes:
        own: The CPU of muster's process.
        children: The CPU of the tmux processes that muster starts.
        idle: The CPU per second of the monitor without sweeps, which only watches files.
        alone: The CPU of ``tmux list-panes -a`` alone, in the same run.
    """

    own: float
    children: float
    idle: float
    alone: float


def sweep(size: int, sweeps: int) -> Sweep:
    """Measures a monitor while nothing happens."""
    with _crew(size) as (server, files):
        (own, children), (idle, _) = (
            _used_by(server, files, sweeps, every) for every in (_EVERY, _NEVER)
        )
        alone = _alone(server, sweeps)
    return Sweep((own - idle) / sweeps, children / sweeps, idle / (sweeps * _EVERY), alone)


def _used_by(server: RealTmux, files: Files, sweeps: int, every: float) -> tuple[float, float]:
    """Returns the CPU milliseconds of the monitor and of its children, during `sweeps` seconds."""
    with _monitor(server, files, every) as (screen, pid):
        screen.wait(0, "live")
        for _ in range(10):
            _settle(screen)
        own, children = used(pid)
        until = time.monotonic() + sweeps * _EVERY
        while (left := until - time.monotonic()) > 0:
            screen.read(left)
        own_after, children_after = used(pid)
        return own_after - own, children_after - children


def _alone(server: RealTmux, rounds: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(rounds):
        subprocess.run(
            ["tmux", "-S", str(server.socket), "list-panes", "-a", "-F", "#{pane_pid}"],
            check=True,
            capture_output=True,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used * 1000 / rounds


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run")
    quick = parser.parse_args(arguments).quick
    proof = Policy().death_confirmation * 1000
    print(f"from the kill to the word zombie, in ms; {proof:.0f} of them are the proof")
    for size in (1, 50, 500):
        took = [each * 1000 for each in deaths(size, 5 if quick else 15 if size == 1 else 30)]
        p50, p99 = percentile(took, 50), percentile(took, 99)
        print(f"  {size:3} sessions: p50 {p50:.0f}, p99 {p99:.0f} ({len(took)} deaths)")
    used = sweep(500, 10 if quick else 30)
    print("a sweep of 500 sessions, in ms of CPU")
    print(f"  muster {used.own:.1f}, the tmux it starts {used.children:.1f}")
    print(f"  muster without any sweep, in a second: {used.idle:.1f}")
    print(f"  tmux list-panes -a alone {used.alone:.1f}")


if __name__ == "__main__":
    seclude()
    main(sys.argv[1:])
