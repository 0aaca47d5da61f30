"""Formats counts and times as OpenMetrics text. The only module that uses prometheus_client.

The format: https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest

from registry.storage import WAIT_BOUNDS, LockMetrics
from registry.text import WHOLE_AT_MOST, shown_name
from tui.host.tmux_types import TmuxState
from tui.model.roll import RollCall, Verdict
from tui.model.verdicts import VERDICTS

_QUANTILES = (0.5, 0.99)


def exposition(roll: RollCall, locks: Mapping[str, LockMetrics]) -> str:
    """Returns the OpenMetrics text that `muster metrics` prints.

    Args:
        roll: The newest roll call.
        locks: Maps the path of each registry to its lock metrics.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed((*_roll(roll), *_locks(locks))))
    text: str = generate_latest(registry).decode("utf-8")  # type: ignore[no-untyped-call]
    return text


class _Fixed:
    """A collector for prometheus_client; its metrics are already computed."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _roll(roll: RollCall) -> Iterator[Metric]:
    agents = GaugeMetricFamily(
        "muster_agents", "Agents with each verdict.", labels=("workspace", "verdict")
    )
    unreadable = GaugeMetricFamily(
        "muster_unreadable_registries",
        "Registries that cannot be read now.",
        labels=("workspace",),
    )
    hot_journal = GaugeMetricFamily(
        "muster_hot_journals",
        "Interrupted commits that no process has recovered yet.",
        labels=("workspace",),
    )
    databases = GaugeMetricFamily(
        "muster_unread_databases",
        "Databases that muster does not read, and that may list agents of the workspace.",
        labels=("workspace",),
    )
    for workspace in roll.workspaces:
        where = shown_name(workspace.path, WHOLE_AT_MOST)
        for verdict in VERDICTS:
            if verdict is not Verdict.ORPHAN:
                count = sum(task.counts.get(verdict, 0) for task in workspace.tasks)
                agents.add_metric((where, verdict.value), count)
        states = [task.state for task in workspace.tasks]
        broken = sum(state.error is not None for state in states) + bool(workspace.error)
        unreadable.add_metric((where,), broken)
        hot = sum(state.hot_journal is not None for state in states) + bool(workspace.hot_journal)
        hot_journal.add_metric((where,), hot)
        databases.add_metric((where,), int(workspace.database is not None))
    yield agents
    yield unreadable
    yield hot_journal
    yield databases
    answered = roll.answer.state is not TmuxState.UNKNOWN
    if roll.orphans_known and answered:
        yield GaugeMetricFamily(
            "muster_orphans", "Sessions that no registry lists.", value=len(roll.orphans)
        )
    yield GaugeMetricFamily(
        "muster_tmux_answered", "Whether tmux could be queried.", value=int(answered)
    )


def _locks(locks: Mapping[str, LockMetrics]) -> Iterator[Metric]:
    label = ("registry",)
    waits = HistogramMetricFamily(
        "muster_lock_wait_seconds", "Waits for locks that were acquired.", labels=label
    )
    longest = GaugeMetricFamily(
        "muster_lock_wait_longest_seconds", "Longest wait for a lock.", labels=label
    )
    quantiles = GaugeMetricFamily(
        "muster_lock_wait_quantile_seconds",
        "Upper bound of the quantile of waits for locks, at most twice the true value.",
        labels=("registry", "quantile"),
    )
    counters = {
        "acquisitions": CounterMetricFamily(
            "muster_lock_acquisitions", "Locks that were acquired.", labels=label
        ),
        "timeouts": CounterMetricFamily(
            "muster_lock_timeouts", "Waits that ended without the lock.", labels=label
        ),
        "recoveries": CounterMetricFamily(
            "muster_recoveries",
            "Interrupted commits that were completed or rolled back.",
            labels=label,
        ),
        "corrupt_reads": CounterMetricFamily(
            "muster_corrupt_reads", "Reads that found an invalid registry.", labels=label
        ),
    }
    for path, numbers in sorted(locks.items()):
        name = shown_name(path, WHOLE_AT_MOST)
        sums = accumulate(numbers.buckets)
        bounds = (*(f"{bound:g}" for bound in WAIT_BOUNDS), "+Inf")
        waits.add_metric(
            (name,), buckets=list(zip(bounds, sums, strict=True)), sum_value=numbers.waited
        )
        longest.add_metric((name,), numbers.longest_wait)
        for share in _QUANTILES:
            wait = numbers.quantile(share)
            if wait is not None:
                quantiles.add_metric((name, f"{share:g}"), wait)
        for field, family in counters.items():
            family.add_metric((name,), getattr(numbers, field))
    yield waits
    yield longest
    yield quantiles
    yield from counters.values()
