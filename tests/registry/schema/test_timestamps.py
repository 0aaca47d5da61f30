"""A moment, after the clock was set."""

from __future__ import annotations

import time

import pytest

from registry.schema import Instant


@pytest.mark.parametrize("set_by", [-3600.0, 3600.0])
def test_a_moment_is_never_later_than_it_was_by_either_clock(
    monkeypatch: pytest.MonkeyPatch, set_by: float
) -> None:
    real = time.time
    noted = Instant.now()
    monkeypatch.setattr(time, "time", lambda: real() + set_by)
    assert noted.by_clock() == pytest.approx(noted.wall + min(0.0, set_by), abs=60)
    assert noted.by_clock() <= noted.wall + min(0.0, set_by) + 0.1


def test_moments_are_ordered_by_the_clock_that_nobody_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = Instant.now()
    monkeypatch.setattr(time, "time", lambda: first.wall - 3600)
    assert Instant.now() > first
