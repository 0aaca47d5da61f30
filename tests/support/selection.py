"""Chooses the tests to run: marks by folder and fixture, groups, order, and the long variants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
from _pytest.mark.structures import ParameterSet

Kind = TypeVar("Kind")

TESTS = Path(__file__).parents[1]

FOLDER_MARKS = {
    "registry/audit/test_transaction": ("processes",),
    "registry/operations/test_misuse": ("processes",),
    "registry/storage/test_bad_clocks": ("processes",),
    "registry/storage/test_bounds": ("processes",),
    "registry/storage/test_full_disk": ("processes",),
    "registry/storage/test_planted_partners": ("processes",),
    "registry/storage/test_shared_workspaces": ("processes",),
    "registry/storage/test_stopped_writers": ("processes",),
    "registry/test_errors": ("processes",),
    "registry/test_text": ("processes",),
    "terminal": ("processes", "screen", "tmux"),
    "test_imports": ("processes",),
    "test_own_processes": ("processes",),
    "test_prepared": ("processes",),
    "test_real_tmux": ("processes", "tmux"),
    "torture": ("processes", "torture"),
    "tui/actions": ("processes", "tmux"),
    "tui/app": ("screen",),
    "tui/cli": ("processes",),
    "tui/demo": ("processes", "tmux"),
    "tui/doctor": ("processes", "tmux"),
    "tui/host": ("processes", "tmux"),
    "tui/live": ("processes", "tmux"),
    "tui/model/test_suspects": ("processes", "tmux"),
    "tui/text/test_names": ("screen",),
}
"""Maps a folder or module to the marks of its tests, for what these tests need."""

FIXTURE_MARKS = {"calls": "tmux", "crowd": "processes", "server": "tmux"}
"""Maps a fixture to the mark of the tests that use it."""

SHARED_FIXTURES = ("harness", "show", "counted")
"""Fixtures of a whole module that take seconds to create."""


def marks_of(path: Path, fixtures: Collection[str]) -> Iterator[str]:
    """Yields the marks that a test gets from its path and its fixtures."""
    yield from _marks_of_place(path)
    yield from (mark for name, mark in FIXTURE_MARKS.items() if name in fixtures)


@cache
def _marks_of_place(path: Path) -> tuple[str, ...]:
    place = path.relative_to(TESTS).with_suffix("")
    return tuple(
        mark
        for folder, marks in FOLDER_MARKS.items()
        if place.is_relative_to(folder)
        for mark in marks
    )


def group_of(path: Path, fixtures: Collection[str]) -> str | None:
    """Returns the group of tests that share a slow fixture, and so one worker; or None."""
    for name in SHARED_FIXTURES:
        if name in fixtures:
            return f"{path.stem}.{name}"
    return None


def torture_is_meant(
    path: Path, expression: str, arguments: Iterable[str], directory: Path
) -> bool:
    """Whether the command line asks for the torture tests of a module.

    Args:
        path: The module.
        expression: The value of ``-m``.
        arguments: The paths and node ids of the command line.
        directory: The directory to which the arguments are relative.
    """
    if "torture" in expression:
        return True
    for argument in arguments:
        name, _, test = argument.partition("::")
        named = directory / name
        if path.is_relative_to(named) and (test or named.is_relative_to(TESTS / "torture")):
            return True
    return False


def waits(item: pytest.Item) -> bool:
    """Whether a test mostly waits for a process, a server or the screen."""
    return any(item.get_closest_marker(name) for name in ("processes", "screen", "tmux"))


def mixed(items: Sequence[Kind], of_one_kind: Callable[[Kind], bool]) -> list[Kind]:
    """Spreads the tests of one kind evenly among the others; keeps the order within each kind."""
    kinds: dict[bool, list[Kind]] = {True: [], False: []}
    for item in items:
        kinds[of_one_kind(item)].append(item)
    placed = [
        ((number + 0.5) / len(kind), number, item)
        for kind in kinds.values()
        for number, item in enumerate(kind)
    ]
    return [item for _, _, item in sorted(placed, key=lambda place: place[:2])]


def part_in_torture(
    values: Sequence[object], one_in: int = 2, first: int = 0
) -> list[ParameterSet]:
    """Returns parameters: one in some, and the others that a test gets only in the torture.

    Args:
        values: The values.
        one_in: The number of values of which a test always gets one.
        first: The place of the first value that a test always gets. Tests of the same values that
            have different places get different values.
    """
    return [
        pytest.param(
            each, id=str(number), marks=() if number % one_in == first else pytest.mark.torture
        )
        for number, each in enumerate(values)
    ]


def paired(
    rows: Mapping[str, object], columns: Mapping[str, object], one_in: int = 2
) -> list[ParameterSet]:
    """Returns pairs of parameters: a test always gets one in some, and all in the torture.

    The pairs are chosen so that each row and each column is in one of them.

    Args:
        rows: Maps names to the first parameters.
        columns: Maps names to the second parameters.
        one_in: The number of pairs of which a test always gets one.
    """
    return [
        pytest.param(
            row,
            column,
            id=f"{name}-{other}",
            marks=() if (down + across) % one_in == 0 else pytest.mark.torture,
        )
        for down, (name, row) in enumerate(rows.items())
        for across, (other, column) in enumerate(columns.items())
    ]


def in_torture(*values: object) -> list[ParameterSet]:
    """Returns parameters that a test gets only with the mark `torture`."""
    return [pytest.param(each, marks=pytest.mark.torture) for each in values]


@contextmanager
def case(name: object) -> Iterator[None]:
    """Names one of many cases of a test, if the case fails.

    A test of many cases that take no time is cheaper than as many tests.
    """
    try:
        yield
    except BaseException as error:
        error.add_note(f"The case: {name}")
        raise


def run_quickly(keyword: str, arguments: Iterable[str], directory: Path) -> bool:
    """Whether the tests end sooner without workers, because workers take time to start."""
    names = [argument.partition("::")[0] for argument in arguments]
    return bool(keyword) or (bool(names) and all((directory / each).is_file() for each in names))
