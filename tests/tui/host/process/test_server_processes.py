"""Which processes are tmux servers, on whose word, and which server a process names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.other_user import OTHER, needs_another_user
from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.reused_pids import NAMESPACE, can_choose_pids
from tests.support.selection import TESTS
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result
from tui.host.process import descriptors, pane_environment, procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_tree import (
    Origin,
    look,
    look_at,
    origin_of,
    processes_of,
    session_processes,
)
from tui.host.process.procfs import Stat, Users
from tui.host.process.socket_path import is_socket
from tui.host.tmux_servers import servers_of


def stat(pid: int, parent: int, started: int, name: str = "sh") -> Stat:
    return Stat(pid, name, "S", parent, pid, 0, 0, started, 1)


def pid_in(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().strip(), path.name))


# Which server a process names

SAYS = PaneEnvironment("/s", 20, "$0", "%0")


def test_what_began_before_a_server_names_a_former_one() -> None:
    stats = {
        1: stat(1, 0, 0),
        20: stat(20, 1, 500, "tmux: server"),
        21: stat(21, 20, 500),
        30: stat(30, 1, 400),
        # Begun since, but told by one that began before.
        31: stat(31, 30, 600),
        40: stat(40, 1, 600),
    }
    panes = dict.fromkeys((21, 30, 31, 40), SAYS)
    now = look_at(stats, panes, lambda _: Users(0, 0, 0), lambda _: None)
    assert now.former == {30, 31}
    assert {pid for pid in panes if now.runs_on.get(pid) == 20} == {21, 40}


def test_what_is_of_an_older_process_session_names_a_former_server() -> None:
    """It began since, as a child of a process that ended, or that names nothing."""
    server = stat(20, 1, 500, "tmux: server")
    orders = {20: 7, 41: 6, 42: 8}
    stats = {
        1: stat(1, 0, 0),
        20: server,
        # Its own job.
        22: stat(22, 20, 600)._replace(session=20),
        30: stat(30, 1, 400),
        31: stat(31, 1, 600)._replace(session=30),
        # The leaders of these have ended.
        41: stat(41, 1, 600)._replace(session=39),
        42: stat(42, 1, 600)._replace(session=38),
        43: stat(43, 1, 600)._replace(session=37),
    }
    panes = dict.fromkeys(stats.keys() - {1, 20, 30}, SAYS)
    now = look_at(stats, panes, lambda _: Users(0, 0, 0), lambda _: None, orders.get)
    assert now.former == {31, 41}
    origin = Origin((), ("%0",), Path("/s"), 20, server_began=500, session="$0")
    assert now.said_to_be_of(origin) == {22, 42, 43}


def test_a_process_session_is_numbered_in_the_order_of_the_starts() -> None:
    own = procfs.session_order_of(os.getpid())
    if own is None:
        pytest.skip("the kernel has no scheduling groups of process sessions (autogroup)")
    script = (
        "import os, sys; os.fork() and os._exit(0); print(os.getpid(), flush=True); os.read(0, 1)"
    )
    words = [sys.executable, "-S", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, start_new_session=True, stdin=pipe, stdout=pipe) as first:
        assert first.stdout is not None
        pid = int(first.stdout.readline())
        until(lambda: (found := procfs.stat_of(pid)) and found.parent == 1, "init to have it")
        later = procfs.session_order_of(pid)
        assert later is not None and later > own
        assert procfs.session_order_of(os.getpid()) == own
        os.kill(pid, signal.SIGKILL)
    assert procfs.session_order_of(999_999_999) is None


def test_a_child_that_is_older_than_its_parent_proves_nothing_of_it() -> None:
    stats = {20: stat(20, 1, 500), 21: stat(21, 20, 400)}
    now = look_at(stats, {21: SAYS}, lambda _: Users(0, 0, 0), lambda _: True)
    assert now.servers == frozenset()


def test_the_agent_of_a_former_server_is_not_ended_with_one_of_the_same_pid(
    tmp_path: Path,
) -> None:
    if not can_choose_pids():
        pytest.skip("needs root, unshare --pid and a writable ns_last_pid")
    words = [*NAMESPACE, sys.executable, "-m", "tests.support.reused_server", str(tmp_path)]
    done = subprocess.run(
        words, cwd=TESTS.parent, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lives" in done.stdout


def left_in(server: RealTmux, note: Path, says: str) -> int:
    """A session, something of which left its tree and says that; the pid of what left."""
    server.start("agent_x", f"(setsid env {says} sh -c 'echo $$ > {note}; {SLEEP}' &); {SLEEP}")
    pid = pid_in(note)
    until(lambda: (found := procfs.stat_of(pid)) and found.parent == 1, "init to have it")
    return pid


@pytest.mark.parametrize("path", ["s", "/nowhere/s"])
def test_the_pid_of_a_server_tells_it_whatever_path_its_socket_has(
    server: RealTmux, tmp_path: Path, path: str
) -> None:
    """A server may be given a relative path, or one of its own mount namespace."""
    server.start("keeper")
    pid = left_in(server, tmp_path / "pid", f"TMUX={path},{server.server_pid()},1")
    answer = server.client().ask()
    origin = origin_of(answer.sessions["agent_x"], answer)
    assert pid in [each.pid for each in session_processes(origin)]
    # Where that server ended meanwhile as well.
    server.kill_server()
    assert pid in [each.pid for each in session_processes(origin)]
    younger = replace(origin, server_began=(procfs.stat_of(pid) or stat(0, 0, 0)).started + 1)
    assert session_processes(younger) == ()
    os.kill(pid, signal.SIGKILL)


def test_a_relative_path_may_be_any_of_its_name() -> None:
    assert is_socket("x/s", Path("/tmp/s"))
    assert not is_socket("x/t", Path("/tmp/s"))
    assert not is_socket("/x/s", Path("/tmp/s"))


def test_a_path_that_no_socket_can_have_is_not_followed() -> None:
    around = "/tmp" + "/../tmp" * 14 + "/s"
    assert is_socket(around, Path("/tmp/s"), ())
    assert not is_socket("/../.." + around, Path("/tmp/s"))


# Who says that a process is a server

# A program of ours that runs a helper of another user, which says that it is in a pane of it.
_WRAPPER = """
import os, signal, socket, subprocess, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if sys.argv[2]:
    at = socket.socket(socket.AF_UNIX)
    at.bind(sys.argv[2])
    at.listen()
