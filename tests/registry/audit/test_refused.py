"""What cannot be put on record is not done: logs that are spoiled, planted or in the way."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry import AuditError
from registry.audit import log as audit
from registry.audit.entries import State
from registry.storage import flock
from registry.storage.files.own_files import make_empty
from tests.support.limits import no_file_longer_than
from tests.support.records import complete, entries, numbered_record, undo
from tests.support.registries import agent, task_registry, write


@contextmanager
def _symlink(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    target = log.with_name("somebody's")
    target.write_text("precious")
    log.symlink_to(target)
    yield
    assert target.read_text() == "precious"


@contextmanager
def _dangling_symlink(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    target = log.with_name("to be made")
    log.symlink_to(target)
    yield
    assert not target.exists()


@contextmanager
def _fifo(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    os.mkfifo(log)
    yield


@contextmanager
def _directory(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    log.mkdir()
    yield
    assert not list(log.iterdir())


@contextmanager
def _hard_link(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    target = log.with_name("somebody's")
    target.write_text("precious")
    os.link(target, log)
    yield
    assert target.read_text() == "precious"


@contextmanager
def _other_owner(log: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    # Only root could give a file away; so the system is made to say so.
    log.write_text("")
    inode, real = log.stat().st_ino, os.fstat

    def fstat(fd: int) -> os.stat_result:
        status = real(fd)
        if status.st_ino != inode:
            return status
        return os.stat_result((*status[:4], 4321, *status[5:]))

    patch.setattr(os, "fstat", fstat)
    yield
    assert log.read_text() == ""


@contextmanager
def _writable(log: Path, _: pytest.MonkeyPatch, mode: int) -> Iterator[None]:
    log.write_text("")
    log.chmod(mode)
    yield
    assert log.read_text() == ""


@contextmanager
def _linked_folder(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    # Where the log would be written then: into another workspace.
    folder = log.parent
    other = folder.parent.with_name("other") / folder.name
    other.parent.mkdir()
    folder.rename(other)
    folder.symlink_to(other)
    before = sorted(each.name for each in other.iterdir())
    yield
    assert sorted(each.name for each in other.iterdir()) == before


@contextmanager
def _full_disk(log: Path, _: pytest.MonkeyPatch) -> Iterator[None]:
    log.write_text("{}\n" * 10_000)
    before = log.read_bytes()
    with no_file_longer_than(len(before) + 100):
        yield
    assert log.read_bytes() == before


@contextmanager
def _held(log: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setattr(audit, "LOCK_TIMEOUT", 0.05)
    log.write_text("")
    lock = flock.acquire(log, 0)
    try:
        yield
    finally:
        lock.release()


Spoil = Callable[[Path, pytest.MonkeyPatch], Any]

SPOILED: dict[str, tuple[Spoil, str]] = {
    "a symlink": (_symlink, "is a symlink; move it aside"),
    "a symlink to nowhere": (_dangling_symlink, "is a symlink; move it aside"),
    "a FIFO": (_fifo, "FIFO"),
    "a directory": (_directory, "directory"),
    "a hard link": (_hard_link, "second name"),
    "owned by another user": (_other_owner, "user id 4321"),
    "written by its group": (functools.partial(_writable, mode=0o660), "chmod go-w"),
    "written by all": (functools.partial(_writable, mode=0o602), "chmod go-w"),
    "in a linked folder": (_linked_folder, "a link"),
    "a full disk": (_full_disk, "File too large"),
    "locked all the time": (_held, "Could not acquire lock"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("spoil", "why"), SPOILED.values(), ids=SPOILED)
def test_what_cannot_be_put_on_record_is_not_done_and_the_log_is_named(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, why: str
) -> None:
    log = audit.log_of(task)
    before = task.read_bytes(), global_.read_bytes()
    with spoil(log, monkeypatch), pytest.raises(AuditError, match=why) as caught:
        complete(task, global_, "busy")
    assert caught.value.path == log
    assert str(log) in str(caught.value)
    assert (task.read_bytes(), global_.read_bytes()) == before
    assert [each.name for each in task.parent.iterdir()] == [task.name]


@pytest.mark.timeout(30)
def test_an_undo_that_cannot_be_put_on_record_is_not_done(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(task, global_, "busy")
    before = task.read_bytes(), global_.read_bytes()
    log = audit.log_of(task)
    second = log.with_name("second")
    found = audit.read_log(log)
    os.link(log, second)
    monkeypatch.setattr(audit, "read_log", lambda _: found)
    with pytest.raises(AuditError, match="second name"):
        undo(task, global_)
    assert (task.read_bytes(), global_.read_bytes()) == before


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory of its own; until the end of the test this is no superuser."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_an_audit_error(as_nobody: Path) -> None:
    task = write(
        as_nobody / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json",
        task_registry(agent("busy")),
    )
    folder = as_nobody / ".agent-workspace" / "registry"
    folder.mkdir(mode=0o555)
    before = task.read_bytes()
    with pytest.raises(AuditError, match=r"muster_audit\.jsonl.*Permission denied"):
        complete(task, None, "busy")
    assert task.read_bytes() == before
    folder.chmod(0o755)
    complete(task, None, "busy")
    assert (folder / "muster_audit.jsonl").is_file()


@pytest.mark.parametrize("number", [0, 2])
def test_a_log_that_cannot_be_read_is_named(tmp_path: Path, number: int) -> None:
    log = tmp_path / audit.AUDIT_LOG
    audit.append(log, numbered_record("one", 0))
    spoiled = audit.aside(log, number) if number else log
    spoiled.unlink(missing_ok=True)
    os.mkfifo(spoiled)
    with pytest.raises(AuditError, match="FIFO") as caught:
        audit.read_log(log)
    assert caught.value.path == spoiled


UNBELIEVED = [name for name in SPOILED if name not in ("a full disk", "locked all the time")]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", UNBELIEVED)
def test_what_is_not_written_to_is_not_read_either(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log = audit.log_of(task)
    assert log.parent == global_.parent
    spoil, why = SPOILED[name]
    why = "symlink" if "symlink" in why else why
    with spoil(log, monkeypatch), pytest.raises(AuditError, match=why) as caught:
        audit.read_log(log)
    assert caught.value.path == log


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("name", ["a symlink", "a hard link", "written by its group"])
def test_nor_is_one_that_was_put_aside(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    log = audit.log_of(task)
    assert log.parent == global_.parent
    audit.append(log, numbered_record("one", 0))
    spoil, _ = SPOILED[name]
    with spoil(audit.aside(log, number), monkeypatch), pytest.raises(AuditError) as caught:
        audit.read_log(log)
    assert caught.value.path == audit.aside(log, number)


def test_a_log_of_root_or_of_the_folders_owner_is_read(as_nobody: Path) -> None:
    log = as_nobody / audit.AUDIT_LOG
    audit.append(log, numbered_record("one", 0))
    (entry,) = audit.read_log(log).entries
    assert entry.writers == {os.geteuid()}
    if os.getuid() == 0:
        os.seteuid(0)
        assert audit.read_log(log).entries[0].writers == {65534}
        os.chown(log, 0, 0)
        audit.aside(log, 1).write_bytes(numbered_record("one", 1))
        os.chown(audit.aside(log, 1), 4321, 4321)
        with pytest.raises(AuditError, match="user id 4321"):
            audit.read_log(log)
        audit.aside(log, 1).unlink()
        assert audit.read_log(log).entries[0].writers == {0}


def test_an_outcome_that_cannot_be_recorded_is_said_and_stays(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    real = audit.append

    def append(log: Path, text: bytes) -> None:
        if json.loads(text)["phase"] != "intent":
            raise AuditError(log, "the disk is gone")
        real(log, text)

    monkeypatch.setattr(audit, "append", append)
    report = complete(task, global_, "busy")
    monkeypatch.undo()

    assert report.written == (task, global_)
    (problem,) = report.problems
    assert "was not logged" in problem
    assert "the disk is gone" in problem
    assert [each.state for each in entries(task)] == [State.INTENDED]
    undo(task, global_)
    assert (task.read_bytes(), global_.read_bytes()) == before


# --- what another user does meanwhile -------------------------------------------


@pytest.mark.timeout(60)
@pytest.mark.parametrize("moved", ["registry", "."])
def test_a_folder_that_is_moved_meanwhile_is_an_error_at_once(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    def make_empty_and_move(*given: Any) -> bool:
        made = make_empty(*given)
        monkeypatch.setattr("registry.audit.log.make_empty", make_empty)
        folder = Path(os.path.normpath(task.parent.parent / moved))
        folder.rename(folder.with_name("moved"))
        return made

    monkeypatch.setattr("registry.audit.log.make_empty", make_empty_and_move)
    with pytest.raises(AuditError, match="was moved while it was used"):
        audit.append(audit.log_of(task), b"{}\n")


@pytest.mark.timeout(60)
def test_a_log_that_is_filled_again_each_time_is_an_error_after_a_while(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, log = audit._rotate, audit.log_of(task)

    def rotate(path: Path, folder: int) -> None:
        real(path, folder)
        log.write_text("{}\n" * 10)

    monkeypatch.setattr(audit, "_rotate", rotate)
    monkeypatch.setattr(audit, "ROTATE_AT", 10)
    monkeypatch.setattr(audit, "LOCK_TIMEOUT", 0.05)
    log.write_text("{}\n" * 10)
    with pytest.raises(AuditError, match="moved each time"):
        audit.append(log, b"{}\n")


@pytest.fixture
def lone(tmp_path: Path) -> Path:
    """A task in a directory that has no `registry` folder: its log lies beside it."""
    return write(tmp_path / "tasks" / "TASK-1" / "AGENT_REGISTRY.json", task_registry(agent("a")))


def _swap(task: Path) -> Path:
    """Puts a symlink to another directory in the place of a task's; returns that directory."""
    other = task.parents[2] / "other"
    other.mkdir()
    task.parent.rename(task.parent.with_name("aside"))
    task.parent.symlink_to(other)
    return other


def test_a_log_is_not_read_through_a_symlink_in_its_tasks_place(lone: Path) -> None:
    log = audit.log_of(lone)
    other = _swap(lone)
    (other / log.name).write_bytes(b"{}\n")
    (other / log.name).chmod(0o600)
    with pytest.raises(AuditError, match="is a link"):
        audit.read_log(log)


def test_nor_is_one_made_through_it(lone: Path) -> None:
    log = audit.log_of(lone)
    other = _swap(lone)
    with pytest.raises(AuditError, match="is a link"):
        audit.append(log, b"{}\n")
    assert not list(other.iterdir())


def test_a_symlink_in_the_place_of_the_folder_for_logs_moves_none(tmp_path: Path) -> None:
    task = write(tmp_path / "tasks" / "TASK-1" / "AGENT_REGISTRY.json", task_registry(agent("a")))
    (tmp_path / "tasks" / "registry").symlink_to(tmp_path / "nowhere")
    with pytest.raises(AuditError, match="is a link"):
        audit.append(audit.log_of(task), b"{}\n")
    assert not (task.parent / audit.AUDIT_LOG).exists()
