"""When the process session of a process that hides its environment may have begun."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from tui.host import strays
from tui.host.process import procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_tree import look_at
from tui.host.process.procfs import Stat, Users

SAYS = PaneEnvironment("/s", 20, "$0", "%0")


def stat(pid: int, parent: int, session: int, started: int, name: str = "sh") -> Stat:
    return Stat(pid, name, "S", parent, session, 0, 0, started, 1)


def window(pid: int, orders: Mapping[int, int], *more: Stat) -> tuple[float, float]:
    """The two times, in clock ticks since the boot."""
    stats = {
        1: stat(1, 0, 1, 0, "init"),
        # Supervises the server, and adopts what lost its parent.
        5: stat(5, 1, 5, 100),
        20: stat(20, 5, 20, 500, "tmux: server"),
        # The first processes of two panes.
        21: stat(21, 20, 21, 510),
        22: stat(22, 20, 22, 900),
        **{each.pid: each for each in more},
    }
    now = look_at(
        stats, {21: SAYS, 22: SAYS}, lambda _: Users(0, 0, 0), lambda _: None, orders.get
    )
    since, began = strays._beginning(pid, now)
    return since, began


@pytest.fixture(autouse=True)
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "begun_at", lambda stat: float(stat.started))


ORDERS = {1: 1, 5: 2, 20: 10, 21: 11, 22: 15}


@pytest.mark.parametrize(("order", "since"), [(12, 510.0), (16, 900.0), (1, -math.inf)])
def test_without_its_leader_a_process_session_is_older_than_its_members(
    order: int, since: float
) -> None:
    # The shell 30 of a pane that is gone started it again and again.
    late = stat(31, 1, 30, 5000)
    assert window(31, {**ORDERS, 31: order}, late) == (since, 5000.0)
    # Where the kernel does not number them, it may have begun at any time before.
    assert window(31, {}, late) == (-math.inf, 5000.0)


def test_the_oldest_member_limits_when_it_began() -> None:
    members = stat(31, 1, 30, 5000), stat(32, 31, 30, 6000)
    assert window(32, {**ORDERS, 32: 12}, *members) == (510.0, 5000.0)


def test_who_adopted_a_process_of_a_session_without_a_leader_proves_nothing() -> None:
    other = stat(6, 1, 6, 50)
    assert window(31, {**ORDERS, 31: 12}, other, stat(31, 6, 30, 5000)) == (510.0, 5000.0)


def test_the_parent_of_a_server_adopts_and_any_other_parent_started_it() -> None:
    assert window(30, ORDERS, stat(30, 5, 30, 5000)) == (5000.0, 5000.0)
    other = stat(6, 1, 6, 50)
    assert window(30, ORDERS, other, stat(30, 6, 30, 5000)) == (50.0, 50.0)
