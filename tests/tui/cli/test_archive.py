"""The files of an agent that the orchestrator moved to the archive, in both formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.agent_processes import write_agents
from tests.support.real_tmux import RealTmux
from tests.support.workspaces import stamp
from tui.cli.main import main


def write_lines(path: Path, *lines: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def progress(message: str, ago: float) -> dict[str, object]:
    return {"timestamp": stamp(ago), "agent_id": "one", "status": "working", "message": message}


@pytest.mark.parametrize("dialect", ["json", "sqlite"])
def test_show_and_tail_merge_the_archive_with_late_lines(
    tmp_path: Path,
    server: RealTmux,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dialect: str,
) -> None:
    fields = {"status": "completed", "tmux_session": "agent_one"}
    workspace = write_agents(tmp_path / "project", dialect, one=fields)
    task = workspace / "TASK-1"
    write_lines(task / "archive" / "one_progress.jsonl", progress("early", 90))
    write_lines(task / "progress" / "one_progress.jsonl", progress("late", 10))
    finding = {"timestamp": stamp(80), "agent_id": "one", "finding_type": "issue"}
    found = finding | {"severity": "high", "message": "a broken hinge"}
    write_lines(task / "archive" / "one_findings.jsonl", found)
    write_lines(task / "archive" / "one_stream.jsonl", {"type": "result", "result": "archived"})
    monkeypatch.setenv("MUSTER_WORKSPACES", str(workspace))
    assert main(["show", "one", "-S", str(server.socket)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("early") < shown.index("late") and "a broken hinge" in shown
    assert "archive/one_findings.jsonl" in shown and "progress/one_progress.jsonl" in shown
    assert main(["tail", "one", "--json"]) == 0
    told = capsys.readouterr().out
    assert told.index("early") < told.index("a broken hinge") < told.index("late")
    assert "archived" in told
