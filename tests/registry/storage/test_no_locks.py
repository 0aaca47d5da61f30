"""A file system that refuses locks: registries on it are read, and never written."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from registry import (
    Audit,
    AuditContext,
    AuditError,
    BusyRegistryError,
    InaccessibleRegistryError,
    finish_agents,
)
from registry.snapshots import read_task, signature_of
from registry.storage.hot_journal import is_hot
from tests.support.everyone import READERS, WRITERS, Use, every_writer
from tests.support.hot_journal import cut_off_update
from tests.support.locks import refuse_locks as refuse
from tests.support.registries import agent, load, task_registry, write

REFUSALS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


@pytest.fixture(params=REFUSALS, ids=errno.errorcode.__getitem__)
def refusal(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
    return write(path, task_registry(agent("busy"), agent("other")))


READING = {name: use for name, use in READERS.items() if name != "read_global"}


@pytest.mark.parametrize("use", READING.values(), ids=READING)
def test_it_is_read_without_a_lock(
    task: Path, use: Use, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, refusal)
    use(task)
    snapshot = read_task(task)
    assert not snapshot.has_locks
    assert [each.id for each in snapshot.record.agents] == ["busy", "other"]
    # An old file, of which it need not be read twice.
    os.utime(task, (1_700_000_000, 1_700_000_000))
    assert read_task(task).signature == signature_of(task)


def test_where_locks_are_given_a_snapshot_says_so(task: Path) -> None:
    assert read_task(task).has_locks


@every_writer
def test_it_is_never_written(
    task: Path, use: Use, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(task.parent.rglob("*")), task.read_bytes()
    refuse(monkeypatch, refusal)
    with pytest.raises(InaccessibleRegistryError, match="cannot lock") as caught:
        use(task)
    assert caught.value.errno == refusal
    assert "Nothing was changed" in str(caught.value)
    assert (sorted(task.parent.rglob("*")), task.read_bytes()) == before


def test_a_lock_that_was_never_acquired_is_not_released(
    task: Path, refusal: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch, refusal)
    with caplog.at_level(logging.ERROR), pytest.raises(InaccessibleRegistryError):
        WRITERS["add"](task)
    assert not caplog.records


@pytest.mark.parametrize("number", [*REFUSALS, errno.EINVAL], ids=errno.errorcode.__getitem__)
def test_the_error_names_the_remedy(
    task: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, number)
    with pytest.raises(InaccessibleRegistryError, match="move the workspace to a local disk"):
        WRITERS["add"](task)


def test_nothing_is_done_on_record_there(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOLCK)
    with pytest.raises((InaccessibleRegistryError, AuditError)):
        finish_agents(
            task,
            None,
            ["busy"],
            status="completed",
            on_record=AuditContext(Audit("complete", "done")),
        )
    assert load(task)["agents"][0]["status"] == "running"


def test_a_text_that_changes_while_it_is_read_is_not_taken(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.ENOLCK)
    whole = task.read_bytes()
    pread, answers = os.pread, [whole]

    def changing(fd: int, length: int, offset: int) -> bytes:
        # Size and time stay the same, as on a server with coarse clocks.
        if offset == 0 and os.path.samestat(os.fstat(fd), task.stat()):
            answers.append(whole.replace(b"busy", b"%04d" % (len(answers) % 10_000)))
            return answers[-1]
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", changing)
    with pytest.raises(BusyRegistryError):
        read_task(task)


def test_an_interrupted_commit_there_is_still_reported(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_update(task, "busy")
    refuse(monkeypatch, errno.EOPNOTSUPP)
    assert is_hot(task)
