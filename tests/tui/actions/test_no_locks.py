"""A registry whose file system refuses locks: plans refuse before anything is ended."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.support.locks import refuse_locks
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.workspaces import QUICK, Files, entry, read, row_of, take, write
from tui.actions.execute import Result, carry_out
from tui.actions.plan_complete import checked_complete
from tui.actions.plan_kill import plan_kill
from tui.doctor.examine import examine

REASON = "move the workspace to a local disk"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    agents = entry("live"), entry("dead"), entry("done", "completed")
    made = Files(tmp_path, {"TASK-1": agents})
    write(made.registry(), read(made.registry()) | {"active_count": 7})
    return made


@pytest.fixture
def tmux() -> ScriptedTmux:
    return ScriptedTmux(answered(made_now("agent_live", 1), made_now("agent_done", 2)))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EACCES])
def test_what_cannot_be_recorded_is_refused_in_the_plan(
    files: Files, tmux: ScriptedTmux, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_locks(monkeypatch, number)
    roll = take(files, tmux, QUICK)
    rows = [row_of(roll, "live"), row_of(roll, "dead")]
    for plan in (plan_kill(roll, rows), checked_complete(roll, rows)):
        assert plan.steps == ()
        assert set(dict(plan.refused)) == {"live", "dead"}
        assert all(REASON in why for _, why in plan.refused)
    # The status of this agent is terminal already, so nothing has to be recorded in its registry.
    assert [step.label for step in plan_kill(roll, [row_of(roll, "done")]).steps] == ["done"]


def test_a_file_system_that_refuses_locks_after_the_plan_saves_the_session(
    files: Files, tmux: ScriptedTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll = take(files, tmux, QUICK)
    plan = plan_kill(roll, [row_of(roll, "live")])
    assert [step.label for step in plan.steps] == ["live"]
    refuse_locks(monkeypatch, errno.ENOLCK)
    (step,) = carry_out(plan, tmux, "").steps
    assert step.result is Result.LEFT and REASON in step.detail
    assert tmux.killed == []


def test_the_doctor_does_not_offer_a_repair_that_it_cannot_write(
    files: Files, tmux: ScriptedTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined = examine(files.workspaces(), take(files, tmux, QUICK), settled=0.0)
    before = {each.identity[:4] for each in examined.fixable}
    assert {each.field for each in examined.fixable} >= {"active_count", "status"}
    refuse_locks(monkeypatch, errno.ENOLCK)
    examined = examine(files.workspaces(), take(files, tmux, QUICK), settled=0.0)
    assert examined.fixable == ()
    now = [each for each in examined.findings if each.identity[:4] in before]
    assert len(now) == len(before) and all(REASON in each.advice for each in now)
