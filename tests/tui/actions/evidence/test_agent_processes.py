"""Kills and completes agents that run without a tmux session: real processes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry.audit import EndedSession, read_log
from registry.schema.layout import Workspace
from registry.sources import workspace_source
from tests.support.agent_processes import Background, write_agents
from tests.support.agent_processes import processes as processes
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import QUICK, read, row_of, stamp
from tui.actions.audit_text import entry_details
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.kill_record import KillRecord
from tui.actions.outcome import Outcome, Result
from tui.actions.plan import Plan, Step
from tui.actions.plan_complete import checked_complete
from tui.host.process import process_kill, procfs
from tui.host.process.process_tree import Process
from tui.live.once import take_roll
from tui.model.roll import RollCall, Verdict

YOUNG = replace(QUICK, start_grace=0.0)
"""A policy that judges an agent at once."""

DIALECTS = pytest.mark.parametrize("dialect", ["json", "sqlite"])


def roll_of(processes: Background, server: RealTmux) -> RollCall:
    workspace = processes.directory.parent.resolve()
    return take_roll([Workspace(workspace)], server.client(), YOUNG)


def written(processes: Background, dialect: str = "json", /, **pids: object) -> Path:
    project = processes.directory.parent.parent
    return write_agents(project, dialect, **pids)  # type: ignore[arg-type]


def planned(processes: Background, server: RealTmux, *names: str) -> Plan:
    roll = roll_of(processes, server)
    return weighed_kill(roll, [row_of(roll, name) for name in names])


def killed(processes: Background, server: RealTmux, *names: str) -> Outcome:
    plan = planned(processes, server, *names)
    assert not plan.refused
    return carry_out(plan, server.client(), "")


def status_of(processes: Background, agent_id: str) -> str:
    (workspace,) = [Workspace(processes.directory.parent.resolve())]
    (task,) = workspace_source(workspace).tasks({})
    entry = task.entry(agent_id)
    assert entry is not None
    return str(entry["status"])


def refusals(plan: Plan) -> str:
    assert not plan.steps
    return " ".join(why for _, why in plan.refused)


@pytest.mark.parametrize(
    ("dialect", "words", "count"),
    [
        ("json", ("ignore", "child"), 2),
        ("json", ("orphan",), 2),
        ("sqlite", ("child", "child"), 3),
        pytest.param("json", (), 1, marks=pytest.mark.torture),
        pytest.param("json", ("child", "child"), 3, marks=pytest.mark.torture),
        pytest.param("sqlite", (), 1, marks=pytest.mark.torture),
        pytest.param("sqlite", ("ignore", "child"), 2, marks=pytest.mark.torture),
        pytest.param("sqlite", ("orphan",), 2, marks=pytest.mark.torture),
    ],
)
def test_a_kill_ends_the_process_and_all_that_it_started(
    server: RealTmux,
    processes: Background,
    words: tuple[str, ...],
    count: int,
    dialect: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_kill, "TERM_GRACE", 0.2)
    stranger = processes.start("stranger", "child")
    others = processes.running()
    pid = processes.start("one", *words)
    written(processes, dialect, one=pid, stranger=stranger)
    plan = planned(processes, server, "one")
    (step,) = plan.steps
    assert step.footprint is not None and step.footprint.processes == count
    assert f"process {pid}" in plan.preview().steps[0][0] and plan.files
    outcome = carry_out(plan, server.client(), "")
    assert [each.result for each in outcome.steps] == [Result.DONE], outcome.steps
    assert processes.running() == others
    assert status_of(processes, "one") == "terminated"
    assert status_of(processes, "stranger") == "running"
    log = read_log(processes.directory.parent / "registry" / "muster_audit.jsonl")
    assert any(f"process {pid} of one" in line for e in log.entries for line in entry_details(e))
    assert not log.unfinished_ends


@DIALECTS
def test_a_leaked_process_is_ended_and_the_status_stays(
    server: RealTmux, processes: Background, dialect: str
) -> None:
    pid = processes.start("one")
    written(
        processes,
        dialect,
        one={"cursor_pid": pid, "status": "completed", "completed_at": stamp(100)},
    )
    outcome = killed(processes, server, "one")
    assert [each.result for each in outcome.steps] == [Result.DONE]
    assert not processes.running() and status_of(processes, "one") == "completed"


@DIALECTS
def test_a_dead_agent_gets_its_status(
    server: RealTmux, processes: Background, dialect: str
) -> None:
    pid = processes.start("one")
    processes.end(pid)
    written(processes, dialect, one=pid)
    outcome = killed(processes, server, "one")
    assert [each.result for each in outcome.steps] == [Result.DONE]
    assert status_of(processes, "one") == "terminated"


def test_what_the_dead_left_behind_is_not_overlooked(
    server: RealTmux, processes: Background
) -> None:
    pid = processes.start("one", "child")
    processes.end(pid)
    written(processes, one=pid)
    roll = roll_of(processes, server)
    row = row_of(roll, "one")
    # The child is in the process session of the agent, and still writes the agent's log.
    assert row.verdict is Verdict.UNKNOWN and "process session runs" in row.note
    assert "process session runs" in refusals(weighed_kill(roll, [row]))
    assert "process session runs" in refusals(checked_complete(roll, [row], by_verdict=True))


@DIALECTS
def test_a_living_agent_can_be_completed_and_is_leaked_then(
    server: RealTmux, processes: Background, dialect: str
) -> None:
    written(processes, dialect, one=processes.start("one"))
    roll = roll_of(processes, server)
    plan = checked_complete(roll, [row_of(roll, "one")])
    assert "process" in plan.steps[0].says
    assert carry_out(plan, server.client(), "").steps[0].result is Result.DONE
    assert row_of(roll_of(processes, server), "one").verdict is Verdict.LEAKED


# What is not certainly its own is left alone


def test_a_process_that_proves_nothing_is_refused(server: RealTmux, processes: Background) -> None:
    pid = processes.start("one", logs=False)
    written(processes, one=pid)
    assert "not certain" in refusals(planned(processes, server, "one"))
    named = processes.start("two", "report as two, please", logs=False)
    written(processes, two=named)
    assert [each.result for each in killed(processes, server, "two").steps] == [Result.DONE]
    assert processes.running() == {pid}


def test_two_agents_with_one_process_are_refused(server: RealTmux, processes: Background) -> None:
    pid = processes.start("one", "two")
    written(processes, one=pid, two=pid)
    assert "shares the process" in refusals(planned(processes, server, "one"))
    assert processes.running() == {pid}


def test_muster_does_not_end_itself(server: RealTmux, processes: Background) -> None:
    written(processes, one=os.getpid())
    roll = roll_of(processes, server)
    row = row_of(roll, "one")
    # The test's process is older than the agent, but young enough.
    if row.verdict is Verdict.UNKNOWN:
        pytest.skip("this test process is too old to be taken for the agent's")
    assert "muster itself" in refusals(weighed_kill(roll, [row]))


def test_the_process_of_another_user_is_refused(server: RealTmux, processes: Background) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to start a process of another user")
    code = "import time; print('ready', flush=True); time.sleep(600)"
    command = [sys.executable, "-S", "-c", code, "one"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, user=64101, group=64101, cwd="/")
    try:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        written(processes, one=other.pid)
        assert "not the owner" in refusals(planned(processes, server, "one"))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_tmux_server_is_refused(server: RealTmux, processes: Background) -> None:
    server.start("agent_other")
    pid = server.client().ask().server_pid
    assert pid is not None
    began = procfs.begun_at(procfs.stat_of(pid))  # type: ignore[arg-type]
    assert began
    written(processes, one=pid)
    assert "tmux server" in refusals(planned(processes, server, "one"))
    assert "agent_other" in server.names()


def test_a_process_that_ends_after_the_plan_is_not_replaced_by_another(
    server: RealTmux, processes: Background
) -> None:
    pid = processes.start("one")
    written(processes, one=pid)
    plan = planned(processes, server, "one")
    processes.end(pid)
    outcome = carry_out(plan, server.client(), "")
    assert outcome.steps[0].result is Result.LEFT and "ended meanwhile" in outcome.steps[0].detail
    assert status_of(processes, "one") == "running"


def test_an_agent_that_was_deployed_anew_is_left_alone(
    server: RealTmux, processes: Background
) -> None:
    first = processes.start("one")
    written(processes, one=first)
    plan = planned(processes, server, "one")
    started = read(processes.directory / "AGENT_REGISTRY.json")["agents"][0]["started_at"]
    second = processes.start("one")
    written(processes, one={"cursor_pid": second, "started_at": started})
    outcome = carry_out(plan, server.client(), "")
    assert outcome.steps[0].result is Result.LEFT
    assert processes.running() == {first, second}


def test_a_pid_that_is_reused_in_the_last_moment_gets_no_signal(
    server: RealTmux, processes: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = processes.start("one")
    written(processes, one=pid)
    plan = planned(processes, server, "one")
    before = process_kill.end

    def end(known: list[Process], *_: object) -> object:
        # As if the process had ended, and another one had its pid now.
        other = [replace(process, started=process.started + 1) for process in known]
        return before(other, [])

    monkeypatch.setattr(process_kill, "end", end)
    carry_out(plan, server.client(), "")
    assert processes.running() == {pid}


def test_what_cannot_be_seen_is_completed_only_alone(
    server: RealTmux, processes: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = [processes.start(name) for name in ("one", "two")]
    for pid in pids:
        processes.end(pid)
    written(processes, one=pids[0], two=pids[1])
    monkeypatch.setattr(procfs, "sees_the_host", lambda: False)
    roll = roll_of(processes, server)
    rows = [row_of(roll, "one"), row_of(roll, "two")]
    assert {row.verdict for row in rows} == {Verdict.UNKNOWN}
    assert "container" in refusals(checked_complete(roll, rows))
    assert "unknown" in refusals(weighed_kill(roll, rows))
    plan = checked_complete(roll, rows[:1])
    assert carry_out(plan, server.client(), "").steps[0].result is Result.DONE
    assert status_of(processes, "one") == "completed"


def test_no_pid_of_a_file_is_too_odd(server: RealTmux, processes: Background) -> None:
    pid = processes.start("one")
    odd: tuple[object, ...] = (0, 1, -1, 2**70, str(pid), float(pid), True, [pid], None)
    fields = {f"a{number}": {"cursor_pid": value} for number, value in enumerate(odd)}
    written(processes, **fields)
    roll = roll_of(processes, server)
    assert {row.verdict for row in roll.agents()} == {Verdict.UNKNOWN}
    assert not weighed_kill(roll, roll.agents()).steps
    assert until(lambda: processes.running() == {pid}, "nothing")


# Agents that were started by other agents


def nested(
    server: RealTmux,
    processes: Background,
    session: str,
    leaves: str = "os.setsid(); ",
    logs: bool = True,
    folder: Path | None = None,
) -> int:
    """Starts a process of an agent below the session of another agent; returns its pid.

    Args:
        server: The tmux server.
        processes: The processes of agents.
        session: The name of the session.
        leaves: What the process does first.
        logs: Whether the process writes the log of agent ``inner``.
        folder: The directory of the session.
    """
    log = processes.log("inner") if logs else processes.directory.parent.parent / "output"
    log.parent.mkdir(parents=True, exist_ok=True)
    code = f"import os, time; {leaves}print(os.getpid(), flush=True); time.sleep(600)"
    line = f"{sys.executable} -c {shlex.quote(code)} inner > {shlex.quote(str(log))} & sleep 600"
    server.start(session, line if folder is None else f"cd {shlex.quote(str(folder))}; {line}")
    until(lambda: log.exists() and log.read_text().strip(), "the inner agent")
    return processes.adopt(int(log.read_text()))


@pytest.mark.parametrize("logs", [True, False])
def test_a_kill_of_the_parent_spares_a_child_that_is_an_agent_itself(
    server: RealTmux, processes: Background, logs: bool
) -> None:
    pid = nested(server, processes, "agent_outer", logs=logs)
    outer = {"tmux_session": "agent_outer"}
    written(processes, outer=outer, inner={"cursor_pid": pid, "parent": "outer"})
    outcome = killed(processes, server, "outer")
    assert [each.result for each in outcome.steps] == [Result.DONE], outcome.steps
    assert "agent_outer" not in server.names()
    roll = roll_of(processes, server)
    assert row_of(roll, "inner").verdict is Verdict.LIVE
    assert [each.result for each in killed(processes, server, "inner").steps] == [Result.DONE]
    assert row_of(roll_of(processes, server), "inner").verdict is Verdict.FINISHED


def test_an_agent_that_outlives_its_parents_session_is_no_doubt_about_the_parent(
    server: RealTmux, processes: Background
) -> None:
    server.start("agent_keeper")
    pid = nested(server, processes, "agent_outer", logs=False)
    server.kill("agent_outer")
    outer, keeper = {"tmux_session": "agent_outer"}, {"tmux_session": "agent_keeper"}
    written(processes, outer=outer, keeper=keeper)
    roll = roll_of(processes, server)
    row = row_of(roll, "outer")
    assert row.verdict is Verdict.ZOMBIE
    doubted = weighed_kill(roll, [row])
    assert f"({pid})" in refusals(doubted) and "may belong to the agent" in refusals(doubted)
    written(processes, outer=outer, keeper=keeper, inner={"cursor_pid": pid, "parent": "outer"})
    roll = roll_of(processes, server)
    plan = checked_complete(roll, [row_of(roll, "outer")], by_verdict=True)
    outcome = carry_out(plan, server.client(), "")
    assert [each.result for each in outcome.steps] == [Result.DONE], plan.refused
    assert status_of(processes, "outer") == "completed"
    assert row_of(roll_of(processes, server), "inner").verdict is Verdict.LIVE


@pytest.mark.parametrize("leaves", ["", "os.setpgid(0, 0); "])
def test_an_agent_in_the_terminal_of_another_session_does_not_end_with_it(
    server: RealTmux, processes: Background, leaves: str
) -> None:
    pid = nested(server, processes, "agent_outer", leaves)
    outer = {"tmux_session": "agent_outer"}
    written(processes, outer=outer, inner={"cursor_pid": pid, "parent": "outer"})
    assert f"process {pid} of another agent" in refusals(planned(processes, server, "outer"))
    assert "agent_outer" in server.names()
    outcome = killed(processes, server, "outer", "inner")
    assert [each.result for each in outcome.steps] == [Result.DONE] * 2, outcome.steps
    assert "agent_outer" not in server.names()


@pytest.mark.parametrize(
    "start",
    [{"started_at": stamp(-3600)}, {"started_at": stamp(3600)}, {"started_at": None}],
    ids=["earlier", "later", "no start"],
)
def test_an_agent_that_is_unknown_does_not_end_with_another(
    server: RealTmux, processes: Background, start: dict[str, object]
) -> None:
    pid = nested(server, processes, "agent_outer")
    inner = {"cursor_pid": pid, **start}
    written(processes, outer={"tmux_session": "agent_outer"}, inner=inner)
    assert row_of(roll_of(processes, server), "inner").verdict is Verdict.UNKNOWN
    assert f"process {pid} of agent inner" in refusals(planned(processes, server, "outer"))
    assert "agent_outer" in server.names()


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_a_process_whose_data_cannot_be_read_is_not_gone(
    server: RealTmux,
    processes: Background,
    monkeypatch: pytest.MonkeyPatch,
    error: type[OSError],
) -> None:
    server.start("keeper")
    pid = processes.start("one")
    written(processes, one=pid)
    real = procfs._beginning

    def read(number: int, name: str) -> bytes:
        if number == pid and name == "stat":
            raise error("no permission, or too many open files")
        return real(number, name)

    monkeypatch.setattr(procfs, "_beginning", read)
    roll = roll_of(processes, server)
    row = row_of(roll, "one")
    assert row.verdict is Verdict.UNKNOWN and "cannot read its data" in row.note
    known = [Process(pid, 1, "one", 0)]
    assert process_kill.survivors(known) == tuple(known)


def test_a_second_kill_spares_what_the_first_one_spares(
    server: RealTmux, processes: Background
) -> None:
    """The first kill is interrupted after the end of the session."""
    server.start("agent_keeper")
    pid = nested(server, processes, "agent_outer")
    outer, keeper = {"tmux_session": "agent_outer"}, {"tmux_session": "agent_keeper"}
    written(processes, outer=outer, keeper=keeper, inner={"cursor_pid": pid})
    plan = planned(processes, server, "outer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_kill, "end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            carry_out(plan, server.client(), "")
    assert "agent_outer" not in server.names()
    plan = planned(processes, server, "outer")
    assert plan.steps[0].earlier is not None
    carry_out(plan, server.client(), "")
    assert runs(pid)
    assert row_of(roll_of(processes, server), "inner").verdict is Verdict.LIVE
    assert status_of(processes, "outer") == "terminated"


def test_an_agent_with_a_session_and_a_process_is_dead_only_without_both(
    server: RealTmux, processes: Background
) -> None:
    server.start("agent_keeper")
    pid = processes.start("both")
    both = {"cursor_pid": pid, "tmux_session": "agent_both"}
    written(processes, both=both, keeper={"tmux_session": "agent_keeper"})
    row = row_of(roll_of(processes, server), "both")
    assert row.verdict is Verdict.UNKNOWN and f"its process {pid} runs" in row.note
    processes.end(pid)
    assert row_of(roll_of(processes, server), "both").verdict is Verdict.ZOMBIE


def test_a_kill_of_a_session_whose_agents_process_still_runs_is_not_recorded(
    server: RealTmux, processes: Background
) -> None:
    server.start("agent_both")
    pid = processes.start("both", logs=False)
    written(processes, both={"cursor_pid": pid, "tmux_session": "agent_both"})
    (step,) = killed(processes, server, "both").steps
    assert step.result is Result.FAILED and f"its process {pid} runs" in step.detail
    assert status_of(processes, "both") == "running"


def test_a_leaked_process_that_an_unknown_agent_has_too_is_not_ended(
    server: RealTmux, processes: Background
) -> None:
    pid = processes.start("done")
    done = {"cursor_pid": pid, "status": "completed", "completed_at": stamp(-300)}
    written(processes, done=done, other={"cursor_pid": pid, "started_at": None})
    roll = roll_of(processes, server)
    assert row_of(roll, "other").verdict is Verdict.UNKNOWN
    assert f"process {pid} of agent other" in refusals(planned(processes, server, "done"))


def test_an_agent_that_only_the_global_registry_lists_does_not_end_with_another(
    server: RealTmux, processes: Background
) -> None:
    pid = nested(server, processes, "agent_outer")
    written(processes, outer={"tmux_session": "agent_outer"})
    path = processes.directory.parent / "registry" / "GLOBAL_REGISTRY.json"
    registry = json.loads(path.read_text())
    registry["agents"]["inner"] = {"task_id": "TASK-1", "cursor_pid": pid, "status": "running"}
    path.write_text(json.dumps(registry))
    assert f"process {pid} of agent inner" in refusals(planned(processes, server, "outer"))
    assert "agent_outer" in server.names()


def test_an_agent_that_is_registered_after_the_plan_does_not_end_with_another(
    server: RealTmux, processes: Background
) -> None:
    pid = nested(server, processes, "agent_outer")
    written(processes, outer={"tmux_session": "agent_outer"}, inner={"cursor_pid": pid})
    registry = processes.directory / "AGENT_REGISTRY.json"
    both = json.loads(registry.read_text())
    without = {**both, "agents": [each for each in both["agents"] if each["id"] == "outer"]}
    registry.write_text(json.dumps(without))
    plan = planned(processes, server, "outer")
    assert plan.steps
    registry.write_text(json.dumps(both))
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and f"process {pid} of agent inner" in step.detail
    assert "agent_outer" in server.names()


@pytest.mark.parametrize("of_agent", [True, False], ids=["an agent's session", "an orphan"])
def test_an_agent_of_a_workspace_near_the_session_does_not_end_with_it(
    server: RealTmux, processes: Background, tmp_path: Path, of_agent: bool
) -> None:
    near = tmp_path / "near"
    near.mkdir()
    pid = nested(server, processes, "agent_outer", folder=near)
    write_agents(near, "json", inner={"cursor_pid": pid})
    written(processes, **({"outer": {"tmux_session": "agent_outer"}} if of_agent else {"one": 1}))
    roll = roll_of(processes, server)
    if of_agent:
        plan = weighed_kill(roll, [row_of(roll, "outer")])
    else:
        (session,) = roll.answer.sessions.values()
        plan = weighed_kill(roll, [], [session])
    assert f"process {pid} of agent inner" in refusals(plan) and str(near) in refusals(plan)
    assert "agent_outer" in server.names()


_IN_TERMINAL = """
import os, pty, time
pid, _ = pty.fork()
if not pid:
    print(os.getpid(), file=open({file!r}, "w"), flush=True)
    time.sleep(600)
