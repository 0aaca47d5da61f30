"""The garbage collector runs in pauses, and only for something."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from tui.app import garbage
from tui.app.garbage import QUIET, SOON, Collector


class Clock:
    """Time that only passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.waiting.append((self.now + seconds, call))

    def passes(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.waiting if at <= self.now + 1e-9]
        self.waiting = [each for each in self.waiting if each[0] > self.now + 1e-9]
        for call in due:
            call()


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """When the collector ran; it does nothing of its own meanwhile."""
    ran: list[float] = []
    before = gc.get_threshold()
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "enable", lambda: None)
    monkeypatch.setattr(gc, "collect", lambda: ran.append(0.0))
    monkeypatch.setattr(gc, "get_count", lambda: (50_000, 0, 0))
    garbage.hold()
    yield ran
    monkeypatch.undo()
    gc.set_threshold(*before)
    gc.enable()


def test_it_waits_until_no_input_has_come_for_a_while(collections: list[float]) -> None:
    clock = Clock()
    collector = Collector(clock.later, lambda: clock.now)
    collector.begin()
    for _ in range(5):
        collector.note_input()
        clock.passes(QUIET * 0.6)
    assert not collections
    assert len(clock.waiting) == 1
    clock.passes(QUIET)
    assert len(collections) == 1
    clock.passes(60.0)
    assert len(collections) == 1 and not clock.waiting
    collector.note_input()
    clock.passes(QUIET)
    assert len(collections) == 2


def test_it_does_not_run_for_a_few_objects(
    collections: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "get_count", lambda: (20, 0, 0))
    clock = Clock()
    collector = Collector(clock.later, lambda: clock.now)
    collector.begin()
    collector.note_input()
    clock.passes(QUIET)
    assert not collections


def test_it_does_not_run_before_all_is_imported(collections: list[float]) -> None:
    clock = Clock()
    collector = Collector(clock.later, lambda: clock.now)
    collector.note_input()
    assert not clock.waiting
    collector.begin()
    collector.note_input()
    clock.passes(QUIET)
    assert collections


def test_it_runs_soon_after_a_screen_was_closed_and_once_for_several(
    collections: list[float],
) -> None:
    clock = Clock()
    collector = Collector(clock.later, lambda: clock.now)
    collector.note_closed()
    assert not clock.waiting
    collector.begin()
    for _ in range(3):
        collector.note_input()
        collector.note_closed()
        clock.passes(SOON)
    assert len(collections) == 1
    clock.passes(QUIET)
    clock.passes(QUIET)
    at_rest = len(collections)
    collector.note_closed()
    clock.passes(SOON)
    assert len(collections) == at_rest + 1


def test_garbage_that_survived_once_does_not_pile_up(collections: list[float]) -> None:
    clock = Clock()
    Collector(clock.later, lambda: clock.now).begin()
    young, older, oldest = gc.get_threshold()
    # Python frees hardly any memory to the system, so what piles up once stays.
    assert young * older <= 100_000
    assert young * older * oldest <= 400_000
