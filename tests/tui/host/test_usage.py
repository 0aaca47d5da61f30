"""What sessions cost: whose each process is, and CPU time that nobody loses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tests.support.zoo import Zoo
from tui.host.usage import Load, Look, Meter, Stat, loads, owners, read_stat

TICKS = os.sysconf("SC_CLK_TCK")
SERVER = 2


def stat(pid: int, parent: int, *, session: int = 0, ticks: int = 0, started: int = 1) -> Stat:
    return Stat(pid, parent, session, ticks, started, 1000)


def nothing_said(_: Stat) -> str | None:
    return None


# Reading


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=15
) | st.sampled_from([") R 1 1 1", "(x) (y", " "])


@given(st.integers(1, 4_000_000), NAMES, st.lists(st.integers(0, 2**60), min_size=49, max_size=49))
def test_a_programs_name_does_not_confuse(pid: int, name: str, numbers: list[int]) -> None:
    text = f"{pid} ({name}) S {' '.join(map(str, numbers))}\n".encode()
    found = read_stat(text)
    page = os.sysconf("SC_PAGE_SIZE")
    assert found == Stat(
        pid, numbers[0], numbers[2], sum(numbers[10:14]), numbers[18], numbers[20] * page
    )


@given(st.binary(max_size=80))
def test_what_is_no_such_line_is_nobody(text: bytes) -> None:
    assert read_stat(text) is None or len(text.split()) > 21


def test_this_very_process_is_read() -> None:
    found = read_stat(Path("/proc/self/stat").read_bytes())
    assert found is not None
    assert (found.pid, found.parent, found.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert found.memory > 1 << 20


# Whose


@given(st.data())
def test_whoever_came_from_a_pane_is_its_sessions_and_nobody_else(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 25))
    parents = {1: 0, SERVER: 1}
    for pid in range(3, 3 + count):
        parents[pid] = data.draw(st.integers(1, pid - 1))
    stats = {pid: stat(pid, parent) for pid, parent in parents.items()}
    children = [pid for pid, parent in parents.items() if parent == SERVER]
    roots = {pid: f"s{pid}" for pid in children if data.draw(st.booleans())}
    order = data.draw(st.permutations(list(stats)))
    found = owners({pid: stats[pid] for pid in order}, roots, nothing_said, SERVER)
    for pid in stats:
        line = [pid]
        while line[-1] in parents:
            line.append(parents[line[-1]])
        expected = next((roots[each] for each in line if each in roots), None)
        assert found.get(pid) == expected


@given(st.dictionaries(st.integers(3, 12), st.integers(3, 12), max_size=10))
def test_no_parents_however_odd_make_it_hang(parents: dict[int, int]) -> None:
    stats = {pid: stat(pid, parent) for pid, parent in parents.items()}
    roots = dict.fromkeys(list(parents)[:1], "s")
    found = owners(stats, roots, nothing_said, SERVER)
    assert set(roots) <= found.keys() <= parents.keys()


def test_who_left_its_parents_is_known_by_its_process_session_or_by_what_it_says() -> None:
    stats = {
        SERVER: stat(SERVER, 1),
        10: stat(10, SERVER, session=10),
        20: stat(20, 1, session=10),
        30: stat(30, 1, session=30),
        31: stat(31, 30, session=30),
        40: stat(40, 1, session=40),
    }
    found = owners(stats, {10: "a"}, lambda each: "b" if each.pid == 30 else None, SERVER)
    assert found == {10: "a", 20: "a", 30: "b", 31: "b"}


def test_neither_init_nor_the_server_are_anybodys() -> None:
    stats = {1: stat(1, 0), SERVER: stat(SERVER, 1), 10: stat(10, SERVER)}
    assert owners(stats, {10: "a"}, lambda _: "said", SERVER) == {10: "a"}


# What it costs


def look(at: float, *stats: Stat) -> Look[str]:
    return Look(at, {each.pid: each for each in stats}, {each.pid: "a" for each in stats})


def test_at_the_first_look_only_memory_is_known() -> None:
    assert loads(["a"], None, look(1.0, stat(5, 1), stat(6, 5))) == {"a": Load(None, 2000, 2)}


def test_a_session_without_processes_costs_nothing_that_could_be_told() -> None:
    assert loads(["a", "gone"], None, look(1.0, stat(5, 1))).keys() == {"a"}


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.integers(1, 60))
def test_cpu_is_what_all_processes_took_since(spent: list[int], seconds: int) -> None:
    before = look(0.0, *(stat(5 + n, 1, ticks=100) for n in range(len(spent))))
    after = look(seconds, *(stat(5 + n, 1, ticks=100 + each) for n, each in enumerate(spent)))
    cpu = loads(["a"], before, after)["a"].cpu
    assert cpu == pytest.approx(100 * sum(spent) / TICKS / seconds)


@given(st.integers(0, 500), st.integers(0, 500))
def test_what_a_child_took_before_it_ended_is_counted_once(early: int, late: int) -> None:
    before = look(0.0, stat(5, 1, ticks=10), stat(6, 5, ticks=early))
    # Its parent waited for it: all that it ever took is the parent's now.
    after = look(1.0, stat(5, 1, ticks=10 + early + late))
    assert loads(["a"], before, after)["a"].cpu == pytest.approx(100 * late / TICKS)


def test_a_newcomer_is_counted_from_its_start_also_with_the_pid_of_another() -> None:
    before = look(0.0, stat(5, 1), stat(6, 5, ticks=900))
    after = look(1.0, stat(5, 1, ticks=900), stat(6, 5, ticks=TICKS // 2, started=7))
    assert loads(["a"], before, after)["a"].cpu == pytest.approx(50)


# On this host


def test_a_session_has_the_processes_that_a_kill_would_find(server: RealTmux, zoo: Zoo) -> None:
    server.start("agent_zoo", zoo.command)
    server.start("agent_other")
    pids = zoo.pids()
    answer = server.client().ask()
    found = Meter[str]().measure(answer.sessions, answer.server_pid)
    assert found["agent_zoo"].processes == len(set(pids.values()))
    assert found["agent_other"].processes == 1
    assert found["agent_zoo"].memory > found["agent_other"].memory > 0


def test_who_works_is_seen_to_work_and_who_sleeps_to_sleep(server: RealTmux) -> None:
    server.start("agent_busy", "sh -c 'while :; do :; done'")
    server.start("agent_idle")
    answer = server.client().ask()
    meter = Meter[str]()
    meter.measure(answer.sessions, answer.server_pid)

    def at_work() -> bool:
        found = meter.measure(answer.sessions, answer.server_pid)
        busy, idle = found["agent_busy"].cpu, found["agent_idle"].cpu
        return busy is not None and idle is not None and busy > 5 > idle

    until(at_work, "the busy one is seen to work")


def test_a_pid_that_is_no_child_of_the_server_is_not_a_panes(server: RealTmux) -> None:
    server.start("agent_x")
    answer = server.client().ask()
    assert Meter[str]().measure(answer.sessions, os.getpid()) == {}


def test_what_a_process_says_of_itself_is_read_once(server: RealTmux) -> None:
    server.start("agent_x")
    answer = server.client().ask()
    meter = Meter[str]()
    meter.measure(answer.sessions, answer.server_pid)
    opened: list[str] = []
    real = os.open

    def counted(path: str, *given: int) -> int:
        opened.append(path)
        return real(path, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tui.host.usage.os.open", counted)
        meter.measure(answer.sessions, answer.server_pid)
    again = [path for path in opened if path.endswith("environ")]
    # Who was asked before is not asked again; only newcomers are.
    assert len(again) < len([path for path in opened if path.endswith("stat")]) / 2