says = {"TMUX": f"/x,{os.getpid()},0", "TMUX_PANE": "%99"}
user = {"user": int(sys.argv[1]), "group": int(sys.argv[1]), "extra_groups": []}
# It ends with this program.
subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd="/", env=os.environ | says, **user)
print(os.getpid(), file=open(sys.argv[3], "w"), flush=True)
time.sleep(1000)
"""


def start_wrapper(server: RealTmux, directory: Path, user: int, *, listens: bool) -> int:
    program, note = directory / "wrapper.py", directory / "pid"
    program.write_text(_WRAPPER)
    at = directory / "at" if listens else ""
    server.start("keeper")
    server.start("agent_a", f"{sys.executable} -S {program} {user} '{at}' {note}; :")
    pid = pid_in(note)

    def helper_says() -> bool:
        stats = procfs.all_stats()
        said = [
            pane_environment.pane_said_by(each.pid)
            for each in stats.values()
            if each.parent == pid
        ]
        return [each.server_pid for each in said if each is not None] == [pid]

    until(helper_says, "what its helper says")
    return pid


@needs_another_user
def test_no_word_of_another_user_saves_the_parent_of_its_process(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    pid = start_wrapper(server, tmp_path, OTHER, listens=False)
    assert pid not in look().servers
    roll = take(files, server.client())
    assert carry_out(weighed_kill(roll, [row_of(roll, "a")]), server.client(), "").complete
    assert not runs(pid)
    assert files.agent("a")["status"] == "terminated"


@needs_another_user
def test_no_word_of_another_user_makes_a_server_that_is_asked(
    tmp_path: Path, server: RealTmux
) -> None:
    pid = start_wrapper(server, tmp_path, OTHER, listens=True)
    assert pid not in [each.pid for each in servers_of(None)]
    os.kill(pid, signal.SIGKILL)


def refused(files: Files, server: RealTmux) -> str:
    """Why a kill of an agent is not done."""
    roll = take(files, server.client())
    (step,) = carry_out(weighed_kill(roll, [row_of(roll, "a")]), server.client(), "").steps
    assert step.result is Result.FAILED
    assert files.agent("a")["status"] == "running"
    return step.detail


@needs_another_user
def test_what_may_be_a_server_on_another_users_word_keeps_an_agent_from_being_called_dead(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    pid = start_wrapper(server, tmp_path, OTHER, listens=True)
    answer = server.client().ask()
    held = processes_of({"a": origin_of(answer.sessions["agent_a"], answer)})["a"]
    # It is never connected to.
    assert held.servers == ()
    why = refused(files, server)
    assert f"({pid}), which is perhaps not a tmux server" in why
    assert runs(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_server_that_listens_nowhere_keeps_an_agent_from_being_called_dead(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    pid = start_wrapper(server, tmp_path, os.getuid(), listens=False)
    assert f"({pid}), which is perhaps not a tmux server" in refused(files, server)
    os.kill(pid, signal.SIGKILL)


def test_a_program_that_is_only_called_as_a_server_is_no_sure_one(
    tmp_path: Path, server: RealTmux
) -> None:
    note = tmp_path / "pid"
    program = tmp_path / "tmux: server"
    program.symlink_to("/bin/sh")
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    server.start("keeper")
    script = f'trap "" HUP; echo $$ > {note}; while :; do sleep 1; done'
    server.start("agent_a", f"trap '' HUP; '{program}' -c '{script}'; :")
    pid = pid_in(note)
    assert "which is perhaps not a tmux server" in refused(files, server)
    os.kill(pid, signal.SIGKILL)


@contextmanager
def started_by_agent_a(server: RealTmux, program: str = "") -> Iterator[RealTmux]:
    """Starts agent_a, which starts another tmux server, perhaps through a program such as env."""
    with RealTmux() as inner:
        start = f"tmux -f /dev/null -S {inner.socket} new-session -d -s b 'exec sleep 1000'"
        server.start("keeper")
        server.start("agent_a", f"{program} {start}; {SLEEP}")
        until(lambda: inner.names() == {"b"}, "the inner server")
        yield inner


def test_a_server_that_an_agent_started_is_named_and_the_kill_is_done(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    with started_by_agent_a(server) as inner:
        answer = server.client().ask()
        held = processes_of({"a": origin_of(answer.sessions["agent_a"], answer)})["a"]
        assert held.servers == (inner.server_pid(),) and held.doubts == ()
        roll = take(files, server.client())
        done = carry_out(weighed_kill(roll, [row_of(roll, "a")]), server.client(), "")
        assert done.complete
        assert f"the session started the tmux server {inner.server_pid()}" in done.steps[0].detail


def test_a_server_that_only_names_the_agents_pane_is_named_as_one_that_may_be_its(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    with started_by_agent_a(server, "env -u TMUX") as inner:
        answer = server.client().ask()
        origins = {name: origin_of(each, answer) for name, each in answer.sessions.items()}
        held = processes_of(origins)
        assert held["agent_a"].servers == () and held["keeper"].perhaps == ()
        assert held["agent_a"].perhaps == (inner.server_pid(),)
        roll = take(files, server.client())
        done = carry_out(weighed_kill(roll, [row_of(roll, "a")]), server.client(), "")
        said = (
            f"the session may have started the tmux server {inner.server_pid()} on {inner.socket}"
        )
        assert done.complete and said in done.steps[0].detail
        assert inner.names() == {"b"}


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "at"
    with socket.socket(socket.AF_UNIX) as at:
        at.bind(os.fspath(path))
        at.listen()
        yield path


def test_whether_a_process_listens_is_seen(listener: Path) -> None:
    assert descriptors.listens(os.getpid()) is True
    with subprocess.Popen(["sleep", "1000"]) as other:
        assert descriptors.listens(other.pid) is False
        other.kill()
