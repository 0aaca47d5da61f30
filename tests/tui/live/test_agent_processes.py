"""Agents that run without a tmux session are judged by their processes, in both formats."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from registry.schema.layout import Workspace
from tests.support.agent_processes import Background, write_agents
from tests.support.agent_processes import processes as processes
from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tests.support.workspaces import QUICK, row_of, stamp, verdicts
from tui.cli.main import main
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.model.roll import RollCall, Verdict, place_of

YOUNG = replace(QUICK, start_grace=0.0)
"""A policy that judges an agent at once."""

DIALECTS = pytest.mark.parametrize("dialect", ["json", "sqlite"])


def taken(workspace: Path, server: RealTmux) -> RollCall:
    return take_roll([Workspace(workspace.resolve())], server.client(), YOUNG)


@DIALECTS
def test_each_agent_has_the_verdict_of_its_process(
    tmp_path: Path, server: RealTmux, processes: Background, dialect: str
) -> None:
    live, gone, over = (processes.start(name) for name in ("live", "gone", "over"))
    processes.end(gone)
    old = {"started_at": stamp(7000)}
    workspace = write_agents(
        processes.directory.parent.parent,
        dialect,
        live=live,
        odd={"cursor_pid": live, "status": "in_progress"},
        gone=gone,
        over={"cursor_pid": over, "status": "completed", "completed_at": stamp(3000)},
        ended={"cursor_pid": gone, "status": "completed"},
        reused={"cursor_pid": live, **old},
        none={},
        wrong={"cursor_pid": -5},
    )
    roll = taken(workspace, server)
    assert verdicts(roll) == {
        "live": Verdict.LIVE,
        "odd": Verdict.LIVE,
        "gone": Verdict.ZOMBIE,
        "over": Verdict.LEAKED,
        "ended": Verdict.FINISHED,
        "reused": Verdict.UNKNOWN,
        "none": Verdict.UNKNOWN,
        "wrong": Verdict.UNKNOWN,
    }
    assert "clock or time zone" in row_of(roll, "reused").note
    assert place_of(row_of(roll, "live")) == f"pid {live}"
    assert roll.orphans == () and roll.orphans_known


@DIALECTS
def test_the_end_of_a_process_is_noticed_at_once(
    tmp_path: Path, server: RealTmux, processes: Background, dialect: str
) -> None:
    pid = processes.start("one")
    workspace = write_agents(processes.directory.parent.parent, dialect, one=pid)
    rolls: list[RollCall] = []
    live = LiveRoll([Workspace(workspace.resolve())], server.client(), YOUNG)
    live.listen(rolls.append)
    live.start()
    try:
        until(lambda: rolls and verdicts(rolls[-1]) == {"one": Verdict.LIVE}, "a live agent")
        processes.end(pid)
        until(lambda: verdicts(rolls[-1]) == {"one": Verdict.ZOMBIE}, "a zombie")
    finally:
        live.stop()


def test_an_agent_that_reported_its_end_is_ending(
    tmp_path: Path, server: RealTmux, processes: Background
) -> None:
    pid = processes.start("one")
    workspace = write_agents(processes.directory.parent.parent, "json", one=pid)
    processes.end(pid)
    folder = processes.directory / "progress"
    folder.mkdir()
    report = {"timestamp": stamp(0), "agent_id": "one", "status": "completed", "progress": 100}
    (folder / "one_progress.jsonl").write_text(json.dumps(report) + "\n")
    assert verdicts(taken(workspace, server)) == {"one": Verdict.UNKNOWN}


@DIALECTS
def test_every_view_names_the_pid(
    tmp_path: Path,
    server: RealTmux,
    processes: Background,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dialect: str,
) -> None:
    pid = processes.start("one")
    workspace = write_agents(processes.directory.parent.parent, dialect, one=pid)
    monkeypatch.setenv("MUSTER_WORKSPACES", str(workspace))
    at = ("-S", str(server.socket))
    assert main(["list", "--columns", "agent,session", *at]) == 0
    assert f"pid {pid}" in capsys.readouterr().out
    assert main(["list", "--json", *at]) == 0
    (task,) = json.loads(capsys.readouterr().out)["workspaces"][0]["tasks"]
    assert task["agents"][0]["pid"] == pid and task["agents"][0]["tmux_session"] is None
    assert main(["show", "one", *at]) == 0
    said = capsys.readouterr().out
    assert f"{pid}, began" in said and "cursor_pid" not in said
    assert main(["show", "one", "--json", *at]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pid"] == pid and [each["pid"] for each in told["processes"]["all"]] == [pid]
    assert main(["list", "--where", f"session:{pid}", *at]) == 0
    assert "one" in capsys.readouterr().out
