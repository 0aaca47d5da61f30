"""Measures the CPU of a sweep of tmux, and the time from a death to the screen."""

from __future__ import annotations

from tests.benchmarks import deaths
from tests.benchmarks.figures import Aim, Figure, figure
from tui.model.policy import Policy


def measure(quick: bool) -> list[Figure]:
    """Measures like the benchmark of deaths, but in less time."""
    found: list[Figure] = []
    for size in (1,) if quick else (1, 50, 500):
        took = [1000 * each for each in deaths.deaths(size, 1 if quick else 10)]
        proof = [1000 * Policy().death_confirmation] * len(took)
        found.append(figure(f"death among {size} to the screen", "ms", took, "the proof", proof))
        sweeps = [deaths.sweep(size, 1 if quick else 10) for _ in range(1 if quick else 3)]
        alone = [each.alone for each in sweeps]
        own = [each.own for each in sweeps]
        aim = Aim(p50=15) if size == 500 else None
        what = f"sweep of {size}"
        found += [
            figure(f"{what}, our CPU", "ms", own, "tmux list-panes", alone, aim),
            figure(
                f"{what}, tmux processes' CPU",
                "ms",
                [each.children for each in sweeps],
                "tmux list-panes",
                alone,
            ),
        ]
    return found
