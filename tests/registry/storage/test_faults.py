"""Whichever system call of a commit fails: no byte is changed, and the error says what to do."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import pytest

import registry
from registry import (
    HalfWrittenError,
    InaccessibleRegistryError,
    LockedRegistryFile,
    RegistryError,
    durable_commits,
    recover_registry,
)
from registry.pair import editing_both
from registry.storage.locked_file import editing
from tests.support.faults import (
    ADVICE,
    BY_DESCRIPTOR,
    BY_PATH,
    GLOBAL,
    TASK,
    Act,
    Attempt,
    Call,
    Place,
    Texts,
    at,
    attempt,
    from_on,
)
from tests.support.recording import recorded
from tests.support.registries import agent, rewrite

pytestmark = pytest.mark.usefixtures("quiet")


def _rewritten(root: Path, **fields: object) -> None:
    with LockedRegistryFile(root / TASK, timeout=0) as (registry, file):
        rewrite(file, registry | fields)


def _grown(root: Path) -> None:
    with editing(root / TASK, timeout=0) as edit:
        edit.registry["agents"].append(agent("new", prompt="p" * 9000))
        edit.changed = True


def _noted(root: Path, note: str) -> None:
    with editing_both(root / TASK, root / GLOBAL, timeout=0) as edits:
        for edit in edits:
            edit.registry["note"] = note
            edit.changed = True


def _shrunk_and_grown(root: Path) -> None:
    with editing_both(root / TASK, root / GLOBAL, timeout=0) as (one, two):
        one.registry.pop("task_description", None)
        two.registry["created_at"] = "later than it was said to be before"
        one.changed = two.changed = True


ACTS: dict[str, Act] = {
    "one grows": _grown,
    "one is rewritten, longer": lambda root: _rewritten(root, note="n" * 600),
    "one is rewritten, shorter": lambda root: _rewritten(root, task_description="", agents=[]),
    "two grow": lambda root: _noted(root, "n" * 5000),
    "one shrinks, one grows": _shrunk_and_grown,
}

_MAIN = ("one grows", "two grow")
_FULL = ("two grow", errno.ENOSPC)

TORTURE = pytest.mark.torture

MARKS = {each: () if each in _MAIN else (TORTURE,) for each in ACTS}
every_kind = pytest.mark.parametrize("durable", [False, True], ids=["plain", "durable"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Path(os.path.realpath(tmp_path)) / "disk")


def before_and_after(place: Place, act: Act, durable: bool) -> tuple[Texts, Texts, list[Call]]:
    """What an act makes of the registries when nothing fails, and by which calls."""
    place.lay_out()
    before = place.texts()
    fine = attempt(place, act, at(), durable=durable)
    assert fine.error is None
    assert fine.texts.keys() == before.keys()
    assert fine.texts != before
    assert len(fine.faults.calls) > 20
    return before, fine.texts, fine.faults.calls


def test_every_system_call_of_the_library_is_made_to_fail() -> None:
    # To another user's files only root comes; and `access` answers no, where others fail.
    pure = {"access", "geteuid", "getpid", "register_at_fork", "strerror", "fspath", "fchown"}
    # A link whose target cannot be read is only not named in the message.
    pure |= {"urandom", "getegid", "readlink"}
    made = set()
    for name in (
        "commit",
        "hot_journal",
        "journal_file",
        "journal_trust",
        "recovery",
        "locked_file",
        "flock",
        "files/safe_open",
    ):
        tree = ast.parse(
            Path(registry.__file__).with_name("storage").joinpath(f"{name}.py").read_text()
        )
        made |= {
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "os"
        }
    assert made - pure <= {*BY_PATH, *BY_DESCRIPTOR}


@pytest.mark.parametrize(
    ("act", "error"),
    [
        *(pytest.param(act, errno.EIO, marks=MARKS[act]) for act in ACTS),
        ("two grow", errno.ENOSPC),
        *(
            pytest.param(act, error, marks=TORTURE)
            for act in _MAIN
            for error in ADVICE
            if error not in (errno.EACCES, errno.EIO)
            and (act, error) != ("two grow", errno.ENOSPC)
        ),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value,
)
@every_kind
@pytest.mark.parametrize("halved", [False, True], ids=["at once", "in the middle"])
def test_a_system_call_that_fails_changes_no_byte(
    place: Place, act: str, durable: bool, error: int, halved: bool
) -> None:
    do = ACTS[act]
    before, after, calls = before_and_after(place, do, durable)
    refused = set()
    for number, call in enumerate(calls):
        if halved and call.name != "pwrite":
            continue
        tried = attempt(place, do, at(number, error=error), durable=durable, halved=halved)
        said = str(tried.error)
        where = f"{errno.errorcode[error]} at {number}, {call}: {said}"
        if tried.error is None:
            # A lease that was not had, or a journal left for the next opener to remove.
            assert {name: tried.texts[name] for name in after} == after, where
            _noted(place.root, "the last word")
            assert place.texts().keys() == after.keys(), where
            continue
        # Where a directory was flushed before, the calls are not those of the first time.
        refused.add(tried.faults.calls[number].name)
        assert tried.texts == before, where
        assert isinstance(tried.error, RegistryError), where
        assert isinstance(tried.error, OSError), where
        assert tried.error.errno == error, where
        assert os.strerror(error) in said, where
        assert str(place.root / call.of) in said or "REGISTRY.json" in said, where
        assert ADVICE[error] in said, where
        do(place.root)
        assert place.texts() == after, where
    assert refused >= ({"pwrite"} if halved else {"open", "pwrite", "ftruncate", "stat"})
    assert halved or not durable or {"fsync", "fdatasync"} <= refused


def assert_all_or_nothing(place: Place, tried: Attempt, before: Texts, after: Texts) -> None:
    """Where even the undoing failed: nothing is torn once the registries were opened again."""
    if tried.error is None:
        allowed = [after]
    else:
        assert isinstance(tried.error, RegistryError), repr(tried.error)
        assert "REGISTRY.json" in str(tried.error)
        # Whoever was told that nothing was changed will do it again: it must stay undone.
        allowed = [before, after] if isinstance(tried.error, HalfWrittenError) else [before]
    for name in (TASK, GLOBAL):
        recover_registry(place.root / name, timeout=0)
    assert place.texts() in allowed, repr(tried.error)
    _noted(place.root, "the last word")


@pytest.mark.parametrize(
    ("act", "durable"),
    [
        pytest.param(
            ACTS[act],
            durable,
            id=f"{act}, {'durable' if durable else 'plain'}",
            # Each main act once: the other pairs are the same calls, some with flushes.
            marks=() if (act, durable) in zip(_MAIN, (False, True), strict=True) else TORTURE,
        )
        for act in ACTS
        for durable in (False, True)
    ],
)
@pytest.mark.parametrize("halved", [False, True], ids=["at once", "in the middle"])
def test_a_disk_that_fails_for_good_leaves_all_or_nothing(
    place: Place, act: Act, durable: bool, halved: bool
) -> None:
    before, after, calls = before_and_after(place, act, durable)
    kinds = set()
    for number in range(len(calls)):
        tried = attempt(place, act, from_on(number), durable=durable, halved=halved)
        kinds.add(type(tried.error))
        assert_all_or_nothing(place, tried, before, after)
    assert kinds >= {InaccessibleRegistryError, HalfWrittenError, type(None)}


@pytest.mark.parametrize(
    ("act", "durable", "stride"),
    [
        pytest.param(
            ACTS[act],
            durable,
            stride,
            id=f"{act}, {'durable' if durable else 'plain'}, {'some' if stride > 1 else 'all'}",
            # Every pair of calls is tried: of the others that takes minutes.
            marks=() if act in _MAIN and not durable and stride > 1 else TORTURE,
        )
        for act in ACTS
        for durable in (False, True)
        for stride in ((1, 5) if act in _MAIN and not durable else (1,))
    ],
)
def test_a_second_failure_while_the_first_is_undone_leaves_all_or_nothing(
    place: Place, act: Act, durable: bool, stride: int
) -> None:
    before, after, calls = before_and_after(place, act, durable)
    begun = next(number for number, call in enumerate(calls) if call.name == "pwrite")
    for first in range(begun - 1, len(calls)):
        # Some of the pairs, other ones each time; or all.
        for second in range(first + 1 + first % stride, first + 1 + len(calls), stride):
            tried = attempt(place, act, at(first, second), durable=durable)
            assert_all_or_nothing(place, tried, before, after)
            if len(tried.faults.calls) <= second:
                break


@pytest.mark.parametrize(
    ("durable", "killed_after"),
    [
        # Every fifth moment; the torture has the others.
        pytest.param(durable, after, marks=() if number % 5 == 0 else TORTURE)
        for durable, moments in ((False, range(2, 14)), (True, range(7, 22, 2)))
        for number, after in enumerate(moments)
    ],
)
def test_a_failed_recovery_is_left_to_the_next_opener(
    place: Place, durable: bool, killed_after: int
) -> None:
    def recovered(root: Path) -> None:
        for name in (TASK, GLOBAL):
            recover_registry(root / name, timeout=0)

    before, after, _ = before_and_after(place, ACTS["two grow"], durable)
    place.lay_out()
    with recorded(place.root, [], killed_after), durable_commits(durable):
        ACTS["two grow"](place.root)
    cut = place.texts()
    recovered(place.root)
    outcome = place.texts()
    assert outcome in (before, after)

    number = 0
    while True:
        tried = attempt(place, recovered, at(number), texts=cut)
        if len(tried.faults.calls) <= number:
            break
        where = f"{number}, {tried.faults.calls[number]}: {tried.error!r}"
        if tried.error is not None:
            assert isinstance(tried.error, RegistryError), where
            assert "REGISTRY.json" in str(tried.error), where
            assert "dmesg" in str(tried.error), where
            if "Nothing was changed" in str(tried.error):
                # Nothing by the call that raised it; the one before had done its work.
                states = ({**cut, **done} for done in ({}, {TASK: outcome[TASK]}))
                there = {name: tried.texts[name] for name in (TASK, GLOBAL)}
                assert there in [{name: each[name] for name in there} for each in states], where
        recovered(place.root)
        assert place.texts() == outcome, where
        number += 1
    assert number >= 20
