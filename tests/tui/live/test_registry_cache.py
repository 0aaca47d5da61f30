"""Following registries: the last good state of each, and what is wrong with it now."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.schema import Instant, UnreadDatabase
from registry.schema.layout import Workspace
from registry.sources import JsonTask, JsonWorkspace, SqliteWorkspace
from tests.support.databases import Database, make_unreadable
from tests.support.rolls import answered, session
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import QUICK, Files, entry, read, take, write
from tui.live import separate_registries
from tui.live.once import take_roll
from tui.live.registry_cache import Registries
from tui.live.separate_registries import SeparateRegistries
from tui.model.roll import TaskState


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, {"TASK-1": [entry("a")], "TASK-2": [entry("b"), entry("c")]})
    for path in made.bytes():
        # What was written this very moment would be read twice.
        os.utime(path, (1_760_000_000, 1_760_000_000))
    return made


@pytest.fixture
def registries(files: Files) -> Registries:
    made = Registries(files.workspaces())
    made.rescan()
    return made


def named(registries: Registries) -> dict[str, TaskState]:
    return {state.registry.parent.name: state for state in registries.states()}


def ids(state: TaskState) -> list[str]:
    return [agent.id for agent in state.record.agents] if state.record else []


def test_every_task_is_read(registries: Registries) -> None:
    assert {name: ids(state) for name, state in named(registries).items()} == {
        "TASK-1": ["a"],
        "TASK-2": ["b", "c"],
    }


@pytest.mark.parametrize("how", ["rescan", "reread"])
def test_what_changed_is_read_again_and_the_rest_stays_the_same(
    files: Files, registries: Registries, how: str
) -> None:
    before = named(registries)
    path = files.write_task("TASK-1", entry("a"), entry("new"))
    if how == "rescan":
        registries.rescan()
    else:
        registries.reread({path.resolve()})
    after = named(registries)
    assert ids(after["TASK-1"]) == ["a", "new"]
    assert after["TASK-2"] is before["TASK-2"]


def test_a_change_costs_one_look_and_one_reading(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries = SeparateRegistries(files.workspaces())
    registries.rescan()
    watched = registries.directories()
    calls: Counter[str] = Counter()
    counted: tuple[tuple[Any, str], ...] = (
        (JsonTask, "look"),
        (JsonTask, "read"),
        (JsonWorkspace, "look"),
        (JsonWorkspace, "tasks"),
        (Registries, "directories"),
        (separate_registries, "identified"),
    )
    for owner, name in counted:
        count_calls(owner, name, calls, monkeypatch)
    path = files.write_task("TASK-1", entry("a"), entry("new"))
    registries.update({path.resolve()})
    assert calls == {"look": 1, "read": 1}
    assert [ids(state) for state in registries.states()] == [["a", "new"], ["b", "c"]]
    assert registries.directories() == watched


def count_calls(
    owner: Any, name: str, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = getattr(owner, name)

    def counted(*arguments: Any) -> Any:
        calls[name] += 1
        return function(*arguments)

    monkeypatch.setattr(owner, name, counted)


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Puts something else in a registry's place."""

    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


