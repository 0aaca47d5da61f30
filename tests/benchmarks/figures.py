"""Figures: medians of several runs beside their p99, against something of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Runs = Mapping[str, Sequence[float]]
"""What was measured, by what it was measured on; as many of each, in turns."""


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        what: What was measured.
        unit: Of the two figures.
        p50, p99: Of all runs.
        runs: How many there were.
        ratio: To what was measured beside it, as the median of the runs' ratios, or None.
        beside: What that was.
        aim: What the figure should be, in words; empty where there is no aim.
        held: Whether it is so; None where there is no aim.
    """

    what: str
    unit: str
    p50: float
    p99: float
    runs: int
    ratio: float | None = None
    beside: str = ""
    aim: str = ""
    held: bool | None = None


@dataclass(frozen=True)
class Aim:
    """Upper bounds; None for those that nothing is asked of."""

    p50: float | None = None
    p99: float | None = None
    ratio: float | None = None

    def of(self, figure: Figure) -> Figure:
        """The figure with this aim beside it."""
        words = []
        held = True
        for name in ("p50", "p99", "ratio"):
            bound: float | None = getattr(self, name)
            found: float | None = getattr(figure, name)
            if bound is not None and found is not None:
                words.append(f"{name} ≤ {bound:g}")
                held &= found <= bound
        return Figure(**vars(figure) | {"aim": ", ".join(words), "held": held if words else None})


def figure(
    what: str,
    unit: str,
    values: Sequence[float],
    beside: str = "",
    others: Sequence[float] = (),
    aim: Aim | None = None,
) -> Figure:
    """Sums several runs up.

    Args:
        what: What was measured.
        unit: Of the values.
        values: One of each run, or of each event.
        beside: What else was measured, if anything.
        others: What it came to: one of each run, or any number, which is then taken
            as a whole.
        aim: What should be.
    """
    ratio = None
    if len(others) == len(values):
        ratio = statistics.median(_over(a, b) for a, b in zip(values, others, strict=True))
    elif others:
        ratio = _over(statistics.median(values), statistics.median(others))
    made = Figure(
        what, unit, statistics.median(values), percentile(values, 99), len(values), ratio, beside
    )
    return aim.of(made) if aim else made


def _over(value: float, other: float) -> float:
    return value / other if other else float(value > 0)


def percentile(values: Sequence[float], percent: int) -> float:
    """What so many percent of the values do not exceed."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(figures: Iterable[Figure]) -> str:
    """The figures as a table in markdown."""
    lines = [
        "| what | p50 | p99 | runs | ratio | aim | |",
        "|---|---:|---:|---:|---|---|---|",
    ]
    for each in figures:
        ratio = f"{each.ratio:.2f} times {each.beside}" if each.ratio is not None else ""
        verdict = {None: "", True: "held", False: "**missed**"}[each.held]
        lines.append(
            f"| {each.what} | {_number(each.p50)} {each.unit} | {_number(each.p99)} "
            f"| {each.runs} | {ratio} | {each.aim} | {verdict} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
