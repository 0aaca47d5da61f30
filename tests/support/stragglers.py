"""Finds processes of the tests, such as tmux servers, that run after the end of the tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.support.waiting import Patience

GRACE = 5.0
"""The seconds in which a process may end by itself after the last test."""

# This process ends with the process that started it.
_OF_PYTHON = "multiprocessing.resource_tracker"


def stragglers(tests: Mapping[Path, str], grace: float = GRACE) -> list[str]:
    """Returns the processes that tests left behind, each with the name of the test.

    Args:
        tests: Maps each test's temporary directory to the test's name. A process of a test has a
            path in this directory in its arguments, or in the variable TMUX_TMPDIR.
        grace: The seconds in which processes may end by themselves.
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
