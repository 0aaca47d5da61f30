"""A log that another user wrote: nothing is ended on its word but what is that user's."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.audit.entries import EndedSession, State
from registry.audit.log import AUDIT_LOG, Audit, aside, log_in, read_log
from tests.support.dialects import DatabaseFiles
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files
from tests.support.zoo import Zoo
from tests.support.zoo_kills import TRACKED, files_in, plan_for
from tui.actions.execute import carry_out
from tui.actions.plan import Plan
from tui.host.process import process_kill, process_tree, procfs

EVE = 64177

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give files and processes to another user"
)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A workspace of JSON files: muster writes no database in another user's workspace."""
    return files_in(tmp_path, Files)


def given_to(user: int, *paths: Path) -> None:
    for path in paths:
        os.chown(path, user, user)


def give_workspace(files: Files, user: int) -> None:
    given_to(user, files.path, *files.path.rglob("*"))


def claim(server: RealTmux, session_id: str) -> EndedSession:
    """What a kill of a session, which is there, would put on record as agent a's."""
    answer = server.client().ask()
    (session,) = [each for each in answer.sessions.values() if each.id == session_id]
    return EndedSession(
        "agent_a",
        session.id,
        session.created,
        str(server.socket),
        "a",
        answer.server_pid,
        answer.server_started,
        session.panes,
    )


@pytest.fixture
def daemons(server: RealTmux, zoo: Zoo) -> EndedSession:
    """What root's session, which has nothing to do with any agent, left running."""
    server.start("keeper")
    session_id = server.start("work", zoo.command)
    zoo.pids()
    claimed = claim(server, session_id)
    server.kill(session_id)
    until(lambda: not zoo.alive() & {"keeper", "child", "child's child"}, "those who heed HUP")
    return claimed


def plant(log: Path, ended: EndedSession, user: int | None = EVE) -> None:
    log.parent.mkdir(exist_ok=True)
    Audit("kill", "planted").begin(log, session=ended)
    if user is not None:
        given_to(user, log)


def finished(plan: Plan, server: RealTmux) -> str:
    (step,) = carry_out(plan, server.client(), "").steps
    return step.detail


@pytest.mark.parametrize("number", [0, 3])
def test_a_planted_kill_ends_nothing_of_root(
    files: Files, server: RealTmux, zoo: Zoo, daemons: EndedSession, number: int
) -> None:
    before = zoo.alive()
    assert before >= set(TRACKED)
    give_workspace(files, EVE)
    log = log_in(files.path)
    plant(log, daemons)
    if number:
        log.rename(aside(log, number))
    plan = plan_for(files, server, "a")
    assert plan.footprint is None or not plan.footprint.processes
    assert "left alone" in plan.steps[0].says and "another user (id 0)" in plan.steps[0].says
    said = finished(plan, server)
    assert "ended" not in said and "another user (id 0)" in said
    # Nor is the agent called dead while that runs.
    assert "still running" in said and files.agent("a")["status"] == "running"
    assert zoo.alive() == before
    assert server.names() == {"keeper"}


def test_a_planted_kill_in_a_workspace_with_a_database_is_not_even_tried(
    tmp_path: Path, server: RealTmux, zoo: Zoo, daemons: EndedSession
) -> None:
    files = files_in(tmp_path, DatabaseFiles)
    before = zoo.alive()
    give_workspace(files, EVE)
    plant(log_in(files.path), daemons)
    plan = plan_for(files, server, "a")
    assert plan.steps == ()
    ((agent, why),) = plan.refused
    assert agent == "a" and "its database cannot be written" in why
    carry_out(plan, server.client(), "")
    assert files.agent("a")["status"] == "running"
    assert zoo.alive() == before
    assert server.names() == {"keeper"}


