"""Kills at every system call of a commit, in the middle of every write, and in recovery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from registry import CorruptRegistryError, LockedRegistryFile, LockTimeoutError
from registry.recovery import recover_registry
from tests.peers import careful_update
from tests.registry.kills.cases import Case, Files
from tests.registry.kills.disk import calls, dying_in_write, refused
from tests.registry.kills.tracing import run, run_to_stop
from tests.registry.kills.verdicts import Counts, judge, kind, look_for_mixes, parses

_PATIENCE = 5.0

# At how many of its stops a recovery is killed, where not all can be had.
_STOPS_EACH = 20

# How much of a write is carried out: nothing, one byte, ..., all but one byte.
_SHARES = (0.0, 1e-9, 0.25, 0.5, 0.75, 1.0)

Opener = Callable[[Path], object]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed commit left.

    Attributes:
        case: Which commit.
        files: Everything that lay there.
        acknowledged: Whether the commit had been acknowledged.
        when: When it was killed.
    """

    case: Case
    files: Files
    acknowledged: bool
    when: str


def evenly(items: Sequence[Item], wanted: int) -> list[Item]:
    """That many of the items, from the first to the last; all if there are not so many."""
    if wanted >= len(items):
        return list(items)
    return [items[number * len(items) // wanted] for number in range(wanted)]


def kill_commits(cases: Sequence[Case], wanted: int, counts: Counts) -> list[Left]:
    """Kills commits at their system calls, at all of them if so many are wanted.

    Returns:
        One example of every kind of state that was left with a journal.
    """
    chances: dict[Case, list[int]] = {}
    for case in cases:
        case.lay_out()
        chances[case] = list(range(1, run_to_stop(case.act, None).stops + 1))
    lefts: dict[tuple[str, str], Left] = {}
    for case, stop in _chosen(chances, wanted):
        case.lay_out()
        ended = run_to_stop(case.act, stop)
        if not ended.killed:
            # One system call less than last time: it was done before its turn came.
            continue
        counts.kills["commit"] += 1
        left = Left(case, case.files(), ended.acknowledged, f"killed at stop {stop}")
        _account(left, counts, lefts)
    return list(lefts.values())


def cut_writes_short(cases: Sequence[Case], wanted: int, counts: Counts) -> list[Left]:
    """Kills commits in the middle of their writes, after some of the bytes.

    Returns:
        As `kill_commits`.
    """
    chances = {
        case: [(write, share) for write in range(calls(case, "pwrite")) for share in _SHARES]
        for case in cases
    }
    lefts: dict[tuple[str, str], Left] = {}
    for case, (write, share) in _chosen(chances, wanted):
        case.lay_out()

        def act(case: Case = case, write: int = write, share: float = share) -> None:
            with dying_in_write(write, share):
                case.act()

        ended = run(act)
        assert ended.killed, f"{case.name} made no write number {write}"
        counts.kills["write cut short"] += 1
        when = f"write {write} cut short at {share:.2f}"
        _account(Left(case, case.files(), ended.acknowledged, when), counts, lefts)
    return list(lefts.values())


def kill_refusals(cases: Sequence[Case], wanted: int, counts: Counts) -> list[Left]:
    """Kills commits that the disk refused, while they are made undone.

    Returns:
        As `kill_commits`.
    """
    chances: dict[Case, list[int]] = {}
    for case in cases:
        for each in refused(case):
            each.lay_out()
            ended = run_to_stop(each.act, None)
            judge(counts, each, ended.acknowledged, "refused")
            # The first half is a commit as any other.
            chances[each] = list(range(ended.stops // 2, ended.stops + 1))
    lefts: dict[tuple[str, str], Left] = {}
    for case, stop in _chosen(chances, wanted):
        case.lay_out()
        ended = run_to_stop(case.act, stop)
        if not ended.killed:
            continue
        counts.kills["refusal"] += 1
        left = Left(case, case.files(), ended.acknowledged, f"killed at stop {stop}")
        _account(left, counts, lefts)
    return list(lefts.values())


def let_a_peer_in(lefts: Sequence[Left], counts: Counts) -> None:
    """Has a peer change what was left before anybody recovers it: its change must stay."""
    for left in lefts:
        case = left.case
        for path in case.paths:
            if not parses(left.files[path]):
                continue
            for name, recover in openers(case).items():
                case.put(left.files)
                careful_update(str(path), lambda registry: registry.update(peer="was here"))
                written = path.read_bytes()
                recover()
                counts.peer_changes += 1
                if path.read_bytes() != written:
                    what = f"{case.name}, {left.when}, a peer changed {path.name}, then {name}"
                    counts.complain("lost", what)


def kill_recoveries(lefts: Sequence[Left], wanted: int, counts: Counts) -> None:
    """Kills whoever recovers what was left, at its system calls; the next one must do it."""
    chances: list[tuple[Left, str, int]] = []
    for left, name in _most_varied(lefts)[: max(wanted // _STOPS_EACH, 1)]:
        left.case.put(left.files)
        stops = run_to_stop(openers(left.case)[name], None).stops
        chances += [(left, name, stop + 1) for stop in range(stops)]
    for left, name, stop in evenly(chances, wanted):
        case = left.case
        case.put(left.files)
        recover = openers(case)[name]
        ended = run_to_stop(recover, stop)
        if not ended.killed:
            continue
        counts.kills["recovery"] += 1
        when = f"{left.when}, then recovery ({name}) killed at stop {stop}"
        files = case.files()
        look_for_mixes(counts, case, files, when)
        ways = list(openers(case))
        _recover(Left(case, files, left.acknowledged, when), counts, ways[stop % len(ways)])


def openers(case: Case) -> dict[str, Callable[[], None]]:
    """The ways in which a case's registries may be opened next, by name."""

    def enter(path: Path) -> None:
        with LockedRegistryFile(path, timeout=_PATIENCE):
            pass

    def recover(path: Path) -> None:
        recover_registry(path, timeout=_PATIENCE)

    def each_of(paths: Sequence[Path], opener: Opener) -> Callable[[], None]:
        def open_all() -> None:
            for path in paths:
                opener(path)

        return open_all

    found = {"recover": each_of(case.paths, recover), "enter": each_of(case.paths, enter)}
    if len(case.paths) == 1:
        return found
    return {f"{name} task first": do for name, do in found.items()} | {
        "recover global first": each_of(case.paths[::-1], recover),
        "enter global first": each_of(case.paths[::-1], enter),
    }


def _account(left: Left, counts: Counts, lefts: dict[tuple[str, str], Left]) -> None:
    found = kind(left.case, left.files)
    counts.states[found] += 1
    look_for_mixes(counts, left.case, left.files, left.when)
    ways = list(openers(left.case))
    if "journal" not in found:
        # Nothing to recover: one way will do, another one each time.
        ways = [ways[counts.states[found] % len(ways)]]
    _recover(left, counts, *ways)
    if "journal" in found:
        lefts.setdefault((left.case.name, found), left)


def _recover(left: Left, counts: Counts, *ways: str) -> None:
    """Opens what was left, in each of the ways, and judges what comes out."""
    for name in ways:
        left.case.put(left.files)
        when = f"{left.when}, then {name}"
        try:
            openers(left.case)[name]()
        except LockTimeoutError:
            counts.complain("stuck", f"{left.case.name}, {when}")
        except CorruptRegistryError:
            # A registry that is beyond recovery; `judge` sees it too.
            pass
        judge(counts, left.case, left.acknowledged, when)


def _chosen(chances: Mapping[Case, Sequence[Item]], wanted: int) -> list[tuple[Case, Item]]:
    return evenly([(case, each) for case, some in chances.items() for each in some], wanted)


def _most_varied(lefts: Sequence[Left]) -> list[tuple[Left, str]]:
    """What was left with each way to open it: every kind once before any kind twice."""
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Left, str]] = []
    for left in lefts:
        found = kind(left.case, left.files)
        ways = list(openers(left.case))
        for turn in range(len(ways)):
            rounds.append((seen[found] + turn, left, ways[(seen[found] + turn) % len(ways)]))
        seen[found] += 1
    rounds.sort(key=lambda each: each[0])
    return [(left, way) for _, left, way in rounds]
