"""The log itself: who may write it, and that no record is lost or torn."""

from __future__ import annotations

import errno
import json
import os
import pwd
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from registry import AuditError
from registry.audit import files
from registry.audit import log as audit
from registry.audit.entries import State
from registry.audit.undo import undoables
from registry.storage.files.descriptor import Descriptor
from registry.storage.files.own_files import open_own
from tests.support.crowd import Crowd
from tests.support.records import complete, last_action, numbered_record, raw, undo
from tests.support.registries import agent, load, task_registry, write


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log of a workspace without a task will lie."""
    (tmp_path / ".agent-workspace").mkdir()
    return tmp_path / ".agent-workspace" / "registry" / audit.AUDIT_LOG


def files_of(log: Path) -> list[Path]:
    """The log and all that were put aside, the oldest first."""
    asides = [audit.aside(log, number) for number in range(audit.KEPT + 3, 0, -1)]
    return [each for each in (*asides, log) if each.exists()]


# --- what stands in it --------------------------------------------------------


def test_a_record_says_when_who_what_why_and_every_field_before_and_after(
    task: Path, global_: Path
) -> None:
    began = audit.timestamp()
    complete(task, global_, "busy")
    begun, ended = raw(global_.parent / "muster_audit.jsonl")

    assert (begun["phase"], ended["phase"]) == ("intent", "done")
    assert (begun["id"], begun["part"]) == (ended["id"], ended["part"])
    assert began <= begun["at"] <= ended["at"] <= audit.timestamp()
    who = begun["who"]
    assert who["user"] == pwd.getpwuid(os.geteuid()).pw_name
    assert (who["host"], who["pid"]) == (socket.gethostname(), os.getpid())
    assert {"login", "tty"} <= who.keys()
    assert (begun["action"], begun["reason"]) == ("complete", "they are through")
    stamp = {each["id"]: each for each in load(task)["agents"]}["busy"]["completed_at"]

    def change(file: str, agent: str | None, field: str, **values: object) -> dict[str, object]:
        return {"file": file, "agent": agent, "field": field, **values}

    mine, theirs = "TASK-1/AGENT_REGISTRY.json", "registry/GLOBAL_REGISTRY.json"
    deployed = {"tmux_session": "agent_busy", "started_at": None}
    assert begun["changes"] == [
        change(mine, "busy", "status", before="running", after="completed", deployed=deployed),
        change(mine, "busy", "completed_at", after=stamp),
        change(mine, None, "active_count", before=1, after=0),
        change(mine, None, "completed_count", before=1, after=2),
        change(theirs, "busy", "status", after="completed", deployed=deployed),
        change(theirs, "busy", "completed_at", after=stamp),
        change(theirs, None, "active_agents", before=1, after=0),
    ]


def test_sudos_caller_and_the_terminal_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    ours, theirs = os.openpty()
    stdin = os.dup(0)
    try:
        os.dup2(theirs, 0)
        found = audit.who()
        assert (found.login, found.tty) == ("ada", os.ttyname(theirs))
    finally:
        os.dup2(stdin, 0)
        for each in (stdin, ours, theirs):
            os.close(each)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_it_is_private_whatever_the_umask(
    log: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROTATE_AT", 1)
    old = os.umask(mask)
    try:
        for number in range(3):
            audit.append(log, numbered_record("one", number))
    finally:
        os.umask(old)
    assert [each.stat().st_mode & 0o777 for each in files_of(log)] == [0o600] * 3


def test_no_workspace_is_made_for_a_log(tmp_path: Path) -> None:
    log = tmp_path / "gone" / ".agent-workspace" / "registry" / audit.AUDIT_LOG
    with pytest.raises(AuditError, match="muster_audit"):
        audit.append(log, b"{}\n")
    assert not list(tmp_path.iterdir())
    assert audit.read_log(log).records == ()


@pytest.mark.parametrize("inside", [True, False])
def test_a_log_lies_in_the_workspace_or_beside_a_lone_registry(
    tmp_path: Path, inside: bool
) -> None:
    folder = tmp_path / (".agent-workspace" if inside else "elsewhere") / "TASK-1"
    task = write(folder / "AGENT_REGISTRY.json", task_registry(agent("busy")))
    complete(task, None, "busy")
    expected = (folder.parent / "registry" if inside else folder) / "muster_audit.jsonl"
    assert list(tmp_path.rglob("*.jsonl")) == [expected]
    before = task_registry(agent("busy"))
    undo(task)
    assert load(task) == before


def test_several_logs_are_read_as_one_in_the_order_of_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(100))
    monkeypatch.setattr(audit, "timestamp", lambda: f"{next(times):03}")
    tasks = [
        write(tmp_path / name / "AGENT_REGISTRY.json", task_registry(agent("a"), agent("b")))
        for name in ("one", "two")
    ]
    for each in ("a", "b"):
        for task in tasks:
            complete(task, None, each)
    logs = [audit.log_of(task) for task in tasks]
    found = audit.read_logs([*logs, logs[0]])
    assert [each.log for each in found.entries] == [*map(str, logs)] * 2
    assert [each["at"] for each in found.records] == [f"{number:03}" for number in range(8)]


# --- many writers, and rotation -----------------------------------------------


def _numbers(found: list[dict[str, Any]]) -> dict[str, list[int]]:
    by_writer: dict[str, list[int]] = {}
    for each in found:
        by_writer.setdefault(each["id"], []).append(each["part"])
        assert set(each["reason"].split()) == {str(each["part"])}
    return by_writer


def test_many_processes_and_threads_at_once_lose_and_tear_no_record(
    log: Path, crowd: Crowd
) -> None:
    for name in ("p0", "p1", "p2"):
        crowd.enlist("tests.support.workers", "log_records", log, name, 200, audit.ROTATE_AT)

    def append(name: str) -> None:
        for number in range(200):
            audit.append(log, numbered_record(name, number))

    threads = [threading.Thread(target=append, args=(name,)) for name in ("t0", "t1")]
    crowd.go()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    crowd.finish()

    assert files_of(log) == [log]
    names = ("p0", "p1", "p2", "t0", "t1")
    assert _numbers(raw(log)) == {name: list(range(200)) for name in names}
    assert audit.read_log(log).damaged == 0


def test_while_many_rotate_it_nothing_is_lost_and_no_reader_misses_any(
    log: Path, crowd: Crowd
) -> None:
    # Room for all of it in the files that are kept.
    size = sum(len(numbered_record("p0", number)) for number in range(100)) * 3
    rotate_at = size // audit.KEPT
    members = [
        crowd.enlist("tests.support.workers", "log_records", log, name, 100, rotate_at)
        for name in ("p0", "p1", "p2")
    ]
    crowd.go()
    seen: set[tuple[str, int]] = set()
    while any(each.process.poll() is None for each in members):
        found = {entry.key for entry in audit.read_log(log).entries}
        assert found >= seen
        seen = found
    crowd.finish()

    asides = files_of(log)
    assert 2 <= len(asides) <= audit.KEPT + 1
    everything = [record for each in asides for record in raw(each)]
    assert _numbers(everything) == {name: list(range(100)) for name in ("p0", "p1", "p2")}
    found_last = audit.read_log(log)
    assert [dict(each) for each in found_last.records] == everything
    assert found_last.damaged == 0


def test_at_most_so_many_are_kept_and_they_are_the_youngest(log: Path, crowd: Crowd) -> None:
    for name in ("p0", "p1"):
        crowd.enlist("tests.support.workers", "log_records", log, name, 100, 20_000)
    crowd.go()
    crowd.finish()

    kept = files_of(log)
    assert kept == [*(audit.aside(log, number) for number in range(audit.KEPT, 0, -1)), log]
    found = _numbers([each for file in kept for each in raw(file)])
    for name, numbers in found.items():
        assert name in ("p0", "p1")
        assert numbers == list(range(numbers[0], 100))
    # One of the two may have been done before the other one came.
    assert sum(map(len, found.values())) < 200
    # A log is put aside before it is written to, never in the middle of a record.
    assert all(each.stat().st_size >= 20_000 for each in kept[:-1])


@pytest.mark.parametrize("moved", range(audit.KEPT))
def test_a_reader_who_is_overtaken_by_a_rotation_reads_every_record_once(
    log: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    monkeypatch.setattr(audit, "ROTATE_AT", 1)
    for number in range(audit.KEPT):
        audit.append(log, numbered_record("one", number))
    opened = iter(range(100))

    def overtaken(path: Path, folder: int) -> Descriptor | None:
        file = open_own(path, folder)
        if next(opened) == moved:
            audit.append(log, numbered_record("one", 99))
        return file

    monkeypatch.setattr(files, "open_own", overtaken)
    found = audit.read_log(log)
    # As they stand there: put together, a record that was read twice would not show.
    parts = [each["part"] for each in found.records]
    assert parts == [*range(audit.KEPT), 99][: len(parts)]
    assert len(parts) >= audit.KEPT


def test_a_rotation_that_was_cut_off_loses_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROTATE_AT", 1)
    for number in range(3):
        audit.append(log, numbered_record("one", number))
    real, calls = os.rename, iter(range(100))

    def rename(*names: Any, **folders: Any) -> None:
        if next(calls) == 4:
            raise OSError(errno.EIO, "the disk is gone")
        real(*names, **folders)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(AuditError, match="the disk is gone"):
        audit.append(log, numbered_record("one", 3))
    assert [each.part for each in audit.read_log(log).entries] == [0, 1, 2]
    audit.append(log, numbered_record("one", 3))
    assert [each.part for each in audit.read_log(log).entries] == [0, 1, 2, 3]


# --- cut off, and spoiled -----------------------------------------------------


@pytest.mark.parametrize("left", [1, 40, -2])
def test_a_line_that_a_crash_cut_is_counted_and_the_next_has_its_own(log: Path, left: int) -> None:
    audit.append(log, numbered_record("one", 0))
    with log.open("ab") as file:
        file.write(numbered_record("one", 1)[:left])
    assert audit.read_log(log).damaged == 1
    audit.append(log, numbered_record("one", 2))
    audit.append(log, numbered_record("one", 3))

    found = audit.read_log(log)
    assert [each.part for each in found.entries] == [0, 2, 3]
    assert found.damaged == 1


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
@pytest.mark.parametrize("kind", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_half_a_line_is_cut_back(
    log: Path, monkeypatch: pytest.MonkeyPatch, call: str, kind: BaseException
) -> None:
    audit.append(log, numbered_record("one", 0))
    before = log.read_bytes()
    real, calls = os.pwrite, iter(range(9))

    def half(fd: int, data: bytes, offset: int) -> int:
        if next(calls):
            raise kind
        return real(fd, bytes(data)[: len(data) // 2], offset)

    def fail(fd: int) -> None:
        assert log.stat().st_size > len(before)
        raise kind

    monkeypatch.setattr(os, call, half if call == "pwrite" else fail)
    with pytest.raises((AuditError, KeyboardInterrupt)) as caught:
        audit.append(log, numbered_record("one", 1))
    monkeypatch.undo()

    if isinstance(kind, OSError):
        assert str(log) in str(caught.value)
    assert log.read_bytes() == before
    audit.append(log, numbered_record("one", 2))
    assert [each["part"] for each in raw(log)] == [0, 2]


def test_what_is_no_record_is_counted_and_gives_nothing_to_take_back(log: Path) -> None:
    junk: list[object] = [{"id": 1}, [], "x", {"v": 99, "id": "new", "part": 1}]
    for each in junk:
        audit.append(log, json.dumps(each).encode() + b"\n")
    found = audit.read_log(log)
    assert found.damaged == 4
    assert last_action(found) is None
    assert undoables(found, "new", [log]) == ()


def test_an_intent_and_its_outcome_are_put_together_over_a_rotation(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    monkeypatch.setattr(audit, "ROTATE_AT", 1)
    complete(task, global_, "busy")
    log = audit.log_of(task)
    assert [each["phase"] for each in raw(audit.aside(log, 1)) + raw(log)] == ["intent", "done"]
    assert [each.state for each in audit.read_log(log).entries] == [State.DONE]
    undo(task, global_)
    assert (task.read_bytes(), global_.read_bytes()) == before
