"""A model of a disk that loses its power: all contents that the disk may have afterwards. Pure.

Flushed data is on the disk. The model allows these results for data that was written after the
last flush: a sector has any version that it has had; a file has any length that it has had or
grown through; a name in a directory refers to any file, or none, to which it has referred.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TypeAlias

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Created:
    """A name that a file got: a new file, or one that was written before it had a name."""

    path: str
    content: bytes = field(default=b"", repr=False)
    flushed: bool = True


@dataclass(frozen=True, slots=True)
class Wrote:
    path: str
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resized:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Flushed:
    path: str


@dataclass(frozen=True, slots=True)
class FlushedDirectory:
    path: str


@dataclass(frozen=True, slots=True)
class Removed:
    path: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A call returned to its caller, which relies on the result afterwards."""


Event: TypeAlias = Created | Wrote | Resized | Flushed | FlushedDirectory | Removed | Returned

State: TypeAlias = frozenset[tuple[str, bytes]]
"""The content of a disk: the path and the bytes of every file."""


class _File:
    """One inode, with every version of its sectors, and every length after the last flush."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.flush()

    def flush(self) -> None:
        self.sizes = [len(self.content)]
        self.sectors: dict[int, list[bytes]] = {
            number: [self._now(number)] for number in range(-(-len(self.content) // SECTOR))
        }

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        grown_from = len(self.content)
        if end > grown_from:
            self.content.extend(bytes(end - grown_from))
            # The length on the disk grows in steps while a file grows.
            steps = range(grown_from // SECTOR * SECTOR + SECTOR, end, SECTOR)
            self.sizes.extend([*steps, end])
        self.content[offset:end] = data
        self._changed(offset, end)

    def resize(self, size: int) -> None:
        was = len(self.content)
        if size > was:
            self.content.extend(bytes(size - was))
        del self.content[size:]
        self.sizes.append(size)
        self._changed(min(size, was), max(size, was))

    def _changed(self, start: int, end: int) -> None:
        for number in range(start // SECTOR, -(-end // SECTOR)):
            versions = self.sectors.setdefault(number, [bytes(SECTOR)])
            if versions[-1] != self._now(number):
                versions.append(self._now(number))

    def _now(self, number: int) -> bytes:
        return bytes(self.content[number * SECTOR : (number + 1) * SECTOR]).ljust(SECTOR, b"\0")


class Disk:
    """All writes to a disk, in order, and which of them are flushed."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._names: dict[str, list[_File | None]] = {
            path: [_File(content)] for path, content in files.items()
        }

    def happen(self, event: Event) -> None:
        match event:
            case Created(path, content, flushed):
                file = _File(content if flushed else b"")
                if not flushed:
                    file.write(0, content)
                self._names.setdefault(path, [None]).append(file)
            case Removed(path):
                self._names[path].append(None)
            case Wrote(path, offset, data):
                self._file(path).write(offset, data)
            case Resized(path, size):
                self._file(path).resize(size)
            case Flushed(path):
                self._file(path).flush()
            case FlushedDirectory(directory):
                for path, said in self._names.items():
                    if str(PurePath(path).parent) == directory:
                        del said[:-1]
            case Returned():
                pass

    def _file(self, path: str) -> _File:
        file = self._names[path][-1]
        assert file is not None, f"{path} was used after it was removed"
        return file

    def states(
        self, rng: random.Random, at_random: int, at_most: int | None = None
    ) -> Iterator[State]:
        """Yields the contents that the disk may have after a power cut now; some perhaps twice.

        If there are few contents, yields all of them. Otherwise yields these: all writes kept, all
        writes dropped, each single write kept or dropped, whole files kept or dropped, and
        `at_random` random mixtures. If `at_most` is given, yields a random choice of at most so
        many.
        """
        questions = _OpenQuestions(self._names)
        every = list(questions.answers(rng, at_random))
        if at_most is not None:
            every = rng.sample(every, min(at_most, len(every)))
        yield from map(questions.state, every)


class _OpenQuestions:
    """Everything that a power cut decides, with the number of possible results."""

    def __init__(self, names: Mapping[str, Sequence[_File | None]]) -> None:
        self._names = names
        self._files = list(
            {id(file): file for said in names.values() for file in said if file}.values()
        )
        self._keys: list[tuple[str | int, str | int]] = []
        self._counts: list[int] = []
        for path, entry in names.items():
            self._ask(("name", path), len(entry))
        for number, file in enumerate(self._files):
            self._ask((number, "size"), len(file.sizes))
            for sector, versions in file.sectors.items():
                self._ask((number, sector), len(versions))

    def _ask(self, key: tuple[str | int, str | int], count: int) -> None:
        if count > 1:
            self._keys.append(key)
            self._counts.append(count)

    def answers(self, rng: random.Random, at_random: int) -> Iterator[tuple[int, ...]]:
        counts = self._counts
        extremes = 2 + 2 * (sum(counts) - len(counts))
        if math.prod(counts) <= extremes + at_random:
            yield from itertools.product(*map(range, counts))
            return
        kept = tuple(count - 1 for count in counts)
        dropped = tuple(0 for _ in counts)
        yield kept
        yield dropped
        for base in (kept, dropped):
            for position, count in enumerate(counts):
                for answer in range(count):
                    if answer != base[position]:
                        yield (*base[:position], answer, *base[position + 1 :])
        owners = list(dict.fromkeys(key[0] for key in self._keys))
        for owner in owners:
            of_owner = [key[0] == owner for key in self._keys]
            yield tuple(k if mine else 0 for k, mine in zip(kept, of_owner, strict=True))
            yield tuple(0 if mine else k for k, mine in zip(kept, of_owner, strict=True))
        for _ in range(at_random):
            # Equal odds for each version would almost never leave a long journal whole, so that
            # the states after a recovery would be rare. A file that did not get longer hides the
            # content of its last sectors.
            lean = rng.choice((0.5, 0.5, 0.1))
            base = rng.choice((kept, dropped))
            whole = {owner for owner in owners if rng.random() < 0.2}
            long = rng.random() < 0.6
            yield tuple(
                k
                if key[0] in whole or (long and key[1] == "size")
                else (rng.randrange(count) if rng.random() < lean else b)
                for key, count, b, k in zip(self._keys, counts, base, kept, strict=True)
            )

    def state(self, answers: Sequence[int]) -> State:
        chosen = dict(zip(self._keys, answers, strict=True))
        content: dict[int, bytes] = {}
        for number, file in enumerate(self._files):
            size = file.sizes[chosen.get((number, "size"), 0)]
            content[id(file)] = b"".join(
                file.sectors[sector][chosen.get((number, sector), 0)]
                if sector in file.sectors
                else bytes(SECTOR)
                for sector in range(-(-size // SECTOR))
            )[:size]
        found = {path: said[chosen.get(("name", path), 0)] for path, said in self._names.items()}
        return frozenset((path, content[id(file)]) for path, file in found.items() if file)
