"""The time from a change by a peer to the new text on the terminal, without and with a storm."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.crews import Crew, agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import PYTHON, Program, memory, muster, on_terminal
from tests.benchmarks.writers import Peer, peer, storm

_STORM = 200.0
_SOAK = 3600
# Lines of the roll call that are certainly on the screen.
_VISIBLE = 20
_FOLLOWER = "bare watchfiles"
_UP, _DOWN = b"\x1b[A", b"\x1b[B"
_SAID = re.compile(r"(bench-\d{3}-\d{4}) \(?((?:storm|step)-\d+)")

QUIET_AIM = Aim(p50=20, p99=30)
STORM_AIM = Aim(p99=90)
KEY_AIM = Aim(p99=20)


def changes(
    program: Program, registry: Path, writer: Peer, count: int, serial: str
) -> list[float]:
    """Returns the milliseconds until each change was on the terminal."""
    dice = random.Random(2)
    took = []
    for step in range(count):
        word = f"step-{serial}{step:04}"
        program.forget()
        # The pause is random, so that it does not fit the rhythm of a program that polls.
        program.watch(dice.uniform(0.1, 0.35))
        written_at = writer.change(registry, range(1), word)
        took.append(1000 * (program.wait_until_shown(word) - written_at))
    return took


def ready(program: Program, text: bytes) -> None:
    """Waits until a text is on the terminal, and the program has settled."""
    program.wait_for(text)
    program.watch(1.5)
    program.forget()


def _keys(program: Program, count: int) -> list[float]:
    """Returns the milliseconds until each key is answered; the keys move the cursor up and down.

    The storm does not change the first task, so its agent is drawn only because of the cursor.
    """
    took = []
    for number in range(count):
        program.watch(0.1)
        program.forget()
        pressed_at = time.monotonic()
        program.press(_UP if number % 2 else _DOWN)
        took.append(1000 * (program.wait_for(agent_id(0, 0).encode()) - pressed_at))
    return took


def measure(quick: bool) -> list[Figure]:
    """Measures each size without a storm, in a storm, and with a simple follower of the files."""
    found: list[Figure] = []
    count = 2 if quick else 60
    for size in (100,) if quick else (100, 1_000, 10_000):
        with crew(size, 100, live=50) as made, peer() as writer:
            follower = (*PYTHON, "-m", "tests.benchmarks.follower", str(made.files.path))
            with on_terminal(follower) as program:
                ready(program, b"ready")
                bare = changes(program, made.registry(0), writer, count, "1")
                with storm(made, _STORM, range(1, made.tasks)):
                    bare_in_storm = changes(program, made.registry(0), writer, count, "2")
            with on_terminal(muster(made.server.socket, made.files.path)) as program:
                ready(program, agent_id(0, 0).encode())
                quiet = changes(program, made.registry(0), writer, count, "3")
                with storm(made, _STORM, range(1, made.tasks)) as came_to:
                    in_storm = changes(program, made.registry(0), writer, count, "4")
                    keys = _keys(program, count)
                wrong = _check_storm(program, made)
                grown = _soak(program, made, 100 if quick else _SOAK)
            what = f"{size:,} agents"
            found += [
                figure(f"{what}, quiet", "ms", quiet, _FOLLOWER, bare, QUIET_AIM),
                figure(f"{what}, {came_to.rate:.0f} changes/s", "ms", in_storm, _FOLLOWER,
                       bare_in_storm, STORM_AIM),
                figure(f"{what}, a key during these changes", "ms", keys, "", (), KEY_AIM),
                figure(f"{what}, lines that are wrong at the end", "", wrong, "", (),
                       Aim(p99=0)),
                figure(f"{what}, memory gained in {_SOAK:,} more changes", "MB", [grown], "", (),
                       Aim(p50=1)),
            ]  # fmt: skip
    return found


def _soak(program: Program, made: Crew, changes: int) -> float:
    """Returns the megabytes by which the memory grew during a number of changes."""
    before = memory(program.pid)
    with storm(made, _STORM, range(made.tasks)):
        program.watch(changes / _STORM)
    program.settle(1.0)
    return memory(program.pid) - before


def _check_storm(program: Program, made: Crew) -> Sequence[float]:
    """Returns how many visible agents are not shown as a storm left them."""
    program.settle(1.0)
    tasks = -(-_VISIBLE // (made.per_file + 1))
    with storm(made, _STORM, range(tasks), range(min(made.per_file, _VISIBLE - 1))) as came_to:
        program.watch(2.0)
    program.settle(1.0)
    shown = dict(_SAID.findall("\n".join(program.lines())))
    return [float(sum(shown.get(id_) != word for id_, word in came_to.last.items()))]
