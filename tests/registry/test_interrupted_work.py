"""Processes that an alarm interrupts every few milliseconds, whatever they are at."""

from __future__ import annotations

from pathlib import Path

from registry import LockedRegistryFile, read_registry
from registry.storage.hot_journal import find_journal
from tests.support.crowd import Crowd
from tests.support.locks import is_free
from tests.support.registries import load, write

_OPERATIONS = 1000


def test_an_alarm_again_and_again_loses_nothing_leaves_nothing(
    task: Path, global_: Path, crowd: Crowd
) -> None:
    names = ("one", "other")
    write(task, load(task) | {name: [] for name in names})
    for name in names:
        crowd.enlist("tests.support.interrupted", task, global_, name, _OPERATIONS)
    crowd.go()
    told = dict(zip(names, crowd.finish(), strict=True))

    for path in (task, global_):
        assert is_free(path)
        with LockedRegistryFile(path, timeout=0):
            pass
        assert find_journal(path) is None
    registry = read_registry(task)
    for name, said in told.items():
        assert said["left open"] == []
        assert said["interrupted"] > 20
        # What was not acknowledged may have been written, too; nothing twice.
        assert set(said["acknowledged"]) <= set(registry[name])
        assert registry[name] == sorted(set(registry[name]))
        assert said["acknowledged"]
