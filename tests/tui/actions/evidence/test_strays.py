"""Processes that outlive a pane or write for an agent, wherever they run and whosever they are."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.leftovers import NO_GRACE, kill_server, kill_session, log, rolled, write
from tests.support.leftovers import files as files
from tests.support.other_user import OTHER, needs_another_user
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, stamp, take
from tui.actions import kill
from tui.actions.evidence import leftovers
from tui.actions.execute import Result, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import checked_complete
from tui.host import strays, tmux_servers
from tui.host.output_writers import Agent, Watched, written_by
from tui.host.process import descriptors, pane_environment
from tui.host.process.process_look import Process
from tui.host.tmux_servers import Server
from tui.host.tmux_types import TmuxSnapshot, TmuxState
from tui.model.roll import AgentRow, RollCall, Verdict


@pytest.fixture
def elsewhere() -> Iterator[RealTmux]:
    """Another tmux server, at another socket."""
    with RealTmux() as other:
        yield other


Slept = Callable[[int], int]


@pytest.fixture
def slept() -> Iterator[Slept]:
    """Waits until a process runs `sleep`, and ends it after the test."""
    pids: list[int] = []

    def waited(pid: int) -> int:
        pids.append(pid)
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
        return pid

    yield waited
    for pid in pids:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)


def asleep(shell: int, count: int) -> list[int]:
    """The children of a shell that run `sleep`, if they are so many."""
    children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    sleeping = [int(c) for c in children if Path(f"/proc/{c}/comm").read_text() == "sleep\n"]
    return sleeping if len(sleeping) == count else []


def _named(files: Files, server: RealTmux, agent: str = "x") -> tuple[RollCall, list[AgentRow]]:
    roll = rolled(files, server, agent)
    return roll, [row_of(roll, agent)]


def refusals(files: Files, server: RealTmux, agent: str = "x") -> list[str]:
    """Why an agent is neither killed nor completed as a zombie; empty if it is."""
    roll, rows = _named(files, server, agent)
    plans = (weighed_kill(roll, rows), checked_complete(roll, rows, by_verdict=True))
    assert len({bool(plan.refused) for plan in plans}) == 1
    whys = [why for plan in plans for _, why in plan.refused]
    # Named alone it can be completed in any case.
    assert len(checked_complete(roll, rows).steps) == 1
    return whys


def assert_refused(files: Files, server: RealTmux, pid: int) -> None:
    assert_named(files, server, pid, f"sleep ({pid})", "muster complete x")


def assert_named(files: Files, server: RealTmux, pid: int, *says: str) -> None:
    """Checks that an agent is left alone with these words, as long as the process runs."""
    whys = refusals(files, server)
    assert whys and all(words in why for why in whys for words in says)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), "its end")
    # The end of the process may be seen by one of two looks that follow each other.
    until(lambda: not weighed_kill(*_named(files, server)).refused, "no refusal any more")
    assert refusals(files, server) == []


def test_what_a_dead_server_of_another_socket_left_may_be_an_agents(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept
) -> None:
    server.start("agent_another")
    elsewhere.start("agent_x", "trap '' HUP; exec sleep 1000")
    pid = slept(*elsewhere.pane_pids())
    write(files, "x")
    kill_server(elsewhere)
    assert_refused(files, server, pid)


@pytest.mark.parametrize("kept", [False, True], ids=["gone", "dead pane"])
def test_what_a_running_server_of_another_socket_lost_may_be_an_agents(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept, kept: bool
) -> None:
    server.start("agent_another")
    elsewhere.start("agent_another")
    (others,) = elsewhere.pane_pids()
    if kept:
        elsewhere.run("set-option", "-g", "remain-on-exit", "on")
    # What goes on ignores the hangup, and is no child of the server any more.
    elsewhere.start("agent_x", "trap '' HUP; sleep 1000 & sleep 1001")
    write(files, "x")
    (shell,) = elsewhere.pane_pids() - {others}
    children = until(lambda: asleep(shell, 2), "its programs")
    os.kill(shell, signal.SIGKILL)
    pid, other = children
    os.kill(other, signal.SIGKILL)
    until(lambda: not runs(shell), "the end of the shell")
    if kept:
        # With nothing below it, the server is not asked for its sessions.
        os.kill(others, signal.SIGKILL)
        server_pid = elsewhere.server_pid()
        below = Path(f"/proc/{server_pid}/task/{server_pid}/children")
        until(lambda: below.read_text() == "", "the end of the other pane")
    slept(pid)
    assert_refused(files, server, pid)


def test_a_child_of_another_server_without_a_pane_may_be_an_agents(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept
) -> None:
    server.start("agent_another")
    elsewhere.start("agent_another")
    (others,) = elsewhere.pane_pids()
    elsewhere.start("agent_x", "trap '' HUP; exec sleep 1000")
    pid = slept(*(elsewhere.pane_pids() - {others}))
    write(files, "x")
    elsewhere.run("kill-session", "-t", "=agent_x")
    assert_refused(files, server, pid)


def test_what_began_long_after_the_agent_on_another_server_is_no_agents(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept
) -> None:
    server.start("agent_another")
    elsewhere.start("agent_another")
    (others,) = elsewhere.pane_pids()
    elsewhere.start("agent_y", "trap '' HUP; exec sleep 1000")
    slept(*(elsewhere.pane_pids() - {others}))
    elsewhere.run("kill-session", "-t", "=agent_y")
    # The agent was registered first, and its session was created after that.
    assert_late(files, server, 30, may_be=True)
    assert_late(files, server, 90, may_be=False)


def assert_late(files: Files, server: RealTmux, seconds: float, *, may_be: bool) -> None:
    """Checks an agent that started some seconds before all processes of the test."""
    agents = [entry(each, started_at=stamp(seconds)) for each in ("x", "another")]
    files.write_task("TASK-1", *agents)
    files.write_global({"TASK-1": agents})
    assert bool(refusals(files, server)) is may_be


def test_a_process_without_a_pane_id_is_judged_by_its_session(
    files: Files, server: RealTmux, slept: Slept
) -> None:
    server.start("agent_another")
    (others,) = server.pane_pids()
    server.start("agent_x", "trap '' HUP; exec env -u TMUX_PANE sleep 1000")
    pid = slept(*(server.pane_pids() - {others}))
    write(files, "x")
    server.run("kill-session", "-t", "=agent_x")
    assert_refused(files, server, pid)


Hidden = Callable[[int], None]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Hidden:
    """Hides all processes but one, even if tests usually do not see it."""

    def hide_others(shown_pid: int) -> None:
        def only_this(answer: TmuxSnapshot, watched: Watched) -> tuple[strays.Stray, ...]:
            found = strays.find_strays(answer, watched)
            return tuple(each for each in found if each.process.pid == shown_pid)

        monkeypatch.setattr(leftovers, "find_strays", only_this)

    return hide_others


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch, only: Hidden) -> Hidden:
    """Keeps muster from reading the environment and the open files of one process."""
    environments, opened = pane_environment.pane_said_by, descriptors.open_files

    def hide(hidden_pid: int) -> None:
        def pane_said_by(pid: int) -> pane_environment.PaneEnvironment | None:
            return pane_environment.HIDDEN if pid == hidden_pid else environments(pid)

        def open_files(pid: int) -> Iterator[tuple[str, str]]:
            if pid == hidden_pid:
                raise PermissionError(13, "Permission denied")
            yield from opened(pid)

        monkeypatch.setattr(pane_environment, "pane_said_by", pane_said_by)
        monkeypatch.setattr(descriptors, "open_files", open_files)
        only(hidden_pid)

    return hide


@pytest.mark.parametrize("end", [kill_server, kill_session])
def test_a_process_that_may_not_be_examined_may_be_an_agents(
    files: Files,
    server: RealTmux,
    slept: Slept,
    hidden: Hidden,
    end: Callable[[RealTmux], None],
) -> None:
    server.start("agent_x", "trap '' HUP; exec sleep 1000")
    pid = slept(*server.pane_pids())
    write(files, "x")
    end(server)
    hidden(pid)
    whys = refusals(files, server)
    assert whys and all("does not show its former pane" in why for why in whys)
    assert_late(files, server, 90, may_be=False)


@pytest.mark.parametrize(
    ("since", "began", "may_be"),
    [(100.0, 100.0, True), (161.0, 500.0, False), (159.0, 500.0, True), (0.0, 84.0, False)],
)
def test_a_hidden_process_may_be_an_agents_if_its_process_session_may_be(
    since: float, began: float, may_be: bool
) -> None:
    process = Process(7, 1, "sleep", 0)
    hidden = strays.Stray(process, frozenset(), began, None, is_hidden=True, since=since)
    assert leftovers._may_have_begun_at((100.0, 9000.0), [hidden]) is may_be


OVERWRITES = """
import ctypes, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, end = map(int, fields[47:49])
ctypes.memset(begin, 0, end - begin)
time.sleep(1000)
"""


def overwritten(server: RealTmux, script: Path) -> int:
    """Starts agent_x, whose program overwrites its environment; returns its process."""
    script.write_text(OVERWRITES)
    server.start("agent_x", f"exec {sys.executable} -S {script}")
    (pid,) = server.pane_pids()
    environment = Path(f"/proc/{pid}/environ")
    until(lambda: not environment.read_bytes().strip(b"\0"), "its empty environment")
    return pid


@pytest.mark.parametrize("end", [kill_server, kill_session])
def test_a_process_that_overwrote_its_environment_may_be_an_agents(
    files: Files, server: RealTmux, tmp_path: Path, only: Hidden, end: Callable[[RealTmux], None]
) -> None:
    pid = overwritten(server, tmp_path / "agent.py")
    assert pane_environment.pane_said_by(pid) is pane_environment.HIDDEN
    write(files, "x")
    end(server)
    only(pid)
    assert_hides(files, server, pid)


def assert_hides(files: Files, server: RealTmux, pid: int) -> None:
    assert_named(files, server, pid, f"({pid}) does not show its former pane")


def test_a_child_of_the_server_without_a_pane_and_an_environment_may_be_an_agents(
    files: Files, server: RealTmux, slept: Slept, only: Hidden
) -> None:
    server.start("agent_another")
    (others,) = server.pane_pids()
    server.start("agent_x", "trap '' HUP; exec env -i sleep 1000")
    pid = slept(*(server.pane_pids() - {others}))
    write(files, "x")
    only(pid)
    assert not find_all(server) & {pid}, "it runs in its pane"
    server.run("kill-session", "-t", "=agent_x")
    assert_hides(files, server, pid)


WATCHED = Watched(frozenset({(Path("/nowhere/TASK-1"), "x")}))


def find_all(server: RealTmux) -> set[int]:
    found = strays.find_strays(server.client().ask(), Watched())
    return {each.process.pid for each in found}


ADOPTS = """
import ctypes, subprocess, sys, time
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
subprocess.run(sys.argv[1:], check=True)
time.sleep(1000)
"""


def test_what_a_pane_of_another_server_adopted_may_be_an_agents(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept, tmp_path: Path
) -> None:
    script = tmp_path / "supervisor.py"
    script.write_text(ADOPTS)
    command = ["env", "-u", "TMUX", "tmux", "-S", server.socket, "-f", "/dev/null"]
    command += ["new-session", "-d", "-s", "agent_x", "trap '' HUP; exec sleep 1000"]
    words = [sys.executable, "-S", script, *command]
    elsewhere.start("agent_another", shlex.join(map(str, words)))
    (supervisor,) = elsewhere.pane_pids()
    until(server.socket.exists, "the server")
    pid = slept(*until(server.pane_pids, "its session"))
    write(files, "x")
    kill_server(server)
    until(lambda: pid in children_of(supervisor), "its new parent")
    assert_refused(files, server, pid)


def test_a_process_that_may_not_be_examined_and_is_of_another_program_is_no_agents(
    files: Files, server: RealTmux, hidden: Hidden
) -> None:
    server.start("agent_another")
    write(files, "x")
    # A child of the test: its parent and its process session are older than the agent.
    with subprocess.Popen(["sleep", "1000"]) as process:
        hidden(process.pid)
        try:
            assert_late(files, server, 1, may_be=False)
        finally:
            process.kill()


def test_what_may_not_be_examined_after_a_kill_is_named(
    files: Files, server: RealTmux, slept: Slept, hidden: Hidden
) -> None:
    server.start("agent_another")
    (others,) = server.pane_pids()
    server.start("agent_x", "setsid env -u TMUX -u TMUX_PANE sleep 1000 & exec sleep 1001")
    (shell,) = server.pane_pids() - {others}
    write(files, "x")
    (pid,) = until(lambda: children_of(shell), "its child")
    hidden(slept(pid))
    os.kill(shell, signal.SIGKILL)
    until(lambda: "agent_x" not in server.names(), "the end of the session")
    assert any(f"sleep ({pid})" in why for why in refusals(files, server))


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@needs_another_user
def test_an_environment_that_may_not_be_read_is_not_one_without_a_pane() -> None:
    read_it = f"""
