"""Kills on the word of one registry, where another one or another user has a say."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.schema.workspaces_around import DEFAULT_VARIABLE
from tests.support.commands import muster
from tests.support.other_user import OTHER, needs_another_user
from tests.support.real_tmux import RealTmux
from tests.support.rolls import agent, answered, called, roll_call, session, task_state
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result
from tui.actions.plan_kill import plan_kill
from tui.model.roll import Verdict

NAME = "agent_prod-1"


def give(files: Files, user: int) -> None:
    """Makes a workspace another user's, with all that is in it."""
    os.chown(files.path, user, user)
    for each in files.path.rglob("*"):
        os.chown(each, user, user)


@pytest.fixture
def theirs(tmp_path: Path) -> Files:
    """A workspace of another user's, which lists an agent that is not its own."""
    files = Files(tmp_path / "theirs", {"TASK-1": [entry("prod-1")]})
    give(files, OTHER)
    return files


def start(server: RealTmux, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    server.start("keep")
    server.run("new-session", "-d", "-s", NAME, "-c", str(directory), "exec sleep 1000")


def ended(files: Files, server: RealTmux, *words: str) -> Any:
    """What `muster kill` says of an agent of a workspace that was named."""
    return muster(files, "kill", *words, "--yes", "-w", files.path, "-S", server.socket)


WAYS = [("prod-1",), ("--task", "TASK-1"), ("--tree", "prod-1")]


@needs_another_user
@pytest.mark.parametrize("words", WAYS)
@pytest.mark.parametrize("status", ["running", "completed"])
def test_yes_alone_ends_nothing_that_another_user_lists(
    tmp_path: Path, server: RealTmux, words: tuple[str, ...], status: str
) -> None:
    theirs = Files(tmp_path / "theirs", {"TASK-1": [entry("prod-1", status)]})
    give(theirs, OTHER)
    start(server, tmp_path / "bare")
    before = theirs.bytes()
    done = ended(theirs, server, *words)
    assert done.returncode == 1
    assert f"(user {OTHER})" in done.stderr
    assert "give --foreign-registry as well" in done.stderr and "Nothing was done" in done.stderr
    assert NAME in server.names()
    assert theirs.bytes() == before


@needs_another_user
def test_who_says_so_ends_it(tmp_path: Path, theirs: Files, server: RealTmux) -> None:
    start(server, tmp_path / "bare")
    done = ended(theirs, server, "prod-1", "--foreign-registry")
    assert done.returncode == 0, done.stderr
    assert server.names() == {"keep"}


@needs_another_user
def test_roots_registry_is_asked_about_by_nobody(tmp_path: Path, server: RealTmux) -> None:
    start(server, tmp_path / "bare")
    own = Files(tmp_path / "own", {"TASK-1": [entry("prod-1")]})
    assert ended(own, server, "prod-1").returncode == 0
    assert server.names() == {"keep"}


@needs_another_user
def test_a_registry_that_changes_hands_meanwhile_ends_nothing(
    tmp_path: Path, server: RealTmux
) -> None:
    start(server, tmp_path / "bare")
    files = Files(tmp_path / "own", {"TASK-1": [entry("prod-1")]})
    roll = take(files, server.client())
    plan = weighed_kill(roll, [row_of(roll, "prod-1")])
    assert plan.questions == ()
    give(files, OTHER)
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "another user now" in step.detail
    assert NAME in server.names()


@pytest.mark.parametrize("status", ["running", "completed"])
def test_a_session_that_a_registry_around_it_lists_is_not_ended(
    tmp_path: Path, server: RealTmux, status: str
) -> None:
    project = tmp_path / "project"
    Files(project, {"TASK-1": [entry("prod-1")]})
    start(server, project)
    other = Files(tmp_path / "other", {"TASK-1": [entry("prod-1", status)]})
    before = other.bytes()
    for words in WAYS:
        done = ended(other, server, *words, "--foreign-registry")
        assert done.returncode == 1
        said = done.stdout + done.stderr
        assert "without a terminal status has the same session" in said
        assert str(project / ".agent-workspace") in said
    assert NAME in server.names()
    assert other.bytes() == before


def test_one_that_a_default_workspace_lists_is_not_ended(
    tmp_path: Path, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(server, tmp_path / "bare")
    default = Files(tmp_path / "home", {"TASK-1": [entry("prod-1")]})
    monkeypatch.setenv(DEFAULT_VARIABLE, str(default.path))
    other = Files(tmp_path / "other", {"TASK-1": [entry("prod-1")]})
    roll = take(other, server.client())
    plan = weighed_kill(roll, [row_of(roll, "prod-1")])
    assert plan.steps == ()
    assert "has the same session" in plan.refused[0][1]


def test_what_is_listed_between_plan_and_act_is_not_ended(
    tmp_path: Path, server: RealTmux
) -> None:
    project = tmp_path / "project"
    start(server, project)
    other = Files(tmp_path / "other", {"TASK-1": [entry("prod-1")]})
    roll = take(other, server.client())
    row = row_of(roll, "prod-1")
    assert row.verdict is Verdict.LIVE
    plan = weighed_kill(roll, [row])
    assert len(plan.steps) == 1
    Files(project, {"TASK-9": [entry("prod-1")]})
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "has the same session" in step.detail
    assert NAME in server.names()


def test_its_own_registry_by_another_path_is_no_claim(tmp_path: Path, server: RealTmux) -> None:
    project = tmp_path / "project"
    own = Files(project, {"TASK-1": [entry("prod-1")]})
    start(server, project)
    (tmp_path / "link").symlink_to(project)
    link = tmp_path / "link" / ".agent-workspace"
    done = muster(own, "kill", "prod-1", "--yes", "-w", link, "-S", server.socket)
    assert done.returncode == 0, done.stderr
    assert server.names() == {"keep"}


# --- whose word is believed without a question ---------------------------------


@pytest.mark.parametrize(
    ("owner", "server_user", "asked"),
    [
        (0, 1000, False),
        (1000, 1000, False),
        (1001, 1000, True),
        (1001, None, True),
        (0, None, False),
        (1000, 0, True),
    ],
)
def test_only_the_servers_user_and_root_are_believed(
    owner: int, server_user: int | None, asked: bool
) -> None:
    there = replace(answered(session("agent_x")), server_user=server_user)
    state = replace(task_state(agent("x")), owner=owner)
    roll = roll_call(*called(state, answer=there), answer=there)
    plan = plan_kill(roll, roll.agents())
    assert [each.option for each in plan.questions] == ["--foreign-registry"] * asked


def test_what_ends_no_session_is_not_asked_about() -> None:
    state = replace(task_state(agent("x")), owner=1001)
    roll = roll_call(*called(state, answer=answered()), answer=answered())
    plan = plan_kill(roll, roll.agents())
    assert len(plan.steps) == 1 and plan.questions == ()
