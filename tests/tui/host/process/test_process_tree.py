"""Process trees: all that came from a session, ended for good, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.waiting import until
from tests.support.zoo import KINDS, Zoo
from tui.host import host_name
from tui.host.process import pane_environment, process_tree, procfs
from tui.host.process.process_kill import end, survivors
from tui.host.process.process_tree import (
    Origin,
    Process,
    holds_us,
    look,
    processes_of,
    session_processes,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any session."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


NOWHERE = Origin((), (), Path("/x"), None)


def origin_of(server: RealTmux, name: str) -> Origin:
    answer = server.client().ask()
    return process_tree.origin_of(answer.sessions[name], answer)


def found_in(server: RealTmux, name: str) -> tuple[Process, ...]:
    return session_processes(origin_of(server, name))


def test_a_session_has_all_processes_that_came_from_it(server: RealTmux, zoo: Zoo) -> None:
    server.start("agent_zoo", zoo.command)
    pids = zoo.pids()
    found = found_in(server, "agent_zoo")
    assert {process.pid for process in found} == set(pids.values())
    assert all(process.memory > 0 and process.name for process in found)


def test_the_processes_of_other_sessions_are_not_among_them(server: RealTmux, zoo: Zoo) -> None:
    server.start("agent_zoo", zoo.command)
    server.start("agent_other")
    zoo.pids()
    (other,) = found_in(server, "agent_other")
    assert other.name == "sleep"
    assert other.pid not in {process.pid for process in found_in(server, "agent_zoo")}


def test_a_pane_of_the_same_number_on_another_server_is_another(
    server: RealTmux, zoo: Zoo, tmp_path: Path
) -> None:
    server.start("agent_zoo", zoo.command)
    zoo.pids()
    with RealTmux() as other:
        other.start("agent_zoo")
        answers = server.client().ask(), other.client().ask()
        panes = [answer.sessions["agent_zoo"].panes for answer in answers]
        assert panes[0] == panes[1]
        (found,) = found_in(other, "agent_zoo")
        assert found.name == "sleep"


def test_a_socket_reached_through_a_symlink_is_the_same(
    server: RealTmux, zoo: Zoo, tmp_path: Path
) -> None:
    server.start("agent_zoo", zoo.command)
    pids = zoo.pids()
    link = tmp_path / "link"
    link.symlink_to(server.directory)
    there = replace(origin_of(server, "agent_zoo"), socket=link / server.socket.name)
    found = session_processes(there)
    assert {process.pid for process in found} == set(pids.values())


def test_neither_we_nor_our_ancestors_nor_the_server_belong_to_a_session(
    server: RealTmux,
) -> None:
    server.start("agent_x")
    pid = server.server_pid()
    ours = {os.getpid(), os.getppid(), 1, pid}
    found = session_processes(Origin(tuple(ours), (), server.socket, pid))
    assert ours.isdisjoint(process.pid for process in found)
    ours.remove(pid)
    found = session_processes(Origin(tuple(ours), (), server.socket, None))
    assert ours.isdisjoint(process.pid for process in found)


def test_a_session_holds_us_if_an_ancestor_of_ours_is_its_pane() -> None:
    assert holds_us({os.getppid(), 999_999_999})
    assert holds_us({os.getpid()})
    assert not holds_us({999_999_999})
    assert not holds_us(())


def test_all_processes_are_ended_whatever_they_do(server: RealTmux, zoo: Zoo) -> None:
    session_id = server.start("agent_zoo", zoo.command)
    assert zoo.alive() == set(zoo.pids()) >= set(KINDS)
    origin = origin_of(server, "agent_zoo")
    known = session_processes(origin)
    server.kill(session_id)
    assert {"setsid", "stubborn", "double-fork"} <= zoo.alive(), "the zoo must outlive its session"
    assert end(known, [origin], grace=0.3) == ()
    assert zoo.alive() == set()


def test_a_process_forked_during_the_kill_is_ended_too(server: RealTmux, tmp_path: Path) -> None:
    late = tmp_path / "late"
    late.mkdir()
    script = (
        "trap '' HUP; "
        f'trap \'setsid sh -c "echo \\$\\$ > {late}/pid; exec sleep 1000" & '
        # Before that, the kill may find it before it could say its pid.
        f"while [ ! -s {late}/pid ]; do sleep 0.01; done; exit' TERM; "
        f"echo x > {late}/ready; while :; do sleep 0.05; done"
    )
    session_id = server.start("agent_fork", script)
    until((late / "ready").exists, "the trap to be set")
    origin = origin_of(server, "agent_fork")
    known = session_processes(origin)
    server.kill(session_id)
    assert end(known, [origin], grace=10.0) == ()
    assert not runs(int((late / "pid").read_text()))


def test_processes_that_end_by_themselves_get_the_time(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note = tmp_path / "note"
    script = f"trap 'sleep 0.3; echo bye > {note}; exit' TERM; echo > {note}.on; sleep 1000 & wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as tidy:
        until(Path(f"{note}.on").exists, "the trap to be set")
        known = session_processes(replace(NOWHERE, pids=(tidy.pid,)))
        assert end(known, [NOWHERE], grace=10.0) == ()
        tidy.wait()
    assert note.read_text() == "bye\n"
    assert sleeper.poll() is None


def test_a_process_that_is_not_a_child_of_the_server_is_not_its_pane(
    server: RealTmux, sleeper: subprocess.Popen[bytes]
) -> None:
    server.start("agent_x")
    origin = origin_of(server, "agent_x")
    (own,) = session_processes(origin)
    other = replace(origin, pids=(own.pid, sleeper.pid))
    assert [each.pid for each in session_processes(other)] == [own.pid]


def test_several_sessions_are_distinguished_with_one_scan(
    server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        server.start(f"agent_{name}")
    origins = {name: origin_of(server, f"agent_{name}") for name in "abc"}
    looks: list[object] = []
    really = procfs.all_stats

    def look() -> dict[int, procfs.Stat]:
        looks.append(None)
        return really()

    monkeypatch.setattr(procfs, "all_stats", look)
    found = processes_of(origins)
    assert len(looks) == 1
    for name, origin in origins.items():
        assert {each.pid for each in found[name].processes} == set(origin.pids)


def test_a_server_that_only_its_socket_tells_keeps_what_ran_on_it(
    server: RealTmux, zoo: Zoo
) -> None:
    server.start("agent_zoo", zoo.command)
    pids = zoo.pids()
    found = session_processes(Origin((), None, server.socket, None))
    assert {process.pid for process in found} == set(pids.values()) - {pids["wiped"]}


def test_a_pid_that_was_given_to_another_process_is_not_touched(
    sleeper: subprocess.Popen[bytes],
) -> None:
    with subprocess.Popen(["sleep", "1000"]) as former:
        (before,) = session_processes(replace(NOWHERE, pids=(former.pid,)))
        former.kill()
    known = replace(before, pid=sleeper.pid, started=before.started + 1)
    assert survivors([known]) == ()
    assert end([known], [NOWHERE], grace=0.1) == ()
    assert sleeper.poll() is None


def test_processes_that_ended_before_are_not_survivors(sleeper: subprocess.Popen[bytes]) -> None:
    known = session_processes(replace(NOWHERE, pids=(sleeper.pid,)))
    assert survivors(known) == known
    sleeper.kill()
    sleeper.wait()
    assert survivors(known) == ()
    assert end(known, [NOWHERE]) == ()


def test_the_hosts_name_has_no_domain() -> None:
    assert host_name() and "." not in host_name()


def test_a_session_that_only_sleeps_has_one_process(server: RealTmux) -> None:
    server.start("agent_x", SLEEP)
    assert [process.name for process in found_in(server, "agent_x")] == ["sleep"]


def daemon_of(server: RealTmux, note: Path, start: str) -> int:
    """Starts a session; the pid of a process of it that left its tree."""
    server.start("keeper")
    server.start("agent_x", f"({start} &); {SLEEP}")
    pid = int(until(lambda: note.exists() and note.read_text().strip(), "its pid"))
    until(lambda: (found := procfs.stat_of(pid)) and found.parent == 1, "init to have it")
    return pid


def test_what_names_its_session_alone_belongs_to_it(server: RealTmux, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    start = f"setsid env -u TMUX_PANE sh -c 'echo $$ > {note}; {SLEEP}'"
    pid = daemon_of(server, note, start)
    assert pid in [each.pid for each in found_in(server, "agent_x")]
    assert pid not in [each.pid for each in found_in(server, "keeper")]
    os.kill(pid, 9)


def test_what_runs_in_a_pane_is_the_panes_whatever_session_it_names(server: RealTmux) -> None:
    server.start("keeper")
    number = origin_of(server, "keeper").session
    assert number is not None
    says = f"TMUX={server.socket},{server.server_pid()},{number[1:]}"
    server.start("agent_x", f"env -u TMUX_PANE {says} sleep 1000; :")
    until(lambda: len(found_in(server, "agent_x")) == 2, "its processes")
    assert len(found_in(server, "keeper")) == 1


_LARGE = """
import os, sys
print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
filling = {f"A{number}": "x" * 100_000 for number in range(15)}
says = {name: value for name, value in os.environ.items() if name.startswith("TMUX")}
os.execve("/bin/sleep", ["sleep", "1000"], filling | says)
"""


def test_a_large_environment_is_read_to_where_it_names_the_pane(
    server: RealTmux, tmp_path: Path
) -> None:
    note, program = tmp_path / "pid", tmp_path / "large.py"
    program.write_text(_LARGE)
    pid = daemon_of(server, note, f"setsid {sys.executable} -S {program} {note}")
    comm = Path(f"/proc/{pid}/comm")
    until(lambda: comm.read_text() == "sleep\n", "its program")

    def environment() -> bytes:
        return procfs.read(pid, "environ", pane_environment.WHOLE_ENVIRONMENT)

    # The kernel names the program before it has its environment.
    until(lambda: len(environment()) > procfs.LARGEST, "its environment")
    assert pid in [each.pid for each in found_in(server, "agent_x")]
    os.kill(pid, 9)


def test_what_is_beyond_the_bound_is_unknown_and_not_nothing(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "pid"
    start = f"setsid env -i A={'x' * 2000} sh -c 'echo $$ > {note}; {SLEEP}'"
    pid = daemon_of(server, note, start)
    monkeypatch.setattr(pane_environment, "WHOLE_ENVIRONMENT", 1000)
    assert pid in look().unread
    # Those of other tests have more as well.
    monkeypatch.setattr("tui.host.process.process_tree._NAMED", 1_000)
    for name in ("agent_x", "keeper"):
        (doubt,) = processes_of({None: origin_of(server, name)})[None].doubts
        assert f"sleep ({pid})" in doubt and "whose environment is too large to be read" in doubt
    os.kill(pid, 9)


@pytest.fixture
def dead_pane(server: RealTmux, tmp_path: Path) -> int:
    """A pane that is dead, and what it left in its process session: its pid."""
    note = tmp_path / "pid"
    server.start("keeper")
    server.run("set-option", "-g", "remain-on-exit", "on")
    left = f"trap '' HUP; env -i sh -c 'echo $$ > {note}; {SLEEP}' &"
    server.start("agent_x", f"{left} while [ ! -s {note} ]; do sleep 0.01; done")
    until(lambda: not server.client().ask().sessions["agent_x"].pids, "the pane's end")
    return int(note.read_text())


def test_what_a_dead_pane_left_in_its_process_session_belongs_to_it(
    server: RealTmux, dead_pane: int
) -> None:
    session = server.client().ask().sessions["agent_x"]
    if server.run("display-message", "-p", "#{version}").startswith("3.2"):
        pytest.skip("tmux before 3.3 does not say when a pane died, so its processes are a doubt")
    assert [each.ended is not None for each in session.dead] == [True]
    assert dead_pane in [each.pid for each in found_in(server, "agent_x")]
    assert end(found_in(server, "agent_x"), [origin_of(server, "agent_x")]) == ()
    assert not runs(dead_pane)


@pytest.mark.parametrize("ended", [None, 1])
def test_where_that_may_be_a_later_process_session_it_is_a_doubt(
    server: RealTmux, dead_pane: int, ended: int | None
) -> None:
    """Its number may have been given to another process, all of whose kin began later."""
    origin = origin_of(server, "agent_x")
    later = replace(origin, dead=tuple(each._replace(ended=ended) for each in origin.dead))
    held = processes_of({None: later})[None]
    assert held.processes == ()
    assert held.doubts == (f"sleep ({dead_pane}), which may come from a dead pane of the session",)
    os.kill(dead_pane, 9)