SPOILED: dict[str, Callable[[Path], object]] = {
    "corrupt": lambda path: path.write_text('{"agents": ['),
    "empty": lambda path: path.write_text(""),
    "an array": lambda path: path.write_text("[]"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "a directory": instead(Path.mkdir),
    "a FIFO": instead(os.mkfifo),
    "nested deep": lambda path: path.write_text("[" * 200_000),
    "a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "vanished": Path.unlink,
}


def left_alone(path: Path) -> None:
    """Nobody writes it any more."""
    if path.is_file() and not path.is_symlink():
        os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_registry_keeps_its_last_good_state_and_says_what_is_wrong(
    files: Files, registries: Registries, how: str
) -> None:
    SPOILED[how](files.registry("TASK-2"))
    left_alone(files.registry("TASK-2"))
    registries.rescan()
    states = named(registries)
    assert ids(states["TASK-2"]) == ["b", "c"]
    assert states["TASK-2"].error
    assert states["TASK-1"].error is None
    if files.registry("TASK-2").is_dir():
        files.registry("TASK-2").rmdir()
    files.registry("TASK-2").unlink(missing_ok=True)
    files.write_task("TASK-2", entry("b"))
    registries.rescan()
    assert (ids(named(registries)["TASK-2"]), named(registries)["TASK-2"].error) == (["b"], None)


@pytest.mark.parametrize("how", SPOILED)
def test_a_registry_that_was_never_good_is_on_the_roll_with_its_error(
    files: Files, how: str
) -> None:
    SPOILED[how](files.registry("TASK-2"))
    registries = Registries(files.workspaces())
    registries.rescan()
    state = named(registries)["TASK-2"]
    assert state.record is None
    assert state.error
    assert state.listed_description == "listed TASK-2"


def test_a_deleted_task_goes(files: Files, registries: Registries) -> None:
    shutil.rmtree(files.path / "TASK-2")
    registries.rescan()
    assert set(named(registries)) == {"TASK-1"}


def test_a_deleted_registry_that_nobody_lists_goes(files: Files, registries: Registries) -> None:
    files.write_task("TASK-3", entry("x"))
    registries.rescan()
    assert "TASK-3" in named(registries)
    path = files.registry("TASK-3").resolve()
    assert registries.knows({path})
    path.unlink()
    assert not registries.knows({path}), "its end is no mere change"
    registries.rescan()
    assert "TASK-3" not in named(registries)


def test_a_task_without_a_global_registry_is_read_all_the_same(files: Files) -> None:
    shutil.rmtree(files.global_registry.parent)
    registries = Registries(files.workspaces())
    registries.rescan()
    states = named(registries)
    assert ids(states["TASK-1"]) == ["a"]
    assert states["TASK-1"].source.global_registry is None


def test_a_spoiled_global_registry_is_the_workspaces_error(
    files: Files, registries: Registries
) -> None:
    files.global_registry.write_text("{")
    left_alone(files.global_registry)
    registries.rescan()
    (branch,) = registries.branches()
    assert branch.error is not None and "GLOBAL_REGISTRY.json" in branch.error
    assert len(branch.states) == 2
    assert registries.listed_sessions() == (frozenset({"agent_a", "agent_b", "agent_c"}),)


def test_a_task_that_lies_elsewhere_is_followed(files: Files, tmp_path: Path) -> None:
    elsewhere = Files(tmp_path / "elsewhere", {"TASK-9": [entry("far")]})
    whole = read(files.global_registry)
    whole["tasks"]["TASK-9"] = {"workspace": str(elsewhere.path / "TASK-9")}
    whole["tasks"]["TASK-8"] = {"workspace": "${workspaceFolder}"}
    whole["tasks"]["TASK-7"] = {"workspace": "/not/there"}
    write(files.global_registry, whole)
    registries = Registries(files.workspaces())
    registries.rescan()
    states = named(registries)
    assert set(states) == {"TASK-1", "TASK-2", "TASK-9"}
    assert states["TASK-9"].source.global_registry == elsewhere.global_registry.resolve()
    directories, roots = registries.directories()
    assert elsewhere.registry("TASK-9").resolve().parent in directories
    assert roots == {files.path.resolve()}


def test_a_task_that_two_workspaces_have_is_shown_once(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path / "other", {})
    whole = read(other.global_registry)
    whole["tasks"]["TASK-1"] = {"workspace": str(files.path / "TASK-1")}
    write(other.global_registry, whole)
    registries = Registries((*files.workspaces(), *other.workspaces()))
    registries.rescan()
    assert [state.registry.parent.name for state in registries.states()] == ["TASK-1", "TASK-2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_workspace_hides_no_task_of_one_that_is_named_after_it(
    files: Files, tmp_path: Path
) -> None:
    other = Files(tmp_path / "other", {})
    whole = read(other.global_registry)
    whole["tasks"]["TASK-1"] = {"workspace": str(files.path / "TASK-1")}
    write(other.global_registry, whole)
    os.chown(other.path, 64104, 64104)
    registries = Registries((*other.workspaces(), *files.workspaces()))
    registries.rescan()
    states = registries.states()
    assert [(state.registry.parent.name, state.error) for state in states] == [
        ("TASK-1", None),
        ("TASK-2", None),
    ]


def test_a_symlink_out_of_the_workspace_is_named_and_not_opened(
    files: Files, tmp_path: Path
) -> None:
    outside = write(tmp_path / "outside.json", read(files.registry("TASK-2")))
    files.registry("TASK-2").unlink()
    files.registry("TASK-2").symlink_to(outside)
    registries = Registries(files.workspaces())
    registries.rescan()
    state = named(registries)["TASK-2"]
    assert state.record is None
    assert "is a symlink, which is not followed" in (state.error or "")


def test_the_directories_to_watch_are_those_of_the_registries(
    files: Files, registries: Registries
) -> None:
    root = files.path.resolve()
    assert registries.directories() == (
        {root, root / "registry", root / "TASK-1", root / "TASK-2"},
        {root},
    )


# --- what is not seen cannot be judged ----------------------------------------

LOST = ScriptedTmux(
    answered(*(session(f"agent_{letter}", number=n) for n, letter in enumerate("abc")))
)


def test_a_session_that_no_registry_accounts_for_is_an_orphan(files: Files) -> None:
    files.write_task("TASK-2", entry("b"))
    files.write_global({})
    assert [each.name for each in take(files, LOST).orphans] == ["agent_c"]


def test_nothing_is_an_orphan_while_single_tasks_are_looked_at(files: Files) -> None:
    only = Workspace(files.path.resolve(), only=files.registry("TASK-1").resolve())
    assert take_roll((only,), LOST, QUICK).orphans == ()


def test_nothing_is_an_orphan_while_a_workspace_cannot_be_listed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_global({})

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("registry.sources.json_source.task_places", refuse)
    roll = take(files, LOST)
    assert roll.workspaces[0].error is not None
    assert "Permission denied" in roll.workspaces[0].error
    assert roll.orphans == ()


def test_nothing_is_an_orphan_while_the_global_registry_was_never_read(files: Files) -> None:
    files.write_task("TASK-2")
    files.global_registry.write_text("{")
    assert take(files, LOST).orphans == ()


def test_nothing_is_an_orphan_of_a_workspace_that_went(files: Files) -> None:
    workspaces = files.workspaces()
    shutil.rmtree(files.path)
    assert take_roll(workspaces, LOST, QUICK).orphans == ()


# --- until when all of it is known --------------------------------------------


def test_what_cannot_be_read_is_known_until_it_could_last_be(
    files: Files, registries: Registries
) -> None:
    first = registries.known_until()
    registries.rescan()
    looked = registries.known_until()
    assert looked > first
    good = files.registry("TASK-1").read_bytes()
    for _ in range(2):
        files.registry("TASK-1").write_bytes(good[:20])
        registries.rescan()
    stale = registries.known_until()
    # The last look that found it as it was read.
    assert looked <= stale < Instant.now()
    registries.rescan()
    assert registries.known_until() == stale
    files.registry("TASK-1").write_bytes(good)
    registries.rescan()
    assert registries.known_until() > stale


def test_a_database_that_becomes_unreadable_during_a_scan_has_one_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    database.agent("one")
    registries = Registries([Workspace(database.workspace)])
    real = SqliteWorkspace.unread_database

    def look(workspace: SqliteWorkspace) -> UnreadDatabase | None:
        found = real(workspace)
        if not broken:
            broken.append(make_unreadable(database.workspace))
        return found

    broken: list[Path] = []
    monkeypatch.setattr(SqliteWorkspace, "unread_database", look)
    registries.rescan()
    (branch,) = registries.branches()
    assert branch.database is None and branch.error is None
    assert [state.record is None for state in branch.states] == [False]
    registries.rescan()
    (branch,) = registries.branches()
    assert branch.database is not None and branch.error == branch.database.cause
    assert not registries.sees_all()
