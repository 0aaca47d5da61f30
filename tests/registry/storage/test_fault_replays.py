"""What failing system calls once found: each one of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from registry import (
    HalfWrittenError,
    InaccessibleRegistryError,
    LockedRegistryFile,
    recover_registry,
)
from registry.pair import editing_both
from registry.storage.journal import journal_path
from tests.support.faults import GLOBAL, TASK, Call, Fault, Place, failing
from tests.support.registries import load, rewrite


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(Path(os.path.realpath(tmp_path)) / "disk")
    found.lay_out()
    return found


def each(name: str, of: str, *, first: int = 0, only: int | None = None) -> Fault:
    """Makes calls of one kind for one file fail, from a certain one on."""
    calls = iter(range(1000))

    def fault(_: int, call: Call) -> int | None:
        if (call.name, call.of) != (name, of):
            return None
        number = next(calls)
        wanted = number >= first if only is None else number == only
        return errno.EIO if wanted else None

    return fault


def written(root: Path) -> None:
    with LockedRegistryFile(root / TASK, timeout=0) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})


@pytest.mark.parametrize("number", range(4))
def test_a_status_that_cannot_be_read_names_the_file_and_lets_go(
    place: Place, number: int
) -> None:
    before = place.texts()
    named = pytest.raises(InaccessibleRegistryError, match=r"AGENT_REGISTRY\.json: Input")
    with named, failing(place.root, each("fstat", TASK, only=number)):
        written(place.root)
    assert place.texts() == before
    place.assert_let_go()


def test_a_path_that_cannot_be_looked_at_is_not_called_locked_by_somebody(place: Place) -> None:
    named = pytest.raises(InaccessibleRegistryError, match=r"cannot examine .*dmesg")
    with named, failing(place.root, each("stat", TASK)):
        written(place.root)
    place.assert_let_go()


def test_a_close_that_fails_does_not_make_a_commit_one_that_failed(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with failing(place.root, each("close", TASK)):
        written(place.root)
    assert load(place.root / TASK)["status"] == "DONE"
    assert f"Error closing registry {place.root / TASK}: " in caplog.text


@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
def test_a_journal_on_a_disk_that_fails_is_not_called_one_to_be_removed(
    place: Place, call: str
) -> None:
    journal = journal_path(place.root / TASK)
    journal.write_bytes(b"muster journal 1\n")
    name = str(journal.relative_to(place.root))
    refused = pytest.raises(InaccessibleRegistryError, match="Input/output error")
    with refused as caught, failing(place.root, each(call, name)):
        recover_registry(place.root / TASK, timeout=0)
    assert "remove" not in str(caught.value)
    assert journal.exists()


def test_what_cannot_be_undone_for_two_journals_stay_is_not_called_unchanged(
    place: Place,
) -> None:
    # Both journals whole: the next opener goes by them, whatever the caller was told.
    cut = each("ftruncate", GLOBAL, only=0)
    place_of_journal = str(journal_path(Path(GLOBAL)))
    unlinked = each("unlink", place_of_journal)
    overwritten = each("pwrite", place_of_journal, first=2)
    told = pytest.raises(HalfWrittenError, match="finishes the write or takes the write back")
    with (
        told,
        failing(place.root, lambda *call: cut(*call) or unlinked(*call) or overwritten(*call)),
        editing_both(place.root / TASK, place.root / GLOBAL, timeout=0) as edits,
    ):
        for edit in edits:
            edit.registry["note"] = "n"
            edit.changed = True
    for name in (TASK, GLOBAL):
        recover_registry(place.root / name, timeout=0)
    assert [load(place.root / name).get("note") for name in (TASK, GLOBAL)] == ["n", "n"]


def test_a_recovery_that_fails_halfway_does_not_say_that_nothing_was_changed(
    place: Place,
) -> None:
    before = place.texts()
    # All is there but the first byte when the disk fails, and it fails for the undoing, too.
    with pytest.raises(HalfWrittenError), failing(place.root, each("pwrite", TASK, first=2)):
        written(place.root)
    assert (place.root / TASK).read_bytes()[:1] == b"\0"
    told = pytest.raises(InaccessibleRegistryError, match="cannot recover")
    with told as caught, failing(place.root, each("pwrite", TASK, first=1)):
        recover_registry(place.root / TASK, timeout=0)
    assert "Nothing was changed" not in str(caught.value)
    assert "Its journal is kept" in str(caught.value)
    recover_registry(place.root / TASK, timeout=0)
    assert load(place.root / TASK)["status"] == "DONE"
    assert place.texts().keys() == before.keys()
