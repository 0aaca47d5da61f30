"""The time from the start of the monitor to the first agents, and the time of ``muster list``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from tests.benchmarks.crews import agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.programs import PYTHON, minimal_app, muster, on_terminal, took

_MINIMAL = "minimal Textual app"


def _first(command: Sequence[str], text: bytes) -> float:
    with on_terminal(command) as program:
        return 1000 * (program.wait_for(text) - program.started)


def measure(quick: bool) -> list[Figure]:
    """Starts all programs in turns."""
    rounds = 2 if quick else 15
    found: list[Figure] = []
    for size in (100,) if quick else (100, 10_000):
        with crew(size, 10 if size == 100 else 100, live=50) as made:
            ours: list[float] = []
            minimal: list[float] = []
            htop: list[float] = []
            for _ in range(rounds):
                command = muster(made.server.socket, made.files.path)
                ours.append(_first(command, agent_id(0, 0).encode()))
                minimal.append(_first(minimal_app(size), b"row-00000"))
                if shutil.which("htop"):
                    htop.append(_first(("htop", "-d", "10"), b"Command"))
            what = f"first of {size:,} agents readable"
            found.append(figure(what, "ms", ours, _MINIMAL, minimal, Aim(ratio=1.1)))
            found.append(figure(f"{_MINIMAL}, {size:,} rows", "ms", minimal))
            if htop:
                found.append(figure("htop", "ms", htop, _MINIMAL, minimal))
            if size == 100:
                found += _list(made.server.socket, made.files.path, rounds)
    return found


def _list(socket: object, path: object, rounds: int) -> list[Figure]:
    ours: list[float] = []
    nothing: list[float] = []
    for _ in range(rounds):
        ours.append(took((*PYTHON, "-m", "tui", "list", "-S", str(socket), str(path))))
        nothing.append(took((*PYTHON, "-c", "pass")))
    return [
        figure("muster list, 100 agents", "ms", ours, "python -c pass", nothing, Aim(ratio=5)),
        figure("python -c pass", "ms", nothing),
    ]
