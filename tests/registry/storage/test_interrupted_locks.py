"""An interruption at any line (Ctrl-C, an alarm) leaves no lock and no lease behind."""

from __future__ import annotations

import gc
import itertools
import linecache
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from registry import LockedRegistryFile, read_registry, report_progress, snapshots
from registry.storage import flock, lease, locked_file, recovery
from tests.support.locks import is_free
from tests.support.registries import load, rewrite

_TRACED = {each.__file__ for each in (lease, locked_file, flock, snapshots, recovery)}


def interrupted(number: int, do: Callable[[], object]) -> bool:
    """Does something and interrupts it at that line of the locks; False if it has fewer."""
    lines = itertools.count(1)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in _TRACED:
            return None
        code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # Where a block begins and ends no signal comes: there is no call.
        edge = code.startswith(("with ", "try:"))
        if event == "line" and not edge and next(lines) == number:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        do()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def _locked(task: Path, _: Path) -> None:
    with LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})


def _reported(task: Path, global_: Path) -> None:
    report_progress(task, global_, "busy", progress=50)


def _read(task: Path, _: Path) -> None:
    read_registry(task)


# An interruption of what the interpreter does by itself is only said.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("operation", [_locked, _reported, _read])
def test_an_interruption_at_any_line_leaves_every_registry_free(
    task: Path,
    global_: Path,
    operation: Callable[[Path, Path], None],
    request: pytest.FixtureRequest,
) -> None:
    # What there is already is not looked at again and again.
    gc.collect()
    gc.freeze()
    request.addfinalizer(gc.unfreeze)
    number = 0
    while interrupted(number := number + 1, lambda: operation(task, global_)):
        gc.collect()
        for path in (task, global_):
            assert is_free(path)
            assert load(path)
        with ThreadPoolExecutor(1) as another:
            # Nor what keeps forks away.
            assert another.submit(flock._fork_guard.acquire, timeout=0).result()
            another.submit(flock._fork_guard.release).result()
    assert number > 20