import os
os.setgroups([])
os.setgid({OTHER})
os.setuid({OTHER})
from tui.host.process import pane_environment
from tui.host.process.process_look import Process
print(pane_environment.pane_said_by({os.getpid()}) is pane_environment.HIDDEN)
"""
    done = subprocess.run([sys.executable, "-c", read_it], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_what_runs_in_a_pane_of_another_server_is_no_agents(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept
) -> None:
    server.start("agent_another")
    elsewhere.start("agent_another", "exec sleep 1000")
    slept(*elsewhere.pane_pids())
    write(files, "x")
    assert refusals(files, server) == []


def test_what_the_first_session_on_another_server_left_may_be_its(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept
) -> None:
    elsewhere.start("agent_x", "trap '' HUP; exec sleep 1000")
    pid = slept(*elsewhere.pane_pids())
    kill_server(elsewhere)
    server.start("agent_x")
    write(files, "x")
    roll = take(files, server.client(), NO_GRACE)
    (step,) = carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").steps
    assert step.result is Result.FAILED and f"sleep ({pid})" in step.detail


def test_without_an_answer_after_the_kill_nobody_is_written_down(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_another")
    server.start("agent_x")
    write(files, "x")
    roll = take(files, server.client(), NO_GRACE)
    plan = weighed_kill(roll, [row_of(roll, "x")])
    real = leftovers.find_survivors
    monkeypatch.setattr(
        kill,
        "find_survivors",
        lambda ended, answer, spared: real(ended, replace(answer, state=TmuxState.UNKNOWN)),
    )
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.FAILED
    assert "not known whether its processes still run" in step.detail
    assert files.agent("x")["status"] == "running"


def test_a_renamed_session_whose_agent_writes_is_no_zombie_in_another_time_zone(
    files: Files, server: RealTmux, slept: Slept
) -> None:
    server.start("agent_x", f"exec 3>> {log(files)}; exec sleep 1000")
    pid = slept(*server.pane_pids())
    files.write_task("TASK-1", entry("x", started_at=stamp(2 * 3600)))
    server.run("rename-session", "-t", "=agent_x", "debug-this")
    until(lambda: server.names() == {"debug-this"}, "its new name")
    whys: list[str] = []

    def has_been_judged() -> bool:
        roll = take(files, server.client(), NO_GRACE)
        row = row_of(roll, "x")
        if row.verdict is not Verdict.ZOMBIE:
            return False
        whys.extend(why for _, why in weighed_kill(roll, [row]).refused)
        return True

    until(has_been_judged, "its verdict")
    assert whys and f"sleep ({pid})" in whys[0]


def test_what_writes_its_output_on_a_server_that_it_started_is_named(
    files: Files, server: RealTmux, elsewhere: RealTmux, slept: Slept
) -> None:
    server.start("agent_x")
    elsewhere.start("inner", f"exec 3>> {log(files)}; exec sleep 1000")
    pid = slept(*elsewhere.pane_pids())
    write(files, "x")
    roll = take(files, server.client(), NO_GRACE)
    (step,) = carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").steps
    assert step.result is Result.FAILED and f"sleep ({pid})" in step.detail
    assert files.agent("x")["status"] == "running"


# --- files that have another path by now -------------------------------------------


def archive(path: Path) -> None:
    (path.parents[1] / "archive").mkdir()
    path.rename(path.parents[1] / "archive" / path.name)


def put_aside(path: Path) -> None:
    path.rename(path.with_name(path.name + ".1"))


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("move", [archive, put_aside, delete])
def test_the_writer_of_a_moved_file_may_be_the_agent(
    files: Files, server: RealTmux, slept: Slept, move: Callable[[Path], None]
) -> None:
    with log(files).open("a") as out:
        pid = slept(subprocess.Popen(["sleep", "1000"], stdout=out).pid)
    server.start("agent_x")
    write(files, "x")
    move(log(files))
    kill_server(server)
    whys = refusals(files, server)
    assert whys and f"sleep ({pid})" in whys[0]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="only root can mount, and only with unshare in a namespace of its own",
)
@pytest.mark.parametrize("gone", [False, True], ids=["there", "deleted"])
def test_a_writer_with_the_path_of_another_mount_may_be_the_agent(
    files: Files, server: RealTmux, slept: Slept, tmp_path: Path, gone: bool
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    # It has a name of its own: by that alone some of it is compared, on all of this host.
    agent = f"mounted-{os.getpid()}"
    within = f"TASK-1/logs/{log(files, agent).name}"
    script = 'mount --bind "$1" "$2" && exec 3>> "$2/$3" && exec sleep 1000'
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    pid = slept(subprocess.Popen([*words, str(files.path), str(mounted), within]).pid)
    if gone:
        log(files, agent).unlink()
    server.start(f"agent_{agent}")
    write(files, agent)
    kill_server(server)
    whys = refusals(files, server, agent)
    assert whys and f"sleep ({pid})" in whys[0]


def test_the_writer_of_an_agent_with_the_same_id_elsewhere_does_not_count(
    files: Files, server: RealTmux, slept: Slept, tmp_path: Path
) -> None:
    others = tmp_path / "other" / "TASK-1" / "logs"
    others.mkdir(parents=True)
    with (others / log(files).name).open("a") as out:
        slept(subprocess.Popen(["sleep", "1000"], stdout=out).pid)
    (others / log(files).name).unlink()
    server.start("agent_x")
    write(files, "x")
    kill_server(server)
    assert refusals(files, server) == []


# --- other users' processes ---------------------------------------------------------


@needs_another_user
@pytest.mark.parametrize("writes", [False, True], ids=["says its pane", "writes its log"])
def test_what_an_agent_ran_as_another_user_may_be_it(
    files: Files, server: RealTmux, slept: Slept, writes: bool
) -> None:
    apart = f"setpriv --reuid {OTHER} --regid {OTHER} --clear-groups"
    opened = f"exec 3>> {log(files)}; unset TMUX" if writes else ":"
    server.start("agent_x", f"trap '' HUP; {opened}; exec {apart} sleep 1000")
    pid = slept(*server.pane_pids())
    write(files, "x")
    kill_server(server)
    assert f"of user {OTHER}" in refusals(files, server)[0]
    assert_refused(files, server, pid)


@needs_another_user
@pytest.mark.parametrize("named", ["s", "link/s", "alias"])
def test_what_another_user_runs_counts_by_every_path_of_the_socket(
    files: Files, server: RealTmux, slept: Slept, named: str
) -> None:
    (server.directory / "link").symlink_to(server.directory)
    (server.directory / "alias").symlink_to(server.socket)
    server.start("agent_x")
    write(files, "x")
    kill_server(server)
    path = server.directory / named
    says = {"TMUX": f"{path},1,0", "TMUX_PANE": "%0", "PATH": os.environ["PATH"]}
    left = subprocess.Popen(["sleep", "1000"], env=says, user=OTHER, group=OTHER)
    try:
        for asked in ("s", "link/s", "alias"):
            answer = replace(server.client().ask(), socket=server.directory / asked)
            (found,) = (
                stray
                for stray in strays.find_strays(answer, Watched())
                if stray.process.pid == left.pid
            )
            assert found.is_here, asked
        (why, *_) = refusals(files, server)
        assert f"sleep ({left.pid})" in why
    finally:
        left.kill()
        left.wait()


@needs_another_user
def test_a_third_users_own_link_to_the_socket_is_no_reason(
    files: Files, server: RealTmux, slept: Slept
) -> None:
    link = server.directory / "theirs"
    link.symlink_to(server.directory)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    server.start("agent_x")
    write(files, "x")
    kill_server(server)
    says = {"TMUX": f"{link}/s,1,0", "TMUX_PANE": "%0", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "1000"], env=says, user=OTHER, group=OTHER) as liar:
        whys = refusals(files, server)
        liar.kill()
    assert whys == []


@needs_another_user
def test_a_third_users_pane_of_another_socket_is_no_reason(
    files: Files, server: RealTmux, slept: Slept
) -> None:
    server.start("agent_x")
    write(files, "x")
    kill_server(server)
    says = {"TMUX": "/nowhere/s,1,0", "TMUX_PANE": "%0", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "1000"], env=says, user=OTHER, group=OTHER) as liar:
        assert refusals(files, server) == []
        liar.kill()


# --- a live agent's earlier panes ---------------------------------------------------


def test_what_is_left_of_an_agents_first_session_keeps_it_from_being_called_dead(
    files: Files, server: RealTmux, slept: Slept
) -> None:
    server.start("agent_x", "trap '' HUP; exec sleep 1000")
    pid = slept(*server.pane_pids())
    write(files, "x")
    kill_server(server)
    server.start("agent_x")
    roll = take(files, server.client(), NO_GRACE)
    assert row_of(roll, "x").verdict is Verdict.LIVE
    (step,) = carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").steps
    assert step.result is Result.FAILED and f"sleep ({pid})" in step.detail
    assert "muster complete x" in step.detail
    assert files.agent("x")["status"] == "running"
    assert_refused(files, server, pid)


def test_what_is_left_of_a_window_that_was_closed_in_its_session_does_as_well(
    files: Files, server: RealTmux, slept: Slept
) -> None:
    server.start("agent_x")
    before = server.pane_pids()
    server.run("new-window", "-d", "-t", "=agent_x:", "trap '' HUP; exec sleep 1000")
    pid = slept(*(server.pane_pids() - before))
    write(files, "x")
    server.run("kill-window", "-t", "=agent_x:1")
    roll = take(files, server.client(), NO_GRACE)
    (step,) = carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").steps
    assert step.result is Result.FAILED and f"sleep ({pid})" in step.detail


@pytest.mark.parametrize("at_once", [True, False])
def test_what_other_sessions_left_is_its_if_they_were_made_at_its_start(
    files: Files, server: RealTmux, slept: Slept, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    server.start("other", "trap '' HUP; exec sleep 1000")
    slept(*server.pane_pids())
    (pid,) = server.pane_pids()
    server.start("agent_x")
    write(files, "x")
    server.run("kill-session", "-t", "=other")
    if not at_once:
        monkeypatch.setattr(leftovers, "_began", lambda _: time.time() - 100)
    roll = take(files, server.client(), NO_GRACE)
    if at_once:
        # The deployment may have been tried again.
        (step,) = carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").steps
        assert step.result is Result.FAILED and f"sleep ({pid})" in step.detail
        return
    assert carry_out(weighed_kill(roll, [row_of(roll, "x")]), server.client(), "").complete
    assert files.agent("x")["status"] == "terminated"


# --- other users' servers -------------------------------------------------------------


def test_what_another_users_server_may_have_is_completed_by_name_alone(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_another")
    write(files, "x")
    theirs = Server(1, OTHER, None)
    monkeypatch.setattr(tmux_servers, "servers_of", lambda _: iter((theirs,)))
    monkeypatch.setattr(tmux_servers, "_still_runs", lambda _: True)
    roll = take(files, server.client(), NO_GRACE)
    row = row_of(roll, "x")
    assert row.verdict is Verdict.UNKNOWN and "complete this agent alone" in row.note
    rows = [row, row_of(roll, "another")]
    assert "x" in dict(checked_complete(roll, rows).refused)
    assert checked_complete(roll, [row], by_verdict=True).steps == ()
    plan = checked_complete(roll, [row])
    assert f"although tmux server 1 of {OTHER} may have the agent's session" in plan.steps[0].says
    assert carry_out(plan, server.client(), "").complete
    assert files.agent("x")["status"] == "completed"


@needs_another_user
def test_the_open_files_of_another_user_are_examined_up_to_a_limit(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined: list[str] = []
    real = written_by

    def counted(
        pid: int, watched: Watched, files: Iterator[tuple[str, str]]
    ) -> tuple[frozenset[Agent], frozenset[Agent]]:
        def each() -> Iterator[tuple[str, str]]:
            for link, target in files:
                if theirs.pid == pid:
                    examined.append(link)
                yield link, target

        return real(pid, watched, each())

    server.start("agent_another")
    write(files, "x")
    many = "exec 3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0; echo; exec sleep 1000"
    command = ["sh", "-c", many]
    # The limit is for all processes of a user, so no other test may use this user.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, user=OTHER + 70, cwd="/"
    ) as theirs:
        assert theirs.stdout is not None and theirs.stdout.readline()
        roll = rolled(files, server)
        monkeypatch.setattr(strays, "FILES_OF_A_USER", 3)
        monkeypatch.setattr(strays, "written_by", counted)
        assert len(checked_complete(roll, [row_of(roll, "x")]).steps) == 1
        found = strays.find_strays(server.client().ask(), WATCHED)
        theirs.kill()
    assert len(examined) == 6
    # It may write the output of an agent that started when it did.
    assert any(each.is_hidden and each.process.pid == theirs.pid for each in found)


def test_a_hidden_process_of_root_is_not_another_users_agent(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_another")
    write(files, "x")
    roll = rolled(files, server)
    (step,) = weighed_kill(roll, [row_of(roll, "x")]).steps
    step, answer = replace(step, owner=OTHER), replace(server.client().ask(), server_user=OTHER)
    monkeypatch.setattr(os, "getuid", lambda: OTHER)
    process = Process(1, 1, "daemon", 1)
    hidden = strays.Stray(process, frozenset({0}), 1.0, None, is_here=False, is_hidden=True)
    assert leftovers._candidates(step, [hidden], answer) == []
    seen = replace(hidden, is_hidden=False)
    assert leftovers._candidates(step, [seen], answer) == [seen]
    own = replace(hidden, users=frozenset({OTHER}))
    assert leftovers._candidates(step, [own], answer) == [own]
