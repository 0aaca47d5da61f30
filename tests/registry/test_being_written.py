"""A registry that a writer without the lock has cut, and not finished: readers wait."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import BusyRegistryError, CorruptRegistryError, atomic_increment_counts
from registry.snapshots import read_agent_fields, read_global, read_registry, read_task
from registry.storage.files import file_age
from tests.support.everyone import READERS, WRITERS, Use
from tests.support.registries import agent, load, task_registry, write

TEXT = json.dumps(task_registry(agent("busy"), agent("other")), indent=2)
CUTS = {"nothing": 0, "a part": len(TEXT) // 2}
every_cut = pytest.mark.parametrize("length", CUTS.values(), ids=CUTS)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
    return write(path, json.loads(TEXT))


def cut(path: Path, length: int) -> None:
    path.write_text(TEXT[:length])


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just cut stays so, however long the machine stands still."""
    monkeypatch.setattr(file_age, "_IN_THE_MAKING", 60.0)
    monkeypatch.setattr(file_age, "_EMPTY_FOR", 120.0)


class Unfinished:
    """A writer that finishes its text as soon as somebody has tried to read it."""

    def __init__(self, path: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        from registry.storage import codec

        self.refused = threading.Event()
        self._path = path
        decodes = codec.decode

        def decode(data: bytes, of: Path, **options: bool) -> object:
            try:
                return decodes(data, of, **options)
            except CorruptRegistryError:
                self.refused.set()
                raise

        for module in ("registry.snapshots", "registry.storage.locked_file"):
            monkeypatch.setattr(f"{module}.decode", decode)
        self._thread = threading.Thread(target=self._finish)
        cut(path, length)
        self._thread.start()

    def _finish(self) -> None:
        assert self.refused.wait(10)
        self._path.write_text(TEXT)

    def join(self) -> None:
        self._thread.join()


USES: dict[str, Use] = {
    "read_registry": READERS["read_registry"],
    "health check": READERS["health check"],
    "dry run": READERS["dry run"],
    "add": WRITERS["add"],
    "report": WRITERS["report"],
}


@every_cut
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_who_can_wait_waits_until_it_is_whole(
    registry: Path, use: Use, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Unfinished(registry, length, monkeypatch)
    try:
        use(registry)
    finally:
        writer.join()
    assert writer.refused.is_set()
    assert load(registry)["agents"][0]["id"] == "busy"


@every_cut
@pytest.mark.parametrize(
    "read",
    [read_task, read_global, lambda path: read_agent_fields(path, "busy")],
    ids=["task", "global", "fields"],
)
def test_who_looks_once_is_told_that_it_is_being_written(
    registry: Path, read: Callable[[Path], object], length: int
) -> None:
    cut(registry, length)
    with pytest.raises(BusyRegistryError, match="is being written: the text is incomplete"):
        read(registry)


def test_a_file_that_was_left_incomplete_is_corrupt(registry: Path) -> None:
    for length, seconds in ((0, 121.0), (len(TEXT) // 2, 61.0)):
        cut(registry, length)
        aged(registry, seconds)
        with pytest.raises(CorruptRegistryError):
            read_task(registry)
        with pytest.raises(CorruptRegistryError):
            atomic_increment_counts(registry, total=1)
        assert len(registry.read_text()) == length


def test_a_reader_gives_up_at_its_timeout(registry: Path) -> None:
    cut(registry, 0)
    with pytest.raises(BusyRegistryError):
        read_registry(registry, timeout=0)
