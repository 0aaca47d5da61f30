"""A workspace whose agents are in a database: JSON alone is not the truth there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import registry_health_check, validate_and_repair_registry
from registry.checks.consistency import global_findings, task_findings
from registry.checks.issue import IssueKind
from registry.operations.clean_up import clean_up_task, clean_up_workspace
from registry.schema.layout import Workspace
from registry.schema.unread_database import UnreadDatabase, database_beside, find_database
from registry.schema.workspaces import find_workspaces
from registry.schema.workspaces_around import default_workspaces, workspaces_above
from tests.support.databases import Database, make_unreadable
from tests.support.registries import load, write

NOBODY = 64101
"""A user id that nobody has."""

Make = Callable[[Path], object]


def _loop(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent)


KINDS: dict[str, Make] = {
    "file": Path.touch,
    "pipe": os.mkfifo,
    "directory": Path.mkdir,
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "folder that leads to itself": _loop,
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace without anything."""
    path = tmp_path / ".agent-workspace"
    (path / "registry").mkdir(parents=True)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_has_its_name_may_be_the_database(home: Path, kind: str) -> None:
    path = home / "registry" / "state.sqlite3"
    KINDS[kind](path)
    assert Workspace(home).has_database
    found = database_beside(home / "TASK-1" / "AGENT_REGISTRY.json")
    assert found is not None and found.path == path
    assert str(path) in str(found)


@pytest.mark.parametrize("there", ["nothing", "no folder", "a file for the folder", "its journal"])
def test_where_there_is_certainly_none_there_is_none(home: Path, there: str) -> None:
    folder = home / "registry"
    if there == "its journal":
        (folder / "state.sqlite3-wal").touch()
    elif there != "nothing":
        folder.rmdir()
    if there == "a file for the folder":
        folder.touch()
    assert not Workspace(home).has_database


@pytest.fixture
def shut() -> Iterator[Path]:
    """A workspace whose global folder only its owner may look into."""
    path = Path(tempfile.mkdtemp(prefix="mst"))
    path.chmod(0o755)
    (path / "registry").mkdir(mode=0o700)
    yield path
    (path / "registry").chmod(0o700)
    shutil.rmtree(path)


def as_another(check: Callable[[], bool]) -> bool:
    """Whether something is so for a user who owns nothing here."""
    pid = os.fork()
    if not pid:
        code = 2
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = 0 if check() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return code == 0


def test_a_folder_that_must_not_be_looked_into_may_have_one(shut: Path) -> None:
    def is_uncertain() -> bool:
        found = find_database(shut)
        return found is not None and found.problem == "Permission denied"

    def is_around() -> bool:
        return shut in workspaces_above(shut / "TASK-1")

    if os.geteuid() != 0:
        (shut / "registry").chmod(0)
        assert is_uncertain() and is_around()
        return
    assert as_another(is_uncertain)
    assert as_another(is_around)


def test_it_makes_a_workspace_of_a_directory_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "workspaces"
    (path / "registry").mkdir(parents=True)
    assert workspaces_above(path / "TASK-1") == frozenset()
    (path / "registry" / "state.sqlite3").touch()
    assert workspaces_above(path / "TASK-1") == {path}
    for named in (path, path / "registry" / "state.sqlite3"):
        assert find_workspaces([str(named)], {}, Path("/")) == (Workspace(path),)
    (path / "TASK-1").mkdir()
    assert find_workspaces([], {}, path / "TASK-1") == (Workspace(path),)


def test_default_workspaces_are_named_by_the_environment(tmp_path: Path) -> None:
    variable = "CLAUDE_ORCHESTRATOR_WORKSPACE"
    of_home = tmp_path / ".claude-orchestrator" / "workspaces"
    other = tmp_path / "other"
    environment = {"HOME": str(tmp_path), variable: str(other)}
    assert default_workspaces(environment) == frozenset()
    for each in (of_home, other):
        (each / "registry").mkdir(parents=True)
    (of_home / "registry" / "state.sqlite3").touch()
    (other / "registry" / "GLOBAL_REGISTRY.json").touch()
    assert default_workspaces(environment) == {of_home, other}
    for written in ("", "other", "."):
        assert default_workspaces({variable: written, "HOME": written}) == frozenset()


# What the library says and does of JSON there


@pytest.fixture
def stale(task: Path, global_: Path) -> Path:
    """A task's registry with counters that are off, beside a database."""
    for path in (task, global_):
        write(path, load(path) | {"active_count": 9, "active_agents": 9})
    Database(task.parent.parent).row("tasks", task_id=task.parent.name)
    return task


def test_counters_there_are_no_issue(stale: Path, global_: Path) -> None:
    assert IssueKind.COUNTER in {each.kind for each in task_findings(stale, load(stale))}
    assert task_findings(stale, load(stale), kept=False) == []
    assert global_findings(global_, load(global_), (), {"TASK-2"}, now=0.0, kept=False) == []


def test_a_health_check_there_tells_neither_orphans_nor_counters(stale: Path) -> None:
    sessions = {"agent_done", "agent_stranger"}
    report = registry_health_check(stale, sessions, grace=0.0)
    assert (report.orphans, report.drifts) == ((), ())
    assert (report.zombies, report.leaked) == (("busy",), ("done",))
    database = find_database(stale.parent.parent)
    assert report.warnings == (str(database),) and not report.healthy
    advice = " ".join(report.recommendations)
    assert "database" in advice and "kill" not in advice and "repair" not in advice


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_repaired_there(stale: Path, global_: Path, dry_run: bool) -> None:
    before = stale.read_bytes(), global_.read_bytes()
    for path in (stale, global_):
        assert validate_and_repair_registry(path, set(), dry_run, grace=0.0) == ()
    assert (stale.read_bytes(), global_.read_bytes()) == before


def test_nobody_is_cleaned_up_there(stale: Path, global_: Path) -> None:
    before = stale.read_bytes(), global_.read_bytes()
    home = stale.parent.parent
    for done in (
        clean_up_task(stale, global_, set(), grace=0.0),
        clean_up_workspace(home, set(), grace=0.0),
    ):
        assert (done.count, done.written) == (0, ())
        (why,) = done.problems.values()
        assert str(UnreadDatabase(home / "registry" / "state.sqlite3")) in why
    assert (stale.read_bytes(), global_.read_bytes()) == before


# A task that a database does not list


@pytest.fixture
def own(task: Path, global_: Path) -> Path:
    """A task's registry beside a database with another task."""
    write(task, load(task) | {"active_count": 9})
    database = Database(task.parent.parent)
    database.row("tasks", task_id="TASK-0")
    database.agent("other", "TASK-0")
    return task


def test_json_is_the_truth_of_a_task_that_no_database_lists(own: Path, global_: Path) -> None:
    assert database_beside(own) is None
    assert database_beside(global_) is not None
    report = registry_health_check(own, {"agent_other"}, grace=0.0)
    assert [drift.counter for drift in report.drifts] == ["active_count"]
    # The database may list each session.
    assert report.orphans == () and "orphans are not reported" in report.warnings[0]
    assert validate_and_repair_registry(own, {"agent_busy"}, grace=0.0)
    assert load(own)["active_count"] == 1


def test_an_agent_without_its_task_makes_the_database_count_too(own: Path) -> None:
    Database(own.parent.parent, "").agent("one", own.parent.name)
    assert database_beside(own) is not None


def test_a_database_that_cannot_be_read_may_list_each_task(own: Path) -> None:
    path = make_unreadable(own.parent.parent)
    found = database_beside(own)
    assert found is not None and found.path == path
    assert "not a valid database" in str(found)
