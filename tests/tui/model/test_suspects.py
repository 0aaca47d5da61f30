"""Sessions that were renamed, and panes that were moved, before anybody looked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from registry.schema.session_names import all_spellings
from tests.support.databases import Database
from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.rolls import NOW, agent, answered, session, task_state
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, row_of, stamp, take, verdicts
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.host.process.pane_origin import PaneOrigin
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxSnapshot
from tui.live.builder import RollBuilder
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.live.registry_cache import Registries
from tui.model.evidence import Evidence
from tui.model.roll import RollCall, Verdict
from tui.model.suspects import Candidate, find_renamed

STARTED = NOW - 3600
NAME = "agent_tester-120000-abcdef"


def suspects(
    made: float, *begun: float, name: str = "other", listed: tuple[str, ...] = ()
) -> Mapping[str, Candidate]:
    state = task_state(agent(started=STARTED), agent("sister", started=STARTED))
    there = replace(session(name, created=made), pids=tuple(range(len(begun))))
    found = find_renamed(
        {NAME}, [state], [all_spellings(listed)], [there], lambda pid: begun[pid], {}, {}
    )
    return {name: suspect for name, (suspect,) in found.items()}


@pytest.mark.parametrize("name", ["other", "agent_other"])
@pytest.mark.parametrize("made", [STARTED - 15, STARTED - 2, STARTED + 2])
def test_a_session_made_as_the_agent_started_may_be_its_own(made: float, name: str) -> None:
    assert "was the session renamed?" in suspects(made, name=name)[NAME].why
    assert name in suspects(made, name=name)[NAME].why
    assert "was the pane moved" in suspects(STARTED - 9999, 0.0, made, name=name)[NAME].why


@pytest.mark.parametrize("made", [STARTED - 16, STARTED + 3, STARTED - 60, NOW])
def test_a_session_made_at_another_time_is_not(made: float) -> None:
    assert suspects(made, made) == {}


def test_a_pane_that_was_made_in_a_session_that_exists_is_not() -> None:
    state = task_state(agent(started=STARTED))
    homes = [
        replace(session("desk", number=1, created=NOW), pids=(7, 8)),
        session("shelf", number=2, created=NOW),
    ]
    origins = {7: PaneOrigin("%7", "$1"), 8: PaneOrigin("%8", "$2")}
    assert find_renamed({NAME}, [state], (), homes, lambda _: STARTED, origins, {}) == {}
    del origins[8]
    found = find_renamed({NAME}, [state], (), homes, lambda _: STARTED, origins, {})
    assert "was the pane moved" in found[NAME][0].why, "where the other pane was made is not known"


def test_a_session_that_another_agent_claims_is_not() -> None:
    assert suspects(STARTED, STARTED, name="agent_sister") == {}
    assert suspects(STARTED, STARTED, name="agent_far", listed=("agent_far",)) == {}


def test_nobody_is_suspected_without_a_missing_session() -> None:
    there = [session("other", created=STARTED)]
    state = task_state(agent(started=STARTED))
    assert find_renamed((), [state], (), there, lambda _: STARTED, {}, {}) == {}


@pytest.mark.parametrize("started", [None, NOW + 60])
@pytest.mark.parametrize("made", [1.0, STARTED, NOW])
def test_without_a_start_each_session_that_nobody_claims_may_be_its_own(
    started: float | None, made: float
) -> None:
    state = task_state(agent(started=started), agent("sister", started=STARTED))
    there = [session(name, created=made) for name in ("other", "agent_sister", "agent_far")]

    def found(known: tuple[str, ...] = ()) -> Mapping[str, list[Candidate]]:
        far = all_spellings(("agent_far",))
        return find_renamed(
            {NAME}, [state], [far], there, lambda _: None, {}, {}, now=NOW, known=known
        )

    (suspect,) = found()[NAME]
    assert suspect.session.name == "other" and "start, which is unknown" in suspect.why
    assert found((NAME,)) == {}, "muster saw its session, and would follow it"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(
        tmp_path,
        {"TASK-1": [entry("a", started_at=stamp(6)), entry("z", started_at=stamp(3600))]},
    )


def start(server: RealTmux) -> None:
    """One agent's session, made about as it started, and another of the user's own."""
    server.start("keeper")
    server.start("agent_a")


def rewrite(files: Files, server: RealTmux) -> None:
    """As if the agent of the session had started long ago, just after the session was made."""
    made = server.client().ask().sessions["agent_a"].created
    ago = time.time() - made - 1
    files.write_task("TASK-1", entry("a", started_at=stamp(ago)), entry("z"))


NO_GRACE = replace(QUICK, start_grace=0.0, orphan_grace=-1.0)


@pytest.mark.parametrize("name", ["mine", "agent_mine"])
def test_one_look_calls_no_agent_dead_whose_session_was_renamed(
    files: Files, server: RealTmux, name: str
) -> None:
    start(server)
    rewrite(files, server)
    server.run("kill-session", "-t", "=keeper:")
    server.run("rename-session", "-t", "=agent_a:", name)
    roll = take(files, server.client(), NO_GRACE)
    assert verdicts(roll) == {"a": Verdict.UNKNOWN, "z": Verdict.ZOMBIE}
    assert roll.orphans == ()
    plan = plan_kill(roll, roll.agents())
    assert [step.label for step in plan.steps] == ["z"]
    assert f"session {name} was created when this agent started" in dict(plan.refused)["a"]
    carry_out(plan, server.client(), "")
    assert name in server.names()
    assert files.agent("a")["status"] == "running"


def test_an_agent_that_was_renamed_on_another_server_is_not_called_dead(
    files: Files, server: RealTmux
) -> None:
    start(server)
    rewrite(files, server)
    server.run("kill-session", "-t", "=keeper:")
    server.run("rename-session", "-t", "=agent_a:", "mine")
    socket = server.socket.with_name("nobody")
    roll = take(files, Tmux(socket), NO_GRACE)
    assert verdicts(roll) == {"a": Verdict.UNKNOWN, "z": Verdict.ZOMBIE}
    note = row_of(roll, "a").note
    assert "session mine" in note and f"-S {server.socket}" in note


@pytest.mark.parametrize("start", [None, "", "yesterday", 1_700_000_000, "2999-01-01T00:00:00"])
@pytest.mark.parametrize("dialect", ["json", "database"])
def test_one_look_calls_no_renamed_agent_without_a_start_dead(
    tmp_path: Path, server: RealTmux, start: object, dialect: str
) -> None:
    server.start("agent_a")
    server.run("rename-session", "-t", "=agent_a:", "mine")
    files = Files(tmp_path, {"TASK-1": [entry("a", started_at=start)]})
    if dialect == "database":
        database = Database(files.path)
        database.task()
        database.agent("a", started_at=start)
    policy = replace(NO_GRACE, death_confirmation=0.0)
    roll = take(files, server.client(), policy)
    assert verdicts(roll) == {"a": Verdict.UNKNOWN}
    assert "session mine" in row_of(roll, "a").note
    # A session that another agent has is not this agent's.
    if dialect == "json":
        files.write_task("TASK-1", entry("a", started_at=start), entry("b", tmux_session="mine"))
        assert verdicts(take(files, server.client(), policy))["a"] is Verdict.ZOMBIE


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("socket", ["its own", "another"])
def test_a_session_that_a_registry_around_it_lists_is_no_suspect(
    files: Files, server: RealTmux, tmp_path: Path, listed: bool, socket: str
) -> None:
    theirs = Files(tmp_path / "theirs", {"TASK-7": [entry("q" if listed else "r")]})
    server.run("new-session", "-d", "-s", "agent_q", "-c", str(theirs.path.parent), SLEEP)
    made = server.client().ask().sessions["agent_q"].created
    files.write_task("TASK-1", entry("a", started_at=stamp(time.time() - made - 1)), entry("z"))
    other = Tmux(server.socket.with_name("nobody"))
    roll = take(files, server.client() if socket == "its own" else other, NO_GRACE)
    verdict = Verdict.ZOMBIE if listed else Verdict.UNKNOWN
    assert verdicts(roll) == {"a": verdict, "z": Verdict.ZOMBIE}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("near", [True, False], ids=["near", "named"])
@pytest.mark.parametrize("shared", [".", "TASK-7", "TASK-7/AGENT_REGISTRY.json", "owner"])
def test_another_users_registry_clears_a_session_of_no_suspicion(
    files: Files, server: RealTmux, tmp_path: Path, near: bool, shared: str
) -> None:
    theirs = Files(tmp_path / "theirs", {"TASK-7": [entry("q")]})
    at = theirs.path.parent if near else tmp_path
    server.run("new-session", "-d", "-s", "agent_q", "-c", str(at), SLEEP)
    made = server.client().ask().sessions["agent_q"].created
    files.write_task("TASK-1", entry("a", started_at=stamp(time.time() - made - 1)), entry("z"))
    named = files.workspaces() if near else [*files.workspaces(), *theirs.workspaces()]
    assert verdicts(take_roll(named, server.client(), NO_GRACE))["a"] is Verdict.ZOMBIE
    if shared == "owner":
        for path in (theirs.path, *theirs.path.rglob("*")):
            os.chown(path, 64104, 64104)
    else:
        give_to_group(theirs.path / shared)
        # The global registry lists it as well.
        give_to_group(theirs.path / "registry")
    roll = take_roll(named, server.client(), NO_GRACE)
    assert verdicts(roll)["a"] is Verdict.UNKNOWN and verdicts(roll)["z"] is Verdict.ZOMBIE
    # The group that may write it may write the agent's registry, too.
    if shared != "owner":
        give_to_group(files.path / "TASK-1")
        roll = take_roll(named, server.client(), NO_GRACE)
        assert verdicts(roll)["a"] is Verdict.ZOMBIE


def give_to_group(path: Path) -> None:
    mode = path.stat().st_mode & 0o7777
    os.chown(path, -1, 64104)
    path.chmod(mode | 0o020)


def test_a_registry_that_is_not_believed_claims_no_session() -> None:
    states = [
        task_state(agent(started=STARTED), name="TASK-1"),
        task_state(agent("sister", started=STARTED), name="TASK-2"),
    ]
    there = [session("agent_sister", created=STARTED)]
    asked = []

    def believed(telling: Path, of: Path) -> bool:
        asked.append((telling, of))
        return False

    found = find_renamed({NAME}, states, (), there, lambda _: None, {}, {}, believed=believed)
    assert list(found) == [NAME]
    assert asked == [(states[1].registry, states[0].registry)]
    assert found[NAME][0].about == {states[0].registry}


def test_who_knows_better_completes_an_agent_in_doubt_alone(
    files: Files, server: RealTmux
) -> None:
    start(server)
    rewrite(files, server)
    server.run("kill-session", "-t", "=agent_a:")
    roll = take(files, server.client(), NO_GRACE)
    rows = list(roll.agents())
    assert verdicts(roll) == {"a": Verdict.UNKNOWN, "z": Verdict.ZOMBIE}
    ((label, why),) = plan_complete(roll, rows).refused
    assert label == "a" and "complete this agent alone" in why
    plan = plan_complete(roll, [row_of(roll, "a")])
    assert "session keeper" in plan.steps[0].says
    assert carry_out(plan, server.client(), "").complete
    assert files.agent("a")["status"] == "completed"
    assert server.names() == {"keeper"}


def made_long_ago(client: Tmux, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all sessions had been made long ago, but not their panes."""
    asked = client.ask

    def long_ago() -> TmuxSnapshot:
        answer = asked()
        old = {name: replace(each, created=1) for name, each in answer.sessions.items()}
        return replace(answer, sessions=old)

    monkeypatch.setattr(client, "ask", long_ago)


