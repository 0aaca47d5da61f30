"""tmux servers of other users: never connected to, whatever they are called or say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.other_user import OTHER, FakeServer, fake_server, needs_another_user
from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, take
from tui.cli import main
from tui.host import tmux_servers
from tui.host.process import descriptors
from tui.host.process.process_tree import Origin, processes_with_argument, session_processes
from tui.host.tmux import Tmux
from tui.host.tmux_servers import described_server, look_elsewhere, servers_of
from tui.host.tmux_types import TmuxState
from tui.model.policy import Policy
from tui.model.roll import Verdict

pytestmark = needs_another_user

EAGER = Policy(death_confirmation=0.005, session_late_limit=3600)


@pytest.fixture
def theirs(nobody_elses_tmux: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server of another user, and no other one."""
    directory = nobody_elses_tmux / "theirs"
    directory.mkdir()
    os.chown(directory, OTHER, OTHER)
    nobody_elses_tmux.chmod(0o755)
    with fake_server(directory / "s") as server:
        until(lambda: server.pid in [each.pid for each in servers_of(None)], "the server")
        monkeypatch.setattr(
            tmux_servers,
            "servers_of",
            lambda owners: (each for each in servers_of(owners) if each.pid == server.pid),
        )
        yield server


def test_root_connects_to_no_other_users_server_nor_calls_dead(
    theirs: FakeServer, tmp_path: Path, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    roll = take(files, Tmux(tmp_path / "s"), EAGER)
    (row,) = roll.agents()
    assert row.verdict is Verdict.UNKNOWN
    assert f"of {OTHER} may have the agent's session" in row.note
    assert f"sudo -u '#{OTHER}' muster" in row.note
    assert main.main(["list", "-S", str(tmp_path / "s"), str(files.path)]) == 0
    assert "unknown" in capsys.readouterr().out
    assert theirs.asked() == (0, 0)
    assert not calls.exists()


def test_one_that_a_session_started_is_named_without_asking_it(theirs: FakeServer) -> None:
    assert described_server(theirs.pid) == f"the tmux server {theirs.pid}"
    assert theirs.asked() == (0, 0)


def test_one_that_is_named_is_refused_with_what_to_do(theirs: FakeServer) -> None:
    (server,) = tmux_servers.servers_of(None)
    assert server.socket is None
    socket = descriptors.listening_path(theirs.pid)
    assert socket is not None
    answer = Tmux(socket).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert f"sudo -u '#{OTHER}' muster" in answer.advice
    assert theirs.asked() == (0, 0)


# Its child leads a terminal and says that it runs in a pane of init; then its parent ends.
_ORPHAN = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
    os.execve(sys.argv[2], ["sleep", "1000"], {"TMUX": "/tmp/s,1,0", "TMUX_PANE": "%1"})
if os.fork() == 0:
    os.read(0, 1)
    os.kill(pid, 9)
    os._exit(0)
print(pid, flush=True)
"""


@pytest.fixture
def claimant() -> Iterator[int]:
    """A process of another user that says it runs in a pane of init."""
    words = [sys.executable, "-S", "-c", _ORPHAN, str(OTHER), shutil.which("sleep") or ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starting:
        assert starting.stdin is not None and starting.stdout is not None
        pid = int(starting.stdout.readline())
        starting.wait()
        stat = Path(f"/proc/{pid}/stat")
        until(lambda: stat.read_text().split()[1] == "(sleep)", "its program")
        handed_to_init = stat.read_text().split()[3] == "1"
        if handed_to_init:
            yield pid
        starting.stdin.close()
    if not handed_to_init:
        pytest.skip("orphans are not handed to process 1 here: there is a subreaper")


def test_init_is_not_a_tmux_server_whatever_its_children_say(claimant: int) -> None:
    assert 1 not in [each.pid for each in servers_of(None)]


def test_no_claim_of_another_user_has_a_kill_spare_anything(
    claimant: int, server: RealTmux, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    # It is in the process session of its pane, but no child of anything that is.
    left = f"(env -i /bin/sh -c 'echo $$ > {note}; exec sleep 1000' &)"
    server.start("agent_a", f"{left}; {SLEEP}")
    pid = int(until(lambda: note.exists() and note.read_text(), "who left"))
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[3] == "1", "init to have it")
    answer = server.client().ask()
    session = answer.sessions["agent_a"]
    origin = Origin(session.pids, session.panes, answer.socket, answer.server_pid)
    assert pid in [each.pid for each in session_processes(origin)]


def test_no_process_of_another_user_is_found_by_its_arguments() -> None:
    """What is found so is ended with the demo."""
    argument = "-S/nowhere/muster-demo"
    words = ["sh", "-c", "echo; read line", "sh", argument]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(words, stdin=pipe, stdout=pipe) as ours,
        subprocess.Popen(words, stdin=pipe, stdout=pipe, user=OTHER, group=OTHER) as theirs,
    ):
        for each in (ours, theirs):
            assert each.stdout is not None and each.stdin is not None
            assert each.stdout.readline() == b"\n"
        assert [each.pid for each in processes_with_argument(argument)] == [ours.pid]
        ours.kill()
        theirs.kill()


def test_a_real_server_of_another_user_is_recognized_from_proc(
    nobody_elses_tmux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = nobody_elses_tmux / "theirs"
    directory.mkdir()
    os.chown(directory, OTHER, OTHER)
    nobody_elses_tmux.chmod(0o755)
    tmux = [shutil.which("tmux") or "", "-f", "/dev/null", "-S", str(directory / "s")]
    as_other = {"user": OTHER, "group": OTHER, "extra_groups": []}
    start = [*tmux, "new-session", "-d", "-s", "agent_a", "exec sleep 1000"]
    subprocess.run(start, check=True, cwd="/", **as_other)  # type: ignore[call-overload]
    try:
        ask = [*tmux, "display-message", "-p", "#{pid}"]
        done = subprocess.run(ask, check=True, stdout=subprocess.PIPE, **as_other)  # type: ignore[call-overload]
        pid = int(done.stdout)
        monkeypatch.setattr(
            tmux_servers,
            "servers_of",
            lambda owners: (each for each in servers_of(owners) if each.pid == pid),
        )
        until(lambda: any(tmux_servers.servers_of(None)), "the server")
        found = look_elsewhere(["agent_a"], Tmux(tmp_path / "s").ask(), None)
        assert "sudo -u" in found.whys["agent_a"]
        assert found.sessions == ()
    finally:
        subprocess.run([*tmux, "kill-server"], check=True, **as_other)  # type: ignore[call-overload]
