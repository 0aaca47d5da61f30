"""Whether the process of a dead pane has certainly ended."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.support.rolls import session
from tests.support.waiting import until
from tui.host.process import procfs
from tui.host.process.first_panes import ended_pane, is_clock_unset, later_start
from tui.host.tmux_listing import parse_listing
from tui.host.tmux_types import DeadPane, Session

SERVER = os.getpid()


def with_dead(*dead: DeadPane, pids: tuple[int, ...] = (), panes: str = "%1") -> Session:
    return replace(session(), dead=dead, pids=pids, panes=tuple(panes.split(" ")))


def test_without_a_dead_pane_nothing_has_ended() -> None:
    assert ended_pane(with_dead(pids=(os.getpid(),)), SERVER) is None


@pytest.mark.parametrize(("status", "by"), [(0, ""), (3, ""), (None, "9"), (None, "KILL")])
def test_what_tmux_says_of_the_end_is_believed(status: int | None, by: str) -> None:
    # The pid may be another process's by now.
    dead = DeadPane(os.getpid(), None, "%1", status, by)
    assert ended_pane(with_dead(dead), SERVER) == dead


def test_without_a_status_a_process_has_ended_if_it_is_gone() -> None:
    # tmux 3.2 says nothing of a signal, and 3.3a may miss an end.
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = DeadPane(process.pid, None, "%1")
    other = DeadPane(1, None, "%2", 0)
    assert ended_pane(with_dead(dead), SERVER) is None, "it has only closed its terminal"
    assert ended_pane(with_dead(other, dead, panes="%1 %2"), SERVER) is None
    assert process.stdin is not None
    process.stdin.close()
    until(lambda: (stat := procfs.stat_of(process.pid)) is None or stat.is_ended, "its end")
    assert ended_pane(with_dead(dead), SERVER) == dead
    assert ended_pane(with_dead(dead), 1) is None, "it is another one's child"
    process.wait()
    assert ended_pane(with_dead(dead), SERVER) == dead


def test_panes_are_ordered_as_they_were_made() -> None:
    first, second = DeadPane(1, None, "%9", 3), DeadPane(1, None, "%10", 4)
    assert ended_pane(with_dead(second, first, panes="%10 %9"), SERVER) == first
    # The process of this test began long after the session.
    mine = with_dead(first, pids=(os.getpid(),), panes="%9 %10")
    assert ended_pane(mine, SERVER) == first
    assert ended_pane(replace(mine, panes=("%8", "%9")), SERVER) is None
    assert ended_pane(replace(mine, created=2**40), SERVER) is None
    assert ended_pane(replace(mine, pids=(2**30,)), SERVER) is None, "its start is not known"


def own_start() -> float:
    """When this process began."""
    stat = procfs.stat_of(os.getpid())
    assert stat is not None
    return procfs.begun_at(stat)


def test_without_its_first_pane_a_session_is_known_by_its_processes() -> None:
    began = own_start()
    own = replace(session(created=began - 60), pids=(os.getpid(),))
    assert later_start(own) == pytest.approx(began, abs=1)
    assert later_start(replace(own, created=int(began))) is None
    assert later_start(replace(own, pids=())) is None
    assert later_start(replace(own, pids=(os.getpid(), 2**30))) is None
    assert later_start(replace(own, pids=(os.getpid(), 1))) is None, "the other is older"
    assert later_start(replace(own, dead=(DeadPane(1, None, "%9", 3),))) is None


def test_a_clock_that_was_set_is_noticed_by_the_start_of_the_server() -> None:
    began = own_start()
    assert is_clock_unset(os.getpid(), round(began))
    assert not is_clock_unset(os.getpid(), round(began) - 60)
    assert not is_clock_unset(os.getpid(), round(began) + 60)
    assert not is_clock_unset(2**30, round(began))


@pytest.mark.parametrize(
    ("end", "dead"),
    [
        ("0", ()),
        ("1:17:3:", (DeadPane(7, 17, "%5", 3),)),
        ("1:17::15", (DeadPane(7, 17, "%5", None, "15"),)),
        ("1::0:", (DeadPane(7, None, "%5", 0),)),
        ("1:::", (DeadPane(7, None, "%5"),)),
    ],
)
def test_a_line_about_a_pane_says_how_it_ended(end: str, dead: tuple[DeadPane, ...]) -> None:
    sessions, pid, began = parse_listing([f"$3 1 2 0 %5 7 {end} a name", "end 8 9 3.4"])
    assert (sessions["a name"].dead, pid, began) == (dead, 8, 9)
    assert sessions["a name"].pids == (() if dead else (7,))


@pytest.mark.parametrize("end", ["2", "", "1", "1:2", "1:x::", "1::y:", "1:1:1:1:1"])
def test_any_other_line_is_refused(end: str) -> None:
    with pytest.raises(ValueError):
        parse_listing([f"$3 1 2 0 %5 7 {end} name", "end 8 9 3.4"])
