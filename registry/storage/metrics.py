"""Counts locks, recoveries and failed reads of this process, and measures the waits for locks.

The counting is always on, because it is cheap: two additions and a bisection for each lock.
"""

from __future__ import annotations

import math
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from registry.dataclass import dataclass, field

WAIT_BOUNDS: tuple[float, ...] = tuple(1e-5 * 2**power for power in range(21))
"""The upper bounds of the buckets of the wait histogram, in seconds: 10 µs to 10.5 s."""


@dataclass(slots=True)
class LockMetrics:
    """The numbers for the locks and reads of one or more registries.

    Attributes:
        acquisitions: The number of acquired locks.
        timeouts: The number of waits that ended without the lock.
        recoveries: The number of interrupted commits that were finished or dropped.
        corrupt_reads: The number of reads that still found a corrupt file after all retries.
        waited: The sum of all waits, in seconds.
        longest_wait: The longest wait, in seconds.
        buckets: The number of waits in each bucket of `WAIT_BOUNDS`; the last bucket is for
            longer waits.
    """

    acquisitions: int = 0
    timeouts: int = 0
    recoveries: int = 0
    corrupt_reads: int = 0
    waited: float = 0.0
    longest_wait: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS) + 1))

    def add(self, other: LockMetrics) -> None:
        """Adds other numbers to these numbers."""
        self.acquisitions += other.acquisitions
        self.timeouts += other.timeouts
        self.recoveries += other.recoveries
        self.corrupt_reads += other.corrupt_reads
        self.waited += other.waited
        self.longest_wait = max(self.longest_wait, other.longest_wait)
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def since(self, before: LockMetrics) -> LockMetrics:
        """Returns these numbers minus an earlier copy; `longest_wait` is not reduced."""
        return LockMetrics(
            self.acquisitions - before.acquisitions,
            self.timeouts - before.timeouts,
            self.recoveries - before.recoveries,
            self.corrupt_reads - before.corrupt_reads,
            self.waited - before.waited,
            self.longest_wait,
            [a - b for a, b in zip(self.buckets, before.buckets, strict=True)],
        )

    def anything(self) -> bool:
        """Returns whether any event was counted."""
        return bool(self.acquisitions or self.timeouts or self.recoveries or self.corrupt_reads)

    def quantile(self, share: float) -> float | None:
        """Returns an upper bound of a quantile of the waits.

        Args:
            share: The quantile between 0 and 1, for example 0.99.

        Returns:
            The bound in seconds, at most twice the true quantile; None if no wait was counted.
        """
        total = sum(self.buckets)
        if not total:
            return None
        below = 0
        for bound, count in zip(WAIT_BOUNDS, self.buckets, strict=False):
            below += count
            if below >= share * total:
                return min(bound, self.longest_wait)
        return self.longest_wait

    def as_json(self) -> dict[str, Any]:
        """Returns the numbers as a JSON object, for `from_json`."""
        return {
            "acquisitions": self.acquisitions,
            "timeouts": self.timeouts,
            "recoveries": self.recoveries,
            "corrupt_reads": self.corrupt_reads,
            "waited": self.waited,
            "longest_wait": self.longest_wait,
            "buckets": list(self.buckets),
        }

    @classmethod
    def from_json(cls, data: object) -> LockMetrics:
        """Returns the numbers from a result of `as_json`; a missing or wrong value counts as 0."""
        fields = data if isinstance(data, dict) else {}
        metrics = cls()
        for name in ("acquisitions", "timeouts", "recoveries", "corrupt_reads"):
            if _is_whole(fields.get(name)):
                setattr(metrics, name, fields[name])
        for name in ("waited", "longest_wait"):
            number = fields.get(name)
            if _is_time(number):
                setattr(metrics, name, float(number))
        buckets = fields.get("buckets")
        if (
            isinstance(buckets, list)
            and len(buckets) == len(metrics.buckets)
            and all(map(_is_whole, buckets))
        ):
            metrics.buckets = list(buckets)
        return metrics


def _is_whole(value: object) -> TypeGuard[int]:
    # A larger number is not a real count, and could overflow as a float.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_time(value: object) -> TypeGuard[float]:
    # A NaN or infinity would stay in every later sum.
    return _is_whole(value) or (isinstance(value, float) and 0.0 <= value < math.inf)


_guard = threading.RLock()
_by_path: dict[Path, LockMetrics] = {}
_last_corrupt: dict[Path, object] = {}


# A forked child starts with empty numbers and a free guard.
def _reset_in_child() -> None:
    _by_path.clear()
    _guard.release()


os.register_at_fork(
    before=_guard.acquire,
    after_in_parent=_guard.release,
    after_in_child=_reset_in_child,
)


def of(path: Path) -> LockMetrics:
    """Returns the numbers of this process for one registry. The result is not a copy."""
    return _by_path.setdefault(path, LockMetrics())


def snapshot() -> Mapping[Path, LockMetrics]:
    """Returns a copy of the numbers of each registry that this process used."""
    with _guard:
        return {
            path: LockMetrics.from_json(numbers.as_json()) for path, numbers in _by_path.items()
        }


def total(metrics: Iterable[LockMetrics]) -> LockMetrics:
    """Returns the sum of the numbers of several registries or processes."""
    together = LockMetrics()
    for numbers in metrics:
        together.add(numbers)
    return together


def count_wait(path: Path, seconds: float) -> None:
    """Counts an acquired lock, and the wait for this lock in seconds."""
    with _guard:
        numbers = of(path)
        numbers.acquisitions += 1
        numbers.waited += seconds
        numbers.longest_wait = max(numbers.longest_wait, seconds)
        numbers.buckets[bisect_left(WAIT_BOUNDS, seconds)] += 1


def count_timeout(path: Path) -> None:
    """Counts a wait that ended without the lock."""
    with _guard:
        of(path).timeouts += 1


def count_recovery(path: Path) -> None:
    """Counts an interrupted commit that was finished or dropped."""
    with _guard:
        of(path).recoveries += 1


def count_corrupt_read(path: Path, state: object) -> None:
    """Counts a read that found a corrupt file.

    Args:
        path: The registry.
        state: The state of the file; further reads of the same state are not counted.
    """
    with _guard:
        if _last_corrupt.get(path) != state:
            _last_corrupt[path] = state
            of(path).corrupt_reads += 1
