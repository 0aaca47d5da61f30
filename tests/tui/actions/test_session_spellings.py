"""tmux keeps "." and ":" in a session's name or replaces them: the session is its agent's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from registry import clean_up_workspace, registry_health_check
from tests.support.commands import decoded, muster
from tests.support.real_tmux import RealTmux
from tests.support.tmux_dialects import Dialect, speak
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, stamp, take, verdicts
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import checked_complete
from tui.host.tmux_servers import look_elsewhere
from tui.live.collector import LiveRoll
from tui.model.roll import RollCall, Verdict

AGENT = "node.js_expert-1:a"
SESSION = f"agent_{AGENT}"


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.name.lower())
def dialect(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Dialect:
    speak(request.param, tmp_path, monkeypatch)
    spoken: Dialect = request.param
    return spoken


@pytest.fixture
def keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(Dialect.KEEPS, tmp_path, monkeypatch)


def workspace(directory: Path, *ids: str, status: str = "running") -> Files:
    return Files(directory / "work", {"TASK-1": [entry(each, status) for each in ids]})


def kill(files: Files, server: RealTmux, *ids: str) -> dict[str, str]:
    """Kills agents; returns why each one was refused."""
    tmux = server.client()
    roll = take(files, tmux)
    plan = weighed_kill(roll, [row for row in roll.agents() if row.key.id in ids])
    carry_out(plan, tmux, "")
    return dict(plan.refused)


def test_a_tmux_names_sessions_as_its_version_does(server: RealTmux, dialect: Dialect) -> None:
    session = server.start(SESSION)
    assert server.names() == {dialect.named(SESSION)}
    assert set(server.client().ask().sessions) == server.names()
    server.kill(session)
    assert server.names() == set()


@pytest.mark.usefixtures("dialect")
def test_its_agent_is_live_and_is_not_completed(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, AGENT, "gone.js-1")
    server.start(SESSION)
    listed = decoded(muster(files, "list", "-S", server.socket, "--json"))
    (task,) = listed["workspaces"][0]["tasks"]
    assert {each["id"]: each["verdict"] for each in task["agents"]} == {
        AGENT: "live",
        "gone.js-1": "zombie",
    }
    assert [each["note"] for each in task["agents"] if each["verdict"] == "live"] == [None]
    zombies = ["complete", "-S", server.socket, "-w", files.path, "--zombies", "--yes"]
    assert muster(files, *zombies).returncode == 0
    assert files.agent(AGENT)["status"] == "running"
    assert files.agent("gone.js-1")["status"] == "completed"


def test_only_an_unlisted_session_is_an_orphan(
    server: RealTmux, tmp_path: Path, dialect: Dialect
) -> None:
    files = workspace(tmp_path, AGENT)
    server.start(SESSION)
    server.start("agent_no.agents")
    tmux = server.client()
    roll = take(files, tmux, replace(QUICK, orphan_grace=0))
    assert [orphan.name for orphan in roll.orphans] == [dialect.named("agent_no.agents")]
    carry_out(weighed_kill(roll, (), roll.orphans), tmux, "")
    assert server.names() == {dialect.named(SESSION)}


def test_a_kill_ends_it_and_no_other(server: RealTmux, tmp_path: Path, dialect: Dialect) -> None:
    files = workspace(tmp_path, AGENT, f"{AGENT}.b")
    server.start(SESSION)
    server.start(f"{SESSION}.b")
    assert kill(files, server, AGENT) == {}
    assert server.names() == {dialect.named(f"{SESSION}.b")}
    assert files.agent(AGENT)["status"] == "terminated"
    assert files.agent(f"{AGENT}.b")["status"] == "running"


@pytest.mark.usefixtures("dialect")
def test_a_leaked_one_is_ended(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, AGENT, status="completed")
    server.start(SESSION)
    assert verdicts(take(files, server.client())) == {AGENT: Verdict.LEAKED}
    assert registry_health_check(files.registry(), server.names()).leaked == (AGENT,)
    assert kill(files, server, AGENT) == {}
    assert server.names() == set()


@pytest.mark.usefixtures("dialect")
def test_a_clean_up_ends_only_the_dead(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, AGENT, "gone.js-1")
    server.start(SESSION)
    report = registry_health_check(files.registry(), server.names())
    assert (report.zombies, report.orphans) == (("gone.js-1",), ())
    cleaned = clean_up_workspace(files.path, server.names())
    assert cleaned.ended == {files.registry(): ("gone.js-1",)}


@pytest.mark.usefixtures("dialect")
def test_the_monitor_sees_its_end(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, AGENT)
    session = server.start(SESSION)
    live = LiveRoll(files.workspaces(), server.client(), QUICK)
    rolls: list[RollCall] = []

    def latest() -> object:
        return verdicts(rolls[-1])[AGENT] if rolls else None

    live.start()
    live.listen(rolls.append)
    try:
        until(lambda: latest() is Verdict.LIVE, "the agent is live")
        assert {verdicts(roll)[AGENT] for roll in rolls} <= {Verdict.LIVE, Verdict.UNKNOWN}
        server.kill(session)
        until(lambda: latest() is Verdict.ZOMBIE, "the agent is a zombie")
    finally:
        live.stop()


@pytest.mark.usefixtures("dialect")
def test_on_another_server_it_is_found(server: RealTmux, tmp_path: Path) -> None:
    with RealTmux() as other:
        server.start("agent_a")
        other.start(SESSION)
        answer = server.client().ask()
        whys = look_elsewhere({SESSION, "agent_gone.js"}, answer, None).whys
    assert set(whys) == {SESSION}


# --- two agents whose names have one spelling --------------------------------


@pytest.mark.usefixtures("keeps")
def test_with_both_sessions_each_agent_has_its_own(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, "a.b", "a_b")
    server.start("agent_a.b")
    server.start("agent_a_b")
    roll = take(files, server.client())
    assert {row.key.id: row.session and row.session.name for row in roll.agents()} == {
        "a.b": "agent_a.b",
        "a_b": "agent_a_b",
    }
    assert kill(files, server, "a_b") == {}
    assert server.names() == {"agent_a.b"}
    assert verdicts(take(files, server.client())) == {"a.b": Verdict.LIVE, "a_b": Verdict.FINISHED}
    assert kill(files, server, "a.b") == {}
    assert files.agent("a.b")["status"] == files.agent("a_b")["status"] == "terminated"


@pytest.mark.usefixtures("keeps")
def test_the_exact_name_alone_is_no_other_agents(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, "a.b", "a_b")
    server.start("agent_a.b")
    assert verdicts(take(files, server.client())) == {"a.b": Verdict.LIVE, "a_b": Verdict.ZOMBIE}
    assert clean_up_workspace(files.path, server.names()).ended == {files.registry(): ("a_b",)}


@pytest.mark.parametrize("status", ["running", "completed"])
def test_a_session_that_may_be_of_either_is_not_ended(
    server: RealTmux, tmp_path: Path, status: str
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a.b"), entry("a_b", status)]})
    server.start("agent_a_b")
    roll = take(files, server.client())
    judged = verdicts(roll)
    assert judged["a.b"] is Verdict.UNKNOWN
    assert judged["a_b"] is (Verdict.LIVE if status == "running" else Verdict.LEAKED)
    assert set(kill(files, server, "a.b", "a_b")) == {"a.b", "a_b"}
    assert server.names() == {"agent_a_b"}
    assert clean_up_workspace(files.path, server.names()).count == 0
    report = registry_health_check(files.registry(), server.names())
    assert (report.zombies, report.orphans) == ((), ())


def test_of_two_replaced_names_neither_is_certain(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, "a.b", "a:b")
    server.start("agent_a_b")
    assert set(verdicts(take(files, server.client())).values()) == {Verdict.UNKNOWN}
    assert set(kill(files, server, "a.b", "a:b")) == {"a.b", "a:b"}
    assert server.names() == {"agent_a_b"}


def test_one_of_two_is_completed_only_if_it_is_named_alone(
    server: RealTmux, tmp_path: Path
) -> None:
    files = workspace(tmp_path, "a.b", "a_b", "a.c", "a_c")
    server.start("agent_a_b")
    server.start("agent_a_c")
    tmux = server.client()
    roll = take(files, tmux)
    rows = {row.key.id: row for row in roll.agents()}
    several = checked_complete(roll, [rows["a.b"], rows["a.c"]])
    assert {label for label, _ in several.refused} == {"a.b", "a.c"}
    alone = checked_complete(roll, [rows["a.b"]])
    carry_out(alone, tmux, "")
    assert files.agent("a.b")["status"] == "completed"
    assert kill(files, server, "a_b") == {}
    assert server.names() == {"agent_a_c"}


@pytest.mark.usefixtures("keeps")
def test_an_agent_of_another_workspace_keeps_its_session(server: RealTmux, tmp_path: Path) -> None:
    files = workspace(tmp_path, "a.b")
    other = Files(tmp_path / "other", {"TASK-2": [entry("a_b")]})
    server.run("new-session", "-d", "-s", "keeper", "exec sleep 1000")
    server.run("new-session", "-d", "-s", "agent_a_b", "-c", str(other.path.parent), "sleep 1000")
    assert "a.b" in kill(files, server, "a.b")
    assert "agent_a_b" in server.names()
    assert files.agent("a.b")["status"] == "running"


def test_a_finished_one_is_not_taken_for_the_other(server: RealTmux, tmp_path: Path) -> None:
    agents = [entry("a.b", "completed", completed_at=stamp(5)), entry("a_b")]
    files = Files(tmp_path, {"TASK-1": agents})
    server.start("agent_a_b")
    assert verdicts(take(files, server.client()))["a.b"] is Verdict.FINISHED
    assert kill(files, server, "a_b") == {}
    assert server.names() == set()
