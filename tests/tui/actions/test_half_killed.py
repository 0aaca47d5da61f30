"""A kill that stops half-way says so, and the next one finishes the rest."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import portalocker
import pytest

from registry.audit.entries import State
from registry.audit.log import AUDIT_LOG, log_in, read_log
from registry.operations.finish import finish_agents
from registry.storage import commit
from tests.support.real_tmux import RealTmux, runs
from tests.support.rolls import answered, cannot_tell, session
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.terminal import MUSTER
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, row_of, take
from tests.support.zoo import Zoo
from tests.support.zoo_kills import TRACKED, plan_for
from tests.support.zoo_kills import files as files
from tui.actions.execute import Outcome, Result, StepOutcome, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan import Plan
from tui.actions.plan_kill import plan_kill
from tui.host.process import process_kill, process_tree
from tui.host.tmux import Tmux
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.roll import Verdict


def kill(files: Files, server: RealTmux, *ids: str) -> Outcome:
    return carry_out(plan_for(files, server, *ids), server.client(), "")


def only(outcome: Outcome) -> StepOutcome:
    (step,) = outcome.steps
    return step


def states(files: Files) -> list[State]:
    return [each.state for each in read_log(log_in(files.path)).entries]


def assert_finished(files: Files, server: RealTmux, zoo: Zoo, agent_id: str = "a") -> None:
    """The next kill ends what is left, and after it there is nothing to do."""
    plan = plan_for(files, server, agent_id)
    assert plan.footprint is not None and plan.footprint.processes >= len(TRACKED)
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete, outcome
    assert not zoo.alive() & set(TRACKED)
    assert files.agent(agent_id)["status"] in ("terminated", "completed")
    files.assert_counters_match()
    again = plan_for(files, server, agent_id)
    assert again.steps == ()
    assert "nothing to kill" in again.refused[0][1]


class Interfered(Tmux):
    """The real server, and somebody who does something right after each kill."""

    def __init__(self, server: RealTmux, interfere: Callable[[Session], object]) -> None:
        super().__init__(server.socket, 0.5)
        self._interfere = interfere
        self.ended: list[str] = []

    def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
        said = super().kill_session(session, answer)
        self.ended.append(session.name)
        self._interfere(session)
        return said


def test_tmux_falls_silent_right_after_the_session_is_gone(
    files: Files, server: RealTmux, zoo: Zoo
) -> None:
    server.start("agent_a", zoo.command)
    zoo.pids()
    pid, before = server.server_pid(), files.bytes()
    plan = plan_for(files, server, "a")
    silent = Interfered(server, lambda _: os.kill(pid, signal.SIGSTOP))
    step = only(carry_out(plan, silent, ""))
    os.kill(pid, signal.SIGCONT)
    assert step.result is Result.FAILED
    assert "did not answer" in step.detail
    assert files.bytes() == before
    assert states(files) == [State.FAILED]
    assert set(TRACKED) <= zoo.alive()
    until(lambda: server.names() == set(), "the session's end")
    assert_finished(files, server, zoo)
    assert states(files) == [State.FAILED, State.DONE, State.DONE]


def test_some_processes_survive(
    files: Files, server: RealTmux, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a", zoo.command)
    zoo.pids()
    plan, before = plan_for(files, server, "a"), files.bytes()
    with monkeypatch.context() as patch:
        patch.setattr(process_kill, "end", lambda known, _: process_kill.survivors(known))
        step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.FAILED
    assert f"({zoo.pids()['stubborn']})" in step.detail
    assert files.bytes() == before
    assert_finished(files, server, zoo)


def test_muster_itself_is_killed_between_the_session_and_its_processes(
    files: Files, server: RealTmux, zoo: Zoo
) -> None:
    server.start("agent_a", zoo.command)
    server.start("keeper")
    zoo.pids()
    before = files.bytes()
    words = [*MUSTER, "kill", "a", "--yes", "-S", str(server.socket), "-w", str(files.path)]
    with subprocess.Popen(words) as muster:
        until(lambda: server.names() == {"keeper"}, "the session's end")
        muster.kill()
    assert files.bytes() == before
    assert states(files) == [State.INTENDED]
    assert "stubborn" in zoo.alive()
    plan = plan_for(files, server, "a")
    assert "an earlier kill ended its session" in plan.steps[0].says
    assert carry_out(plan, server.client(), "").complete
    assert not zoo.alive() & set(TRACKED)
    assert files.agent("a")["status"] == files.listed("a")["status"] == "terminated"


def test_a_leaked_session_that_was_half_killed_is_finished_too(
    files: Files, server: RealTmux, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_old", zoo.command)
    zoo.pids()
    plan, before = plan_for(files, server, "old"), files.bytes()
    with monkeypatch.context() as patch:
        patch.setattr(process_kill, "end", lambda known, _: process_kill.survivors(known))
        assert only(carry_out(plan, server.client(), "")).result is Result.FAILED
    assert row_of(take(files, server.client()), "old").verdict is Verdict.FINISHED
    assert_finished(files, server, zoo, "old")
    assert files.bytes() == before


def test_an_orphan_that_was_half_killed_is_finished_with_all_orphans(
    files: Files, server: RealTmux, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_lost", zoo.command)
    server.start("keeper")
    zoo.pids()
    policy = replace(QUICK, orphan_grace=-1.0)

    def planned() -> Plan:
        roll = take(files, server.client(), policy)
        return weighed_kill(roll, (), roll.orphans, all_orphans=True)

    plan = planned()
    with monkeypatch.context() as patch:
        patch.setattr(process_kill, "end", lambda known, _: process_kill.survivors(known))
        assert only(carry_out(plan, server.client(), "")).result is Result.FAILED
    plan = planned()
    assert [(step.label, step.session) for step in plan.steps] == [("agent_lost", None)]
    assert plan.footprint is not None and plan.footprint.processes >= len(TRACKED)
    assert carry_out(plan, server.client(), "").complete
    assert not zoo.alive() & set(TRACKED)
    assert planned().steps == ()
    assert server.names() == {"keeper"}


@pytest.mark.parametrize("files", [Files], indirect=True)
def test_the_registry_stays_locked_by_another_process(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    plan, before = plan_for(files, server, "a"), files.bytes()
    hurried = functools.partial(finish_agents, timeout=0.2)
    monkeypatch.setattr("registry.operations.finish_agents", hurried)
    with files.registry().open("r+") as held:
        portalocker.lock(held, portalocker.LockFlags.EXCLUSIVE)
        step = only(carry_out(plan, server.client(), ""))
        assert files.bytes() == before
    assert step.result is Result.FAILED
    assert "ended its session and 1 process; not recorded" in step.detail
    assert "Nothing was changed" not in step.detail
    assert f"`muster complete a -w {files.registry()} -S {plan.socket} --as" in step.detail
    assert states(files) == [State.DONE, State.FAILED]
    assert kill(files, server, "a").complete
    assert files.agent("a")["status"] == files.listed("a")["status"] == "terminated"
    files.assert_counters_match()


@pytest.mark.parametrize("files", [Files], indirect=True)
def test_no_room_for_the_status_of_a_killed_agent(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    plan, before = plan_for(files, server, "a"), files.bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "write_all", full)
        step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.FAILED and files.bytes() == before
    assert server.names() == set()
    assert "ended its session and 1 process; not recorded" in step.detail
    assert "free space" in step.detail and "--as terminated`" in step.detail
    assert "Nothing was changed" not in step.detail


def test_a_log_that_cannot_be_read_is_named_and_does_not_prevent_a_kill(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_a")
    (files.path / "registry" / AUDIT_LOG).mkdir()
    plan = plan_for(files, server, "a")
    assert [step.label for step in plan.steps] == ["a"]
    ((what, why),) = plan.refused
    assert what == "leftovers of earlier kills"
    assert AUDIT_LOG in why


# --- several at once ----------------------------------------------------------


def test_all_share_one_grace_and_go_leaf_first(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = "trap '' HUP TERM; while :; do sleep 0.05; done"
    for name in "abc":
        server.start(f"agent_{name}", stubborn)
    pids = server.pane_pids()
    ended: list[int] = []
    really = process_kill.end

    def end(
        known: Iterable[process_tree.Process], origins: object
    ) -> tuple[process_tree.Process, ...]:
        known = list(known)
        ended.append(len(known))
        return really(known, origins)  # type: ignore[arg-type]

    monkeypatch.setattr(process_kill, "end", end)
    tmux = Interfered(server, lambda _: None)
    outcome = carry_out(plan_for(files, server, "a", "b", "c"), tmux, "")
    assert outcome.complete
    assert tmux.ended == ["agent_b", "agent_a", "agent_c"]
    assert len(ended) == 1 and ended[0] >= 3
    assert not any(map(runs, pids))


def test_one_that_survives_is_no_reason_to_call_the_others_alive(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        server.start(f"agent_{name}")
    plan = plan_for(files, server, "a", "b", "c")
    immortal = {step.label: step.session.pids[0] for step in plan.steps if step.session}["b"]
    really = process_kill.end

    def end(
        known: list[process_tree.Process], origins: object
    ) -> tuple[process_tree.Process, ...]:
        really([each for each in known if each.pid != immortal], origins)  # type: ignore[arg-type]
        return tuple(each for each in known if each.pid == immortal)

    monkeypatch.setattr(process_kill, "end", end)
    results = {each.label: each for each in carry_out(plan, server.client(), "").steps}
    assert results["b"].result is Result.FAILED
    assert f"({immortal})" in results["b"].detail
    assert results["a"].result is results["c"].result is Result.DONE
    assert files.agent("b")["status"] == "running"
    assert files.agent("a")["status"] == files.agent("c")["status"] == "terminated"


def test_a_survivor_that_came_only_meanwhile_may_be_anybodys(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    server.start("agent_c")
    plan, before = plan_for(files, server, "a", "c"), files.bytes()
    newcomer = process_tree.Process(4711, 0, "newcomer", 0)
    monkeypatch.setattr(process_kill, "end", lambda *_: (newcomer,))
    outcome = carry_out(plan, server.client(), "")
    assert [each.result for each in outcome.steps] == [Result.FAILED, Result.FAILED]
    assert files.bytes() == before


def test_a_server_that_hangs_is_not_asked_for_every_single_session(files: Files) -> None:
    made = time.time() - 3600
    there = answered(
        *(session(f"agent_{name}", number=n, created=made) for n, name in enumerate("abc"))
    )
    roll = take(files, ScriptedTmux(there))
    plan = plan_kill(roll, [row_of(roll, each) for each in "abc"])

    class Hanging(ScriptedTmux):
        def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
            super().kill_session(session, answer)
            return "tmux did not answer within 5 s"

    before = files.bytes()
    tmux = Hanging(there, cannot_tell())
    outcome = carry_out(plan, tmux, "")
    assert [each.result for each in outcome.steps] == [Result.FAILED] * 3
    assert len(tmux.killed) == 1
    assert [each.detail for each in outcome.steps[1:]] == [
        "not tried: tmux did not answer within 5 s"
    ] * 2
    assert states(files) == [State.FAILED]
    assert files.bytes() == before


def test_a_session_that_tmux_does_not_end_is_no_reason_to_leave_the_others(
    files: Files, server: RealTmux
) -> None:
    for name in "abc":
        server.start(f"agent_{name}")

    class Reluctant(Tmux):
        def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
            if session.name == "agent_b":
                return "not this one"
            return super().kill_session(session, answer)

    outcome = carry_out(plan_for(files, server, "a", "b", "c"), Reluctant(server.socket), "")
    results = {each.label: (each.result, each.detail) for each in outcome.steps}
    assert results["b"] == (Result.FAILED, "not this one")
    assert server.names() == {"agent_b"}
    assert files.agent("b")["status"] == "running"
    assert files.agent("a")["status"] == "terminated"


# --- who must be left alone ---------------------------------------------------


def test_an_agent_that_is_started_anew_while_it_is_killed_is_not_called_dead(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_a")
    before = files.bytes()
    tmux = Interfered(server, lambda session: server.start(session.name))
    step = only(carry_out(plan_for(files, server, "a"), tmux, ""))
    assert step.result is Result.LEFT
    assert "not recorded: a session with the name of the agent's session exists" in step.detail
    assert server.names() == {"agent_a"}
    assert files.bytes() == before


def test_a_session_that_looks_into_another_lives_and_saves_it(
    files: Files, server: RealTmux
) -> None:
    session_id = server.start("agent_a")
    plan = plan_for(files, server, "a")
    server.run("new-session", "-d", "-t", session_id, "-s", "agent_view")
    (pid,) = server.pane_pids()
    step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.LEFT
    assert "agent_view shows the same panes" in step.detail
    roll = take(files, server.client())
    views = [server.client().ask().sessions["agent_view"]]
    assert plan_kill(roll, [row_of(roll, "a")], views).steps == ()
    assert runs(pid)
    assert server.names() == {"agent_a", "agent_view"}


def test_where_the_processes_of_the_server_cannot_be_seen_nothing_is_ended(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    seen = plan_for(files, server, "a")
    monkeypatch.setattr("tui.host.tmux.is_process_here", lambda *_: False)
    plan = plan_for(files, server, "a")
    assert plan.steps == () and "cannot see the processes" in dict(plan.refused)["a"]
    step = only(carry_out(seen, server.client(), ""))
    assert step.result is Result.FAILED
    assert "cannot see the processes" in step.detail
    assert server.names() == {"agent_a"}
    assert files.agent("a")["status"] == "running"


def test_where_processes_cannot_be_listed_nothing_is_ended(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")

    def refuse(_: object) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(process_tree, "processes_of", refuse)
    plan = plan_for(files, server, "a")
    assert plan.footprint is None
    step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.FAILED
    assert "Too many open files" in step.detail
    assert server.names() == {"agent_a"}
