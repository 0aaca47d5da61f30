"""A kill that this user may not record ends nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import AuditContext, finish_agents
from registry.audit import Audit, log_of
from registry.errors import AuditError
from registry.schema import Workspace
from registry.sources import find_issues, workspace_source
from tests.support.leftovers import NO_GRACE
from tests.support.other_users import User, only_root
from tests.support.real_tmux import RealTmux
from tests.support.shared_registry import AGENTS, ALICE, BOB
from tests.support.shared_registry import home as home
from tests.support.workspaces import Files, entry, read, row_of, take, write
from tests.support.zoo_kills import plan_for
from tui.actions.evidence import collect
from tui.actions.evidence.record_permission import denied_records
from tui.actions.execute import carry_out
from tui.actions.footprint import checked_kill
from tui.actions.kill_record import KillRecord
from tui.actions.outcome import Result
from tui.actions.plan import Plan, Step
from tui.actions.plan_complete import checked_complete
from tui.actions.plan_kill import plan_kill
from tui.actions.undo import plan_undo

bob = User(BOB, (AGENTS,))


@pytest.fixture
def files(home: Path) -> Files:
    return Files(home, {"TASK-1": [entry("a")]})


@pytest.fixture
def crew(server: RealTmux) -> Iterator[RealTmux]:
    server.start("keeper")
    server.start("agent_a")
    yield server


def test_a_kill_that_may_not_be_logged_ends_nothing(
    files: Files, crew: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, before = plan_for(files, crew, "a"), files.bytes()

    def denied(self: Audit, log: Path, **_: Any) -> None:
        error = PermissionError(errno.EACCES, "Permission denied")
        raise AuditError(log, "Permission denied", error)

    with monkeypatch.context() as patch:
        patch.setattr(Audit, "begin", denied)
        (step,) = carry_out(plan, crew.client(), "").steps
    assert (step.result, crew.names()) == (Result.FAILED, {"agent_a", "keeper"})
    assert "nothing was ended, because the kill cannot be logged" in step.detail
    assert "make that file and its directory readable and writable" in step.detail
    assert files.bytes() == before
    assert carry_out(plan, crew.client(), "").complete


@only_root
def test_a_kill_whose_registry_may_not_be_written_ends_nothing(
    files: Files, crew: RealTmux
) -> None:
    for path in (files.path, *files.path.rglob("*")):
        os.chown(path, ALICE, AGENTS)
        path.chmod(0o755 if path.is_dir() else 0o644)
    plan, before = plan_for(files, crew, "a"), files.bytes()
    # Root may write every registry.
    detail = bob.do(lambda: _begun(plan)).value
    assert "nothing was ended, because this user cannot write" in detail
    assert "AGENT_REGISTRY.json" in detail and "as its owner" in detail
    assert files.bytes() == before and "agent_a" in crew.names()


def _begun(plan: Any) -> str | None:

    (step,) = plan.steps
    return KillRecord(plan, Audit("kill", "")).begin(step, None)  # type: ignore[arg-type]


@only_root
@pytest.mark.parametrize("denied", ["log", "registry", "nothing"])
def test_what_may_not_be_recorded_is_refused_in_the_plan(
    files: Files, crew: RealTmux, denied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (files.path, *files.path.rglob("*")):
        os.chown(path, ALICE, AGENTS)
        path.chmod(0o775 if path.is_dir() else 0o664)
    if denied == "log":
        # Bob may create no log of his own there.
        log_of(files.registry()).parent.chmod(0o755)
    if denied == "registry":
        files.registry().chmod(0o644)
    roll = take(files, crew.client(), NO_GRACE)
    rows = [row_of(roll, "a")]
    reason = {"log": "it cannot be logged", "registry": "this user cannot write"}.get(denied)
    assert checked_kill(plan_kill(roll, rows), roll).steps, "root may"

    def asked_of_bob(plan: Plan) -> dict[Step, str]:
        whys = bob.do(lambda: list(denied_records(plan).values())).value
        return dict(zip(plan.steps, whys, strict=False))

    # Bob may not see the processes of root.
    monkeypatch.setattr(collect, "denied_records", asked_of_bob)
    for plan in (checked_kill(plan_kill(roll, rows), roll), checked_complete(roll, rows)):
        whys = [why for _, why in plan.refused]
        assert len(whys) == int(reason is not None)
        assert all(reason in why for why in whys if reason is not None)


@only_root
def test_what_may_not_be_logged_is_neither_undone_nor_repaired(
    files: Files, crew: RealTmux
) -> None:
    write(files.registry(), read(files.registry()) | {"active_count": 7})
    audit = Audit("complete", "")
    task, global_ = files.registry(), files.global_registry
    finish_agents(task, global_, ["a"], status="completed", on_record=AuditContext(audit))
    for path in (files.path, *files.path.rglob("*")):
        os.chown(path, ALICE, AGENTS)
        path.chmod(0o775 if path.is_dir() else 0o664)
    (log,) = log_of(files.registry()).parent.glob("*.jsonl")
    log.chmod(0o644)
    states = tuple(task.state for task in take(files, crew.client(), NO_GRACE).tasks())
    homes = (files.path.resolve(),)
    sources = [state.source for state in states]

    def planned() -> tuple[int, list[str], set[bool]]:
        plan = plan_undo(states, homes, audit.action_id)
        found = find_issues([workspace_source(Workspace(files.path))], sources, {})
        return (
            len(plan.steps),
            [why for _, why in plan.preview.refused],
            {each.fixable for each in found.findings},
        )

    assert bob.do(planned).value == (1, [], {True})
    log.parent.chmod(0o755)
    steps, (why,), fixable = bob.do(planned).value
    assert steps == 0 and "it cannot be logged" in why and fixable == {False}
    assert planned() == (1, [], {True})
    log.parent.chmod(0o775)
    files.registry().chmod(0o644)
    steps, (why,), fixable = bob.do(planned).value
    assert steps == 0 and "this user cannot write" in why and fixable == {False}
