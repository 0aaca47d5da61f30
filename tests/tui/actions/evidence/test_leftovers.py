"""Agents whose tmux server or session is gone, but whose processes live on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.checks.issue import IssueKind
from tests.support.commands import muster
from tests.support.leftovers import (
    ENDS,
    NO_GRACE,
    kill_server,
    kill_session,
    rolled,
    write,
)
from tests.support.leftovers import files as files
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, stamp, take
from tui.actions.evidence import leftovers
from tui.actions.execute import Outcome, Result, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan import Plan
from tui.actions.plan_complete import checked_complete, plan_complete
from tui.actions.plan_kill import plan_kill
from tui.doctor.examine import examine
from tui.doctor.fix import carry_out_fix
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_tree import look
from tui.host.strays import Stray

Live = Callable[..., int]


@pytest.fixture
def live(files: Files, server: RealTmux) -> Iterator[Live]:
    """Starts an agent that ignores HUP, and writes it down afterwards as orchestrators do."""
    pids: list[int] = []

    def started(*logs: str, agent: str = "x") -> int:
        into = [str(files.path / "TASK-1" / "logs" / f"{each}_stream.jsonl") for each in logs]
        opened = "; ".join(f"exec {n}>> {path}" for n, path in enumerate(into, 3)) or ":"
        server.start(f"agent_{agent}", f"trap '' HUP; {opened}; exec sleep 1000")
        (pid,) = server.pane_pids()
        pids.append(pid)
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
        return pid

    yield started
    for pid in pids:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)


def planned(files: Files, server: RealTmux, agent: str = "x") -> Plan:
    roll = rolled(files, server, agent)
    return weighed_kill(roll, [row_of(roll, agent)])


def kill(files: Files, server: RealTmux, agent: str = "x") -> Outcome:
    return carry_out(planned(files, server, agent), server.client(), "")


@ENDS
def test_an_agent_whose_processes_may_live_is_not_called_dead(
    files: Files, server: RealTmux, live: Live, end: Callable[[RealTmux], None]
) -> None:
    pid = live()
    write(files, "x")
    end(server)
    before = files.bytes()
    plan = planned(files, server)
    assert plan.steps == ()
    ((_, why),) = plan.refused
    assert f"sleep ({pid})" in why and "muster complete x" in why
    # A plan that was made without looking finds it as it is carried out.
    roll = rolled(files, server)
    unlooked = plan_kill(roll, [row_of(roll, "x")])
    (step,) = carry_out(unlooked, server.client(), "").steps
    assert step.result is Result.FAILED and f"sleep ({pid})" in step.detail
    assert files.bytes() == before
    assert runs(pid)


@ENDS
def test_what_writes_an_agents_output_is_ended_with_it(
    files: Files, server: RealTmux, live: Live, end: Callable[[RealTmux], None]
) -> None:
    pid = live("x")
    write(files, "x")
    end(server)
    others = server.names()
    plan = planned(files, server)
    assert [step.label for step in plan.steps] == ["x"], plan.refused
    assert plan.footprint is not None and plan.footprint.processes == 1
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete, outcome
    assert "ended 1 process" in outcome.steps[0].detail
    assert not runs(pid)
    assert server.names() == others
    assert files.agent("x")["status"] == "terminated"


def test_what_writes_another_agents_output_is_that_ones(
    files: Files, server: RealTmux, live: Live
) -> None:
    pid = live("y")
    write(files, "x", "y")
    kill_server(server)
    outcome = kill(files, server)
    assert outcome.complete and "had no session" in outcome.steps[0].detail
    assert runs(pid)
    assert kill(files, server, "y").complete
    assert not runs(pid)


def test_whoever_writes_the_output_of_several_is_not_ended_for_one(
    files: Files, server: RealTmux, live: Live
) -> None:
    pid = live("x", "y")
    write(files, "x", "y")
    kill_server(server)
    for agent in "xy":
        assert f"sleep ({pid})" in planned(files, server, agent).refused[0][1]
    assert runs(pid)


def test_a_file_that_has_another_name_as_well_ties_nothing(
    files: Files, server: RealTmux, live: Live, tmp_path: Path
) -> None:
    pid = live("x")
    write(files, "x")
    os.link(files.path / "TASK-1" / "logs" / "x_stream.jsonl", tmp_path / "somebody elses")
    kill_server(server)
    assert f"sleep ({pid})" in planned(files, server).refused[0][1]


def test_what_is_not_the_registry_owners_is_not_ended_for_writing_its_output(
    files: Files, server: RealTmux, live: Live
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a registry to another user")
    pid = live("x")
    write(files, "x")
    os.chown(files.registry(), 64101, 64101)
    kill_server(server)
    assert f"sleep ({pid})" in planned(files, server).refused[0][1]


@pytest.mark.parametrize("name", ["AGENT_REGISTRY.json", "logs", "progress", ".", ".."])
def test_what_others_could_have_named_is_not_ended_for_writing_its_output(
    files: Files, server: RealTmux, live: Live, name: str
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to a group that it is not in")
    pid = live("x")
    write(files, "x")
    kill_server(server)
    (files.path / "TASK-1" / "progress").mkdir(exist_ok=True)
    shared = files.path / "TASK-1" / name
    mode = shared.stat().st_mode & 0o7777
    os.chown(shared, -1, 64200)
    shared.chmod(mode | 0o020)
    assert f"sleep ({pid})" in planned(files, server).refused[0][1]
    shared.chmod(mode)
    assert [step.label for step in planned(files, server).steps] == ["x"]
    assert runs(pid)


def test_nothing_is_left_once_all_of_it_has_ended(
    files: Files, server: RealTmux, live: Live
) -> None:
    pid = live()
    write(files, "x")
    kill_server(server)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), "its end")
    assert kill(files, server).complete
    assert files.agent("x")["status"] == "terminated"


def test_who_lives_in_a_pane_is_no_stray(files: Files, server: RealTmux) -> None:
    server.start("agent_another", "sleep 1000 & exec sleep 1000")
    write(files, "x")
    assert kill(files, server).complete
    assert server.names() == {"agent_another"}


def test_a_process_of_another_user_may_say_what_it_likes(files: Files, server: RealTmux) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    server.start("agent_x")
    write(files, "x")
    pane = server.client().ask().sessions["agent_x"].panes[0]
    says = {"TMUX": f"{server.socket},{server.server_pid()},0", "TMUX_PANE": pane}
    with subprocess.Popen(["sleep", "1000"], env=says, user=64101, group=64101) as liar:
        roll = take(files, server.client(), NO_GRACE)
        plan = weighed_kill(roll, [row_of(roll, "x")])
        assert plan.footprint is not None and plan.footprint.processes == 1
        kill_session(server)
        # It proves nothing, but that pane may have been its.
        ((_, why),) = planned(files, server).refused
        assert f"sleep ({liar.pid}) (of user 64101)" in why and "muster complete x" in why
        assert liar.poll() is None
        liar.kill()
    assert kill(files, server).complete


# --- who else writes deaths down -------------------------------------------------


def test_the_doctor_does_not_write_it_down(files: Files, server: RealTmux, live: Live) -> None:
    pid = live("x")
    write(files, "x")
    kill_server(server)
    found = examine(files.workspaces(), rolled(files, server))
    assert [step.label for step in found.zombies.steps] == ["another"]
    (zombie,) = [
        each for each in found.findings if (each.agent, each.kind) == ("x", IssueKind.ZOMBIE)
    ]
    assert not zombie.fixable and f"sleep ({pid})" in zombie.advice
    roll = rolled(files, server)
    unlooked = plan_complete(roll, [row_of(roll, "x")], "terminated")
    outcome = carry_out_fix(replace(found, zombies=unlooked), server.client(), "")
    assert f"sleep ({pid})" in {each.label: each.detail for each in outcome.steps}["x"]
    assert files.agent("x")["status"] == "running"


def test_only_whoever_names_it_alone_completes_it(
    files: Files, server: RealTmux, live: Live
) -> None:
    pid = live("x")
    write(files, "x")
    files.write_task("TASK-2", entry("old", started_at=stamp(3600)))
    kill_server(server)
    roll = rolled(files, server)
    rows = [row_of(roll, "x"), row_of(roll, "old")]
    plan = checked_complete(roll, rows)
    assert [step.label for step in plan.steps] == ["old"]
    assert f"sleep ({pid})" in dict(plan.refused)["x"]
    step, _ = carry_out(plan_complete(roll, rows), server.client(), "").steps
    assert step.result is Result.LEFT and f"sleep ({pid})" in step.detail
    alone = checked_complete(rolled(files, server), [row_of(roll, "x")])
    assert f"although 1 process sleep ({pid}) of the agent still runs" in alone.steps[0].says
    assert carry_out(alone, server.client(), "").complete
    assert files.agent("x")["status"] == "completed"
    assert runs(pid)


def test_the_command_line_says_it_and_goes_by_it(
    files: Files, server: RealTmux, live: Live
) -> None:
    pid = live()
    files.write_task("TASK-1", entry("x"))
    kill_server(server)
    where = ("-S", server.socket, "-w", files.path, "--yes")
    done = muster(files, "kill", "x", *where)
    assert done.returncode == 1, done
    # No server is no proof where muster cannot see the host's processes.
    assert "cannot see agents" in done.stdout or f"sleep ({pid})" in done.stdout
    assert files.agent("x")["status"] == "running"


# --- when what began --------------------------------------------------------------


@pytest.fixture
def stray(monkeypatch: pytest.MonkeyPatch, files: Files) -> Callable[[float, bool], None]:
    """Lets a process be left that began so many seconds after the agent had started."""

    def left(after: float, writes: bool) -> None:
        (process,) = look().described([os.getpid()])
        began = STARTED + after
        own = frozenset({(files.path / "TASK-1", "x")} if writes else ())
        said = PaneEnvironment("/x", 7, "$0", "%0")
        found = Stray(process, frozenset({os.getuid()}), began, said, own, own)
        monkeypatch.setattr(leftovers, "find_strays", lambda *_: (found,))

    return left


STARTED = 1_760_000_000.0


@pytest.mark.parametrize(
    ("after", "writes", "ended", "refused"),
    [
        (-2, True, True, False),
        (-20, True, False, True),
        (60, True, False, True),
        (-2, False, False, True),
        (9999, False, False, True),
        (-299, False, False, True),
        (-301, False, False, False),
        (-301, True, False, True),
    ],
)
def test_only_what_began_as_the_agent_is_ended(
    files: Files,
    server: RealTmux,
    stray: Callable[[float, bool], None],
    after: float,
    writes: bool,
    ended: bool,
    refused: bool,
) -> None:
    server.start("agent_another")
    write(files, "x")
    roll = rolled(files, server)
    row = row_of(roll, "x")
    row = replace(row, record=replace(row.record, started=STARTED))
    stray(after, writes)
    plan = weighed_kill(roll, [row])
    assert bool(plan.refused) is refused
    assert [step.earlier is not None for step in plan.steps] == ([] if refused else [ended])
