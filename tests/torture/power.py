"""Cuts the power at any moment of a commit, and checks the recovery.

``uv run --group dev python -m tests.torture.power --states 100000`` tries this number of states.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from registry.errors import RegistryError
from registry.storage.commit import Write, commit, durable_commits, stamp
from registry.storage.recovery import acquire, acquire_both, recover_registry
from tests.support.disk_model import Disk, Event, Resized, Returned, State, Wrote
from tests.support.kept_journals import without_kept
from tests.support.recording import recorded

Texts = dict[str, bytes]
Do = Callable[[Path], None]

_LONG_AGO = 1_000_000_000
_BOOTS = ("the boot of the commit", "the boot after the cut", "the boot after the second cut")


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the registries.

    Attributes:
        do: Makes the change, below a directory.
        atomic: Whether a power cut must leave all of the change or nothing.
        flushed: Whether the whole change is on the disk when `do` has returned.
        killed_after: The number of events after which the process is killed; None for no kill.
    """

    do: Do
    atomic: bool = True
    flushed: bool = True
    killed_after: int | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A series of changes before and during which the power is cut.

    Attributes:
        name: A description of the story.
        files: The texts of the registries at the start, all on the disk.
        steps: The changes, one after the other.
        outcomes: The texts that are allowed at the end if a step is killed. Empty if no step is
            killed: then the texts before or after the interrupted step are allowed.
        settled: The registries that must have their last text after all steps have returned.
    """

    name: str
    files: Texts
    steps: tuple[Step, ...]
    outcomes: tuple[Texts, ...] = ()
    settled: tuple[str, ...] = ()

    def orders(self) -> tuple[tuple[str, ...], ...]:
        """Returns the orders in which the registries may be opened afterwards."""
        names = tuple(self.files)
        return tuple({names: None, names[::-1]: None})


@dataclass(frozen=True, slots=True)
class Trace:
    """The disk events of a story, and the texts after each step."""

    story: Story
    events: tuple[Event, ...]
    texts: tuple[Texts, ...]

    def allowed(self, returned: int) -> tuple[Texts, ...]:
        """Returns the texts that are allowed after a cut that follows `returned` steps."""
        outcomes = self.story.outcomes
        if not outcomes:
            return self.texts[returned : returned + 2]
        if returned < len(self.story.steps):
            return outcomes
        last, settled = self.texts[-1], self.story.settled
        return tuple(each for each in outcomes if all(each[n] == last[n] for n in settled))


@dataclass(slots=True)
class Tally:
    """Counts of the examined disks, and the failures."""

    cuts: set[int] = field(default_factory=set)
    states: set[State] = field(default_factory=set)
    second_cuts: set[State] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    judged: set[tuple[State, tuple[str, ...], int, int]] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"{len(self.cuts):3} cuts, {len(self.states):6} states, {len(self.second_cuts):6} "
            f"after a second cut, {len(self.failures):4} failures"
        )


def durably(texts: Mapping[str, bytes]) -> Do:
    """Returns a durable commit of one text, or of two texts together."""

    def do(root: Path) -> None:
        paths = [root / name for name in texts]
        locks = (acquire(paths[0], 1),) if len(paths) == 1 else acquire_both(paths[0], paths[1], 1)
        try:
            with durable_commits():
                commit(
                    [
                        Write(lock.fd, lock.path, lock.path.read_bytes(), new, stamp(lock.fd))
                        for lock, new in zip(locks, texts.values(), strict=True)
                    ]
                )
        finally:
            for lock in locks:
                lock.release()

    return do


def plainly(texts: Mapping[str, bytes], *, flushed: bool) -> Do:
    """Returns a write as a peer makes it: seek, write, truncate, and perhaps fsync."""

    def do(root: Path) -> None:
        for name, new in texts.items():
            fd = os.open(root / name, os.O_RDWR)
            os.pwrite(fd, new, 0)
            os.ftruncate(fd, len(new))
            if flushed:
                os.fsync(fd)
            os.close(fd)

    return do


@contextmanager
def boot(number: int) -> Iterator[None]:
    """Pretends until the block ends that this is the boot with this number."""
    with (
        mock.patch("registry.storage.commit.boot_id", lambda: _BOOTS[number]),
        mock.patch("registry.storage.recovery.boot_id", lambda: _BOOTS[number]),
    ):
        yield


class Theatre:
    """A directory in which stories run, and in which the disks after a cut are created."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root)) / "disk"

    def lay_out(self, files: State | Mapping[str, bytes]) -> None:
        files = dict(files)
        for name in self._there():
            if name not in files:
                (self.root / name).unlink()
        for name, content in files.items():
            path = f"{self.root}/{name}"
            if not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
            # Not truncated first, because some file systems flush a truncated file.
            fd = os.open(path, os.O_RDWR | os.O_CREAT)
            os.pwrite(fd, content, 0)
            os.ftruncate(fd, len(content))
            os.close(fd)
            os.utime(path, (_LONG_AGO, _LONG_AGO))

    def _there(self) -> list[str]:
        return [
            os.path.relpath(os.path.join(folder, name), self.root)
            for folder, _, names in os.walk(self.root)
            for name in names
        ]

    def texts(self, names: Sequence[str]) -> Texts:
        return {name: (self.root / name).read_bytes() for name in names}

    def play(self, story: Story) -> Trace:
        self.lay_out(story.files)
        events: list[Event] = []
        texts = [dict(story.files)]
        for step in story.steps:
            with boot(0), recorded(self.root, events, step.killed_after):
                step.do(self.root)
            events.append(Returned())
            there = self._there()
            texts.append(self.texts([name for name in story.files if name in there]))
        return Trace(story, tuple(events), tuple(texts))

    def reopen(self, order: Sequence[str], number: int) -> list[Event]:
        """Opens the registries as the first writers after a reboot do; returns the events."""
        events: list[Event] = []
        with boot(number), recorded(self.root, events):
            for name in order:
                # One try is enough, because no other process holds the lock.
                recover_registry(self.root / name, timeout=0)
        return events

    def verdict(self, allowed: Sequence[Texts]) -> str | None:
        """Describes what is wrong with the present files, or returns None."""
        there = without_kept(self.texts(self._there()))
        if there in allowed:
            return None
        assert allowed, "the story itself ended neither before nor after"
        extra = there.keys() - allowed[0].keys()
        said = ", ".join(f"{name}: {_shown(text)}" for name, text in sorted(there.items()))
        return f"{'left over' if extra else 'neither before nor after'}: {said}"


