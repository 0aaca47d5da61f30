"""Workspaces that nobody names: the default ones, and those that the orchestrator knows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from registry import WorkspaceNotFoundError
from registry.database import KNOWN_AT_MOST
from registry.errors import ReplacedWorkspaceError, SilentWorkspaceError
from registry.schema import places
from registry.schema.layout import Workspace
from registry.schema.places import Origin, PlaceState, kept_places
from registry.schema.workspaces import find_workspaces
from tests.support.databases import Database
from tests.support.known_workspaces import know, list_path
from tests.support.registries import global_registry, task_registry, write

OTHER = 64101
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    made = tmp_path / "nowhere"
    made.mkdir()
    return made


def make_workspace(path: Path) -> Path:
    write(path / "TASK-1" / "AGENT_REGISTRY.json", task_registry(task_id="TASK-1"))
    return path


def default_of(home: Path) -> Path:
    return home / ".claude-orchestrator" / "workspaces"


class Found:
    """The result of a search from a directory that is in no workspace."""

    def __init__(self, home: Path, here: Path, *named: str, **environment: str) -> None:
        self.told: list[str] = []
        self.workspaces = find_workspaces(
            named, {"HOME": str(home), **environment}, here, self.told.append
        )

    @property
    def paths(self) -> list[Path]:
        return [workspace.path for workspace in self.workspaces]


def states(home: Path, **environment: str) -> dict[Path, PlaceState]:
    found, _ = kept_places({"HOME": str(home), **environment})
    return {place.path: place.state for place in found}


def test_without_a_nearest_one_all_known_ones_and_the_default_ones_are_taken(
    home: Path, nowhere: Path, tmp_path: Path
) -> None:
    old, new = (make_workspace(tmp_path / name / ".agent-workspace") for name in ("old", "new"))
    other, default = make_workspace(tmp_path / "other"), make_workspace(default_of(home))
    know(home, old, new, default)
    found = Found(home, nowhere, CLAUDE_ORCHESTRATOR_WORKSPACE=str(other))
    assert found.paths == [other, default, new, old]
    assert found.told == []


def test_what_is_nearer_or_named_is_taken_alone(home: Path, tmp_path: Path) -> None:
    near = make_workspace(tmp_path / "near" / ".agent-workspace")
    known = make_workspace(tmp_path / "known" / ".agent-workspace")
    know(home, known)
    assert Found(home, near.parent).paths == [near]
    assert Found(home, near.parent, str(known)).paths == [known]
    assert Found(home, near.parent, MUSTER_WORKSPACES=str(known)).paths == [known]


def test_the_list_is_not_read_if_it_is_not_needed(home: Path, tmp_path: Path) -> None:
    near = make_workspace(tmp_path / "near" / ".agent-workspace")
    list_path(home).parent.mkdir()
    os.mkfifo(list_path(home))
    assert Found(home, near.parent).told == []


def test_a_known_one_that_is_gone_is_left_out_silently(home: Path, nowhere: Path) -> None:
    default = make_workspace(default_of(home))
    know(home, nowhere / "gone" / ".agent-workspace")
    found = Found(home, nowhere)
    assert (found.paths, found.told) == ([default], [])
    assert states(home)[nowhere / "gone" / ".agent-workspace"] is PlaceState.GONE


def test_a_default_one_may_be_empty_and_have_any_name(home: Path, nowhere: Path) -> None:
    default_of(home).mkdir(parents=True)
    assert Found(home, nowhere).paths == [default_of(home)]


def test_a_claim_that_a_directory_is_a_workspace_is_checked(home: Path, nowhere: Path) -> None:
    (nowhere / ".agent-workspace").mkdir()
    plain = nowhere / "plain"
    plain.mkdir()
    named = nowhere / "named"
    write(named / "registry" / "GLOBAL_REGISTRY.json", global_registry())
    stored = nowhere / "stored"
    Database(stored)
    file = nowhere / "file"
    file.touch()
    know(home, plain, home, file, Path("/"), named, stored)
    assert Found(home, nowhere.parent).paths == [stored, named]
    assert states(home)[plain] is PlaceState.OTHER
    assert states(home)[file] is PlaceState.GONE


@pytest.mark.parametrize(
    "value", ["relative/.agent-workspace", "", "/a\0b", b"/bytes", 7, "/" + "x" * 5000]
)
def test_a_value_that_is_no_path_is_left_out(home: Path, nowhere: Path, value: object) -> None:
    default = make_workspace(default_of(home))
    know(home, value)
    found = Found(home, nowhere)
    assert (found.paths, found.told) == ([default], [])


def test_names_of_any_bytes_are_paths(home: Path, nowhere: Path) -> None:
    odd = make_workspace(nowhere / "b\x1b[31m\u202e" / ".agent-workspace")
    know(home, odd)
    assert Found(home, nowhere).paths == [odd]


def test_of_very_many_only_the_last_used_ones_are_looked_at(home: Path, nowhere: Path) -> None:
    path = know(home)
    names = [(f"/nowhere/{number}", f"2026-01-01T{number}") for number in range(KNOWN_AT_MOST)]
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO known_workspaces (workspace_base, last_accessed) VALUES (?, ?)", names
        )
    last = make_workspace(nowhere / ".agent-workspace")
    know(home, last)
    found = Found(home, nowhere.parent)
    assert found.paths == [last]
    assert found.told == [
        f"only the last {KNOWN_AT_MOST} workspaces that the orchestrator used are examined"
    ]


def test_a_list_without_the_time_of_use_is_read(home: Path, nowhere: Path) -> None:
    known = make_workspace(nowhere / "x" / ".agent-workspace")
    path = know(home, tables="CREATE TABLE IF NOT EXISTS known_workspaces (workspace_base TEXT)")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO known_workspaces VALUES (?)", (str(known),))
    assert Found(home, nowhere).paths == [known]


# Whose they are


@only_root
@pytest.mark.parametrize("origin", ["known", "default", "variable"])
def test_another_users_workspace_is_never_taken_unnamed(
    home: Path, nowhere: Path, origin: str
) -> None:
    theirs = make_workspace(
        default_of(home) if origin == "default" else nowhere / "theirs" / ".agent-workspace"
    )
    os.chown(theirs, OTHER, OTHER)
    mine = make_workspace(nowhere / "mine" / ".agent-workspace")
    know(home, mine, *([theirs] if origin == "known" else ()))
    variables = {"CLAUDE_ORCHESTRATOR_WORKSPACE": str(theirs)} if origin == "variable" else {}
    found = Found(home, nowhere, **variables)
    assert found.paths == [mine]
    assert found.told == [
        f"skipped {theirs}: this directory belongs to user {OTHER}; to use this directory "
        f"anyway, name it: MUSTER_WORKSPACES={theirs}"
    ]


@only_root
def test_a_known_one_whose_content_another_user_made_is_not_taken(
    home: Path, nowhere: Path
) -> None:
    kept = nowhere / "kept"
    Database(kept)
    os.chown(kept / "registry", OTHER, OTHER)
    know(home, kept)
    with pytest.raises(WorkspaceNotFoundError) as caught:
        Found(home, nowhere)
    assert "is a workspace only because of its registry/" in str(caught.value)


def test_a_known_one_that_is_replaced_meanwhile_is_told_and_the_others_stay(
    home: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (make_workspace(nowhere / name / ".agent-workspace") for name in ("bad", "good"))
    know(home, bad, good)
    pinned = places._pinned

    def replaced(workspace: Workspace) -> Workspace:
        if workspace.path == bad:
            raise ReplacedWorkspaceError(bad)
        return pinned(workspace)

    monkeypatch.setattr(places, "_pinned", replaced)
    found = Found(home, nowhere)
    assert found.paths == [good]
    assert f"skipped {bad}: this directory cannot be examined" in found.told[0]
    with pytest.raises(ReplacedWorkspaceError):
        Found(home, bad)


# A list that cannot be read


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("UPDATE known_workspaces SET task_count = 1")
        database.execute("BEGIN EXCLUSIVE")
        yield


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _no_database(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 99)


def _unknown(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE workspaces (path TEXT)")


def _other_column(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE known_workspaces (path TEXT)")


def _anothers(path: Path) -> None:
    os.chown(path, OTHER, OTHER)


def _in_anothers(path: Path) -> None:
    os.chown(path.parent, OTHER, OTHER)


def _open_to_all(path: Path) -> None:
    path.parent.chmod(0o777)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (_fifo, "is a FIFO, not a regular file"),
    "a symlink": (_link, "is a symlink"),
    "a directory": (_directory, "is a directory, not a regular file"),
    "no database": (_no_database, "is not a valid database"),
    "an unknown table": (_unknown, "it has no table 'known_workspaces'"),
    "an unknown column": (_other_column, "it has no column 'known_workspaces.workspace_base'"),
    # What is said depends on the lock that is met first.
    "locked": (locked, "cannot be read"),
    "another user's": (_anothers, f"belongs to user {OTHER}"),
    "in another user's directory": (_in_anothers, f"belongs to user {OTHER}"),
    "in a directory that all may write": (_open_to_all, "is writable for every user"),
}


@only_root
@pytest.mark.parametrize(("spoil", "why"), BAD.values(), ids=BAD)
def test_a_list_that_cannot_be_used_is_told_and_the_others_stay(
    home: Path, nowhere: Path, spoil: Callable[[Path], Any], why: str
) -> None:
    other = make_workspace(nowhere / "other")
    known = make_workspace(nowhere / "known" / ".agent-workspace")
    path = know(home, known)
    with spoil(path) or nullcontext():
        before = sorted(os.listdir(path.parent))
        found = Found(home, nowhere, CLAUDE_ORCHESTRATOR_WORKSPACE=str(other))
        assert found.paths == [other]
        (told,) = found.told
        assert told.startswith("the workspaces that the orchestrator knows cannot be read: ")
        assert str(path.parent) in told and why in told
        with pytest.raises(WorkspaceNotFoundError) as caught:
            Found(home, nowhere)
        assert why in str(caught.value)
        assert sorted(os.listdir(path.parent)) == before


def test_reading_the_list_writes_nothing(home: Path, nowhere: Path) -> None:
    known = make_workspace(nowhere / "known" / ".agent-workspace")
    path = know(home, known)
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("UPDATE known_workspaces SET task_count = 3")
        writer.commit()
        before = {each: each.read_bytes() for each in path.parent.iterdir()}
        assert {each.name for each in before} == {
            path.name,
            f"{path.name}-wal",
            f"{path.name}-shm",
        }
        assert Found(home, nowhere).paths == [known]
        after = {each: each.read_bytes() for each in path.parent.iterdir()}
    assert {each: after[each] for each in after if not each.name.endswith("-shm")} == {
        each: before[each] for each in before if not each.name.endswith("-shm")
    }


def test_the_users_own_link_to_the_orchestrators_directory_is_followed(
    home: Path, nowhere: Path
) -> None:
    known = make_workspace(nowhere / "known" / ".agent-workspace")
    know(nowhere, known)
    (home / ".claude-orchestrator").symlink_to(nowhere / ".claude-orchestrator")
    assert Found(home, nowhere).paths == [known]


# Nothing to take


def test_the_error_names_the_places_and_what_to_do(home: Path, nowhere: Path) -> None:
    know(home, Path("/gone/.agent-workspace"), Path("/away/.agent-workspace"))
    with pytest.raises(WorkspaceNotFoundError) as caught:
        Found(home, nowhere, CLAUDE_ORCHESTRATOR_WORKSPACE="/also/gone")
    message = str(caught.value)
    for words in (
        f"  {nowhere / '.agent-workspace'}\n",
        "  /also/gone\n",
        f"  {default_of(home)}\n",
        "The orchestrator knows 2 workspaces that no longer exist.",
        "Name a workspace (muster WORKSPACE)",
    ):
        assert words in message
    assert "/gone/.agent-workspace" not in message


# A file system that does not answer


def silent_at(path: Path) -> Any:
    """Asks like `ask_each`, but gets no answer about one path."""

    def ask(calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [None if _concerns(call, path) else call() for call in calls]

    return ask


def _concerns(call: Any, path: Path) -> bool:
    (first, *_) = call.args
    return bool(first == path or (isinstance(first, Mapping) and first["HOME"] == str(path)))


def test_a_known_one_that_does_not_answer_is_told_and_holds_no_other(
    home: Path, nowhere: Path
) -> None:
    dead, good = (make_workspace(nowhere / name / ".agent-workspace") for name in ("dead", "good"))
    know(home, dead, good)
    told: list[str] = []
    environment = {"HOME": str(home)}
    found = find_workspaces((), environment, nowhere, told.append, ask=silent_at(dead))
    assert found == (Workspace(good),)
    assert told == [
        f"skipped {dead}: the file system does not answer; check its server, or unmount it"
    ]


def test_a_home_that_does_not_answer_holds_no_other(home: Path, nowhere: Path) -> None:
    good = make_workspace(nowhere / "good")
    environment = {"HOME": str(home), "CLAUDE_ORCHESTRATOR_WORKSPACE": str(good)}
    told: list[str] = []
    found = find_workspaces((), environment, nowhere, told.append, ask=silent_at(home))
    assert found == (Workspace(good),)
    assert "the workspaces that the orchestrator knows cannot be read: the file system" in told[0]


def test_without_an_answer_about_the_nearest_no_other_is_taken(home: Path, nowhere: Path) -> None:
    make_workspace(default_of(home))
    with pytest.raises(SilentWorkspaceError, match="the file system does not answer"):
        find_workspaces((), {"HOME": str(home)}, nowhere, ask=silent_at(nowhere))


def test_each_place_tells_why_it_is_looked_at(home: Path) -> None:
    know(home, Path("/gone"), default_of(home))
    found, notes = kept_places({"HOME": str(home), "CLAUDE_ORCHESTRATOR_WORKSPACE": "/x"})
    assert [(place.path, place.origin) for place in found] == [
        (Path("/x"), Origin.DEFAULT),
        (default_of(home), Origin.DEFAULT),
        (Path("/gone"), Origin.KNOWN),
    ]
    assert notes == ()


# A workspace of any name

NAMED: dict[str, Callable[[Path], Path]] = {
    "itself": lambda path: path,
    "its parent": lambda path: path.parent,
    "its database": lambda path: path / "registry" / "state.sqlite3",
    "a link to it": lambda path: _linked_to(path),
}


def _linked_to(path: Path) -> Path:
    link = path.parent.parent / "link"
    link.symlink_to(path)
    return link


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_a_database_in_a_directory_of_any_name_is_found_by_its_name(
    tmp_path: Path, named: Callable[[Path], Path]
) -> None:
    path = tmp_path / "home" / ".claude-orchestrator" / "workspaces"
    Database(path).task("TASK-1")
    assert find_workspaces([str(named(path))], {}, Path("/")) == (Workspace(path),)


@pytest.mark.parametrize("has_registry", [True, False], ids=["with JSON", "without JSON"])
def test_a_task_of_a_database_is_found_by_its_directory(
    tmp_path: Path, has_registry: bool
) -> None:
    path = tmp_path / "workspaces"
    registry = Database(path).task("TASK-1")
    only = Workspace(path, only=registry)
    assert find_workspaces([str(registry)], {}, Path("/")) == (only,)
    if not has_registry:
        registry.unlink()
    assert find_workspaces([str(registry.parent)], {}, Path("/")) == (only,)
    (path / "TASK-2").mkdir()
    with pytest.raises(WorkspaceNotFoundError):
        find_workspaces([str(path / "TASK-2")], {}, Path("/"))


def test_of_two_workspaces_in_a_directory_none_is_meant(tmp_path: Path) -> None:
    Database(tmp_path / "one")
    assert find_workspaces([str(tmp_path)], {}, Path("/")) == (Workspace(tmp_path / "one"),)
    Database(tmp_path / "two")
    with pytest.raises(WorkspaceNotFoundError):
        find_workspaces([str(tmp_path)], {}, Path("/"))


@only_root
def test_another_users_workspace_is_not_meant_by_its_parent(tmp_path: Path) -> None:
    Database(tmp_path / "theirs")
    os.chown(tmp_path / "theirs", OTHER, OTHER)
    with pytest.raises(WorkspaceNotFoundError):
        find_workspaces([str(tmp_path)], {}, Path("/"))
    found = find_workspaces([str(tmp_path / "theirs")], {}, Path("/"))
    assert found == (Workspace(tmp_path / "theirs"),)
