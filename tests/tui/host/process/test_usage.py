"""What sessions cost: whose each process is, and CPU time that nobody loses."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tests.support.zoo import Zoo
from tui.host.process.procfs import Stat
from tui.host.process.usage import Load, Meter, Sample, loads

TICKS = os.sysconf("SC_CLK_TCK")


def stat(pid: int, parent: int, *, state: str = "S", ticks: int = 0, started: int = 1) -> Stat:
    return Stat(pid, "x", state, parent, 0, 0, ticks, started, 1000)


# What it costs


def look(at: float, *stats: Stat) -> Sample[str]:
    pids = [each.pid for each in stats]
    return Sample(at, dict(zip(pids, stats, strict=True)), {"a": pids})


def test_at_the_first_look_only_memory_is_known() -> None:
    assert loads(None, look(1.0, stat(5, 1), stat(6, 5))) == {"a": Load(None, 2000, 2)}


def test_a_session_without_processes_has_no_load() -> None:
    ended = stat(5, 1, state="Z")
    assert loads(None, Sample(1.0, {5: ended}, {"gone": [], "ended": [5]})) == {}


def test_a_process_of_two_sessions_is_counted_for_both() -> None:
    both = Sample(1.0, {5: stat(5, 1)}, {"a": [5], "b": [5]})
    assert loads(None, both) == dict.fromkeys("ab", Load(None, 1000, 1))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.integers(1, 60))
def test_cpu_is_what_all_processes_took_since(spent: list[int], seconds: int) -> None:
    before = look(0.0, *(stat(5 + n, 1, ticks=100) for n in range(len(spent))))
    after = look(seconds, *(stat(5 + n, 1, ticks=100 + each) for n, each in enumerate(spent)))
    cpu = loads(before, after)["a"].cpu
    assert cpu == pytest.approx(100 * sum(spent) / TICKS / seconds)


@given(st.integers(0, 500), st.integers(0, 500))
def test_what_a_child_took_before_it_ended_is_counted_once(early: int, late: int) -> None:
    before = look(0.0, stat(5, 1, ticks=10), stat(6, 5, ticks=early))
    # Its parent waited for it: all that it ever took is the parent's now.
    after = look(1.0, stat(5, 1, ticks=10 + early + late))
    assert loads(before, after)["a"].cpu == pytest.approx(100 * late / TICKS)


def test_a_newcomer_is_counted_from_its_start_also_with_the_pid_of_another() -> None:
    before = look(0.0, stat(5, 1), stat(6, 5, ticks=900))
    after = look(1.0, stat(5, 1, ticks=900), stat(6, 5, ticks=TICKS // 2, started=7))
    assert loads(before, after)["a"].cpu == pytest.approx(50)


# On this host


def test_a_session_has_the_processes_that_a_kill_would_find(server: RealTmux, zoo: Zoo) -> None:
    server.start("agent_zoo", zoo.command)
    server.start("agent_other")
    pids = zoo.pids()
    answer = server.client().ask()
    found = Meter[str]().measure(answer.sessions, answer)
    assert found["agent_zoo"].processes == len(set(pids.values()))
    assert found["agent_other"].processes == 1
    assert found["agent_zoo"].memory > found["agent_other"].memory > 0


def test_a_busy_process_shows_cpu_and_a_sleeping_one_shows_none(server: RealTmux) -> None:
    server.start("agent_busy", "sh -c 'while :; do :; done'")
    server.start("agent_idle")
    answer = server.client().ask()
    meter = Meter[str]()
    meter.measure(answer.sessions, answer)

    def at_work() -> bool:
        found = meter.measure(answer.sessions, answer)
        busy, idle = found["agent_busy"].cpu, found["agent_idle"].cpu
        return busy is not None and idle is not None and busy > 5 > idle

    until(at_work, "the busy one is seen to work")


def test_a_pid_that_is_not_a_child_of_the_server_is_not_a_panes(server: RealTmux) -> None:
    server.start("agent_x")
    answer = server.client().ask()
    other = replace(answer, server_pid=os.getpid())
    assert Meter[str]().measure(answer.sessions, other) == {}


def test_what_a_process_says_of_itself_is_read_once(server: RealTmux) -> None:
    server.start("agent_x")
    answer = server.client().ask()
    meter = Meter[str]()
    meter.measure(answer.sessions, answer)
    opened: list[str] = []
    real = os.open

    def counted(path: str, *given: int) -> int:
        opened.append(path)
        return real(path, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tui.host.process.procfs.os.open", counted)
        meter.measure(answer.sessions, answer)
    again = [path for path in opened if path.endswith("environ")]
    # Who was asked before is not asked again; only newcomers are.
    assert len(again) < len([path for path in opened if path.endswith("stat")]) / 2
