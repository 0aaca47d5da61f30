"""How the locks do, against what they should; live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from registry.errors import RegistryError
from registry.schema import GLOBAL_FOLDER
from registry.storage import LockMetrics, total
from registry.text import shown_name
from tui.app.widgets.footer import Footer
from tui.text.sanitize import fit, fit_id, harmless

REFRESH_EVERY = 2.0
"""Seconds between two readings while the panel is open."""

_NAME = 22

WAIT_AT_MOST = 0.010
"""Seconds within which a lock should be had in normal operation."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What the panel shows.

    Attributes:
        locks: By registry, of all processes that publish theirs.
        zombies: How many there are now.
        zombies_more: How many more than when this monitor was opened.
    """

    locks: Mapping[str, LockMetrics]
    zombies: int
    zombies_more: int


class MetricsScreen(ModalScreen[None]):
    """Counts and waits of all registries, and what they should be."""

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
        """The numbers and the keys."""
        with Vertical() as box:
            box.border_title = "Metrics"
            with VerticalScroll():
                yield self._body
            yield Footer()

    def on_mount(self) -> None:
        """Reads now and then on."""
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
        # Most readings say what is said already.
        if self._drawn is None or not content.is_same(self._drawn):
            self._drawn = content
            self._body.update(content)

    def action_close(self) -> None:
        """Goes back to the roll."""
        self.dismiss(None)


def milliseconds(seconds: float | None) -> str:
    """A wait in few characters."""
    return f"{_short(seconds)} ms" if seconds is not None else "-"


def measure_parts(measures: Measures) -> Iterator[str | tuple[str, str]]:
    """The panel's text, with what is as it should be and what is not."""
    together = total(measures.locks.values())
    p99 = together.quantile(0.99)
    goals = (
        ("lock waits, p99", milliseconds(p99), "under 10 ms", (p99 or 0.0) < WAIT_AT_MOST),
        ("timeouts", str(together.timeouts), "0", together.timeouts == 0),
        ("corrupt reads", str(together.corrupt_reads), "0", together.corrupt_reads == 0),
        (
            "zombies",
            f"{measures.zombies} ({measures.zombies_more:+d} since opened)",
            "no more than before",
            measures.zombies_more <= 0,
        ),
    )
    for name, value, goal, met in goals:
        yield (f"{'✓' if met else '✗'} ", "$success bold" if met else "$error bold")
        yield (fit(name, 17), "bold")
        yield f"{fit(value, 22)} goal: {goal}\n"
    yield (
        f"\n{together.acquisitions} locks had, waits p50 {milliseconds(together.quantile(0.5))}, "
        f"max {milliseconds(together.longest_wait)}; {together.recoveries} commits of the dead "
        "recovered\n"
    )
    if measures.locks:
        columns = "   locks    p50    p99    max t/o rec bad"
        yield (f"\n{fit('registry of', _NAME)}{columns}\n", "dim")
    for path, each in sorted(measures.locks.items()):
        yield (
            f"{fit_id(_name(path), _NAME)}{each.acquisitions:>8} "
            f"{_short(each.quantile(0.5)):>6} {_short(each.quantile(0.99)):>6} "
            f"{_short(each.longest_wait):>6} {each.timeouts:>3} {each.recoveries:>3} "
            f"{each.corrupt_reads:>3}\n"
        )
    yield (
        "\nOf every process that publishes what it counts: muster's own do, others by "
        "publish_metrics(). Waits in ms; p50 and p99 are upper bounds.\n"
    )


def _short(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.2f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def _name(path: str) -> str:
    folder = Path(path).parent.name
    return "the workspace" if folder == GLOBAL_FOLDER else shown_name(folder)
