"""Processes, tmux servers among them, that are still there when the tests are over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.support.waiting import Patience

GRACE = 5.0
"""Seconds that a process has to end by itself after the last test."""

# It ends with the process that started it.
_OF_PYTHON = "multiprocessing.resource_tracker"


def stragglers(tests: Mapping[Path, str], grace: float = GRACE) -> list[str]:
    """What tests left behind: each process, with the test's name.

    Args:
        tests: The name of each test, by the temporary directory that was its own. What a
            test starts has that directory in its environment, its command or beneath it.
        grace: Seconds that processes have to end.
    """
    patience = Patience(grace)
    while found := [*_stragglers(tests)]:
        if patience.is_over():
            break
    return found


def _stragglers(tests: Mapping[Path, str]) -> Iterator[str]:
    if not tests:
        return
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            if not words or _OF_PYTHON in " ".join(words):
                continue
            test = _test_of(tests, [process.environ().get("TMUX_TMPDIR", ""), *words])
            if test is not None:
                yield f"{test}: process {process.pid}: {' '.join(words)[:200]}"


def _test_of(tests: Mapping[Path, str], words: list[str]) -> str | None:
    for word in words:
        if not word.startswith("/"):
            continue
        path = Path(word)
        for each in (path, *path.parents):
            if each in tests:
                return tests[each]
    return None
