"""Memory, descriptors, threads and children of a monitor that is used for a long time."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.crews import Crew, agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import Program, on_terminal
from tests.benchmarks.writers import storm
from tests.support.terminal import MUSTER

_COLUMNS, _LINES = 120, 40
_AGENTS, _TASKS = 150, 10

# Each kind of use is done this often before the first measurement.
_FIRST = 20

_ESCAPE = b"\x1b"
# Maps the key of each dialog to a text that the dialog shows.
_DIALOGS = {
    b"?": b"Help",
    b"l": b"Log:",
    b"m": b"Metrics",
    b"d": b"Doctor:",
    b"x": b"Go ahead",
    b"c": b"Go ahead",
    b"\x10": b"the name of an action",
}
_KEYS = (
    *(b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D", b"\x1b[5~", b"\x1b[6~", b"\x1b[H", b"\x1b[F"),
    *(b"j", b"s", b"S", b"t", b"t", b"h", b"h", b" ", b"u", b"z", b"*", b"u", b"]", b"[", b"p"),
    *(b"p", b"/a\r", b"/", b"k", b"\x1b"),
)
_KEYS_AT_ONCE = 20
# The cursor may be anywhere in the old filter, so it is moved to the end first.
_FILTER = b"/\x05\x15"
_NO_FILTER = _FILTER + b"\r"

# The number of an agent without its session in the first task. The agents before it are live.
_DEAD = 5
_REPORTS_A_SECOND = 800.0

_WORKERS = min(32, (os.cpu_count() or 1) + 4)

# Seconds without output after which the effect of a key is complete. An escape key is one
# only after Textual has waited for the rest of an escape sequence.
_DONE = 0.06
_AT_REST = 4.0


@dataclass(frozen=True)
class Use:
    """The resources of a process.

    Attributes:
        memory: Megabytes, without memory that other processes share.
        descriptors, threads, children: Their numbers.
    """

    memory: float
    descriptors: int
    threads: int
    children: int


def _use(program: Program) -> Use:
    process = Path(f"/proc/{program.pid}")
    program.watch(_AT_REST)
    return Use(
        _private_memory(process),
        len(os.listdir(process / "fd")),
        len(os.listdir(process / "task")),
        sum(len((task / "children").read_text().split()) for task in (process / "task").iterdir()),
    )


def _private_memory(process: Path) -> float:
    rollup = (process / "smaps_rollup").read_text()
    return sum(map(int, re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", rollup, re.M))) / 1024


def _monitor(made: Crew) -> AbstractContextManager[Program]:
    made.server.kill(f"agent_{agent_id(0, _DEAD)}")
    # Without other tmux servers, an agent without a session is certainly dead.
    return on_terminal([*MUSTER, "-S", str(made.server.socket), str(made.files.path)])


def _dialogs(program: Program, _made: Crew, count: int) -> None:
    dice = random.Random(3)
    for number in range(count):
        key, text = list(_DIALOGS.items())[number % len(_DIALOGS)]
        agent = agent_id(0, _DEAD if key == b"c" else dice.randrange(_DEAD))
        program.press(_FILTER + agent.encode() + b"\r")
        program.settle(_DONE)
        program.press(b"\x1b[F")
        program.settle(_DONE)
        program.forget()
        program.press(key)
        program.wait_until_shown(text.decode())
        program.settle(_DONE)
        program.press(_ESCAPE)
        program.watch(0.15)
        program.settle(_DONE)
    program.press(_NO_FILTER)
    program.settle(_DONE)


def _sizes(program: Program, _made: Crew, count: int) -> None:
    dice = random.Random(4)
    for _ in range(count):
        program.resize(dice.randint(40, 200), dice.randint(10, 60))
        program.settle(_DONE)
    program.resize(_COLUMNS, _LINES)
    program.settle(_DONE)


def _keys(program: Program, _made: Crew, count: int) -> None:
    dice = random.Random(5)
    for batch in range(-(-count // _KEYS_AT_ONCE)):
        for _ in range(_KEYS_AT_ONCE):
            program.press(dice.choice(_KEYS))
        program.settle(_DONE)
        # When a filter is shown, all keys before it have been handled. So no key waits in muster.
        program.press(_ESCAPE)
        program.settle(_DONE)
        program.forget()
        program.press(_FILTER + b"batch%d\r" % batch)
        program.wait_until_shown(f"batch{batch}")
        # No filter and no marks remain.
        program.press(_NO_FILTER)
        program.settle(_DONE)
        program.press(b"u")
        program.settle(_DONE)


def _reports(program: Program, made: Crew, count: int) -> None:
    done = 0.0
    while done < count:
        seconds = (count - done) / _REPORTS_A_SECOND
        with storm(made, _REPORTS_A_SECOND, range(made.tasks)) as came_to:
            program.watch(seconds)
        done += max(1.0, came_to.rate * seconds)


# Maps each kind of use to its function, and to its number in each round.
_USES: dict[str, tuple[Callable[[Program, Crew, int], None], int]] = {
    "dialogs": (_dialogs, 100),
    "changes of the size": (_sizes, 100),
    "keys": (_keys, 1_000),
    "reports": (_reports, 10_000),
}
ROUNDS = 10
"""The number of rounds of a full run: 1,000 dialogs and so on."""

_QUICK_COUNT = 10


def measure(quick: bool, rounds: int = ROUNDS) -> list[Figure]:
    """Measures what remains after many dialogs, sizes, keys and reports, compared with a few.

    Args:
        quick: Whether to do only a few of each, in one round.
        rounds: The number of equal rounds.
    """
    rounds = 1 if quick else rounds
    counts = {what: _QUICK_COUNT if quick else count for what, (_, count) in _USES.items()}
    gained: dict[str, list[float]] = {what: [] for what in _USES}
    with crew(_AGENTS, _TASKS) as made, _monitor(made) as program:
        program.resize(_COLUMNS, _LINES)
        program.wait_for(agent_id(0, 0).encode())
        program.watch(3.0)
        for act, _ in _USES.values():
            act(program, made, _FIRST)
        first = before = _use(program)
        for _ in range(rounds):
            for what, (act, _) in _USES.items():
                act(program, made, counts[what])
                after = _use(program)
                gained[what].append(after.memory - before.memory)
                before = after
    in_round = [sum(values) for values in zip(*gained.values(), strict=True)]
    found = [
        figure(f"memory gained in {counts[what] * rounds:,} {what}", "MB", [sum(values)])
        for what, values in gained.items()
    ]
    found += [
        figure("memory after the first 20 of each", "MB", [first.memory]),
        *(
            figure(f"memory gained in round {number} of {rounds}", "MB", [grown])
            for number, grown in enumerate(in_round, 1)
        ),
        figure("memory gained in all rounds", "MB", [sum(in_round)], aim=Aim(p50=10)),
        *(
            figure(f"{name} more than before", "", [float(more)], aim=Aim(p50=most))
            for name, more, most in (
                ("descriptors", before.descriptors - first.descriptors, 0),
                # asyncio starts worker threads when they are needed, up to this number.
                ("threads", before.threads - first.threads, _WORKERS),
                ("child processes", before.children - first.children, 0),
            )
        ),
    ]
    if rounds > 1:
        late = sum(in_round[rounds // 2 :])
        found.append(figure("memory gained in the last half", "MB", [late], aim=Aim(p50=1)))
    return found
