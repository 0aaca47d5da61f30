"""Waits for locks, compared with the peers' protocol. The benchmark `commits` measures more."""

from __future__ import annotations

from tests.benchmarks import commits
from tests.benchmarks.crowds import Load
from tests.benchmarks.figures import Figure


def measure(quick: bool) -> list[Figure]:
    """Measures ten processes on one registry of 20 KB.

    Raises:
        SystemExit: An acknowledged update is missing.
    """
    found: list[Figure] = []
    updates, rounds = (5, 1) if quick else (25, 5)
    for pause in (0.1,) if quick else (0.0, 0.1):
        pace = "with pauses" if pause else "back to back"
        for row in commits.measure(Load(20_000, 10, updates, pause), rounds):
            if row.lost:
                raise SystemExit(f"{row.scheme} lost {row.lost} updates")
            what = f"10 writers {pace}, {row.scheme}"
            ratio = row.ratios["p99"]
            p50, p99 = 1000 * row.p50, 1000 * row.p99
            found.append(Figure(what, "ms", p50, p99, rounds, ratio, "the peers' p99"))
    return found
