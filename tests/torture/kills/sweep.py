"""Kills commits at every system call, in the middle of every write, and in the recovery."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from registry import CorruptRegistryError, LockedRegistryFile, LockTimeoutError
from registry.storage.recovery import recover_registry
from tests.support.kept_journals import without_kept
from tests.support.peers import careful_update
from tests.torture.kills.cases import Case, Files
from tests.torture.kills.disk import calls, dying_in_write, refused
from tests.torture.kills.tracing import run, run_to_call
from tests.torture.kills.verdicts import Counts, judge, kind, look_for_mixes, parses

_PATIENCE = 5.0

Opener = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Left:
    """The files after a killed commit.

    Attributes:
        case: The commit.
        files: All files in the directories of the case.
        acknowledged: Whether the commit had been acknowledged.
        when: A description of the moment of the kill.
    """

    case: Case
    files: Files
    acknowledged: bool
    when: str

    def fingerprint(self) -> bytes:
        """Returns a digest that is equal for states that recovery cannot distinguish."""
        known = blake2b(digest_size=16)
        for part in (self.case.promised.encode(), b"acknowledged" * self.acknowledged):
            known.update(part + b"\n")
        for path, data in without_kept(self.files).items():
            known.update(f"{path} {len(data)}\n".encode() + data)
        return known.digest()


class Sweep:
    """The kills of one case.

    Many kills leave the same files, and recovery depends only on the files. So every kill is made,
    but equal files are recovered only once.

    Attributes:
        lefts: The different states that were left with a journal.
    """

    def __init__(self, case: Case, counts: Counts, seed: str) -> None:
        self.lefts: list[Left] = []
        self._case = case
        self._counts = counts
        self._dice = random.Random(f"{seed} {case.name}")
        self._seen: set[bytes] = set()

    def kill_commit(self) -> None:
        """Kills the commit before its first system call, then before the second, and so on."""
        case = self._case
        for call in itertools.count(1):
            case.lay_out()
            ended = run_to_call(case.act, call)
            if not ended.killed:
                break
            self._account(case, "commit", ended.acknowledged, f"killed at call {call}")
        assert ended.acknowledged, f"{case.name} did not end"
        judge(self._counts, case, ended.acknowledged, "left alone")

    def cut_writes_short(self, shares: Sequence[float]) -> None:
        """Kills the commit in the middle of each of its writes.

        Args:
            shares: The shares of a write that are carried out before the kill.
        """
        case = self._case
        for write, share in itertools.product(range(calls(case, "pwrite")), shares):

            def act(write: int = write, share: float = share) -> None:
                with dying_in_write(write, share):
                    case.act()

            case.lay_out()
            ended = run(act)
            assert ended.killed, f"{case.name} made no write number {write}"
            when = f"write {write} cut short at {share:.2f}"
            self._account(case, "write cut short", ended.acknowledged, when)

    def kill_refusals(self, wanted: int) -> None:
        """Kills the commit while it is taken back because the disk refused a call.

        Args:
            wanted: The total number of kills, for all calls that a disk may refuse.
        """
        chances: list[tuple[Case, int]] = []
        for each in refused(self._case):
            each.lay_out()
            ended = run_to_call(each.act, None)
            judge(self._counts, each, ended.acknowledged, "refused")
            # The first half of the calls is like a commit without a fault.
            chances += [(each, call) for call in range(ended.calls // 2, ended.calls + 1)]
        for each, call in self._dice.sample(chances, min(wanted, len(chances))):
            each.lay_out()
            ended = run_to_call(each.act, call)
            if ended.killed:
                self._account(each, "refusal", ended.acknowledged, f"killed at call {call}")

    def let_a_peer_in(self) -> None:
        """Lets a peer change the files before the recovery; checks that the change stays."""
        case = self._case
        ways = itertools.cycle(openers(case).items())
        for left, path in itertools.product(self.lefts, case.paths):
            if not parses(left.files[path]):
                continue
            name, recover = next(ways)
            case.put(left.files)
            careful_update(str(path), lambda registry: registry.update(peer="was here"))
            written = path.read_bytes()
            recover()
            self._counts.peer_changes += 1
            if path.read_bytes() != written:
                what = f"{case.name}, {left.when}, a peer changed {path.name}, then {name}"
                self._counts.complain("lost", what)

    def kill_recoveries(self, wanted: int) -> None:
        """Kills a recovery at a system call, and checks the next recovery."""
        ends: dict[tuple[int, str], int] = {}
        for number in range(wanted if self.lefts else 0):
            which = number * len(self.lefts) // wanted
            left = self.lefts[which]
            case = left.case
            name, recover = self._dice.choice(list(openers(case).items()))
            if (which, name) not in ends:
                case.put(left.files)
                ends[which, name] = run_to_call(recover, None).calls
            call = self._dice.randint(1, ends[which, name])
            case.put(left.files)
            if not run_to_call(recover, call).killed:
                continue
            self._counts.kills["recovery"] += 1
            when = f"{left.when}, then recovery ({name}) killed at call {call}"
            again = Left(case, case.files(), left.acknowledged, when)
            look_for_mixes(self._counts, case, again.files, when)
            self._recover(again)

    def _account(self, case: Case, what: str, acknowledged: bool, when: str) -> None:
        left = Left(case, case.files(), acknowledged, when)
        found = kind(case, left.files)
        self._counts.kills[what] += 1
        self._counts.states[found] += 1
        look_for_mixes(self._counts, case, left.files, when)
        if self._recover(left) and "journal" in found:
            self.lefts.append(left)

    def _recover(self, left: Left) -> bool:
        """Recovers the files in each possible way, and checks the result.

        Returns:
            Whether the files were new. Equal files are not recovered a second time.
        """
        fingerprint = left.fingerprint()
        if fingerprint in self._seen:
            return False
        self._seen.add(fingerprint)
        case = left.case
        for name, open_again in openers(case).items():
            case.put(left.files)
            when = f"{left.when}, then {name}"
            try:
                open_again()
            except LockTimeoutError:
                self._counts.complain("stuck", f"{case.name}, {when}")
            except CorruptRegistryError:
                # The registry cannot be recovered; `judge` counts it too.
                pass
            self._counts.recoveries += 1
            judge(self._counts, case, left.acknowledged, when)
        return True


def openers(case: Case) -> dict[str, Callable[[], None]]:
    """Maps names to the ways in which the registries of a case may be opened next."""

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
