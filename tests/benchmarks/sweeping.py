"""Measures the CPU of a sweep of tmux, and the time from a death to the screen."""

from __future__ import annotations

from tests.benchmarks import deaths
from tests.benchmarks.figures import Aim, Figure, figure
from tui.model.policy import Policy


def measure(quick: bool) -> list[Figure]:
    """Measures like the benchmark of deaths, but in less time."""
    found: list[Figure] = []
    ending = "from the end of a session to the screen"
    for size in (1,) if quick else (1, 50, 500):
        sessions = "1 session" if size == 1 else f"{size} sessions"
        took = [1000 * each for each in deaths.deaths(size, 1 if quick else 10)]
        proof = [1000 * Policy().death_confirmation] * len(took)
        found.append(figure(f"{ending}, with {sessions}", "ms", took, "death_confirmation", proof))
        sweeps = [deaths.sweep(size, 1 if quick else 10) for _ in range(1 if quick else 3)]
        alone = [each.alone for each in sweeps]
        own = [each.own for each in sweeps]
        aim = Aim(p50=15) if size == 500 else None
        what = f"query of {sessions}"
        found += [
            figure(f"{what}, CPU of muster", "ms", own, "tmux list-panes", alone, aim),
            figure(
                f"{what}, CPU of the tmux processes",
                "ms",
                [each.children for each in sweeps],
                "tmux list-panes",
                alone,
            ),
        ]
    return found
