"""Counting and timing what locks, recovery and reading do, in this process.

Cheap enough to be always on: two additions and a bisection for each lock.
"""

from __future__ import annotations

import math
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

WAIT_BOUNDS: tuple[float, ...] = tuple(1e-5 * 2**power for power in range(21))
"""Upper bounds of the wait histogram's buckets, in seconds: 10 µs to 10.5 s."""


@dataclass(slots=True)
class LockMetrics:
    """What happened to the locks and texts of some registries.

    Attributes:
        acquisitions: Locks that were had.
        timeouts: Waits that ended without the lock.
        recoveries: Commits of somebody who died that were finished or dropped.
        corrupt_reads: Readings that found no registry, after all retries.
        waited: All waits together, in seconds.
        longest_wait: In seconds.
        buckets: How many waits were at most each of `WAIT_BOUNDS`, and longer.
    """

    acquisitions: int = 0
    timeouts: int = 0
    recoveries: int = 0
    corrupt_reads: int = 0
    waited: float = 0.0
    longest_wait: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS) + 1))

    def add(self, other: LockMetrics) -> None:
        """Adds what happened elsewhere."""
        self.acquisitions += other.acquisitions
        self.timeouts += other.timeouts
        self.recoveries += other.recoveries
        self.corrupt_reads += other.corrupt_reads
        self.waited += other.waited
        self.longest_wait = max(self.longest_wait, other.longest_wait)
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def since(self, before: LockMetrics) -> LockMetrics:
        """What was added after an earlier copy was made; the longest wait of all time."""
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
        """Whether anything was counted."""
        return bool(self.acquisitions or self.timeouts or self.recoveries or self.corrupt_reads)

    def quantile(self, share: float) -> float | None:
        """An upper bound of the wait that this share of all waits did not exceed.

        Args:
            share: Between 0 and 1, for example 0.99.

        Returns:
            Seconds; at most twice the true value. None when there was no wait.
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
        """For a file; `from_json` reads it."""
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
        """Reads what `as_json` made; whatever else it is given counts as nothing."""
        fields = data if isinstance(data, dict) else {}
        made = cls()
        for name in ("acquisitions", "timeouts", "recoveries", "corrupt_reads"):
            if _is_whole(fields.get(name)):
                setattr(made, name, fields[name])
        for name in ("waited", "longest_wait"):
            number = fields.get(name)
            if _is_time(number):
                setattr(made, name, float(number))
        buckets = fields.get("buckets")
        if (
            isinstance(buckets, list)
            and len(buckets) == len(made.buckets)
            and all(map(_is_whole, buckets))
        ):
            made.buckets = list(buckets)
        return made


def _is_whole(value: object) -> TypeGuard[int]:
    # No number of events is that large; as a float it would overflow.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_time(value: object) -> TypeGuard[float]:
    # One NaN or infinity would stay in every sum from then on.
    return _is_whole(value) or (isinstance(value, float) and 0.0 <= value < math.inf)


_guard = threading.RLock()
_by_path: dict[Path, LockMetrics] = {}
_last_corrupt: dict[Path, object] = {}


# A forked child starts with numbers of its own, and a guard that nobody holds.
def _begin_anew_in_child() -> None:
    _by_path.clear()
    _guard.release()


os.register_at_fork(
    before=_guard.acquire,
    after_in_parent=_guard.release,
    after_in_child=_begin_anew_in_child,
)


def of(path: Path) -> LockMetrics:
    """This process's numbers for one registry, as they are now; not a copy."""
    return _by_path.setdefault(path, LockMetrics())


def snapshot() -> Mapping[Path, LockMetrics]:
    """This process's numbers by registry, as copies."""
    with _guard:
        return {path: LockMetrics.from_json(each.as_json()) for path, each in _by_path.items()}


def total(metrics: Iterable[LockMetrics]) -> LockMetrics:
    """All of them together."""
    together = LockMetrics()
    for each in metrics:
        together.add(each)
    return together


def count_wait(path: Path, seconds: float) -> None:
    """Counts a lock that was had after so many seconds."""
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
    """Counts a commit of somebody who died that was finished or dropped."""
    with _guard:
        of(path).recoveries += 1


def count_corrupt_read(path: Path, state: object) -> None:
    """Counts a reading that found no registry; the same state of the file once only."""
    with _guard:
        if _last_corrupt.get(path) != state:
            _last_corrupt[path] = state
            of(path).corrupt_reads += 1
