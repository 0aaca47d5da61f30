"""The bytes that the monitor sends to the terminal for a key, for a dialog, and meanwhile."""

from __future__ import annotations

from tests.benchmarks.crews import agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import Program, muster, on_terminal

# Maps the size of the terminal to the aim for a press of a cursor key, in bytes.
_SIZES = {(80, 24): Aim(p50=600), (160, 50): Aim(p50=2500)}

_DIALOGS = {"help": b"?", "log": b"l", "doctor": b"d", "metrics": b"m", "palette": b"\x10"}
_ESCAPE = b"\x1b"

# Seconds without output after which an answer is complete.
_DONE = 0.5


def _sent(program: Program, keys: bytes) -> float:
    """Returns the number of bytes that answer some keys."""
    before = program.count
    program.press(keys)
    program.settle(_DONE)
    return float(program.count - before)


def _while_open(program: Program, key: bytes, seconds: float) -> float:
    """Returns the bytes that are sent in a number of seconds while a dialog is open."""
    program.press(key)
    # The doctor examines the workspace first.
    program.watch(2.0)
    before = program.count
    program.watch(seconds)
    sent = program.count - before
    program.press(_ESCAPE)
    program.settle(_DONE)
    return float(sent)


def measure(quick: bool) -> list[Figure]:
    """Measures on a quiet workspace with 100 agents, half of them live."""
    presses, seconds = (2, 2.0) if quick else (20, 60.0)
    found: list[Figure] = []
    for (columns, lines), aim in _SIZES.items():
        size = f"{columns}x{lines}"
        with (
            crew(100, 10, live=50) as made,
            on_terminal(muster(made.server.socket, made.files.path)) as program,
        ):
            program.resize(columns, lines)
            program.wait_until_shown(agent_id(0, 0)[:12])
            program.watch(3.0)
            found.append(figure(f"{size}, start", "bytes", [float(program.count)]))
            for name, key in (("down", b"j"), ("up", b"\x1b[A")):
                sent = [_sent(program, key) for _ in range(presses)]
                found.append(figure(f"{size}, cursor {name}", "bytes", sent, aim=aim))
            for name, key in _DIALOGS.items():
                sent = [_while_open(program, key, seconds)]
                what = f"{size}, {name} open for {seconds:.0f} s"
                found.append(figure(what, "bytes", sent, aim=Aim(p50=0)))
    return found
