"""A task and a workspace in JSON files, asked as any task and workspace are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from registry import (
    Audit,
    BusyRegistryError,
    Deployment,
    OnRecord,
    RegistryNotFoundError,
    atomic_update_agent_status,
)
from registry.agent_output import PROGRESS
from registry.audit import last_actions, read_log, undoables
from registry.schema import Workspace
from registry.snapshots import Signature, Snapshot
from registry.sources import (
    Dialect,
    JsonTask,
    JsonWorkspace,
    Look,
    TaskSource,
    WorkspaceSource,
    find_issues,
    workspace_source,
)
from registry.storage.files import safe_open
from registry.storage.journal import journal_path
from tests.support.hot_journal import cut_off_update
from tests.support.registries import agent, assert_counters_match, entry_of, load, write

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def home(task: Path, global_: Path) -> WorkspaceSource:
    """The workspace of `task` and `global_`."""
    assert task.parent.parent == global_.parent.parent
    return workspace_source(Workspace(task.parent.parent))


@pytest.fixture
def source(home: WorkspaceSource) -> TaskSource:
    """The only task of it."""
    (found,) = home.tasks(home.listed().record.tasks)
    return found


def test_a_task_says_where_it_is_kept(source: TaskSource, task: Path, global_: Path) -> None:
    assert source == JsonTask(task, global_)
    assert source.dialect is Dialect.JSON
    assert (source.path, source.directory, source.problem) == (task, task.parent, None)
    assert [each.path for each in source.files] == [task, global_]
    assert source.audit_log == global_.parent / "muster_audit.jsonl"
    assert source.audit_name == "TASK-1/AGENT_REGISTRY.json"
    assert [each.path for each in JsonTask(task).files] == [task]


def test_a_workspace_says_where_it_is_kept(home: WorkspaceSource, global_: Path) -> None:
    assert isinstance(home, JsonWorkspace)
    assert (home.path, home.directory) == (global_, global_.parent.parent)
    assert home.directories() == {global_.parent, global_.parent.parent}
    json, database = home.watched_names[:2], home.watched_names[2:]
    assert json == ("AGENT_REGISTRY.json", "GLOBAL_REGISTRY.json")
    assert database == ("state.sqlite3", "state.sqlite3-wal")
    assert not home.is_single_task
    assert workspace_source(Workspace(home.directory, only=home.path)).is_single_task


def test_a_stamp_is_the_snapshots_until_something_changes(source: TaskSource) -> None:
    os.utime(source.path, LONG_AGO)
    read: Signature = source.read().signature
    assert source.stamp() == read
    atomic_update_agent_status(source.path, "busy", "blocked")
    assert source.stamp() != read


def test_a_look_opens_the_directory_once_and_has_the_stamp_and_the_journal(
    source: TaskSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(source.path, LONG_AGO)
    assert source.look() == Look(source.stamp(), is_cut_off=False)
    opened: list[Path] = []
    open_folder = safe_open.open_folder

    def counted(directory: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(directory)
        return open_folder(directory, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(safe_open, "open_folder", counted)
        source.look()
    assert opened == [source.directory]
    cut_off_update(source.path, "busy")
    assert source.look().is_cut_off
    source.path.unlink()
    assert source.look() == Look(None, is_cut_off=False)


def test_a_file_too_young_to_be_told_apart_has_no_stamp(source: TaskSource) -> None:
    # Two states of one size within one tick of the clock would carry the same.
    ahead = os.stat(source.path).st_mtime + 3600
    os.utime(source.path, (ahead, ahead))
    assert source.stamp() is None
    source.path.unlink()
    assert source.stamp() is None


def test_an_agents_fields_are_those_of_the_entry_that_is_meant(task: Path, global_: Path) -> None:
    twice = [agent("busy", number=1), agent("busy", number=2)]
    write(task, load(task) | {"agents": twice})
    source = JsonTask(task, global_)
    assert source.entry("busy") == twice[0]
    assert source.entry("busy", 1) == twice[1]
    assert source.entry("busy", 2) is source.entry("nobody") is None
    listed = source.listed_entry("done")
    assert listed is not None and listed["status"] == "completed"
    assert JsonTask(task).listed_entry("done") is None


def test_a_task_alone_and_a_workspace_without_a_list_are_read(task: Path) -> None:
    home = JsonWorkspace(Workspace(task.parent.parent))
    with pytest.raises(RegistryNotFoundError):
        home.listed()
    (alone,) = home.tasks({})
    assert alone == JsonTask(task, None)
    assert [each.id for each in alone.read().record.agents] == ["busy", "done"]


def test_what_was_judged_is_finished_in_both_registries(source: TaskSource) -> None:
    other = Deployment("agent_busy", "another time")
    left = source.finish(["busy"], status="terminated", judged={"busy": {other}})
    assert not left.changed and "deployed again" in left.untouched["busy"]
    done = source.finish(["busy"], status="terminated", reason="over")
    assert [each.agent_id for each in done.changed] == ["busy"]
    for file in source.files:
        assert entry_of(load(file.path), "busy")["termination_reason"] == "over"
        assert_counters_match(load(file.path))


def test_an_agent_that_reported_its_end_is_finished_with_it(source: TaskSource) -> None:
    made = source.register("writer")
    started = {made.agent_id: 0.0, "busy": 0.0}
    assert source.reported_ends(started) == {}
    # The orchestrator writes the line first, and the registry last.
    before = source.path.read_bytes()
    source.report(made.agent_id, status="failed", progress=90, message="no disk")
    source.path.write_bytes(before)
    ends = source.reported_ends(started)
    assert ends.keys() == {made.agent_id}
    assert source.reported_ends(started, ends[made.agent_id].written + 1) == {}
    source.finish([made.agent_id, "busy"], status="completed", ends=ends)
    entry = source.entry(made.agent_id) or {}
    assert (entry["status"], entry["termination_reason"]) == ("failed", "no disk")
    assert (source.entry("busy") or {})["status"] == "completed"


def test_an_agent_registers_reports_and_is_withdrawn(source: TaskSource) -> None:
    made = source.register("writer", prompt="write")
    source.report(made.agent_id, status="working", progress=30, message="begun")
    with source.output(made.agent_id, PROGRESS) as file:
        assert [each.message for each in file.last(5).records] == ["begun"]
    assert source.last_reports([made.agent_id, "busy"]).keys() == {made.agent_id}
    assert any(each.size for each in source.output_facts(made.agent_id))
    assert source.withdraw(made.agent_id).was_there
    assert source.entry(made.agent_id) is source.listed_entry(made.agent_id) is None


def test_what_is_on_record_is_taken_back(source: TaskSource) -> None:
    before = [load(each.path) for each in source.files]
    source.finish(["busy"], status="completed", on_record=OnRecord(Audit("complete", "")))
    log = read_log(source.audit_log)
    (step,) = undoables(log, next(last_actions(log)), {each.path for each in source.files})
    assert source.preview_revert(step, {}).agents
    assert source.revert(step, Audit("undo", "")).result.agents
    assert [load(each.path) for each in source.files] == before


def test_what_is_found_in_a_task_and_a_workspace_is_repaired_there(
    source: TaskSource, home: WorkspaceSource, task: Path, global_: Path
) -> None:
    write(task, load(task) | {"active_count": 7})
    write(global_, load(global_) | {"total_tasks": 9})
    found = find_issues([home], [source], {})
    assert {each.field for each in found.findings} == {"active_count", "total_tasks"}
    for job in (*found.tasks, *found.globals_):
        assert job.source.repair(job.fixable, on_record=None).result.done == job.fixable
    assert find_issues([home], [source], {}).findings == []
    assert_counters_match(load(task))


def test_a_task_that_is_not_to_be_opened_is_said_to_be_unreadable(
    source: TaskSource, home: WorkspaceSource
) -> None:
    found = find_issues([home], [source], {source.path: "is a link"})
    assert [(each.file, each.says) for each in found.files] == [
        (source.path, "cannot be read: is a link")
    ]
    assert found.tasks == []


def test_a_commit_that_was_cut_off_is_seen_and_recovered(source: TaskSource) -> None:
    assert not source.is_cut_off()
    cut_off_update(source.path, "busy")
    assert source.is_cut_off()
    assert source.recover(5.0)
    assert not source.is_cut_off() and not journal_path(source.path).exists()


def test_a_database_beside_a_task_is_told_of(source: TaskSource, home: WorkspaceSource) -> None:
    assert source.unread_database() is home.unread_database() is None
    (home.directory / "registry" / "state.sqlite3").touch()
    assert source.unread_database() is not None and home.unread_database() is not None


def test_a_busy_task_is_read_once_its_writer_is_through(
    source: TaskSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the reader finds it: half written at first, and then whole.
    whole = source.path.read_bytes()
    turns: list[None] = []

    def read(path: Path) -> object:
        turns.append(None)
        if len(turns) == 1:
            raise BusyRegistryError(path)
        return json.loads(whole)

    signature = source.read().signature

    def found(path: Path) -> Snapshot[object]:
        return Snapshot(path, read(path), signature)

    monkeypatch.setattr("registry.snapshots._read", lambda path, accept: found(path))
    assert source.entry("busy") == json.loads(whole)["agents"][0]
    assert len(turns) == 2
