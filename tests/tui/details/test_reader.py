"""Tests that the reader reads the newest source, even if other sources are blocked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Hashable, Iterator

import pytest

from tui.details import reader
from tui.details.reader import Follower

SECONDS = 15.0


class Source:
    """A source that returns its contents one by one, and waits if the test says so."""

    def __init__(self, *found: object, every: float | None = None) -> None:
        self.every = every
        self._found = list(found)
        self.reading = threading.Event()
        self.may = threading.Event()
        self.may.set()
        self.closed = threading.Event()

    def read(self) -> object | None:
        self.reading.set()
        assert self.may.wait(SECONDS)
        found = self._found.pop(0) if self._found else None
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def got() -> queue.Queue[tuple[Hashable, object]]:
    return queue.Queue()


@pytest.fixture
def follower(got: queue.Queue[tuple[Hashable, object]]) -> Iterator[Follower]:
    made = Follower(lambda key, found: got.put((key, found)))
    yield made
    made.stop()


def test_it_reads_at_once_when_told_and_by_itself(
    follower: Follower, got: queue.Queue[tuple[Hashable, object]]
) -> None:
    follower.follow("a", Source(1, 2))
    assert got.get(timeout=SECONDS) == ("a", 1)
    follower.wake()
    assert got.get(timeout=SECONDS) == ("a", 2)
    follower.follow("b", Source(1, None, 3, every=0.01))
    assert [got.get(timeout=SECONDS)[1] for _ in range(2)] == [1, 3]


def test_an_answer_to_what_is_no_longer_wanted_is_dropped(
    follower: Follower, got: queue.Queue[tuple[Hashable, object]]
) -> None:
    slow = Source("late")
    slow.may.clear()
    follower.follow("slow", slow)
    assert slow.reading.wait(SECONDS)
    follower.follow("between", Source("never asked for"))
    follower.follow("new", Source("new"))
    slow.may.set()
    assert got.get(timeout=SECONDS) == ("new", "new")
    assert slow.closed.wait(SECONDS)
    assert got.empty()


def test_who_is_stuck_holds_nobody_up(
    follower: Follower,
    got: queue.Queue[tuple[Hashable, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "STUCK", -1.0)
    stuck = Source("late")
    stuck.may.clear()
    follower.follow("stuck", stuck)
    assert stuck.reading.wait(SECONDS)
    follower.follow("new", Source("new"))
    assert got.get(timeout=SECONDS) == ("new", "new")
    stuck.may.set()
    assert stuck.closed.wait(SECONDS), "it is let go of in the end"
    assert got.empty()


def test_an_unexpected_error_does_not_end_it(
    follower: Follower,
    got: queue.Queue[tuple[Hashable, object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = Source(ZeroDivisionError())
    follower.follow("bad", bad)
    assert bad.reading.wait(SECONDS)
    follower.follow("new", Source("new"))
    assert got.get(timeout=SECONDS) == ("new", "new")
    assert "cannot read the content" in caplog.text


def test_it_ends_and_closes_what_it_reads(got: queue.Queue[tuple[Hashable, object]]) -> None:
    made = Follower(lambda key, found: got.put((key, found)))
    source = Source(1)
    made.follow("a", source)
    got.get(timeout=SECONDS)
    made.stop()
    assert source.closed.wait(SECONDS)
