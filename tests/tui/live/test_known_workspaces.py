"""Workspaces in the orchestrator's list: they protect sessions although nobody named them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from registry.database import KNOWN_AT_MOST
from tests.support.databases import Database
from tests.support.known_workspaces import know, list_path
from tests.support.other_users import only_root
from tests.support.real_tmux import RealTmux
from tests.support.workspaces import QUICK, Files, entry, stamp, take
from tui.actions.execute import carry_out
from tui.actions.outcome import Result
from tui.actions.plan_kill import plan_kill
from tui.cli.main import main
from tui.live import nearby_workspaces
from tui.model.roll import RollCall

YOUNG = replace(QUICK, orphan_grace=-1.0)
"""Nobody wants to wait until orphans are old enough."""


@pytest.fixture
def ours(tmp_path: Path) -> Files:
    return Files(tmp_path / "ours", {"TASK-1": [entry("a")]})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    return made


@pytest.fixture
def sessions(server: RealTmux) -> None:
    """The session of an agent in a known workspace, and a session of nobody."""
    for name in ("agent_a", "agent_b", "agent_nobodys"):
        server.start(name)


def in_database(tmp_path: Path) -> Path:
    database = Database(tmp_path / "any" / "odd-name")
    database.task("TASK-9")
    database.agent("b", "TASK-9", started_at=stamp(20), last_update=stamp(10))
    return database.workspace


def in_json(tmp_path: Path) -> Path:
    path = tmp_path / "any" / "odd-name"
    made = Files(tmp_path / "their project", {"TASK-9": [entry("b")]})
    path.parent.mkdir()
    made.path.rename(path)
    return path


def only_tasks(tmp_path: Path) -> Path:
    made = Files(tmp_path / "their project", {"TASK-9": [entry("b")]})
    made.global_registry.unlink(missing_ok=True)
    return made.path


def take_young(files: Files, server: RealTmux) -> RollCall:
    return take(files, server.client(), YOUNG)


def orphans(roll: RollCall) -> list[str]:
    return [session.name for session in roll.orphans]


@pytest.mark.parametrize("make", [in_database, in_json, only_tasks])
@pytest.mark.usefixtures("sessions")
def test_an_agent_of_a_known_workspace_is_no_orphan_and_is_not_killed(
    ours: Files,
    home: Path,
    tmp_path: Path,
    server: RealTmux,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path],
) -> None:
    monkeypatch.setattr("tui.cli.commands.kill.policy_of", lambda _: YOUNG)
    know(home, make(tmp_path), ours.path, tmp_path / "gone")
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_nobodys"] and roll.orphans_known
    words = ["-S", str(server.socket), "-w", str(ours.path)]
    assert main(["kill", "--orphans", "--yes", *words]) == 0
    assert server.names() == {"agent_a", "agent_b"}


@pytest.mark.usefixtures("sessions")
def test_all_known_workspaces_are_read(
    ours: Files, home: Path, tmp_path: Path, server: RealTmux
) -> None:
    many = [Files(tmp_path / f"p{number:02}", {"TASK-1": []}).path for number in range(20)]
    know(home, in_json(tmp_path), *many)
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_nobodys"] and roll.orphans_known
    (step,) = plan_kill(roll, (), roll.orphans).steps
    assert "and 16 further workspaces" in step.says


@only_root
@pytest.mark.usefixtures("sessions")
def test_a_list_of_another_user_protects_its_sessions_too(
    ours: Files, home: Path, tmp_path: Path, server: RealTmux
) -> None:
    path = know(home, in_json(tmp_path))
    for each in (path.parent, *path.parent.iterdir()):
        os.chown(each, 64101, 64101)
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_nobodys"] and roll.orphans_known


@pytest.mark.parametrize("is_readable", [True, False])
@pytest.mark.usefixtures("home")
def test_the_list_in_the_home_of_a_process_protects_its_session(
    ours: Files, tmp_path: Path, server: RealTmux, is_readable: bool
) -> None:
    other = tmp_path / "home of the agents"
    path = know(other, in_database(tmp_path))
    if not is_readable:
        path.write_bytes(b"This is no database. " * 100)
    for name in ("agent_b", "agent_nobodys"):
        server.run("new-session", "-d", "-s", name, "-e", f"HOME={other}", "exec sleep 1000")
    server.start("agent_elsewhere")
    roll = take_young(ours, server)
    nobodys = ["agent_nobodys"] if is_readable else []
    assert orphans(roll) == ["agent_elsewhere", *nobodys]
    assert roll.orphans_known == is_readable


def no_database(home: Path, _: Path) -> None:
    list_path(home).write_bytes(b"This is no database. " * 100)


def another_table(home: Path, _: Path) -> None:
    with closing(sqlite3.connect(list_path(home))) as database, database:
        database.execute("DROP TABLE task_index")
        database.execute("ALTER TABLE known_workspaces RENAME TO workspaces")


def too_many(home: Path, tmp_path: Path) -> None:
    know(home, *(tmp_path / f"gone {number}" for number in range(KNOWN_AT_MOST + 1)))


def broken_workspace(home: Path, tmp_path: Path) -> None:
    files = Files(tmp_path / "broken", {"TASK-1": []})
    files.registry("TASK-1").write_text("{")
    know(home, files.path)


SPOILS = [no_database, another_table, too_many, broken_workspace]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.usefixtures("sessions")
def test_orphans_are_unknown_if_the_list_or_a_known_workspace_cannot_be_read(
    ours: Files,
    home: Path,
    tmp_path: Path,
    server: RealTmux,
    spoil: Callable[[Path, Path], None],
) -> None:
    know(home)
    spoil(home, tmp_path)
    roll = take_young(ours, server)
    assert orphans(roll) == [] and not roll.orphans_known


@pytest.mark.usefixtures("sessions")
def test_orphans_are_unknown_while_the_list_does_not_answer(
    ours: Files, home: Path, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(home)
    answers = threading.Event()
    monkeypatch.setattr(nearby_workspaces, "known_paths", lambda *_, **__: answers.wait())
    monkeypatch.setattr(nearby_workspaces, "PATIENCE", 0.3)
    try:
        roll = take_young(ours, server)
        assert orphans(roll) == [] and not roll.orphans_known
        # What an agent's own registry says does not depend on the list.
        (row,) = roll.agents()
        carry_out(plan_kill(roll, [row]), server.client(), "")
        assert server.names() == {"agent_b", "agent_nobodys"}
    finally:
        answers.set()


@pytest.mark.usefixtures("sessions")
def test_an_orphan_that_a_known_workspace_lists_before_the_kill_is_left(
    ours: Files, home: Path, tmp_path: Path, server: RealTmux
) -> None:
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_b", "agent_nobodys"]
    plan = plan_kill(roll, (), roll.orphans)
    know(home, in_database(tmp_path))
    left, ended = carry_out(plan, server.client(), "").steps
    assert left.result is Result.LEFT and "lists the session now" in left.detail
    assert ended.result is not Result.LEFT
    assert server.names() == {"agent_a", "agent_b"}


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.usefixtures("sessions")
def test_an_orphan_is_left_if_the_list_cannot_be_read_before_the_kill(
    ours: Files,
    home: Path,
    tmp_path: Path,
    server: RealTmux,
    spoil: Callable[[Path, Path], None],
) -> None:
    know(home)
    roll = take_young(ours, server)
    plan = plan_kill(roll, (), roll.orphans)
    spoil(home, tmp_path)
    steps = carry_out(plan, server.client(), "").steps
    assert [step.result for step in steps] == [Result.LEFT, Result.LEFT]
    assert all("unknown whether" in step.detail for step in steps)
    assert server.names() == {"agent_a", "agent_b", "agent_nobodys"}