time.sleep(600)
"""


def test_an_agent_whose_terminal_another_agent_holds_does_not_end_with_it(
    server: RealTmux, processes: Background
) -> None:
    file = processes.directory / "pid"
    processes.directory.mkdir(parents=True, exist_ok=True)
    code = _IN_TERMINAL.format(file=str(file))
    server.start("agent_outer", f"exec {sys.executable} -c {shlex.quote(code)} inner")
    until(lambda: file.exists() and file.read_text().strip(), "the inner agent")
    pid = int(file.read_text())
    outer = {"tmux_session": "agent_outer"}
    written(processes, outer=outer, inner={"cursor_pid": pid})
    assert row_of(roll_of(processes, server), "inner").verdict is Verdict.LIVE
    said = refusals(planned(processes, server, "outer"))
    assert f"process {pid} of another agent runs in a terminal" in said
    assert runs(pid)
    server.kill("agent_outer")


def test_an_agent_in_a_terminal_that_another_agent_leads_does_not_end_with_it(
    server: RealTmux, processes: Background
) -> None:
    """Both have no session of tmux: the outer one leads a process session with a terminal."""
    server.start("keeper")
    file = processes.directory / "pid"
    processes.directory.mkdir(parents=True, exist_ok=True)
    inner = f"import os, time; print(os.getpid(), file=open({str(file)!r}, 'w')); time.sleep(600)"
    leader = (
        "import subprocess, sys, time; "
        f"subprocess.Popen([sys.executable, '-uc', {inner!r}, 'inner']); time.sleep(600)"
    )
    outer, theirs = os.forkpty()
    if not outer:
        os.execv(sys.executable, [sys.executable, "-c", leader, "outer"])
    try:
        until(lambda: file.exists() and file.read_text().strip(), "the inner agent")
        pid = int(file.read_text())
        written(processes, outer=outer, inner=pid)
        said = refusals(planned(processes, server, "outer"))
        assert f"process {pid} of another agent runs in a terminal" in said
        outcome = killed(processes, server, "outer", "inner")
        assert [each.result for each in outcome.steps] == [Result.DONE] * 2, outcome.steps
    finally:
        os.close(theirs)
        os.waitpid(outer, 0)


@pytest.mark.parametrize("leaves", ["os.setsid(); ", ""], ids=["on its own", "in the terminal"])
def test_an_agent_whose_step_fails_does_not_end_with_another(
    server: RealTmux, processes: Background, monkeypatch: pytest.MonkeyPatch, leaves: str
) -> None:
    pid = nested(server, processes, "agent_outer", leaves)
    written(processes, outer={"tmux_session": "agent_outer"}, inner={"cursor_pid": pid})
    plan = planned(processes, server, "outer", "inner")
    real = KillRecord.begin

    def begin(self: KillRecord, step: Step, ending: EndedSession) -> str | None:
        return (
            "another program has the lock" if step.label == "inner" else real(self, step, ending)
        )

    monkeypatch.setattr(KillRecord, "begin", begin)
    results = {each.label: each.result for each in carry_out(plan, server.client(), "").steps}
    assert results == {"inner": Result.FAILED, "outer": Result.DONE if leaves else Result.LEFT}
    assert runs(pid) and row_of(roll_of(processes, server), "inner").verdict is Verdict.LIVE


def test_an_interrupted_kill_leaves_no_process_stopped(
    server: RealTmux, processes: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = processes.start("one", "ignore")
    written(processes, one=pid)
    plan = planned(processes, server, "one")

    def interrupted(*_: object) -> tuple[Process, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr(process_kill, "TERM_GRACE", 0.1)
    monkeypatch.setattr(process_kill, "_since", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, server.client(), "")
    until(lambda: not runs(pid), "the end of the process")


def test_a_kill_of_both_ends_both(server: RealTmux, processes: Background) -> None:
    pid = nested(server, processes, "agent_outer")
    outer = {"tmux_session": "agent_outer"}
    written(processes, outer=outer, inner={"cursor_pid": pid, "parent": "outer"})
    outcome = killed(processes, server, "outer", "inner")
    assert [each.result for each in outcome.steps] == [Result.DONE] * 2, outcome.steps
    stat = procfs.stat_of(pid)
    assert stat is None or stat.is_ended


@pytest.mark.parametrize("logs", [True, False])
def test_a_death_that_only_the_clock_tells_is_not_recorded(
    server: RealTmux, processes: Background, logs: bool
) -> None:
    words = () if logs else ("one",)
    pid = processes.start("one", *words, logs=logs)
    written(processes, one={"cursor_pid": pid, "started_at": stamp(7000)})
    roll = roll_of(processes, server)
    row = row_of(roll, "one")
    assert row.verdict is Verdict.UNKNOWN
    why = "clock or time zone" if logs else "names the agent"
    assert why in refusals(weighed_kill(roll, [row]))
    assert why in refusals(checked_complete(roll, [row], by_verdict=True))
    assert processes.running() == {pid}