def test_what_root_repeats_of_a_planted_kill_is_still_the_planters_word(
    files: Files,
    server: RealTmux,
    zoo: Zoo,
    daemons: EndedSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = zoo.alive()
    give_workspace(files, EVE)
    log = log_in(files.path)
    plant(log, daemons)
    monkeypatch.setattr("registry.audit.log.ROTATE_AT", 1)
    plan = plan_for(files, server, "a")
    with monkeypatch.context() as patch:
        patch.setattr(process_kill, "end", lambda *_: (process_tree.Process(1, 0, "x", 0),))
        carry_out(plan, server.client(), "")
    # What root writes into a log there is the word of the folder's owner as well.
    entries = read_log(log).entries
    assert State.FAILED in {each.state for each in entries}
    assert {EVE} == frozenset[int]().union(*(each.writers for each in entries))
    assert all(EVE in (each.told_by or ()) for each in read_log(log).unfinished_ends)
    finished(plan_for(files, server, "a"), server)
    assert zoo.alive() == before


def test_roots_own_record_in_another_users_workspace_ends_nothing_of_root(
    files: Files, server: RealTmux, zoo: Zoo, daemons: EndedSession
) -> None:
    before = zoo.alive()
    give_workspace(files, EVE)
    plant(log_in(files.path), daemons, user=None)
    assert "another user (id 0)" in finished(plan_for(files, server, "a"), server)
    assert zoo.alive() == before


def test_roots_own_record_in_roots_workspace_ends_what_is_left(
    files: Files, server: RealTmux, zoo: Zoo, daemons: EndedSession
) -> None:
    plant(log_in(files.path), daemons, user=None)
    assert "ended" in finished(plan_for(files, server, "a"), server)
    assert not zoo.alive() & set(TRACKED)


@pytest.fixture
def eves(daemons: EndedSession) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes of that user: one that says it belongs to the session, and others."""
    inside = {
        "TMUX": f"{daemons.socket},{daemons.server_pid},1",
        "TMUX_PANE": daemons.panes[0],
        "PATH": os.environ["PATH"],
    }
    silent = {"PATH": os.environ["PATH"]}
    # Of another server's pane: one of this server could be left of the agent.
    another = inside | {"TMUX": f"/nowhere/socket,{os.getpid()},1"}
    started = {
        name: subprocess.Popen(
            ["sleep", "1000"],
            user=EVE,
            group=EVE,
            env=environment,
            start_new_session=True,
        )
        for name, environment in {"in": inside, "silent": silent, "another": another}.items()
    }
    yield started
    for each in started.values():
        each.kill()
        each.wait()


def test_the_writer_of_a_log_may_have_its_own_processes_ended_that_say_so(
    files: Files,
    server: RealTmux,
    zoo: Zoo,
    daemons: EndedSession,
    eves: dict[str, subprocess.Popen[bytes]],
) -> None:
    before = zoo.alive()
    give_workspace(files, EVE)
    plant(log_in(files.path), daemons)
    said = finished(plan_for(files, server, "a"), server)
    assert "ended" in said and "another user (id 0)" in said
    assert eves["in"].wait(timeout=10) is not None
    assert eves["silent"].poll() is None and eves["another"].poll() is None
    assert zoo.alive() == before


def test_what_began_long_after_the_record_is_left_alone(
    files: Files,
    server: RealTmux,
    zoo: Zoo,
    daemons: EndedSession,
    eves: dict[str, subprocess.Popen[bytes]],
) -> None:
    log = log_in(files.path)
    plant(log, replace(daemons, created=daemons.created - 2000), user=None)
    record = json.loads(log.read_text())
    record["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1000))
    log.write_text(json.dumps(record) + "\n")
    give_workspace(files, EVE)
    said = finished(plan_for(files, server, "a"), server)
    assert "started after the end of the session" in said
    assert runs(eves["in"].pid) and zoo.alive() >= set(TRACKED)


def test_a_process_that_becomes_another_users_is_not_signalled(server: RealTmux) -> None:
    server.start("keeper")
    (pid,) = server.pane_pids()
    stat = procfs.stat_of(pid)
    assert stat is not None
    claimed = process_tree.Process(pid, stat.started, "sleep", 0, frozenset({EVE}))
    left = process_kill.end([claimed], [], grace=0.0)
    assert left == (claimed,)
    assert runs(pid)


def test_a_log_that_others_can_write_ends_nothing_and_is_named(
    files: Files, server: RealTmux, zoo: Zoo, daemons: EndedSession
) -> None:
    before = zoo.alive()
    plant(log_in(files.path), daemons, user=None)
    (files.path / "registry" / AUDIT_LOG).chmod(0o666)
    plan = plan_for(files, server, "a")
    assert any("chmod go-w" in why for _, why in plan.refused)
    carry_out(plan, server.client(), "")
    assert zoo.alive() == before
