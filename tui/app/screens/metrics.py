"""The metrics screen: shows lock waits and counts with their goals, updated every 2 seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.schema import GLOBAL_FOLDER
from registry.storage import LockMetrics, total
from registry.text import shown_name
from tui.app.widgets.footer import Footer
from tui.text.sanitize import fit, fit_id, harmless

REFRESH_EVERY = 2.0
"""Seconds between two readings of the metrics while the screen is open."""

_NAME = 22

WAIT_AT_MOST = 0.010
"""The goal for waits for a lock, in seconds: 99 % of the waits should be shorter than this."""


@dataclass(frozen=True, slots=True)
class Measures:
    """The numbers that the screen shows.

    Attributes:
        locks: Maps a registry's path to the sum of the lock metrics that processes published.
        zombies: The present number of zombies.
        zombies_more: The present number of zombies minus their number when the monitor started.
        problems: The reasons why some metrics files could not be read.
    """

    locks: Mapping[str, LockMetrics]
    zombies: int
    zombies_more: int
    problems: tuple[str, ...] = ()


class MetricsScreen(ModalScreen[None]):
    """Shows counts and lock waits of all registries, with their goals.

    Args:
        measure: Reads the numbers. Blocks, so a worker calls it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,m", "close", "Close", id="metrics.close"),
        Binding("question_mark", "app.help", "Help", show=False, id="help"),
    ]

    def __init__(self, measure: Callable[[], Measures]) -> None:
        super().__init__()
        self._measure = measure
        self._body = Static("reading ...", markup=False)
        self._drawn: Content | None = None

    def compose(self) -> ComposeResult:
        """Yields the numbers, and the footer with the keys."""
        with Vertical() as box:
            box.border_title = "Metrics"
            with VerticalScroll():
                yield self._body
            yield Footer()

    def on_mount(self) -> None:
        """Reads the metrics now, and then every `REFRESH_EVERY` seconds."""
        self._read()
        self.set_interval(REFRESH_EVERY, self._read)

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        try:
            content = Content.assemble(*measure_parts(self._measure()))
        except (RegistryError, OSError) as error:
            content = Content.styled(harmless(str(error)), "$error")
        self.app.call_from_thread(self._show, content)

    def _show(self, content: Content) -> None:
        # Most readings show no change.
        if self._drawn is None or not content.is_same(self._drawn):
            self._drawn = content
            self._body.update(content)

    def action_close(self) -> None:
        """Closes the screen."""
        self.dismiss(None)


def milliseconds(seconds: float | None) -> str:
    """Returns a duration as text in milliseconds, or ``-`` for None."""
    return f"{_short(seconds)} ms" if seconds is not None else "-"


def measure_parts(measures: Measures) -> Iterator[str | tuple[str, str]]:
    """Yields the text of the screen in pieces; a sign shows whether each goal is met."""
    together = total(measures.locks.values())
    p99 = together.quantile(0.99)
    goals = (
        ("lock waits, p99", milliseconds(p99), "under 10 ms", (p99 or 0.0) < WAIT_AT_MOST),
        ("timeouts", str(together.timeouts), "0", together.timeouts == 0),
        ("corrupt reads", str(together.corrupt_reads), "0", together.corrupt_reads == 0),
        (
            "zombies",
            f"{measures.zombies} ({measures.zombies_more:+d} since opened)",
            "no increase",
            measures.zombies_more <= 0,
        ),
    )
    for name, value, goal, met in goals:
        yield (f"{'✓' if met else '✗'} ", "$success bold" if met else "$error bold")
        yield (fit(name, 17), "bold")
        yield f"{fit(value, 22)} goal: {goal}\n"
    yield (
        f"\n{together.acquisitions} locks acquired, "
        f"waits p50 {milliseconds(together.quantile(0.5))}, "
        f"max {milliseconds(together.longest_wait)}; "
        f"{together.recoveries} interrupted commits recovered\n"
    )
    if measures.locks:
        columns = "   locks    p50    p99    max t/o rec bad"
        yield (f"\n{fit('registry of', _NAME)}{columns}\n", "dim")
    for path, metrics in sorted(measures.locks.items()):
        yield (
            f"{fit_id(_name(path), _NAME)}{metrics.acquisitions:>8} "
            f"{_short(metrics.quantile(0.5)):>6} {_short(metrics.quantile(0.99)):>6} "
            f"{_short(metrics.longest_wait):>6} {metrics.timeouts:>3} {metrics.recoveries:>3} "
            f"{metrics.corrupt_reads:>3}\n"
        )
    for problem in measures.problems:
        yield (f"\n{harmless(problem)}\n", "$error")
    yield (
        "\nThe numbers include muster, and every process that calls publish_metrics(). "
        "Waits are in ms; p50 and p99 are upper bounds.\n"
    )


def _short(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.2f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def _name(path: str) -> str:
    folder = Path(path).parent.name
    return "the workspace" if folder == GLOBAL_FOLDER else shown_name(folder)
