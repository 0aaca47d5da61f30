"""On the disk before it is done; what is on record in the end is what was done."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from registry import (
    Audit,
    BusyRegistryError,
    HalfWrittenError,
    InaccessibleRegistryError,
    UntrustedFileError,
    finish_agents,
    recover_registry,
)
from registry.audit import log as audit
from registry.audit.diff import MISSING
from registry.audit.entries import Entry, State
from registry.audit.undo import undoables
from registry.storage import commit
from tests.support.kept_journals import without_kept
from tests.support.other_users import only_root
from tests.support.peers import careful_update
from tests.support.records import complete, entries, last_action, raw, undo
from tests.support.registries import Json, assert_counters_match, entry_of, load

Result = TypeVar("Result")

LOG = "muster_audit.jsonl"


def assert_after_fields_are_there(entry: Entry, *paths: Path) -> None:
    """Every field is as the entry says it was left."""
    by_file = {str(path.relative_to(path.parent.parent)): load(path) for path in paths}
    for change in entry.changes:
        registry = by_file[change.file]
        holder = registry if change.agent is None else entry_of(registry, change.agent)
        assert holder.get(change.field, MISSING) == change.after


def between(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Does one step each time that something was put on record and is not done yet."""
    real, left = Audit.begin, iter(steps)

    def begin(self: Audit, *arguments: Any, **options: Any) -> Entry:
        entry = real(self, *arguments, **options)
        for step in left:
            step()
            break
        return entry

    monkeypatch.setattr(Audit, "begin", begin)


# --- first on the disk --------------------------------------------------------


