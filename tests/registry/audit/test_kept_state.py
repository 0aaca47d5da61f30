"""A whole state of each registry is kept, and put back where unlocked writers destroyed it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry import (
    Audit,
    AuditError,
    BusyRegistryError,
    CorruptRegistryError,
    RegistryError,
    snapshots,
)
from registry.audit import kept_state
from registry.audit.entries import State
from registry.audit.kept_state import keep, kept_of, offer, place_of, restore
from registry.audit.log import log_of, read_log
from registry.audit.undo import take_back, undoables
from registry.schema.layout import Workspace
from registry.snapshots import Snapshot, read_registry
from registry.sources import JsonTask, find_issues, workspace_source
from registry.storage import commit
from registry.storage.files import file_age, safe_open
from tests.support.other_users import User, only_root
from tests.support.registries import agent, global_registry, load, task_registry, write
from tests.support.shared_registry import searchable

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
    return write(path, task_registry(agent("one"), agent("two")))


@pytest.fixture
def global_(task: Path) -> Path:
    path = task.parent.parent / "registry" / "GLOBAL_REGISTRY.json"
    return write(path, global_registry(agent("one"), agent("two")))


def destroyed(path: Path, *more: str) -> bytes:
    """Two writers without the lock mixed their texts, and are through."""
    text = path.read_bytes()
    late = json.dumps(task_registry(*map(agent, more)), indent=2).encode()
    path.write_bytes(text[: len(text) // 3] + late + text[len(text) // 2 :])
    os.utime(path, LONG_AGO)
    with pytest.raises(CorruptRegistryError):
        read_registry(path)
    return path.read_bytes()


def test_it_is_kept_once_beside_the_log_with_the_access_of_the_registry(
    task: Path, global_: Path
) -> None:
    for path in (task, global_):
        path.chmod(0o640)
        assert keep(path)
        place = place_of(path)
        assert place.parent == log_of(path).parent
        assert place.read_bytes() == path.read_bytes()
        assert place.stat().st_mode & 0o777 == 0o640
        assert not keep(path), "it is the same"
    assert place_of(task) != place_of(global_)
    write(task, load(task) | {"status": "DONE"})
    assert keep(task)
    assert json.loads(place_of(task).read_bytes())["status"] == "DONE"
    assert sorted(p.name for p in log_of(task).parent.iterdir()) == [
        ".GLOBAL_REGISTRY.json.kept",
        ".TASK-1.AGENT_REGISTRY.json.kept",
        "GLOBAL_REGISTRY.json",
    ]


@only_root
def test_what_root_keeps_is_the_registrys_owners() -> None:
    owner = User(64101)
    with searchable() as root:
        path = root / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
        write(path, task_registry(agent("one")))
        (root / ".agent-workspace" / "registry").mkdir()
        for each in (root, *root.rglob("*")):
            os.chown(each, owner.number, owner.number)
        keep(path)
        assert place_of(path).stat().st_uid == owner.number
        # And the owner may keep the next one.
        assert owner.do(lambda: keep(path)).value is False
        # A state that somebody planted who may not write the registry is not offered.
        os.chown(place_of(path), 64104, 64104)
        assert kept_of(path) is None


@pytest.mark.parametrize(
    "text", ["{}", "[]", "{", '{"agents": 5}', ""], ids=["empty", "array", "cut", "odd", "nothing"]
)
def test_what_is_no_registry_replaces_no_kept_state(task: Path, global_: Path, text: str) -> None:
    keep(task)
    kept = place_of(task).read_bytes()
    task.write_text(text)
    os.utime(task, LONG_AGO)
    with pytest.raises((RegistryError, ValueError)):
        keep(task)
    assert place_of(task).read_bytes() == kept


def test_too_large_a_registry_is_not_kept(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_state, "LARGEST", 100)
    with pytest.raises(CorruptRegistryError):
        keep(task)
    assert not place_of(task).exists()


def test_no_folder_is_made_for_it(task: Path) -> None:
    with pytest.raises(FileNotFoundError):
        keep(task)
    assert not (task.parent.parent / "registry").exists()


@pytest.mark.parametrize("plant", ["link", "hard link", "fifo", "another's text"])
def test_what_was_planted_is_not_offered(task: Path, global_: Path, plant: str) -> None:
    keep(task)
    place = place_of(task)
    if plant == "another's text":
        place.write_text("{}")
    elif plant == "hard link":
        os.link(place, place.with_name("second"))
    else:
        place.unlink()
        place.symlink_to(global_) if plant == "link" else os.mkfifo(place)
    destroyed(task, "late")
    assert offer(task) is None


def test_the_difference_in_agents_is_told(task: Path, global_: Path) -> None:
    keep(task)
    destroyed(task, "late", "later")
    said = offer(task)
    assert said is not None
    assert (
        "with 2 agents" in said
        and "2 more agents are only in the broken text: late, later" in said
    )


def test_it_is_put_back_on_record_and_undo_brings_the_broken_text_again(
    task: Path, global_: Path
) -> None:
    for path in (task, global_):
        keep(path)
        whole, inode = path.read_bytes(), path.stat().st_ino
        broken = destroyed(path, "late")
        audit = Audit("repair", "two writers")
        done = restore(path, audit)
        assert path.read_bytes() == whole and path.stat().st_ino == inode
        assert done.aside.read_bytes() == broken and done.problems == ()

        log = read_log(log_of(path))
        assert log.entries[-1].state is State.DONE and log.entries[-1].reason == "two writers"
        (step,) = undoables(log, audit.action_id, {task, global_})
        assert step.refused is None
        made = take_back(step, Audit("undo", ""))
        assert made.written == (path,) and not made.result.refused
        assert path.read_bytes() == broken
        # It can be repaired again.
        assert offer(path) is not None


def test_what_was_written_since_is_not_undone(task: Path, global_: Path) -> None:
    keep(task)
    destroyed(task)
    audit = Audit("repair", "")
    restore(task, audit)
    write(task, load(task) | {"status": "DONE"})
    (step,) = undoables(read_log(log_of(task)), audit.action_id, {task, global_})
    made = take_back(step, Audit("undo", ""))
    assert "was changed after it was restored" in "".join(made.result.refused.values())
    assert load(task)["status"] == "DONE"


def test_a_registry_that_is_whole_or_being_written_is_left(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(task)
    write(task, load(task) | {"status": "DONE"})
    with pytest.raises(RegistryError, match="is not broken any more"):
        restore(task, Audit("repair", ""))
    assert load(task)["status"] == "DONE"
    monkeypatch.setattr(file_age, "_IN_THE_MAKING", 60.0)
    task.write_text(task.read_text()[:-20])
    with pytest.raises(BusyRegistryError):
        restore(task, Audit("repair", ""))
    assert not log_of(task).exists()


def test_without_a_log_nothing_is_put_back(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(task)
    broken = destroyed(task)
    log_of(task).mkdir()
    with pytest.raises(AuditError):
        restore(task, Audit("repair", ""))
    assert task.read_bytes() == broken


def test_a_disk_that_fails_leaves_the_broken_text_and_says_so_in_the_log(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(task)
    broken = destroyed(task)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(commit, "_reserve", fail)
    with pytest.raises(RegistryError, match="Input/output"):
        restore(task, Audit("repair", ""))
    assert task.read_bytes() == broken
    (entry,) = read_log(log_of(task)).entries
    assert entry.state is State.FAILED


def test_the_doctor_offers_it(task: Path, global_: Path) -> None:
    keep(task)
    destroyed(task, "late")
    home = workspace_source(Workspace(task.parent.parent))
    (issue,) = find_issues([home], [JsonTask(task, global_)], {}).files
    assert issue.fixable and "kept the state of" in issue.says and "late" in issue.says
    place_of(task).unlink()
    (issue,) = find_issues([home], [JsonTask(task, global_)], {}).files
    assert not issue.fixable


def test_the_text_and_the_access_of_two_files_are_not_mixed(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text = snapshots.read_text

    def read_and_exchanged(path: Path, largest: int) -> Snapshot[bytes]:
        snapshot = read_text(path, largest)
        path.rename(path.with_name("private"))
        write(path, task_registry(agent("mine")))
        return snapshot

    monkeypatch.setattr(kept_state, "read_text", read_and_exchanged)
    with pytest.raises(BusyRegistryError):
        keep(task)
    assert not place_of(task).exists()


def test_only_the_state_that_was_offered_is_put_back(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(task)
    broken = destroyed(task)
    begin = Audit.begin

    def exchanged(self: Audit, *args: Any, **fields: Any) -> Any:
        write(place_of(task), task_registry(agent("another")))
        return begin(self, *args, **fields)

    monkeypatch.setattr(Audit, "begin", exchanged)
    with pytest.raises(BusyRegistryError):
        restore(task, Audit("repair", ""))
    assert task.read_bytes() == broken
    assert read_log(log_of(task)).entries[-1].state is State.FAILED


def test_very_many_agents_of_a_large_broken_text_are_compared_at_once(
    task: Path, global_: Path
) -> None:
    write(task, task_registry(*(agent(f"q{number:05}") for number in range(20_000))))
    keep(task)
    task.write_text('{"broken": "' + "qx" * (20 << 19))
    os.utime(task, LONG_AGO)
    said = offer(task)
    assert said is not None and "20000 agents are not in the broken text: q00000" in said


def test_an_agent_that_is_only_a_key_is_in_the_broken_text(task: Path, global_: Path) -> None:
    keyed = task_registry() | {"agents": {"one": {"status": "running"}, "two": {}}}
    write(task, keyed)
    keep(task)
    task.write_text(json.dumps(keyed)[:-1])
    os.utime(task, LONG_AGO)
    said = offer(task)
    assert said is not None and said.endswith("with 2 agents")


def test_a_text_of_another_encoding_or_too_long_for_muster_is_not_replaced(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(task)
    whole = task.read_text()
    for text in (whole.encode("utf-16"), whole.replace("one", "\xe4").encode("latin-1")):
        task.write_bytes(text)
        os.utime(task, LONG_AGO)
        assert offer(task) is None
        with pytest.raises(RegistryError, match="is not broken"):
            restore(task, Audit("repair", ""))
        assert task.read_bytes() == text
    destroyed(write(task, load_text(whole)), "late")
    assert offer(task) is not None
    monkeypatch.setattr(kept_state, "MAX_BYTES", 50)
    assert offer(task) is None


def load_text(text: str) -> Any:
    return json.loads(text)


def test_the_kept_state_of_another_task_is_not_taken(task: Path, global_: Path) -> None:
    keep(task)
    other = json.loads(place_of(task).read_text()) | {"task_id": "TASK-2"}
    place_of(task).write_text(json.dumps(other))
    destroyed(task)
    assert kept_of(task) is None and offer(task) is None


def test_a_kept_state_of_an_impossible_time_is_offered(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(task)
    destroyed(task)
    kept = kept_of(task)
    assert kept is not None
    monkeypatch.setattr(kept_state, "_kept_for", lambda *_: replace(kept, at=1e18))
    assert "an unknown time" in (offer(task) or "")


def test_a_kept_state_is_as_private_as_its_registry(task: Path, global_: Path) -> None:
    task.chmod(0o664)
    task.parent.chmod(0o755)
    assert keep(task)
    place = place_of(task)
    assert place.stat().st_mode & 0o777 == 0o664
    task.chmod(0o600)
    assert keep(task), "its mode is another one now"
    assert place.stat().st_mode & 0o777 == 0o600
    task.chmod(0o664)
    assert keep(task)
    task.parent.chmod(0o700)
    assert keep(task), "others cannot reach it"
    assert place.stat().st_mode & 0o777 == 0o600
    assert not keep(task)


@only_root
def test_who_may_only_read_a_registry_leaves_its_kept_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, reader = User(64101), User(64102, (64110,))
    with searchable() as root:
        path = root / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
        write(path, task_registry(agent("one")))
        folder = root / ".agent-workspace" / "registry"
        folder.mkdir()
        for each in (root, *root.rglob("*")):
            os.chown(each, owner.number, 64110)
        folder.chmod(0o2770)
        path.chmod(0o640)
        assert owner.do(lambda: keep(path)).value is True
        before = place_of(path).stat()
        write(path, task_registry(agent("one"), agent("two")))
        assert reader.do(lambda: keep(path)).value is False
        assert place_of(path).stat().st_ino == before.st_ino
        # What nobody would believe replaces nothing either.
        path.chmod(0o660)
        with monkeypatch.context() as patched:
            patched.setattr(kept_state, "why_not_of_writer", lambda *_: "is odd")
            assert "would not be trusted: it is odd" in reader.do(lambda: keep(path)).error
        assert sorted(each.name for each in folder.iterdir()) == [place_of(path).name]
        assert place_of(path).stat().st_ino == before.st_ino
        assert owner.do(lambda: keep(path)).value is True


def test_a_kept_state_is_not_read_by_the_members_of_another_group(
    task: Path, global_: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to a group of its choice")
    task.chmod(0o640)
    os.chown(task, -1, 64110)
    os.chown(task.parent, -1, 64111)
    task.parent.chmod(0o750)
    assert keep(task)
    assert place_of(task).stat().st_mode & 0o777 == 0o600
    os.chown(task.parent, -1, 64110)
    assert keep(task)
    assert place_of(task).stat().st_mode & 0o777 == 0o640
    os.chown(task, -1, 64111)
    os.chown(task.parent, -1, 64111)
    assert keep(task), "its group is another one now"
    assert place_of(task).stat().st_gid == 64111


def test_the_access_of_another_directory_does_not_count(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user moves the directory between the read of the registry and of the directory."""
    task.parent.chmod(0o700)
    task.chmod(0o644)
    opened = safe_open.open_file

    def moved(path: Path, flags: int) -> Any:
        file = opened(path, flags)
        task.parent.rename(task.parent.with_name("private"))
        write(task, load_text(task.parent.with_name("private").joinpath(task.name).read_text()))
        task.parent.chmod(0o755)
        return file

    monkeypatch.setattr(kept_state, "open_file", moved)
    with suppress(RegistryError):
        keep(task)
    assert not place_of(task).exists() or place_of(task).stat().st_mode & 0o077 == 0
