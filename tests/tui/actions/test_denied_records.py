"""A kill that this user may not record ends nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.audit import Audit
from registry.errors import AuditError
from tests.support.other_users import User, only_root
from tests.support.real_tmux import RealTmux
from tests.support.shared_registry import AGENTS, ALICE, BOB
from tests.support.shared_registry import home as home
from tests.support.workspaces import Files, entry
from tests.support.zoo_kills import plan_for
from tui.actions.execute import carry_out
from tui.actions.kill_record import KillRecord
from tui.actions.outcome import Result

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
