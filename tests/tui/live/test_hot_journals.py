"""Commits that were cut off: reported by who only looks, recovered by the monitor."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from registry.storage.journal import journal_path
from registry.storage.locked_file import editing
from tests.support.hot_journal import cut_off_update
from tests.support.rolls import no_server
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import QUICK, Files, entry, read, row_of, take
from tui.cli.format_roll import roll_json, roll_table
from tui.live import registry_cache
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.live.registry_cache import CUT_OFF, NO_LOCKS, Registries
from tui.model.roll import RollCall

NOBODY = ScriptedTmux(no_server())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a")], "TASK-2": [entry("b")]})


def test_who_only_looks_reports_it_and_touches_nothing(files: Files) -> None:
    cut_off_update(files.registry(), "a")
    before = files.bytes()
    journal = journal_path(files.registry()).read_bytes()
    roll = take(files, NOBODY)
    first, second = roll_json(roll)["workspaces"][0]["tasks"]
    assert first["cut_off"] == CUT_OFF and first["error"]
    assert (second["cut_off"], second["error"]) == (None, None)
    assert any(CUT_OFF in line for line in roll_table(roll, 0.0, None))
    assert files.bytes() == before
    assert journal_path(files.registry()).read_bytes() == journal


def test_of_a_global_registry_the_workspace_says_it(files: Files) -> None:
    cut_off_update(files.global_registry, "a")
    workspace = roll_json(take(files, NOBODY))["workspaces"][0]
    assert workspace["cut_off"] == CUT_OFF
    assert [task["cut_off"] for task in workspace["tasks"]] == [None, None]


def test_a_commit_that_is_going_on_is_not_cut_off(files: Files) -> None:
    registries = Registries(files.workspaces())
    with editing(files.registry()):
        journal_path(files.registry()).write_bytes(b"a writer is at it")
        registries.rescan()
        assert [state.hot_journal for state in registries.states()] == [None, None]
        journal_path(files.registry()).unlink()


def test_the_monitor_recovers_it_at_once(files: Files) -> None:
    cut_off_update(files.registry(), "a")
    rolls: list[RollCall] = []
    recovered = threading.Event()

    def on_roll(roll: RollCall) -> None:
        rolls.append(roll)
        if row_of_a(roll) == "blocked":
            recovered.set()

    def row_of_a(roll: RollCall) -> str | None:
        rows = [row for row in roll.agents() if row.key.id == "a"]
        return rows[0].record.status if rows else None

    live = LiveRoll(files.workspaces(), NOBODY, QUICK)
    live.listen(on_roll)
    live.start()
    try:
        assert recovered.wait(20)
    finally:
        live.stop()
    assert CUT_OFF in [task.state.hot_journal for task in rolls[0].tasks()]
    assert not journal_path(files.registry()).exists()
    assert files.agent("a")["progress"] == 77
    assert read(files.registry("TASK-2"))["agents"][0]["id"] == "b"


def test_a_journal_that_may_not_be_followed_is_said_and_left(files: Files) -> None:
    place = journal_path(files.registry())
    place.symlink_to(files.path / "elsewhere")
    before = files.bytes()
    registries = Registries(files.workspaces())
    registries.rescan()
    assert registries.recover() is True
    registries.rescan()
    said = registries.states()[0].hot_journal
    assert said is not None and "cannot recover" in said and str(place) in said
    # Said once; nobody looks again and again because of it.
    assert registries.recover() is False
    assert place.is_symlink()
    assert files.bytes() == before


# --- writers at work ----------------------------------------------------------


def test_being_written_it_keeps_its_last_state_without_a_mark(
    files: Files,
) -> None:
    registries = Registries(files.workspaces())
    registries.rescan()
    with files.registry().open() as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        files.registry().touch()
        registries.rescan()
        (first, _) = registries.states()
        assert registries.busy
        assert first.error is None
        assert first.record is not None and first.record.agents[0].id == "a"
    registries.rescan()
    assert not registries.busy


@pytest.mark.parametrize("length", [0, 200], ids=["nothing", "a part"])
def test_cut_without_the_lock_it_keeps_its_last_state_without_a_mark(
    files: Files, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.storage.files.file_age._IN_THE_MAKING", 60.0)
    monkeypatch.setattr("registry.storage.files.file_age._EMPTY_FOR", 60.0)
    registries = Registries(files.workspaces())
    registries.rescan()
    whole = files.registry().read_bytes()
    for path in (files.registry(), files.global_registry):
        path.write_bytes(path.read_bytes()[:length])
        registries.rescan()
        assert registries.busy
        assert [state.error for state in registries.states()] == [None, None]
        assert [branch.error for branch in registries.branches()] == [None]
        assert registries.states()[0].record is not None
    then = time.time() - 61
    os.utime(files.registry(), (then, then))
    registries.rescan()
    (state, _) = registries.states()
    assert state.error is not None and state.record is not None
    files.registry().write_bytes(whole)
    registries.rescan()
    assert registries.states()[0].error is None


def test_where_locks_are_refused_the_roll_is_read_and_says_so(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    roll = take(files, NOBODY)
    assert {row.key.id for row in roll.agents()} == {"a", "b"}
    for task in roll_json(roll)["workspaces"][0]["tasks"]:
        assert task["error"] is None
        assert task["warnings"] == [NO_LOCKS]
    assert NO_LOCKS in "\n".join(roll_table(roll, time.time(), 200))


def test_a_lease_of_a_writer_is_no_error_either(files: Files) -> None:
    registries = Registries(files.workspaces())
    registries.rescan()
    files.registry().touch()
    with editing(files.registry()):
        registries.rescan()
        assert registries.busy
        assert registries.states()[0].error is None


def test_who_looks_once_waits_for_a_writer_to_be_through(files: Files) -> None:
    written = threading.Event()

    def write() -> None:
        with editing(files.registry()) as edit:
            written.set()
            for each in edit.registry["agents"]:
                each["progress"] = 99
            edit.changed = True
            threading.Event().wait(0.5)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(10)
        roll = take_roll(files.workspaces(), NOBODY, QUICK)
    finally:
        writer.join()
    assert [task.state.error for task in roll.tasks()] == [None, None]
    assert row_of(roll, "a").record.progress == 99


def test_many_journals_are_recovered_in_turn(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take half a second, and another user may leave very many."""
    for task in ("TASK-1", "TASK-2"):
        journal_path(files.registry(task)).symlink_to(files.path / "elsewhere")
    registries = Registries(files.workspaces())
    registries.rescan()
    monkeypatch.setattr(registry_cache, "_RECOVERY_TIMEOUT", 0.0)
    for tried in (1, 2):
        assert registries.recover() is True
        registries.rescan()
        said = [state.hot_journal or "" for state in registries.states()]
        assert sum("cannot recover" in each for each in said) == tried