def test_one_look_calls_no_agent_dead_whose_pane_was_moved(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(server)
    rewrite(files, server)
    # The other session is made at another time, as far as its own clock tells.
    server.run("join-pane", "-d", "-s", "=agent_a:", "-t", "=keeper:")
    assert server.names() == {"keeper"}
    client = server.client()
    made_long_ago(client, monkeypatch)
    roll = take(files, client, NO_GRACE)
    assert verdicts(roll) == {"a": Verdict.UNKNOWN, "z": Verdict.ZOMBIE}
    assert "session keeper has pane %1, which began when this agent started" in (
        row_of(roll, "a").note
    )


@pytest.mark.parametrize("how", ["split-window", "new-window"])
def test_a_pane_opened_as_an_agent_started_is_not_its_pane(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    start(server)
    server.run(how, "-d", "-t", "=keeper:", SLEEP)
    rewrite(files, server)
    server.run("kill-session", "-t", "=agent_a:")
    client = server.client()
    made_long_ago(client, monkeypatch)
    roll = take(files, client, NO_GRACE)
    assert verdicts(roll) == {"a": Verdict.ZOMBIE, "z": Verdict.ZOMBIE}


@pytest.mark.parametrize("name", ["agent_mine", "mine"])
def test_the_monitor_kills_a_session_that_was_renamed_while_it_followed_it(
    files: Files, server: RealTmux, name: str
) -> None:
    start(server)
    files.write_task("TASK-1", entry("a"))
    rolls: list[RollCall] = []
    live = LiveRoll(files.workspaces(), server.client(), NO_GRACE)
    live.listen(rolls.append)
    live.start()

    def name_of_its_session() -> str | None:
        there = row_of(rolls[-1], "a").session if rolls else None
        return there.name if there is not None else None

    try:
        until(name_of_its_session, "the first roll")
        # What is followed was there in an answer that came when it was expected.
        first = rolls[-1].answer.asked_at
        live.refresh()
        until(lambda: rolls[-1].answer.asked_at > first, "the next answer")
        server.run("rename-session", "-t", "=agent_a:", name)
        live.refresh()
        until(lambda: name_of_its_session() == name, "the new name")
    finally:
        live.stop()
    roll = rolls[-1]
    plan = weighed_kill(roll, [row_of(roll, "a")])
    assert f"(called {name} now, not agent_a)" in plan.steps[0].says
    assert carry_out(plan, server.client(), "").complete
    assert server.names() == {"keeper"}


def test_a_session_that_was_followed_is_not_taken_for_that_of_another_agent(
    files: Files,
) -> None:
    started = time.time() - 60
    agents = (entry(each, started_at=stamp(60)) for each in ("a", "dead"))
    files.write_task("TASK-1", *agents)
    there = session("mine", created=started)
    answer = replace(answered(there), sessions={"mine": there, "agent_a": there})
    registries = Registries(files.workspaces())
    registries.rescan()
    roll = RollBuilder(NO_GRACE).call(
        registries, Evidence(answer, {"agent_dead": 0.0}), time.time()
    )
    assert verdicts(roll) == {"a": Verdict.LIVE, "dead": Verdict.ZOMBIE}


@pytest.mark.parametrize("socket", ["its own", "another"])
def test_the_monitor_sees_a_death_once_the_session_in_question_is_gone(
    files: Files, server: RealTmux, socket: str
) -> None:
    start(server)
    rewrite(files, server)
    server.run("kill-session", "-t", "=keeper:")
    server.run("rename-session", "-t", "=agent_a:", "mine")
    other = Tmux(server.socket.with_name("nobody"))
    tmux = server.client() if socket == "its own" else other
    rolls: list[RollCall] = []
    live = LiveRoll(files.workspaces(), tmux, NO_GRACE)
    live.listen(rolls.append)
    live.start()
    try:
        until(
            lambda: bool(rolls) and verdicts(rolls[-1])["z"] is Verdict.ZOMBIE, "the first proof"
        )
        assert verdicts(rolls[-1])["a"] is Verdict.UNKNOWN
        server.run("kill-session", "-t", "=mine:")
        live.refresh()
        until(lambda: verdicts(rolls[-1])["a"] is Verdict.ZOMBIE, "the proof of its death")
    finally:
        live.stop()
