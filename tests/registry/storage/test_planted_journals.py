"""A journal that somebody else planted is refused, never followed, and nothing waits for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import UntrustedJournalError, atomic_add_agent, recover_registry
from registry.pair import editing_both
from registry.snapshots import read_global, read_task
from registry.storage.hot_journal import is_hot
from registry.storage.journal import Journal, Role, digest, encode, journal_path
from tests.support.everyone import Use, every_writer
from tests.support.locks import is_free
from tests.support.registries import agent, load

# Nothing here may hang; a hang fails long before the suite's own limit.
pytestmark = pytest.mark.timeout(30)

NEW = b'{"planted": "by somebody else"}'
SOMEBODY_ELSE = 54_321


def complete(registry: Path, role: Role = Role.ALONE) -> bytes:
    """A journal that would be followed: the file is as it was before, room is reserved."""
    old = registry.read_bytes()
    registry.write_bytes(b"\0" + old[1:])
    return encode(Journal("t", role, None, "a boot", len(old), digest(old), old, NEW))


def _other_owner(place: Path, text: bytes) -> None:
    place.write_bytes(text)


def _symlink(place: Path, text: bytes) -> None:
    target = place.with_name("elsewhere")
    target.write_bytes(text)
    place.symlink_to(target)


def _symlink_to_nothing(place: Path, text: bytes) -> None:
    place.symlink_to(place.with_name("elsewhere"))


def _hard_link(place: Path, text: bytes) -> None:
    target = place.with_name("elsewhere")
    target.write_bytes(text)
    os.link(target, place)


def _fifo(place: Path, text: bytes) -> None:
    os.mkfifo(place)


def _directory(place: Path, text: bytes) -> None:
    place.mkdir()


def _socket(place: Path, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        # Beneath a descriptor, for a socket's path may have but 108 bytes.
        directory = os.open(place.parent, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{directory}/{place.name}")
        os.close(directory)


def _device(place: Path, text: bytes) -> None:
    place.symlink_to("/dev/zero")


Plant = Callable[[Path, bytes], None]

PLANTED: dict[str, tuple[Plant, str]] = {
    "of another owner": (_other_owner, f"belongs to user {SOMEBODY_ELSE}"),
    "a symlink": (_symlink, "is a symlink"),
    "a symlink to nothing": (_symlink_to_nothing, "is a symlink"),
    "a hard link": (_hard_link, "has a second name (hard link)"),
    "a FIFO": (_fifo, "is a FIFO"),
    "a directory": (_directory, "is a directory"),
    "a socket": (_socket, "is a FIFO, socket or device"),
    "a symlink to a device": (_device, "is a symlink"),
}

each_kind = pytest.mark.parametrize(("plant", "what"), PLANTED.values(), ids=PLANTED)


def give_away(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a file belong to another user; only said so where this user may not give it away."""
    try:
        os.chown(place, SOMEBODY_ELSE, -1)
    except PermissionError:
        real, inode = os.fstat, place.stat().st_ino

        def fstat(fd: int) -> os.stat_result:
            status = real(fd)
            if status.st_ino != inode:
                return status
            return os.stat_result((*status[:4], SOMEBODY_ELSE, *status[5:10]))

        monkeypatch.setattr(os, "fstat", fstat)


def planted(registry: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts something in the place of a registry's journal."""
    place = journal_path(registry)
    plant(place, complete(registry))
    if plant is _other_owner:
        give_away(place, monkeypatch)
    return place


def everything(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that lies in a directory: which file, what kind, and what is in it."""
    return {
        each.name: (
            each.lstat().st_ino,
            each.lstat().st_mode,
            each.read_bytes() if each.is_file() and not each.is_symlink() else b"",
        )
        for each in directory.iterdir()
    }


def assert_says_what_to_do(error: UntrustedJournalError, place: Path, what: str) -> None:
    said = str(error)
    assert said.startswith(f"{place} {what}")
    assert "nothing was changed" in said
    assert "aside" in said or "find / " in said
    assert said.endswith("Do not delete this file: it may contain the only copy of a change")
    assert "remove it" not in said
    assert error.path == place


@every_writer
@each_kind
def test_no_writer_follows_it(
    task: Path, use: Use, plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = planted(task, plant, monkeypatch)
    before = everything(task.parent)
    with pytest.raises(UntrustedJournalError) as caught:
        use(task)
    assert_says_what_to_do(caught.value, place, what)
    assert everything(task.parent) == before
    assert is_free(task)


@each_kind
def test_recovery_does_not_follow_it(
    task: Path, plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = planted(task, plant, monkeypatch)
    before = everything(task.parent)
    assert is_hot(task)
    with pytest.raises(UntrustedJournalError) as caught:
        recover_registry(task)
    assert_says_what_to_do(caught.value, place, what)
    assert everything(task.parent) == before
    assert is_free(task)


@each_kind
def test_a_reader_reads_past_it(
    task: Path, plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = task.read_bytes()
    planted(task, plant, monkeypatch)
    task.write_bytes(good)
    assert read_task(task).record.task_id == "TASK-1"
    assert read_global(task).path == task


@each_kind
def test_it_is_not_followed_beside_the_other_file_of_a_commit(
    task: Path, global_: Path, plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The task's own journal is in order; whether it counts, the global one would say.
    place = planted(global_, plant, monkeypatch)
    old = task.read_bytes()
    partner = os.path.relpath(global_, task.parent)
    journal_path(task).write_bytes(
        encode(Journal("t", Role.FIRST, partner, "a boot", len(old), digest(old), old, NEW))
    )
    before = everything(task.parent), everything(global_.parent)
    with pytest.raises(UntrustedJournalError) as caught:
        recover_registry(task)
    assert_says_what_to_do(caught.value, place, what)
    with pytest.raises(UntrustedJournalError), editing_both(task, global_, 0):
        pass
    assert (everything(task.parent), everything(global_.parent)) == before
    assert is_free(task)
    assert is_free(global_)


@each_kind
def test_it_is_not_written_through_when_it_comes_just_before_the_journal(
    task: Path, plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = task.read_bytes()
    place = journal_path(task)
    real = os.link

    def link(source: str, name: str, **named: Any) -> None:
        if name == place.name:
            plant(place, b"planted")
        real(source, name, **named)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UntrustedJournalError, match="blocks a new journal"):
        write_once(task)
    monkeypatch.undo()
    assert task.read_bytes() == before
    assert os.path.lexists(place)
    there = task.with_name("elsewhere")
    assert not there.exists() or there.read_bytes() == b"planted"
    assert is_free(task)


def write_once(task: Path) -> None:
    atomic_add_agent(task, agent("new"), "orchestrator")


def test_once_it_is_removed_all_goes_on(task: Path) -> None:
    place = journal_path(task)
    os.mkfifo(place)
    with pytest.raises(UntrustedJournalError):
        write_once(task)
    place.unlink()
    write_once(task)
    assert load(task)["agents"][-1]["id"] == "new"


@pytest.mark.parametrize("owners", [(None, None), (0, SOMEBODY_ELSE), (SOMEBODY_ELSE,) * 2])
def test_a_journal_of_us_of_root_or_of_the_registry_s_owner_is_followed(
    task: Path, owners: tuple[int | None, int | None]
) -> None:
    place = journal_path(task)
    place.write_bytes(complete(task))
    for file, owner in zip((place, task), owners, strict=True):
        # Who is not root can only have files of his own; those are followed.
        if owner is not None and os.geteuid() == 0:
            os.chown(file, owner, -1)
    assert recover_registry(task)
    assert task.read_bytes() == NEW