def _shown(text: bytes) -> str:
    return f"{text[:24]!r}...{text[-12:]!r} ({len(text)})"


def cut_everywhere(
    theatre: Theatre,
    trace: Trace,
    rng: random.Random,
    *,
    at_random: int,
    second: int,
    tally: Tally,
) -> None:
    """Cuts the power after each event of a trace, and checks many disks for each cut.

    Args:
        theatre: The directory in which disks are created.
        trace: The events.
        rng: Makes the random choices, because there are too many states.
        at_random: The number of random states for each cut, besides the extreme states.
        second: The number of second cuts, during the recovery from the first cut.
        tally: Counts the examined states. A state in it is not examined a second time.
    """
    story = trace.story
    disk = Disk(story.files)
    returned = 0
    touched = True
    for number, event in enumerate(trace.events):
        disk.happen(event)
        if isinstance(event, Returned):
            # A power cut may leave anything of a writer that does not flush, until a commit
            # changes the file.
            touched = story.steps[returned].flushed
            returned += 1
        elif not story.steps[returned].atomic:
            continue
        elif isinstance(event, Wrote | Resized):
            touched |= event.path in story.files
        if not touched:
            continue
        tally.cuts.add(number)
        where = f"{story.name}, cut {number} after {event}"
        cut = _Cut(theatre, trace.allowed(returned), tally, where, rng, returned)
        for state in dict.fromkeys(disk.states(rng, at_random)):
            for order in story.orders():
                if cut.judge(state, order) and second and len(state) > len(story.files):
                    cut.judge_second(state, order, second)


@dataclass(frozen=True, slots=True)
class _Cut:
    theatre: Theatre
    allowed: Sequence[Texts]
    tally: Tally
    where: str
    rng: random.Random
    returned: int

    def judge(self, state: State, order: tuple[str, ...]) -> bool:
        """Examines a state; returns whether the state is new."""
        self.tally.states.add(state)
        return self._judge(state, order, 1, f"{self.where}, opened {order}")

    def judge_second(self, state: State, order: tuple[str, ...], at_most: int) -> None:
        """Cuts the power a second time, during the recovery from a state."""
        self.theatre.lay_out(state)
        events = self.theatre.reopen(order, 1)
        disk = Disk(dict(state))
        chosen = set(self.rng.sample(range(len(events)), min(at_most, len(events))))
        for number, event in enumerate(events):
            disk.happen(event)
            if number in chosen:
                for again in disk.states(self.rng, 4, at_most=1):
                    self.tally.second_cuts.add(again)
                    where = f"{self.where}, opened {order}, cut again after {event}"
                    self._judge(again, order, 2, where)

    def _judge(self, state: State, order: tuple[str, ...], number: int, where: str) -> bool:
        question = (state, order, number, self.returned)
        if question in self.tally.judged:
            return False
        self.tally.judged.add(question)
        self.theatre.lay_out(state)
        try:
            self.theatre.reopen(order, number)
            wrong = self.theatre.verdict(self.allowed)
        except RegistryError as error:
            wrong = f"cannot be opened: {error}"
        if wrong:
            self.tally.failures.append(f"{where}: {wrong}")
        return True


def distinct(tallies: Iterable[Tally]) -> int:
    """Returns the number of different disks that were examined."""
    return len(set().union(*(tally.states | tally.second_cuts for tally in tallies)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Examines at least the given number of states, and prints the counts."""
    from tests.support.power_stories import STORIES

    parser = argparse.ArgumentParser(prog="python -m tests.torture.power", description=__doc__)
    parser.add_argument("--states", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.getLogger("registry").setLevel(logging.CRITICAL)
    rng = random.Random(options.seed)
    began = time.monotonic()
    seen: dict[str, Tally] = {story.name: Tally() for story in STORIES}
    rounds = 4
    with tempfile.TemporaryDirectory() as directory:
        theatre = Theatre(Path(directory))
        traces = [theatre.play(story) for story in STORIES]
        while distinct(seen.values()) < options.states:
            for trace in traces:
                tally = seen[trace.story.name]
                cut_everywhere(theatre, trace, rng, at_random=rounds, second=4, tally=tally)
            rounds *= 2
    for name, tally in seen.items():
        print(f"{name:44} {tally}")
        for failure in tally.failures[:3]:
            print(f"    {failure}")
    total = distinct(seen.values())
    failures = sum(len(tally.failures) for tally in seen.values())
    print(f"{total} distinct states, {failures} failures, {time.monotonic() - began:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
