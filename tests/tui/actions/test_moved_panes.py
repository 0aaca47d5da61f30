"""Panes that were moved to the sessions of other agents."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.rolls import NOW, agent, session, task_state
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, row_of, stamp, take, verdicts
from tui.actions.execute import Result, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import plan_complete
from tui.host.process.pane_origin import PaneOrigin, PaneOrigins, moved_among, unknown_among
from tui.host.tmux import Tmux
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.collector import LiveRoll
from tui.model.roll import RollCall, Verdict
from tui.model.suspects import Candidate, find_mixed, find_renamed

NO_GRACE = replace(QUICK, start_grace=0.0)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Two agents whose sessions are made right now, and one that is dead for long."""
    return Files(
        tmp_path,
        {
            "TASK-1": [
                entry("x", started_at=stamp(0)),
                entry("y", started_at=stamp(0)),
                entry("z", started_at=stamp(3600)),
            ]
        },
    )


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    server.start("agent_y")
    server.start("agent_x")
    return server


def pane_pid(server: RealTmux, name: str) -> int:
    return int(server.run("list-panes", "-t", f"={name}:", "-F", "#{pane_pid}"))


def join(server: RealTmux) -> None:
    server.run("join-pane", "-d", "-s", "=agent_x:", "-t", "=agent_y:")


def link(server: RealTmux) -> None:
    server.run("link-window", "-d", "-s", "=agent_x:0", "-t", "=agent_y:5")
    server.run("kill-session", "-t", "=agent_x:")


@pytest.mark.parametrize("move", [join, link])
def test_a_pane_moved_to_another_agents_session_is_no_death(
    files: Files, crew: RealTmux, move: object
) -> None:
    pid = pane_pid(crew, "agent_x")
    assert callable(move)
    move(crew)
    assert crew.names() == {"agent_y"}
    roll = take(files, crew.client(), NO_GRACE)
    assert verdicts(roll) == {"x": Verdict.UNKNOWN, "y": Verdict.LIVE, "z": Verdict.ZOMBIE}
    assert "session agent_y has pane %1, which began when" in row_of(roll, "x").note
    plan = plan_complete(roll, roll.agents())
    assert "complete this agent alone" in dict(plan.refused)["x"]
    plan = weighed_kill(roll, roll.agents())
    assert [step.label for step in plan.steps] == ["z"]
    says = dict(plan.refused)["y"]
    assert "the session has pane %1, which was created in a session that is gone" in says
    assert carry_out(plan, crew.client(), "").complete
    assert runs(pid)


CLEARED = "exec env -u TMUX -u TMUX_PANE sleep 1000"


def test_a_pane_that_tells_nothing_may_be_a_missing_agents(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_y")
    later_by(monkeypatch, server, 60)
    server.start("agent_x", CLEARED)
    pid = pane_pid(server, "agent_x")
    join(server)
    roll = take(files, server.client(), NO_GRACE)
    assert verdicts(roll) == {"x": Verdict.UNKNOWN, "y": Verdict.LIVE, "z": Verdict.ZOMBIE}
    assert "session agent_y has a pane that began when" in row_of(roll, "x").note
    plan = weighed_kill(roll, [row_of(roll, "y")])
    assert plan.steps == ()
    assert f"in which session the pane of process {pid} was created" in dict(plan.refused)["y"]
    assert runs(pid)


def later_by(monkeypatch: pytest.MonkeyPatch, server: RealTmux, seconds: int) -> None:
    """Lets muster see all sessions of now as older."""
    created = {each.id: each.created - seconds for each in server.client().ask().sessions.values()}
    ask = Tmux.ask

    def earlier(client: Tmux, *args: Any, **options: Any) -> TmuxSnapshot:
        answer = ask(client, *args, **options)
        sessions = {
            name: replace(each, created=created.get(each.id, each.created))
            for name, each in answer.sessions.items()
        }
        return replace(answer, sessions=sessions)

    monkeypatch.setattr(Tmux, "ask", earlier)


@pytest.mark.parametrize("agent_id", ["x", "y"])
def test_neither_of_two_agents_whose_panes_were_swapped_is_killed(
    files: Files, crew: RealTmux, agent_id: str
) -> None:
    roll = take(files, crew.client(), NO_GRACE)
    before = weighed_kill(roll, [row_of(roll, agent_id)])
    crew.run("swap-pane", "-d", "-s", "=agent_x:", "-t", "=agent_y:")
    # The plan was made before that.
    (step,) = carry_out(before, crew.client(), "").steps
    assert step.result is Result.LEFT and "has pane" in step.detail
    roll = take(files, crew.client(), NO_GRACE)
    plan = weighed_kill(roll, [row_of(roll, agent_id)])
    assert plan.steps == ()
    assert "which was created in session agent_" in plan.refused[0][1]
    assert crew.names() == {"agent_x", "agent_y"}
    crew.run("swap-pane", "-d", "-s", "=agent_x:", "-t", "=agent_y:")
    assert carry_out(before, crew.client(), "").complete


def test_an_agent_one_of_whose_panes_was_moved_away_is_not_killed_by_half(
    files: Files, crew: RealTmux
) -> None:
    crew.run("split-window", "-d", "-t", "=agent_x:", SLEEP)
    join(crew)
    roll = take(files, crew.client(), NO_GRACE)
    assert verdicts(roll)["x"] is Verdict.LIVE
    plan = weighed_kill(roll, [row_of(roll, "x")])
    assert plan.steps == ()
    assert "is in session agent_y now" in dict(plan.refused)["x"]


def test_a_pane_moved_during_the_question_is_no_death(files: Files, crew: RealTmux) -> None:
    roll = take(files, crew.client(), NO_GRACE)
    plan = weighed_kill(roll, [row_of(roll, "x")])
    pid = pane_pid(crew, "agent_x")
    join(crew)
    (step,) = carry_out(plan, crew.client(), "").steps
    assert step.result is Result.LEFT
    assert "a pane of that session is in session agent_y" in step.detail
    assert runs(pid)
    assert files.agent("x")["status"] == "running"


def test_the_monitor_knows_whose_pane_it_is_whenever_that_began(
    tmp_path: Path, crew: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("x"), entry("y")]})
    rolls: list[RollCall] = []
    live = LiveRoll(files.workspaces(), crew.client(), NO_GRACE)
    live.listen(rolls.append)
    live.start()
    try:
        until(lambda: rolls and set(verdicts(rolls[-1]).values()) == {Verdict.LIVE}, "both")
        join(crew)
        live.refresh()
        until(lambda: "%1" in row_of(rolls[-1], "x").note, "the doubt")
        row = row_of(rolls[-1], "x")
        assert row.verdict is Verdict.UNKNOWN
        text = "session agent_y contains pane %1, which was created in the agent's missing session"
        assert text in row.note
        crew.run("kill-pane", "-t", "%1")
        live.refresh()
        until(lambda: verdicts(rolls[-1])["x"] is Verdict.ZOMBIE, "the proof of its death")
    finally:
        live.stop()


