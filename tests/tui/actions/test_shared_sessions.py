"""An agent with a terminal status may name a session that an active agent uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from registry.schema.layout import Workspace
from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.rolls import agent, answered, called, roll_call, session, task_state
from tests.support.workspaces import QUICK, Files, Json, entry, stamp, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result
from tui.actions.plan_kill import plan_kill
from tui.cli.main import main
from tui.doctor.examine import examine
from tui.live.once import take_roll
from tui.model.roll import RollCall, Verdict


def through() -> Json:
    # Not made when this is imported: its session must be made within its life.
    return entry("d1", "completed")


def at_work() -> Json:
    return entry("d1")


def kill(server: RealTmux, *words: object) -> int:
    return main(["kill", "--yes", "-S", str(server.socket), *map(str, words)])


def start(server: RealTmux, directory: Path | str = "/") -> None:
    made = ["new-session", "-d", "-s", "agent_d1", "-c", str(directory), SLEEP]
    server.run(*made, ";", "set-option", "-s", "exit-empty", "off")


def leaked(roll: RollCall) -> list[str]:
    return [row.key.id for row in roll.agents() if row.verdict is Verdict.LEAKED]


@pytest.mark.parametrize("words", [["--leaked"], ["--task", "T2"]], ids=" ".join)
def test_a_session_in_use_is_not_ended_for_another_tasks_agent(
    server: RealTmux, tmp_path: Path, words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    files = Files(tmp_path, {"T1": [at_work()], "T2": [through()]})
    start(server)
    assert kill(server, *words, "-w", files.path) == 1
    assert "has the same session, and does not have a terminal status" in capsys.readouterr().out
    assert server.names() == {"agent_d1"}


@pytest.mark.parametrize("agents", [[at_work, through], [through, at_work]])
def test_nor_for_one_of_the_same_registry(
    server: RealTmux, tmp_path: Path, agents: Sequence[Callable[[], Json]]
) -> None:
    files = Files(tmp_path, {"T1": [each() for each in agents]})
    start(server)
    assert kill(server, "--leaked", "-w", files.path) == 1
    assert server.names() == {"agent_d1"}


def test_nor_for_one_of_another_workspace(server: RealTmux, tmp_path: Path) -> None:
    one = Files(tmp_path / "one", {"T1": [through()]})
    other = Files(tmp_path / "other", {"T1": [at_work()]})
    start(server)
    assert kill(server, "--leaked", "-w", one.path, "-w", other.path) == 1
    assert server.names() == {"agent_d1"}


@pytest.mark.parametrize("words", [["--leaked"], ["d1"], ["--tree", "d1"]], ids=" ".join)
def test_nor_where_the_workspace_that_it_was_started_in_was_not_named(
    server: RealTmux, tmp_path: Path, words: Sequence[str]
) -> None:
    one = Files(tmp_path / "one", {"T1": [through()]})
    other = Files(tmp_path / "other", {"T1": [at_work()]})
    start(server, other.path.parent)
    assert kill(server, *words, "-w", one.path) == 1
    assert server.names() == {"agent_d1"}
    other.write_task("T1", through())
    assert kill(server, *words, "-w", one.path) == 0
    assert server.names() == set()


def test_nor_if_the_other_registry_cannot_be_read(server: RealTmux, tmp_path: Path) -> None:
    one = Files(tmp_path / "one", {"T1": [through()]})
    other = Files(tmp_path / "other", {"T1": []})
    other.registry("T1").write_text("{")
    start(server, other.path.parent)
    roll = take(one, server.client())
    ((_, why),) = weighed_kill(roll, roll.agents()).refused
    assert "unknown whether another agent has the same session" in why
    other.registry("T1").unlink()
    other.write_global({"T1": [at_work()]})
    ((_, why),) = weighed_kill(roll, roll.agents()).refused
    assert f"an agent in {other.path} without a terminal status has the same session" in why


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_one_that_is_taken_up_again_before_the_kill_is_left(
    server: RealTmux, tmp_path: Path, whose: str
) -> None:
    ours = Files(tmp_path / "ours", {"T1": [through()]})
    theirs = Files(tmp_path / "theirs", {})
    start(server, theirs.path.parent)
    roll = take(ours, server.client())
    plan = weighed_kill(roll, roll.agents())
    {"ours": ours, "theirs": theirs}[whose].write_task("T2", at_work())
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "without a terminal status" in step.detail
    assert server.names() == {"agent_d1"}


def test_the_agent_at_work_itself_can_be_killed(server: RealTmux, tmp_path: Path) -> None:
    files = Files(tmp_path, {"T1": [at_work()], "T2": [through()]})
    start(server)
    assert kill(server, "--task", "T1", "-w", files.path) == 0
    assert server.names() == set()
    assert files.agent("d1", "T1")["status"] == "terminated"


def test_of_two_at_work_in_one_session_neither_is_killed() -> None:
    there = session("agent_d1")
    states = [task_state(agent("d1"), name=name) for name in ("T1", "T2")]
    roll = roll_call(*called(*states, answer=answered(there)), answer=answered(there))
    assert plan_kill(roll, roll.agents()).steps == ()


def test_one_that_may_be_at_work_counts_as_well(server: RealTmux, tmp_path: Path) -> None:
    old = entry("d1", started_at=stamp(7200), last_update=stamp(7200))
    files = Files(tmp_path, {"T1": [old], "T2": [through()]})
    start(server)
    roll = take(files, server.client())
    assert leaked(roll) == ["d1"]
    assert plan_kill(roll, roll.agents()).steps == ()


def test_the_doctor_advises_no_kill_that_would_be_refused(
    server: RealTmux, tmp_path: Path
) -> None:
    one = Files(tmp_path / "one", {"T1": [through()]})
    other = Files(tmp_path / "other", {"T1": [at_work()]})
    start(server, other.path.parent)

    def advice(*all_files: Files) -> str:
        workspaces = tuple(Workspace(each.path) for each in all_files)
        roll = take_roll(workspaces, server.client(), replace(QUICK, session_early_limit=1e9))
        found = examine(workspaces, roll, settled=0.0).findings
        (leak,) = [each for each in found if each.kind.value == "leaked"]
        return leak.advice

    for all_files in ([one], [one, other]):
        why = advice(*all_files)
        assert "muster kill" not in why
        assert "does not have a terminal status" in why or "without a terminal status" in why
    other.write_task("T1", entry("d2", "completed"))
    other.write_global({})
    assert advice(one) == "end its session: muster kill d1"
    other.write_task("T1", entry("d1", "completed", tmux_session="agent_d3"))
    assert advice(one, other) == f"end its session: muster kill d1 -w {one.registry('T1')}"
