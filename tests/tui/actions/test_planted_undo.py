"""An undo touches what was asked for, and what the writers of a log could have changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.audit.entries import State
from registry.audit.log import Audit, log_in, read_log, read_logs
from registry.audit.undo import last_actions, take_back, undoables
from registry.errors import RegistryError
from tests.support.rolls import no_server
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import QUICK, Files, entry, read, row_of, take, write
from tui.actions.execute import carry_out
from tui.actions.plan_complete import plan_complete
from tui.actions.undo import UndoPlan, carry_out_undo, plan_undo, undo_refusal
from tui.live.once import take_roll

NOBODY = ScriptedTmux(no_server())
EVE = 64178

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give files to another user"
)


@pytest.fixture
def mine(tmp_path: Path) -> Files:
    return Files(tmp_path / "mine", {"TASK-1": [entry("a"), entry("b")]})


@pytest.fixture
def eves(tmp_path: Path) -> Files:
    return Files(tmp_path / "eve", {"TASK-2": [entry("e")]})


def complete(files: Files, agent_id: str) -> None:
    roll = take(files, NOBODY)
    assert carry_out(plan_complete(roll, [row_of(roll, agent_id)]), NOBODY, "").complete


def planned(*named: Files) -> UndoPlan:
    roll = take_roll([each for files in named for each in files.workspaces()], NOBODY, QUICK)
    states = [task.state for task in roll.tasks()]
    return plan_undo(states, [workspace.path for workspace in roll.workspaces], None)


def give(user: int, files: Files) -> None:
    for path in (files.path, *files.path.rglob("*")):
        os.chown(path, user, user)


def rewrite(files: Files, old: str, new: Path | str) -> None:
    """Makes the log of a workspace tell of another registry."""
    log = log_in(files.path)
    log.write_text(log.read_text().replace(json.dumps(old), json.dumps(str(new))))


def plant(mine: Files, eves: Files) -> None:
    """Puts what was done in one workspace into the log of another, as of the first's task."""
    complete(mine, "a")
    text = log_in(mine.path).read_text()
    log_in(mine.path).unlink()
    log_in(eves.path).write_text(text)
    rewrite(eves, "TASK-1/AGENT_REGISTRY.json", mine.registry().resolve())
    rewrite(eves, "registry/GLOBAL_REGISTRY.json", mine.global_registry.resolve())


def assert_refused(plan: UndoPlan, why: str, *untouched: Files) -> None:
    before = [files.bytes() for files in untouched]
    assert plan.steps == ()
    assert why in undo_refusal(plan)
    assert carry_out_undo(plan, "").steps == ()
    assert [files.bytes() for files in untouched] == before


def test_a_task_that_a_workspace_says_lies_elsewhere_is_not_touched(
    mine: Files, eves: Files
) -> None:
    plant(mine, eves)
    listed = read(eves.global_registry)
    listed["tasks"]["TASK-1"] = {"description": "", "workspace": str(mine.path / "TASK-1")}
    write(eves.global_registry, listed)
    assert {row.key.id for row in take(eves, NOBODY).agents()} == {"a", "b", "e"}
    assert_refused(planned(eves), "is not a registry of these workspaces", mine, eves)


def test_a_log_takes_back_nothing_in_a_task_of_another_workspace(mine: Files, eves: Files) -> None:
    plant(mine, eves)
    assert_refused(planned(mine, eves), "is not the audit log of", mine, eves)


@pytest.mark.parametrize("name", ["../mine/.agent-workspace/TASK-1", "../../mine/x", "/etc"])
def test_paths_that_lead_out_of_a_workspace_are_no_registries_of_it(
    mine: Files, eves: Files, name: str
) -> None:
    complete(eves, "e")
    rewrite(eves, "TASK-2/AGENT_REGISTRY.json", f"{name}/AGENT_REGISTRY.json")
    assert_refused(planned(mine, eves), "is not a registry of these workspaces", mine, eves)


def test_a_task_that_is_a_symlink_out_of_its_workspace_is_not_touched(
    mine: Files, eves: Files
) -> None:
    complete(eves, "e")
    (eves.path / "TASK-2").rename(eves.path.parent / "aside")
    (eves.path / "TASK-2").symlink_to(mine.path / "TASK-1")
    assert_refused(planned(mine, eves), "is a symlink", mine, eves)


@needs_root
def test_a_users_log_takes_back_nothing_in_a_registry_of_root(mine: Files, eves: Files) -> None:
    complete(eves, "e")
    rewrite(eves, "registry/GLOBAL_REGISTRY.json", mine.global_registry.resolve())
    give(EVE, eves)
    why = f"belongs to user id 0, but the log of the entry belongs to user id {EVE}"
    assert_refused(planned(mine, eves), why, mine, eves)


@needs_root
def test_whose_registry_it_is_counts_also_within_one_workspace(eves: Files) -> None:
    complete(eves, "e")
    give(EVE, eves)
    os.chown(eves.registry("TASK-2"), 0, 0)
    assert_refused(planned(eves), "which may have forged the entry", eves)


@needs_root
def test_it_counts_again_when_it_is_taken_back(eves: Files) -> None:
    complete(eves, "e")
    give(EVE, eves)
    log = read_log(log_in(eves.path))
    known = [eves.registry("TASK-2"), eves.global_registry]
    (step,) = undoables(log, log.entries[0].action_id, known)
    assert step.refused is None
    before = eves.bytes()
    os.chown(eves.registry("TASK-2"), 0, 0)
    with pytest.raises(RegistryError, match="nothing was taken back"):
        take_back(step, Audit("undo", ""))
    assert eves.bytes() == before


@needs_root
def test_root_takes_back_what_a_user_did_in_its_own_workspace(eves: Files) -> None:
    before = eves.bytes()
    complete(eves, "e")
    give(EVE, eves)
    carry_out_undo(planned(eves), "")
    assert eves.bytes() == before


def test_one_log_cannot_say_that_what_another_has_was_undone(mine: Files, eves: Files) -> None:
    complete(mine, "a")
    complete(eves, "e")
    logs = [log_in(mine.path), log_in(eves.path)]
    first, second = (read_log(log).entries[0] for log in logs)
    claim = Audit("undo", "")
    claim.end(logs[1], claim.begin(logs[1], undoes=first.key), State.DONE)
    assert list(last_actions(read_logs(logs))) == [second.action_id, first.action_id]
    claim.end(logs[0], claim.begin(logs[0], undoes=first.key), State.DONE)
    assert list(last_actions(read_logs(logs))) == [second.action_id]
