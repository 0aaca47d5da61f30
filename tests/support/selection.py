"""Which tests run: their marks by folder and fixture, and when the torture is meant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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
"""What the tests of a folder or a module need that pure ones do not."""

FIXTURE_MARKS = {"calls": "tmux", "crowd": "processes", "server": "tmux"}
"""What the tests that use a fixture need."""

SHARED_FIXTURES = ("harness", "show", "counted")
"""Fixtures of a whole module that take seconds to make."""


def marks_of(path: Path, fixtures: Collection[str]) -> Iterator[str]:
    """The marks that a test has by where it lies and by what it uses."""
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
    """The group of tests that one worker runs: they share what is dear to make."""
    for name in SHARED_FIXTURES:
        if name in fixtures:
            return f"{path.stem}.{name}"
    return None


def torture_is_meant(
    path: Path, expression: str, arguments: Iterable[str], directory: Path
) -> bool:
    """Whether a torture in some module is to run: the command line names it.

    Args:
        path: The module.
        expression: What was given with ``-m``.
        arguments: The paths and node ids that were given.
        directory: What they are relative to.
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
    """Whether a test waits for something most of the time: a process, a server, the screen."""
    return any(item.get_closest_marker(name) for name in ("processes", "screen", "tmux"))


def mixed(items: Sequence[Kind], of_one_kind: Callable[[Kind], bool]) -> list[Kind]:
    """Spreads those of one kind evenly among the others; each kind keeps its order."""
    kinds: dict[bool, list[Kind]] = {True: [], False: []}
    for item in items:
        kinds[of_one_kind(item)].append(item)
    placed = [
        ((number + 0.5) / len(kind), number, item)
        for kind in kinds.values()
        for number, item in enumerate(kind)
    ]
    return [item for _, _, item in sorted(placed, key=lambda place: place[:2])]


def in_torture(*values: object) -> list[ParameterSet]:
    """Parameters of a test that it has with the torture only; it has others at any time."""
    return [pytest.param(each, marks=pytest.mark.torture) for each in values]


def run_quickly(keyword: str, arguments: Iterable[str], directory: Path) -> bool:
    """Whether tests are over sooner without workers, which take a while to start."""
    names = [argument.partition("::")[0] for argument in arguments]
    return bool(keyword) or (bool(names) and all((directory / each).is_file() for each in names))
