"""A tmux server in another PID namespace: the pids that it tells are no processes of ours."""

from __future__ import annotations

import os
import signal
import socket as sockets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result
from tui.actions.plan_kill import plan_kill
from tui.cli.commands.show import gather
from tui.host.process.pane_environment import pane_said_by
from tui.host.process.process_tree import look
from tui.host.process.usage import Meter
from tui.host.tmux import Tmux
from tui.host.tmux_servers import look_elsewhere
from tui.host.tmux_socket import Listener, is_process_here
from tui.host.tmux_types import TmuxState
from tui.model.policy import Policy
from tui.model.roll import Verdict

YOUNG = Policy(orphan_grace=-60.0, session_late_limit=3600.0)

UNSHARE = ["unshare", *(() if os.getuid() == 0 else ("-Ur",)), "-p", "-f"]

Contained = Callable[..., None]


@pytest.fixture
def contained(server: RealTmux) -> Iterator[Contained]:
    """Starts the server with sessions of some names in a PID namespace of its own."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace may be made here (unshare -p)")
    with ExitStack() as stack:

        def start(*names: str) -> None:
            run = f'tmux -f /dev/null -S "{server.socket}" new-session -d -s'
            inside = "; ".join(f'{run} {name} "{SLEEP}"' for name in names)
            words = [*UNSHARE, "--mount-proc", "sh", "-c", f"{inside}; echo; exec cat"]
            pipe = subprocess.PIPE
            init = stack.enter_context(subprocess.Popen(words, stdin=pipe, stdout=pipe))
            assert init.stdin is not None and init.stdout is not None
            stack.callback(init.stdin.close)
            assert init.stdout.readline() == b"\n"

        yield start
        server.kill_server()


def test_the_pids_that_it_reports_are_ignored(server: RealTmux, contained: Contained) -> None:
    contained("agent_a")
    answer = server.client().ask()
    assert answer.state is TmuxState.ANSWERED and set(answer.sessions) == {"agent_a"}
    assert answer.foreign_pids and answer.server_process is None
    assert answer.sessions["agent_a"].pids == ()
    assert answer.listener is not None and answer.listener != answer.server_pid
    status = Path(f"/proc/{answer.listener}/status").read_text()
    assert f"NSpid:\t{answer.listener}\t{answer.server_pid}\n" in status


def test_the_pids_of_a_server_of_ours_are_ours(server: RealTmux) -> None:
    server.start("agent_a")
    answer = server.client().ask()
    assert answer.listener == answer.server_process == server.server_pid()
    assert set(answer.sessions["agent_a"].pids) == server.pane_pids()


def test_its_sessions_are_not_orphans(
    tmp_path: Path, server: RealTmux, contained: Contained
) -> None:
    contained("agent_x")
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    roll = take(files, server.client(), YOUNG)
    assert roll.orphans == () and not roll.orphans_known
    there = roll.answer.sessions["agent_x"]
    assert weighed_kill(roll, [], [there]).steps == ()
    # So it is as the plan is carried out.
    outcome = carry_out(plan_kill(roll, [], [there]), server.client(), "")
    assert [each.result for each in outcome.steps] == [Result.FAILED]
    assert server.names() == {"agent_x"}


def test_its_agents_are_live_and_are_not_killed_from_here(
    tmp_path: Path, server: RealTmux, contained: Contained
) -> None:
    contained("agent_a")
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    before = files.bytes()
    roll = take(files, server.client(), YOUNG)
    row = row_of(roll, "a")
    assert row.verdict is Verdict.LIVE
    plan = weighed_kill(roll, [row])
    assert plan.steps == () and "cannot see the processes" in dict(plan.refused)["a"]
    # So it is as the plan is carried out.
    (step,) = carry_out(plan_kill(roll, [row]), server.client(), "").steps
    assert step.result is Result.FAILED and "cannot see the processes" in step.detail
    assert server.names() == {"agent_a"}
    assert files.bytes() == before


def test_what_they_cost_and_their_processes_are_not_known(
    tmp_path: Path, server: RealTmux, contained: Contained
) -> None:
    contained("agent_a")
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    roll = take(files, server.client(), YOUNG)
    answer = roll.answer
    assert Meter[str]().measure(answer.sessions, answer) == {}
    assert gather(roll, row_of(roll, "a")).more.processes is None


def test_what_it_has_is_not_gone(tmp_path: Path, server: RealTmux, contained: Contained) -> None:
    contained("agent_a")
    at = Tmux(tmp_path / "s").ask()

    def found() -> str | None:
        return look_elsewhere(["agent_a"], at, {os.getuid()}).whys.get("agent_a")

    assert until(found, "the server") == (
        f"another tmux server has the agent's session; try -S {server.socket}"
    )


_ASK = """
import sys
from pathlib import Path
from tui.host.tmux import Tmux
answer = Tmux(Path(sys.argv[1])).ask()
print(answer.state, answer.foreign_pids, answer.listener, list(answer.sessions))
"""


@pytest.mark.parametrize("proc", [["--mount-proc"], []], ids=["own /proc", "the host's /proc"])
def test_inside_a_namespace_the_pids_of_the_host_are_foreign(
    server: RealTmux, proc: list[str]
) -> None:
    words = [*UNSHARE, *proc]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace may be made here (unshare -p)")
    server.start("agent_a")
    words += [sys.executable, "-c", _ASK, str(server.socket)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "answered True None ['agent_a']\n"


def test_a_socket_that_was_handed_on_is_its_holders(tmp_path: Path) -> None:
    """As one that systemd made for a service."""
    with sockets.socket(sockets.AF_UNIX) as made, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        path = tmp_path / "s"
        made.bind("s")
        made.listen()
        made.set_inheritable(True)
        words = ["sleep", "1000"]
        with (
            subprocess.Popen(words, pass_fds=[made.fileno()], cwd=tmp_path) as holder,
            subprocess.Popen(words) as other,
        ):
            until(lambda: psutil.Process(holder.pid).name() == "sleep", "its program")
            maker = Listener(os.getpid(), os.getuid())
            assert is_process_here(holder.pid, maker, path)
            assert is_process_here(os.getpid(), maker, path)
            assert not is_process_here(other.pid, maker, path)
            assert not is_process_here(holder.pid, None, path)
            holder.kill()
            other.kill()


# --- namespaces that a pane began ------------------------------------------------


@pytest.fixture
def apart(server: RealTmux) -> Iterator[Callable[[str], int]]:
    """Starts an agent that runs a command in a PID namespace of its own; its pid here."""
    pids: list[int] = []

    def begin(command: str) -> int:
        pids.append(begin_apart(server, command))
        return pids[-1]

    yield begin
    for pid in pids:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)


def begin_apart(server: RealTmux, command: str) -> int:
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace may be made here (unshare -p)")
    server.start("agent_a", f"(setsid {' '.join(UNSHARE)} {command} &); {SLEEP}")

    def found() -> int | None:
        here = os.stat("/proc/self/ns/pid").st_ino
        environment = f"TMUX={server.socket},".encode()
        for each in psutil.pids():
            try:
                environ = Path(f"/proc/{each}/environ").read_bytes()
                apart = os.stat(f"/proc/{each}/ns/pid").st_ino != here
                if apart and environment in environ and psutil.Process(each).name() == "sleep":
                    return each
            except (OSError, psutil.Error):
                continue
        return None

    pid = until(found, "what runs apart")
    assert pid is not None
    return pid


@pytest.mark.parametrize("proc", ["", "--mount-proc"])
@pytest.mark.parametrize("orphaned", [False, True])
def test_what_a_pane_began_in_a_namespace_is_ended_with_it(
    tmp_path: Path, server: RealTmux, apart: Callable[[str], int], proc: str, orphaned: bool
) -> None:
    pid = apart(f"{proc} sh -c 'sleep 1000; true'")
    first = psutil.Process(pid).parent()
    assert first is not None
    if orphaned:
        unshare = first.parent()
        assert unshare is not None and unshare.name() == "unshare"
        unshare.kill()
        until(lambda: not unshare.is_running() or unshare.status() == "zombie", "its end")
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    roll = take(files, server.client(), YOUNG)
    plan = weighed_kill(roll, [row_of(roll, "a")])
    assert plan.footprint is not None and plan.footprint.processes >= 3
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete, outcome
    assert not runs(pid) and not runs(first.pid)
    assert files.agent("a")["status"] == "terminated"


def test_a_namespace_whose_first_process_says_otherwise_is_not_the_panes(
    server: RealTmux, apart: Callable[[str], int]
) -> None:
    inside = f"TMUX={server.socket},1,0 TMUX_PANE=%0 sleep 1000"
    pid = apart(f'env -i PATH="$PATH" sh -c "{inside}; true"')
    assert pane_said_by(pid) is None


@pytest.mark.parametrize("ours", [True, False])
def test_no_pid_of_another_namespace_is_offered(
    server: RealTmux, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    monkeypatch.setattr("tui.host.process.procfs.numbers_are_ours", lambda: ours)
    server.socket.unlink()
    said = look_elsewhere(["agent_a"], Tmux(server.directory / "none").ask(), {os.getuid()}).whys
    assert (f"kill -USR1 {pid}" in said["agent_a"]) is ours
    assert ("outside of this container" in said["agent_a"]) is not ours


def test_the_proc_of_another_namespace_is_not_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.host.process.procfs.numbers_are_ours", lambda: False)
    with pytest.raises(OSError, match="another PID namespace"):
        look()