def test_the_intent_is_flushed_before_anything_else_is_written(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    made: dict[int, str] = {}

    def noted(call: str, real: Callable[..., Result]) -> Callable[..., Result]:
        def noting(fd: int, *arguments: Any) -> Result:
            result = real(fd, *arguments)
            name = made.get(os.fstat(fd).st_ino) or Path(os.readlink(f"/proc/self/fd/{fd}")).name
            done.append((call, name))
            return result

        return noting

    real_open = os.open

    def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        fd = real_open(path, flags, *arguments, **options)
        if flags & os.O_CREAT:
            done.append(("create", Path(path).name))
        return fd

    real_link = os.link

    def linked(source: Any, name: str, **options: Any) -> None:
        real_link(source, name, **options)
        made[os.stat(source).st_ino] = name
        done.append(("create", name))

    monkeypatch.setattr(os, "link", linked)
    for call in ("pwrite", "fsync", "ftruncate"):
        monkeypatch.setattr(os, call, noted(call, getattr(os, call)))
    monkeypatch.setattr(os, "open", opened)
    complete(task, global_, "busy")
    monkeypatch.undo()

    assert done[:4] == [("create", LOG), ("fsync", "registry"), ("pwrite", LOG), ("fsync", LOG)]
    assert done[-2:] == [("pwrite", LOG), ("fsync", LOG)]
    changed = done[4:-2]
    assert LOG not in {name for _, name in changed}
    journals = {f".{path.name}.journal" for path in (task, global_)}
    assert {name for call, name in changed if call == "create"} == journals
    assert {name for call, name in changed if call == "pwrite"} == {
        *journals,
        task.name,
        global_.name,
    }


def test_no_registry_is_locked_while_the_log_is_written(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = audit.append, []

    def append(log: Path, text: bytes) -> None:
        for path in (task, global_):
            with path.open("r+") as file:
                # Raises where anybody, be it this very thread, holds the lock.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        written.append(text)
        real(log, text)

    monkeypatch.setattr(audit, "append", append)
    complete(task, global_, "busy")
    undo(task, global_)
    assert len(written) == 4


def test_nothing_is_on_record_unless_it_is_asked_for(task: Path, global_: Path) -> None:
    finish_agents(task, global_, ["busy"], status="completed")
    assert not audit.log_of(task).exists()


def test_where_nothing_changes_nothing_is_put_on_record(task: Path, global_: Path) -> None:
    report = complete(task, global_, "done", "nobody")
    assert set(report.untouched) == {"done", "nobody"}
    assert not report.written
    assert not audit.log_of(task).exists()


def test_on_record_the_same_is_done_and_reported_as_without(task: Path, global_: Path) -> None:
    texts = task.read_bytes(), global_.read_bytes()
    plain = finish_agents(task, global_, ["busy", "done"], status="completed")
    expected = load(task), load(global_)
    task.write_bytes(texts[0])
    global_.write_bytes(texts[1])
    report = complete(task, global_, "busy", "done")

    assert report == plain
    found = load(task), load(global_)
    for one, other in zip(found, expected, strict=True):
        entry_of(one, "busy")["completed_at"] = entry_of(other, "busy")["completed_at"]
    assert found == expected


# --- others come between ------------------------------------------------------


def test_changed_by_others_in_between_it_is_void_and_on_record(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def block(registry: Json) -> None:
        entry_of(registry, "busy")["status"] = "blocked"

    between(monkeypatch, lambda: careful_update(str(task), block))
    complete(task, global_, "busy")

    void, done = entries(task)
    assert (void.state, done.state) == (State.VOID, State.DONE)
    assert (void.action_id, void.part, done.part) == (done.action_id, 1, 2)
    assert "changed meanwhile" in void.detail
    status = {(each.file, each.agent, each.field): each for each in done.changes}
    assert status["TASK-1/AGENT_REGISTRY.json", "busy", "status"].before == "blocked"
    assert_after_fields_are_there(done, task, global_)
    (back,) = undo(task, global_)
    assert back.agents == ("busy",)
    assert entry_of(load(task), "busy")["status"] == "blocked"


def test_what_others_did_themselves_in_between_is_void_and_not_done_again(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[bytes] = []

    def finish() -> None:
        finish_agents(task, global_, ["busy"], status="terminated", reason="theirs")
        texts.extend((task.read_bytes(), global_.read_bytes()))

    between(monkeypatch, finish)
    report = complete(task, global_, "busy")

    assert not report.changed
    assert [task.read_bytes(), global_.read_bytes()] == texts
    assert [each.state for each in entries(task)] == [State.VOID]
    assert last_action(audit.read_log(audit.log_of(task))) is None


def test_counters_moved_in_between_are_recorded_as_they_were(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def more(registry: Json) -> None:
        registry["active_count"] += 5

    between(monkeypatch, lambda: careful_update(str(task), more))
    complete(task, global_, "busy")

    (done,) = entries(task)
    assert done.state is State.DONE
    counted = {each.field: (each.before, each.after) for each in done.changes if each.is_counter}
    assert counted == {"active_count": (6, 5), "completed_count": (1, 2), "active_agents": (1, 0)}
    assert load(task)["active_count"] == 5
    intent = raw(audit.log_of(task))[0]
    assert {(each.get("before"), each.get("after")) for each in intent["changes"]} >= {(1, 0)}
    undo(task, global_)
    assert load(task)["active_count"] == 6


def test_an_outcome_repeats_the_changes_only_where_they_came_out_otherwise(
    task: Path, global_: Path
) -> None:
    complete(task, global_, "busy")
    assert raw(audit.log_of(task))[1]["changes"] == []


def test_who_is_overtaken_until_the_time_is_up_changes_nothing(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def block(registry: Json) -> None:
        entry_of(registry, "busy")["status"] = "blocked"

    between(monkeypatch, lambda: careful_update(str(task), block))
    with pytest.raises(BusyRegistryError, match="AGENT_REGISTRY"):
        complete(task, global_, "busy", timeout=0)
    assert entry_of(load(task), "busy")["status"] == "blocked"
    assert "status" not in entry_of(load(global_), "busy")
    assert [each.state for each in entries(task)] == [State.VOID]


# --- what fails, is interrupted, is killed ------------------------------------


def test_a_change_whose_outcome_finds_no_room_is_reported_as_made(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Audit.begin

    def fill_after_begin(*arguments: Any, **options: Any) -> Entry:
        entry = begin(*arguments, **options)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(audit, "write_all", full)
        return entry

    monkeypatch.setattr(Audit, "begin", fill_after_begin)
    (problem,) = complete(task, global_, "busy").problems
    assert entry_of(load(task), "busy")["status"] == "completed"
    assert problem.startswith("the registries were changed, but the outcome was not logged: ")
    assert "free space" in problem and "are not made" not in problem


def test_what_failed_is_on_record_as_failed_and_not_undoable(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = task.read_bytes(), global_.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commit, "write_all", full)
    with pytest.raises(InaccessibleRegistryError):
        complete(task, global_, "busy")
    monkeypatch.undo()

    assert (task.read_bytes(), global_.read_bytes()) == before
    (failed,) = entries(task)
    assert failed.state is State.FAILED
    assert "No space left on device" in failed.detail
    log = audit.read_log(audit.log_of(task))
    assert last_action(log) is None
    assert undoables(log, failed.action_id, (task, global_)) == ()


def test_what_the_next_opener_finishes_has_no_outcome_and_can_be_undone(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = task.read_bytes(), global_.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(commit, "_place", broken)
    with pytest.raises(HalfWrittenError):
        complete(task, global_, "busy")
    monkeypatch.undo()
    recover_registry(task)
    recover_registry(global_)

    (entry,) = entries(task)
    assert entry.state is State.INTENDED
    assert_after_fields_are_there(entry, task, global_)
    undo(task, global_)
    assert (task.read_bytes(), global_.read_bytes()) == before


@pytest.mark.parametrize(("step", "made"), [("_write_journal", False), ("_end", True)])
def test_an_interruption_leaves_the_outcome_open_whether_or_not_it_was_made(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, step: str, made: bool
) -> None:
    before = task.read_bytes(), global_.read_bytes()

    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(commit, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        complete(task, global_, "busy")
    assert [each.state for each in entries(task)] == [State.INTENDED]
    assert (entry_of(load(task), "busy")["status"] == "completed") == made
    (back,) = undo(task, global_)
    assert bool(back.agents) == made
    assert (task.read_bytes(), global_.read_bytes()) == before


def _killed_at(call: int, action: Callable[[], object]) -> bool:
    """Runs an action in a child that dies at one of its calls; whether it came so far.

    A write is cut in half; every other call is not made.
    """
    child = os.fork()
    if child == 0:
        try:
            left = iter(range(call, -1, -1))

            def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
                def call_or_die(*arguments: Any, **options: Any) -> Any:
                    if next(left) == 0:
                        if name == "pwrite":
                            fd, text, offset = arguments
                            real(fd, bytes(text)[: len(text) // 2], offset)
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*arguments, **options)

                return call_or_die

            for name in ("pwrite", "fsync", "ftruncate", "unlink"):
                setattr(os, name, dying(name, getattr(os, name)))
            action()
            os._exit(0)
        finally:
            # Never back into the tests.
            os._exit(9)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def test_killed_at_any_step_log_and_registries_agree_and_undo_leads_back(
    task: Path, global_: Path
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    log = audit.log_of(task)
    met: set[tuple[State | None, bool]] = set()
    for call in range(200):
        log.unlink(missing_ok=True)
        came_so_far = _killed_at(call, lambda: complete(task, global_, "busy"))
        recover_registry(task)
        recover_registry(global_)

        made = {entry_of(load(path), "busy").get("status") for path in (task, global_)}
        assert len({status == "completed" for status in made}) == 1, "one without the other"
        found = audit.read_log(log)
        assert len(found.entries) + found.damaged <= 2
        state = found.entries[0].state if found.entries else None
        met.add((state, made == {"completed"}))
        if state is State.DONE or made == {"completed"}:
            assert_after_fields_are_there(found.entries[0], task, global_)
            assert_counters_match(load(task))
            assert_counters_match(load(global_))
        if state is not None:
            (back,) = undo(task, global_)
            refused = {} if made == {"completed"} else {"busy"}
            assert set(back.refused) == set(refused)
        assert (task.read_bytes(), global_.read_bytes()) == before
        there = {each: each.read_bytes() for each in task.parent.iterdir()}
        assert without_kept(there).keys() == {task}
        if not came_so_far:
            break
    else:
        pytest.fail("it never came to an end")
    assert met == {
        (None, False),
        (State.INTENDED, False),
        (State.INTENDED, True),
        (State.DONE, True),
    }


def test_an_undo_that_is_killed_at_any_step_can_be_done_again(task: Path, global_: Path) -> None:
    before = task.read_bytes(), global_.read_bytes()
    log = audit.log_of(task)
    complete(task, global_, "busy")
    after, recorded = (task.read_bytes(), global_.read_bytes()), log.read_bytes()
    for call in range(200):
        task.write_bytes(after[0])
        global_.write_bytes(after[1])
        log.write_bytes(recorded)
        came_so_far = _killed_at(call, lambda: undo(task, global_))
        recover_registry(task)
        recover_registry(global_)
        assert (task.read_bytes(), global_.read_bytes()) in (before, after)
        if last_action(audit.read_log(log)) is not None:
            undo(task, global_)
        assert (task.read_bytes(), global_.read_bytes()) == before
        if not came_so_far:
            break
    else:
        pytest.fail("it never came to an end")


# --- whose registry it is -------------------------------------------------------


def _copy_of_anothers(folder: Path) -> Path:
    """A folder with the same texts, of another user."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    for each in (copy, *copy.iterdir()):
        os.chown(each, 64104, 64104)
    return copy


@only_root
@pytest.mark.parametrize("which", ["task", "global"])
def test_what_another_users_registry_was_judged_for_is_not_written_into_this_users(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    # Who may write a workspace may exchange the folders in it, and copy what they say.
    folder = (task if which == "task" else global_).parent
    copy = _copy_of_anothers(folder)
    before = task.read_bytes(), global_.read_bytes()

    def exchange() -> None:
        for audit_log in folder.glob("muster_audit*"):
            os.link(audit_log, copy / audit_log.name)
            audit_log.unlink()
        folder.rename(folder.with_name("aside"))
        copy.rename(folder)

    between(monkeypatch, exchange)
    with pytest.raises(
        UntrustedFileError, match=r"belonged to user 0 .*belongs to user 64104 now"
    ):
        complete(task, global_, "busy")
    monkeypatch.undo()
    assert (task.read_bytes(), global_.read_bytes()) == before
    if which == "task":
        (entry,) = entries(task)
        assert entry.state is State.FAILED


@only_root
def test_nor_is_it_if_the_owner_was_another_before(task: Path, global_: Path) -> None:
    before = task.read_bytes(), global_.read_bytes()
    with pytest.raises(
        UntrustedFileError, match=r"belonged to user 64104 .*belongs to user 0 .*now"
    ):
        finish_agents(task, global_, ["busy"], status="completed", owner=64104)
    assert (task.read_bytes(), global_.read_bytes()) == before
    assert finish_agents(task, global_, ["busy"], status="completed", owner=0).changed
