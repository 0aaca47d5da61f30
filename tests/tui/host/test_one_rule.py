"""The columns count the very processes that a kill would end, in one look as in another."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.waiting import until
from tests.support.zoo import Zoo
from tui.host.process import procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_tree import Origin, look_at, origin_of, processes_from, processes_of
from tui.host.process.procfs import Stat, Users
from tui.host.process.usage import Load, Meter
from tui.host.tmux_types import TmuxSnapshot, TmuxState

STRANGER = 64101
"""A user that need not be in any list of users."""


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Zoo]:
    made = Zoo(tmp_path / "zoo")
    yield made
    made.close()


def planned(answer: TmuxSnapshot) -> dict[str, set[int]]:
    """The processes that a plan to kill each session would name."""
    origins = {name: origin_of(each, answer) for name, each in answer.sessions.items()}
    held = processes_of(origins)
    return {name: {each.pid for each in held[name].processes} for name in origins}


def counted(meter: Meter[str], answer: TmuxSnapshot) -> dict[str, set[int]]:
    """The processes whose cost the columns show for each session."""
    sample = meter.sample(answer.sessions, answer)
    return {
        name: {pid for pid in pids if not sample.stats[pid].is_ended}
        for name, pids in sample.owned.items()
    }


def pid_in(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().strip(), f"{path.name}"))


def test_of_the_whole_zoo_the_column_counts_what_a_kill_ends(server: RealTmux, zoo: Zoo) -> None:
    server.start("agent_zoo", zoo.command)
    server.start("agent_other")
    pids = set(zoo.pids().values())
    answer = server.client().ask()
    meter = Meter[str]()
    for _ in range(2):
        assert counted(meter, answer) == planned(answer)
        assert counted(meter, answer)["agent_zoo"] == pids
    held = processes_of({"zoo": origin_of(answer.sessions["agent_zoo"], answer)})["zoo"]
    cost = meter.measure(answer.sessions, answer)["agent_zoo"]
    assert isinstance(cost, Load)
    assert cost.processes == len(held.processes)


def test_of_an_agent_without_a_session_the_column_counts_what_a_kill_ends(zoo: Zoo) -> None:
    with subprocess.Popen(["sh", "-c", zoo.command], start_new_session=True) as program:
        try:
            zoo.pids()
            stat = procfs.stat_of(program.pid)
            assert stat is not None
            roots = {"cursor": stat.identity, "gone": (stat.pid, stat.started - 1)}
            held = processes_from(roots)
            answer = TmuxSnapshot(TmuxState.NO_SERVER, "no server", Path("/none"), {}, 0.0)
            meter = Meter[str]()
            sample = meter.sample({}, answer, roots)
            ended = {each.pid for each in held["cursor"].processes}
            assert {pid for pid in sample.owned["cursor"] if pid in ended} == ended != set()
            assert not sample.owned["gone"]
            (cost,) = meter.measure({}, answer, roots).values()
            assert cost.processes == len(ended)
        finally:
            program.kill()


@pytest.mark.parametrize("program", ["tmux", "mux", "tmux-of-another-name"])
def test_what_runs_on_a_server_of_another_name_is_not_counted_either(
    tmp_path: Path, server: RealTmux, program: str
) -> None:
    binary = tmp_path / program
    shutil.copy(shutil.which("tmux") or "", binary)
    with RealTmux() as other:
        start = f"{binary} -f /dev/null -S {other.socket} new-session -d -s b 'exec sleep 1000'"
        server.start("agent_a", f"{start}; sleep 1000 & {SLEEP}")
        until(lambda: other.names() == {"b"}, "the other server")
        answer = server.client().ask()

        def settled() -> set[int] | None:
            # The client that started the server, and the shell, have to go first.
            found = planned(answer)["agent_a"]
            names = [stat.name for pid in found if (stat := procfs.stat_of(pid))]
            return found if names == ["sleep", "sleep"] else None

        found = until(settled, "its two processes")
        assert found is not None
        assert found.isdisjoint({other.server_pid(), *other.pane_pids()})
        assert counted(Meter(), answer) == {"agent_a": found}


@pytest.mark.parametrize("program", ["mux", "tmux-of-another-name"])
def test_the_zoo_on_a_server_of_another_name(tmp_path: Path, zoo: Zoo, program: str) -> None:
    binary = tmp_path / program
    shutil.copy(shutil.which("tmux") or "", binary)
    with RealTmux() as server:
        words = [str(binary), "-f", "/dev/null", "-S", str(server.socket), "new-session", "-d"]
        subprocess.run([*words, "-s", "agent_zoo", zoo.command], check=True)
        pids = set(zoo.pids().values())
        answer = server.client().ask()
        assert planned(answer) == counted(Meter(), answer) == {"agent_zoo": pids}


def test_the_environment_of_another_users_process_does_not_count(server: RealTmux) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to run a process as another user")
    server.start("agent_a")
    answer = server.client().ask()
    pane = answer.sessions["agent_a"].panes[0]
    says = {"TMUX": f"{answer.socket},{answer.server_pid},0", "TMUX_PANE": pane}
    with subprocess.Popen(
        ["sleep", "1000"], env={"PATH": os.environ["PATH"], **says}, user=STRANGER, group=STRANGER
    ) as theirs:
        comm = Path(f"/proc/{theirs.pid}/comm")
        until(lambda: comm.read_text() == "sleep\n", "its program")
        try:
            assert theirs.pid not in counted(Meter(), answer)["agent_a"]
            assert counted(Meter(), answer) == planned(answer)
        finally:
            theirs.kill()


def test_a_pane_of_the_same_number_on_a_former_server_is_another(server: RealTmux) -> None:
    server.start("agent_a")
    answer = server.client().ask()
    elsewhere = replace(
        answer, socket=answer.socket.parent / "elsewhere", server_pid=None, server_began=None
    )
    pane = answer.sessions["agent_a"].panes[0]
    says = {"TMUX": f"{answer.socket},{answer.server_pid},0", "TMUX_PANE": pane}
    words = ["sleep", "1000"]
    with subprocess.Popen(words, env={**os.environ, **says}, start_new_session=True) as daemon:
        until(lambda: daemon.pid in planned(answer)["agent_a"], "its environment")
        try:
            assert daemon.pid in counted(Meter(), answer)["agent_a"]
            # Another socket is another server, whatever pid it has.
            assert daemon.pid not in counted(Meter(), elsewhere)["agent_a"]
            assert planned(elsewhere) == counted(Meter(), elsewhere)
        finally:
            daemon.kill()


def test_a_process_that_runs_another_program_is_asked_again(
    server: RealTmux, tmp_path: Path
) -> None:
    note, go = tmp_path / "note", tmp_path / "go"
    os.mkfifo(go)
    # Out of its parents' sight it is known by its environment alone, which it then drops.
    wipe = f"echo $$ > {note}; read line < {go}; exec env -i sleep 1000"
    server.start("agent_a", f"(setsid sh -c '{wipe}' &) ; {SLEEP}")
    pid = pid_in(note)
    answer = server.client().ask()
    meter = Meter[str]()
    parent = Path(f"/proc/{pid}/stat")
    until(lambda: parent.read_text().split()[3] != str(answer.sessions["agent_a"].pids[0]), "init")
    assert pid in counted(meter, answer)["agent_a"]
    go.write_text("go\n")
    comm = Path(f"/proc/{pid}/comm")
    until(lambda: comm.read_text() == "sleep\n", "its next program")
    try:
        assert counted(meter, answer) == planned(answer)
        assert pid not in counted(meter, answer)["agent_a"]
    finally:
        os.kill(pid, 9)


# Any processes

SERVERS = (20, 21)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[dict[int, Stat], dict[int, PaneEnvironment], dict[int, Users]]:
    """Some processes, two of which may be servers; what they say; whose they are."""
    pids = [1, *range(20, 20 + draw(st.integers(2, 14)))]
    stats, panes, users = {}, {}, {}
    for pid in pids:
        parent = draw(st.sampled_from([each for each in pids if each < pid] or [0]))
        name = draw(st.sampled_from(["tmux: server", "mux", "sh"]))
        state = draw(st.sampled_from("SSSZ"))
        session = draw(st.sampled_from([pid, parent]))
        stats[pid] = Stat(pid, name, state, parent, session, 0, 0, pid, 1000)
        users[pid] = Users(*[draw(st.sampled_from([0, 5, 6]))] * 3)
        if draw(st.booleans()):
            server = draw(st.sampled_from(SERVERS))
            pane = draw(st.sampled_from(["%0", "%1", ""]))
            panes[pid] = PaneEnvironment(draw(st.sampled_from(["/s", "/t"])), server, "$0", pane)
    return stats, panes, users


@given(hosts(), st.sets(st.integers(19, 36)), st.sampled_from([*SERVERS, None]))
def test_nothing_belongs_to_a_session_that_must_not(
    host: tuple[dict[int, Stat], dict[int, PaneEnvironment], dict[int, Users]],
    pids: set[int],
    server: int | None,
) -> None:
    stats, panes, users = host
    now = look_at(stats, panes, users.get, lambda _: None)
    origin = Origin(tuple(pids), ("%0",), Path("/s"), server)
    found = now.belonging(origin)
    assert found <= stats.keys() - {0, 1, server}
    if server is not None:
        # A pane's process that became a server is ended: it was asked for itself.
        assert found & now.servers <= pids
    if server in now.servers:
        assert all(now.runs_on.get(pid) in (None, server, *pids) for pid in found)
    for pid in found:
        # What belongs there is a pane's, of its process session, says so, or has a parent
        # that belongs there.
        stat = stats[pid]
        said = panes.get(pid)
        # The pid of a server that runs tells it, whatever its socket is called.
        named = said is not None and (said.socket == "/s" or said.server_pid in now.servers)
        says = named and said is not None and said.pane == "%0"
        assert pid in pids or stat.session in pids or says or stat.parent in found


@given(st.dictionaries(st.integers(3, 12), st.integers(3, 12), max_size=10))
def test_no_parents_however_odd_make_it_hang(parents: dict[int, int]) -> None:
    stats = {
        pid: Stat(pid, "tmux: server" if pid % 3 else "x", "S", parent, pid, 0, 0, 1, 1)
        for pid, parent in parents.items()
    }
    now = look_at(stats, {}, lambda _: None, lambda _: None)
    assert now.belonging(Origin((3, 4), None, Path("/s"), None)) <= parents.keys()


def test_a_session_that_is_new_is_counted_as_well(server: RealTmux) -> None:
    server.start("agent_a")
    meter = Meter[str]()
    before = server.client().ask()
    meter.measure(before.sessions, before)
    server.start("agent_b")
    answer = server.client().ask()
    assert counted(meter, answer) == planned(answer)
