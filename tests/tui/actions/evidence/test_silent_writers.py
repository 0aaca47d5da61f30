"""Processes that write an agent's output, and do not say in which pane they were started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.commands import muster
from tests.support.leftovers import ALL_ENDS, NO_GRACE, kill_server, log, rolled, write
from tests.support.leftovers import files as files
from tests.support.real_tmux import RealTmux, runs
from tests.support.selection import paired
from tests.support.waiting import until
from tests.support.workspaces import Files, row_of, take
from tui.actions.evidence import leftovers
from tui.actions.execute import Result, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import checked_complete, plan_complete
from tui.actions.plan_kill import plan_kill
from tui.host.output_writers import Watched
from tui.host.strays import Stray, find_strays
from tui.host.tmux_types import TmuxSnapshot
from tui.model.roll import Verdict

SILENT = {
    "no environment": "exec env -i sleep 1000",
    "no TMUX": "unset TMUX; exec sleep 1000",
    "no pane": "unset TMUX_PANE; exec sleep 1000",
    "another socket": "TMUX=/nowhere,1,0 exec sleep 1000",
}


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that are ended after the test."""
    started: list[int] = []
    yield started
    for pid in started:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)


def start(files: Files, server: RealTmux, pids: list[int], command: str) -> int:
    """Starts x, whose first process ignores HUP and writes its output."""
    server.start("agent_x", f"trap '' HUP; exec 3>> {log(files)}; {command}")
    (pid,) = server.pane_pids()
    pids.append(pid)
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    write(files, "x")
    return pid


@pytest.mark.parametrize(
    ("end", "command"), paired({each.__name__: each for each in ALL_ENDS}, SILENT)
)
def test_whoever_writes_its_output_keeps_an_agent_from_being_called_dead(
    files: Files, server: RealTmux, pids: list[int], end: object, command: str
) -> None:
    pid = start(files, server, pids, command)
    assert callable(end)
    end(server)
    before = files.bytes()
    roll = rolled(files, server)
    row = row_of(roll, "x")
    for plan in (weighed_kill(roll, [row]), checked_complete(roll, [row], by_verdict=True)):
        assert plan.steps == ()
        assert f"sleep ({pid})" in plan.refused[0][1]
    # A plan that was made without looking finds it as it is carried out.
    for unlooked in (plan_kill(roll, [row]), plan_complete(roll, [row], by_verdict=True)):
        (step,) = carry_out(unlooked, server.client(), "").steps
        assert step.result is not Result.DONE and f"sleep ({pid})" in step.detail
    assert files.bytes() == before
    assert runs(pid)


def test_a_kill_of_a_live_agent_tells_what_still_writes_for_it(
    files: Files, server: RealTmux, pids: list[int]
) -> None:
    pid_file = files.path / "pid"
    apart = f"setsid env -i sh -c 'echo $$ > {pid_file}.new; exec sleep 1000' 3>> {log(files)} &"
    server.start("agent_x", f"({apart}); exec sleep 1000")
    new = Path(f"{pid_file}.new")
    pid = int(until(lambda: new.exists() and new.read_text().strip(), "its process"))
    pids.append(pid)
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    write(files, "x")
    roll = take(files, server.client(), NO_GRACE)
    assert row_of(roll, "x").verdict is Verdict.LIVE
    (step,) = carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").steps
    assert step.result is Result.FAILED
    assert f"still running: 1 process sleep ({pid})" in step.detail
    assert files.agent("x")["status"] == "running"
    # Once it has ended the agent is dead.
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), "its end")
    roll = rolled(files, server)
    assert carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").complete
    assert files.agent("x")["status"] == "terminated"


def test_a_reader_is_no_leftover_and_a_writer_is(files: Files, server: RealTmux) -> None:
    server.start("agent_x")
    write(files, "x")
    log(files).touch()
    with log(files).open() as read, subprocess.Popen(["sleep", "1000"], stdin=read) as reader:
        kill_server(server)
        roll = rolled(files, server)
        plan = weighed_kill(roll, [row_of(roll, "x")])
        reader.kill()
    assert len(plan.steps) == 1
    with log(files).open("a") as out, subprocess.Popen(["sleep", "1000"], stdout=out) as writer:
        row = row_of(rolled(files, server), "x")
        plan = weighed_kill(rolled(files, server), [row])
        writer.kill()
    assert plan.steps == ()


def test_a_writer_is_a_leftover_whenever_it_began(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_x")
    write(files, "x")
    kill_server(server)
    roll = rolled(files, server)
    row = row_of(roll, "x")
    started = row.record.started
    assert started is not None

    with log(files).open("a") as out, subprocess.Popen(["sleep", "1000"], stdout=out) as writer:

        def aged(answer: TmuxSnapshot, watched: Watched) -> tuple[Stray, ...]:
            # When processes began is told by the clock, and a start may be of another zone.
            found = find_strays(answer, watched)
            own = [each for each in found if each.process.pid == writer.pid]
            return tuple(replace(each, began=started - 7200) for each in own)

        monkeypatch.setattr(leftovers, "find_strays", aged)
        try:
            plan = weighed_kill(roll, [row])
            completed = checked_complete(roll, [row], by_verdict=True)
        finally:
            writer.kill()
    assert f"sleep ({writer.pid})" in plan.refused[0][1]
    assert f"sleep ({writer.pid})" in completed.refused[0][1]


@pytest.mark.parametrize("command", ["exec sleep 1000", *SILENT.values()])
def test_what_writes_its_output_in_another_session_is_a_leftover_as_well(
    files: Files, server: RealTmux, command: str
) -> None:
    server.start("agent_another", f"exec 3>> {log(files)}; {command}")
    (pid,) = server.pane_pids()
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    write(files, "x")
    roll = rolled(files, server)
    plan = weighed_kill(roll, [row_of(roll, "x")])
    assert plan.steps == () and f"sleep ({pid})" in plan.refused[0][1]
    # Its own known session is another's business.
    assert weighed_kill(roll, [row_of(roll, "another")]).refused == ()


def test_a_pipe_of_tmux_that_ends_with_the_session_is_waited_for(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_x")
    server.run("pipe-pane", "-t", "agent_x", f"cat >> {log(files)}")
    write(files, "x")
    done = muster(files, "kill", "x", "--yes", "-S", server.socket)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files.agent("x")["status"] == "terminated"


def test_named_alone_it_can_be_completed_all_the_same(
    files: Files, server: RealTmux, pids: list[int]
) -> None:
    pid = start(files, server, pids, SILENT["no environment"])
    kill_server(server)
    roll = rolled(files, server)
    plan = checked_complete(roll, [row_of(roll, "x")])
    assert f"sleep ({pid})" in plan.steps[0].says
    assert carry_out(plan, server.client(), "").complete
    assert files.agent("x")["status"] == "completed"
