"""Disks that fail, and writers that are killed in a write."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from registry import InaccessibleRegistryError
from registry.storage import commit
from tests.torture.kills.cases import Case

_CALLS = ("pwrite", "ftruncate", "fsync", "fdatasync")


def calls(case: Case, name: str) -> int:
    """Returns how often a case calls a function of `os`."""
    case.lay_out()
    with mock.patch.object(os, name, wraps=getattr(os, name)) as call:
        case.act()
    return call.call_count


def _calls_of_change(case: Case, name: str) -> int:
    """Counts the calls before the journals are marked as ended, when the change is final."""
    case.lay_out()
    end, before = commit._end, []
    with mock.patch.object(os, name, wraps=getattr(os, name)) as call:

        def ending(*arguments: Any) -> None:
            before.append(call.call_count)
            end(*arguments)

        with mock.patch.object(commit, "_end", ending):
            case.act()
    (number,) = before
    return number


@contextlib.contextmanager
def dying_in_write(number: int, share: float) -> Iterator[None]:
    """Kills this process in a write, after the given share of the bytes is written."""
    whole = os.pwrite
    made = 0

    def pwrite(fd: int, data: Sequence[int], offset: int) -> int:
        nonlocal made
        if made == number:
            whole(fd, bytes(data[: _part(len(data), share)]), offset)
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1
        return whole(fd, bytes(data), offset)

    with mock.patch.object(os, "pwrite", pwrite):
        yield


def _part(length: int, share: float) -> int:
    if not share:
        return 0
    return min(max(int(length * share), 1), length - 1)


@contextlib.contextmanager
def _failing_once(name: str, number: int) -> Iterator[None]:
    """Makes one call report a full disk; a failing write first writes half of the data."""
    whole = getattr(os, name)
    made = 0

    def fail(fd: int, *rest: Any) -> Any:
        nonlocal made
        made += 1
        if made != number + 1:
            return whole(fd, *rest)
        if name == "pwrite":
            data, offset = rest
            whole(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with mock.patch.object(os, name, fail):
        yield


def refused(case: Case) -> list[Case]:
    """Returns one case for every call at which the disk may fail."""
    found = []
    for name in _CALLS:
        found += [_refused(case, name, each) for each in range(_calls_of_change(case, name))]
    return found


def _refused(case: Case, name: str, number: int) -> Case:
    def act() -> None:
        try:
            with _failing_once(name, number):
                case.act()
        except InaccessibleRegistryError:
            return
        raise AssertionError(f"{case.name}: {name} {number} failed, and nobody said so")

    return replace(case, name=f"{case.name}, {name} {number} fails", act=act, promised="before")