# --- what a pane's process says ------------------------------------------------


def moved(server: RealTmux) -> Mapping[int, PaneOrigin]:
    return moved_of(*server.client().ask().sessions.values())


def moved_of(*sessions: Session) -> Mapping[int, PaneOrigin]:
    return moved_among(PaneOrigins().read(sessions), sessions)


def test_where_panes_were_made_is_told_of_those_that_are_elsewhere_now(crew: RealTmux) -> None:
    assert moved(crew) == {}
    pid = pane_pid(crew, "agent_x")
    crew.run("new-session", "-d", "-t", "=agent_x", "-s", "view")
    crew.run("rename-session", "-t", "=agent_y:", "agent_y2")
    assert moved(crew) == {}, "a session may be looked into, and renamed"
    crew.run("join-pane", "-d", "-s", "=agent_x:", "-t", "=agent_y2:")
    assert moved(crew) == {pid: PaneOrigin("%1", "$1")}
    crew.run("respawn-pane", "-k", "-t", "%1", SLEEP)
    assert moved(crew) == {}, "it was made anew where it is"


@pytest.mark.parametrize("says", ["-u TMUX", "TMUX=/x,1,7", "TMUX=x", "-u TMUX_PANE"])
def test_what_was_set_by_hand_tells_nothing(server: RealTmux, says: str) -> None:
    server.start("agent_y")
    server.start("agent_x", f"exec env {says} sleep 1000")
    pid = pane_pid(server, "agent_x")
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    join(server)
    assert moved(server) == {}


def test_what_is_gone_or_no_pane_tells_nothing() -> None:
    there = replace(session(), pids=(os.getpid(), 999_999_999))
    assert moved_of(there) == {}


# --- what follows from it ------------------------------------------------------

STARTED = NOW - 3600
NAME = "agent_tester-120000-abcdef"
SISTER = replace(session("agent_sister", number=2, created=NOW), pids=(7,))


def suspects(
    begun: float, made_in: str = "$9", seen: str | None = None
) -> Mapping[str, Candidate]:
    states = [task_state(agent(started=STARTED), agent("sister"))]
    births = {7: PaneOrigin("%7", made_in)}
    ids = {NAME: seen} if seen else {}
    found = find_renamed({NAME}, states, (), [SISTER], lambda _: begun, births, ids)
    return {name: those[0] for name, those in found.items()}


def test_a_moved_pane_may_be_that_of_a_missing_agent() -> None:
    assert "began when" in suspects(STARTED)[NAME].why
    assert "created in the agent's missing session" in suspects(NOW, seen="$9")[NAME].why
    assert suspects(NOW) == {}, "it began at another time"
    assert suspects(STARTED, seen="$8") == {}, "it is that of another session"
    assert suspects(STARTED, made_in="$2") == {}, "that session is there"


def test_both_sessions_that_share_a_moved_pane_are_told() -> None:
    own, other = session("agent_x", number=1), SISTER
    mixed = find_mixed([own, other], {7: PaneOrigin("%7", "$1")}, {})
    assert "session agent_sister now" in mixed["$1"]
    assert "created in session agent_x" in mixed["$2"]
    assert find_mixed([own, other], {}, {}) == {}


def test_a_session_is_created_with_one_pane() -> None:
    there = replace(session("agent_x", number=1, created=NOW), pids=(7, 8))
    assert unknown_among({}, [there], {7: NOW + 0.1, 8: NOW + 0.9}.get) == {8: there}
    known = {7: PaneOrigin("%7", "$1")}
    assert unknown_among(known, [there], {7: NOW + 0.9, 8: NOW + 0.1}.get) == {8: there}
    alone = replace(there, pids=(8,))
    assert unknown_among({}, [alone], {8: NOW + 0.1}.get) == {}
    assert unknown_among({}, [alone], {8: NOW + 9.0}.get) == {8: alone}
