"""The commits that are interrupted, with the texts before and after."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from unittest import mock

from registry import (
    LockedRegistryFile,
    atomic_add_agent,
    atomic_increment_counts,
    atomic_update_agent_status,
    durable_commits,
    finish_agents,
)
from registry.operations import atomic, finish
from registry.storage.journal import journal_path
from tests.support.kept_journals import kept_journal
from tests.support.registries import Json, agent, global_registry, rewrite, task_registry
from tests.torture.kills.naive import naive_write

NOW = "2025-10-18T12:00:00.000000"

SMALL = 1_400
LARGE = 1_000_000

_SMALL_ONLY = tuple(f"finish_agents, two files {shape}" for shape in ("grow", "shrink"))

Files = Mapping[Path, bytes]
"""Every file in the directories of a case."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One operation on one registry, or on two.

    Attributes:
        name: The name in reports.
        paths: The registries, the task's registry first.
        before: The texts before the operation.
        after: The texts after the operation.
        act: Carries out the operation.
        promised: Which texts must be present after the operation was acknowledged.
        kept: Whether a journal of a finished commit is present.
    """

    name: str
    paths: tuple[Path, ...]
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    act: Callable[[], object]
    promised: Literal["before", "after"] = "after"
    kept: bool = False

    def lay_out(self) -> None:
        """Creates the files as they are before the operation."""
        there = dict(zip(self.paths, self.before, strict=True))
        # One journal replaces a journal of a finished commit; the second journal is new.
        if self.kept:
            there[journal_path(self.paths[0].resolve())] = kept_journal()
        self.put(there)

    def files(self) -> Files:
        """Returns the present files."""
        return {
            each: each.read_bytes()
            for path in self.paths
            for each in sorted(path.parent.iterdir())
        }

    def put(self, files: Files) -> None:
        """Creates exactly these files, and removes all others."""
        for path in self.paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            for each in path.parent.iterdir():
                if each not in files:
                    each.unlink()
        for path, data in files.items():
            path.write_bytes(data)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A case without texts.

    Attributes:
        growth: For each text, whether it grows (1), shrinks (-1) or keeps its length (0).
    """

    name: str
    before: tuple[Json, ...]
    growth: tuple[int, ...]
    act: Callable[..., object]


def commits(directory: Path, size: int) -> Iterator[Case]:
    """Yields commits of this library: to one file and to two, with and without fsync.

    Yields one case at a time, because a fork takes longer if the process has more memory. For the
    same reason, there are fewer large cases.
    """
    drafts = [*_locked(size), *_two_files(size)]
    if size == LARGE:
        drafts = [draft for draft in drafts if draft.name not in _SMALL_ONLY]
    else:
        drafts += _atomic(size)
    for durable in (False, True):
        for draft in drafts:
            yield _finish(draft, directory, size, durable)


def naive_commits(directory: Path) -> Iterator[Case]:
    """Yields the changes of one file, made by a writer that keeps no journal."""
    drafts = (
        _Draft(
            f"naive {shape}",
            (before,),
            (growth,),
            lambda path, after=after: naive_write(path, _text(after)),
        )
        for shape, growth, before, after in _shapes(SMALL)
    )
    for draft in drafts:
        yield _finish(draft, directory, SMALL, durable=False)


def _finish(draft: _Draft, directory: Path, size: int, durable: bool) -> Case:
    name = f"{draft.name}, {'1 MB' if size == LARGE else '2 KB'}{', fsync' if durable else ''}"
    home = directory / name.replace(" ", "-").replace(",", "")
    both = (home / "task" / "AGENT_REGISTRY.json", home / "registry" / "GLOBAL_REGISTRY.json")
    paths = both[: len(draft.before)]

    def act() -> None:
        with durable_commits(durable):
            draft.act(*paths)

    before = tuple(_text(each) for each in draft.before)
    case = Case(name, paths, before, (), act, kept="shrink" not in name)
    after, again = (_outcome(case) for _ in range(2))
    assert after == again, f"{name} does not write the same each time"
    assert all(old != new for old, new in zip(before, after, strict=True)), name
    changes = zip(before, after, strict=True)
    growth = tuple((len(new) > len(old)) - (len(new) < len(old)) for old, new in changes)
    assert growth == draft.growth, f"{name} is no name for {growth}"
    return replace(case, after=after)


def _outcome(case: Case) -> tuple[bytes, ...]:
    case.lay_out()
    case.act()
    return tuple(path.read_bytes() for path in case.paths)


def _shapes(size: int) -> Iterable[tuple[str, int, Json, Json]]:
    # Every letter differs, so that a partly written text is noticed.
    def text(letter: str, length: int) -> Json:
        return task_registry(agent("busy", prompt=letter * length), note=letter * 40)

    yield "grows", 1, text("a", size), text("b", size + size // 3)
    yield "shrinks", -1, text("a", size), text("b", size // 2)
    yield "keeps its length", 0, text("a", size), text("b", size)


def _locked(size: int) -> Iterable[_Draft]:
    for shape, growth, before, after in _shapes(size):

        def act(path: Path, after: Json = after) -> None:
            with LockedRegistryFile(path) as (_, file):
                rewrite(file, after)

        yield _Draft(f"LockedRegistryFile {shape}", (before,), (growth,), act)


def _atomic(size: int) -> Iterable[_Draft]:
    busy = agent("busy", "terminated", prompt="p" * size, last_update=NOW + "+00:00")
    yield _Draft(
        "atomic_add_agent grows",
        (task_registry(busy),),
        (1,),
        lambda path: atomic_add_agent(path, agent("new"), "orchestrator"),
    )
    yield _Draft(
        "atomic_update_agent_status shrinks",
        (task_registry(busy),),
        (-1,),
        lambda path: atomic_update_agent_status(path, "busy", "error"),
    )
    yield _Draft(
        "atomic_increment_counts keeps the length",
        (task_registry(busy),),
        (0,),
        lambda path: atomic_increment_counts(path, total=1),
    )


def _two_files(size: int) -> Iterable[_Draft]:
    # The status grows by two letters, and `completed_at` is replaced.
    fields = {
        1: {},
        0: {"completed_at": NOW + "." * 2},
        -1: {"completed_at": NOW + "." * 30},
    }
    shapes = {
        "grow": (1, 1),
        "shrink": (-1, -1),
        "keep their lengths": (0, 0),
        "grow and shrink": (1, -1),
        "shrink and grow": (-1, 1),
    }
    for shape, growth in shapes.items():
        in_task, in_global = (fields[each] for each in growth)
        yield _Draft(
            f"finish_agents, two files {shape}",
            (
                task_registry(agent("busy", prompt="p" * size, **in_task)),
                global_registry(agent("busy", note="n" * size, **in_global)),
            ),
            growth,
            lambda task, global_: finish_agents(task, global_, ["busy"], status="completed"),
        )


def _text(registry: Json) -> bytes:
    return json.dumps(registry, indent=2).encode("ascii")


@contextlib.contextmanager
def nothing_by_chance() -> Iterator[None]:
    """Makes every operation write the same time and transaction until the block ends."""
    with contextlib.ExitStack() as stack:
        for module in (atomic, finish):
            stack.enter_context(mock.patch.object(module, "timestamp", lambda: NOW))
        stack.enter_context(mock.patch.object(os, "urandom", bytes))
        yield
