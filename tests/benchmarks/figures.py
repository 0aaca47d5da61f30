"""Figures: the median and p99 of several runs, compared with another program in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Runs = Mapping[str, Sequence[float]]
"""Maps each measured program to its values, one for each turn."""


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        what: The measured quantity.
        unit: The unit of `p50` and `p99`.
        p50, p99: Percentiles of all runs.
        runs: The number of runs.
        ratio: The median of the runs' ratios to `beside`; None also if a value of `beside` is 0.
        beside: The name of the program for comparison.
        aim: The upper bounds in words; empty without an aim.
        held: Whether the aim is met; None without an aim.
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
    """Upper bounds of a figure; None for no bound."""

    p50: float | None = None
    p99: float | None = None
    ratio: float | None = None

    def of(self, figure: Figure) -> Figure:
        """Returns the figure with this aim."""
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
    """Returns the figure for several runs.

    Args:
        what: The measured quantity.
        unit: The unit of the values.
        values: One value for each run or event.
        beside: The name of the program for comparison; may be empty.
        others: The values of the program for comparison. If there are as many as `values`, the
            runs are compared in pairs, otherwise the medians are compared.
        aim: The upper bounds, or None.
    """
    ratio = None
    if len(others) == len(values):
        if all(others):
            ratio = statistics.median(a / b for a, b in zip(values, others, strict=True))
    elif others and (other := statistics.median(others)):
        ratio = statistics.median(values) / other
    made = Figure(
        what, unit, statistics.median(values), percentile(values, 99), len(values), ratio, beside
    )
    return aim.of(made) if aim else made


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns a percentile of the values."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(figures: Iterable[Figure]) -> str:
    """Returns the figures as a table in Markdown."""
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
