"""An agent that is deployed anew between a plan and its end is left alone, and named."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.audit.entries import Entry, State
from registry.audit.log import log_in, read_log
from registry.schema.records import Deployment
from tests.support.peers import careful_update
from tests.support.real_tmux import RealTmux, runs
from tests.support.rolls import agent, answered, called, roll_call, task_state
from tests.support.selection import paired
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, Json, entry, read, stamp, write
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.cli import confirm, main
from tui.cli.commands import complete, doctor, kill

Run = Callable[..., int]

STUBBORN = "trap '' HUP; trap 'touch {}' TERM; while :; do sleep 0.05; done"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, {"TASK-1": [entry("z1"), entry("old", "completed")]})
    children = {"agent_hierarchy": {"orchestrator": ["z1", "old"]}}
    write(made.registry(), read(made.registry()) | children)
    return made


@pytest.fixture
def run(files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch) -> Run:
    """muster's command line, and what others do before its question is answered."""
    server.start("keeper")

    def run(*words: str, meanwhile: Callable[[], object] = lambda: None) -> int:
        def answer(_: str = "") -> bool:
            meanwhile()
            return True

        for module in (kill, complete, doctor):
            monkeypatch.setattr(module, "policy_of", lambda _: QUICK)
        monkeypatch.setattr(confirm, "confirmed", answer)
        return main.main([*words, "-w", str(files.path), "-S", str(server.socket)])

    return run


def update(files: Files, agent_id: str, **fields: object) -> None:
    """Changes an agent's entry as the orchestrator does."""

    def change(task: Json) -> None:
        for each in task["agents"]:
            if each["id"] == agent_id:
                each.update(fields)

    careful_update(str(files.registry()), change)


def deploy_anew(files: Files, server: RealTmux, agent_id: str = "z1", **fields: object) -> None:
    """Gives an agent another session, and starts that."""
    session = f"agent_{agent_id}_again"
    update(files, agent_id, tmux_session=session, started_at=stamp(0), **fields)
    server.start(session)


def on_record(files: Files) -> tuple[Entry, ...]:
    return read_log(log_in(files.path)).entries


# --- while the question stands ------------------------------------------------

ZOMBIE = [
    ("complete", "z1"),
    ("complete", "--zombies"),
    ("complete", "z1", "--as", "terminated"),
    ("doctor", "--fix"),
    ("kill", "z1"),
    ("kill", "--tree", "z1"),
    ("kill", "--task", "TASK-1"),
]


@pytest.mark.parametrize(
    ("words", "status"),
    paired(
        {" ".join(words): words for words in ZOMBIE},
        {status: status for status in ("running", "working")},
    ),
)
def test_a_zombie_that_was_deployed_anew_is_not_written_down_as_dead(
    files: Files,
    server: RealTmux,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: str,
) -> None:
    after: dict[Path, bytes] = {}

    def meanwhile() -> None:
        deploy_anew(files, server, status=status)
        after.update(files.bytes())

    code = run(*words, meanwhile=meanwhile)
    said = capsys.readouterr().out
    assert "left alone: z1 (was deployed again " in said and "; its status" in said
    assert f"{status!r}" in said and "done:" not in said
    assert files.bytes() == after
    assert on_record(files) == ()
    assert server.names() == {"keeper", "agent_z1_again"}
    # The doctor's is about what is left: nothing is wrong any more, and nothing leaked.
    assert "leaked" not in said
    assert code == (0 if "doctor" in words else 1)
    assert run("kill", "--leaked") == 0
    assert server.names() == {"keeper", "agent_z1_again"}


@pytest.mark.parametrize("words", [("complete", "z1"), ("kill", "z1")], ids=" ".join)
def test_in_json_it_is_one_that_was_left_alone(
    files: Files,
    server: RealTmux,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    assert run(*words, "--json", meanwhile=lambda: deploy_anew(files, server)) == 1
    said = json.loads(capsys.readouterr().out)
    (z1,) = said["agents"]
    assert (z1["agent"], z1["result"]) == ("z1", "left alone")
    assert "deployed again" in z1["detail"]
    assert (said["complete"], said["written"], said["problems"]) == (False, [], [])


@pytest.mark.parametrize("words", [ZOMBIE[0], *ZOMBIE[4:]], ids=" ".join)
def test_a_live_agent_that_was_deployed_anew_keeps_both_sessions(
    files: Files,
    server: RealTmux,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    server.start("agent_z1")
    assert run(*words, meanwhile=lambda: deploy_anew(files, server)) == 1
    assert "left alone: z1 (was deployed again" in capsys.readouterr().out
    assert files.agent("z1")["status"] == "running"
    assert server.names() == {"keeper", "agent_z1", "agent_z1_again"}
    assert on_record(files) == ()


@pytest.mark.parametrize("words", ZOMBIE, ids=" ".join)
def test_another_active_status_is_no_other_deployment(
    files: Files, run: Run, words: tuple[str, ...]
) -> None:
    meanwhile = {"status": "working", "progress": 60, "last_update": stamp(0)}
    assert run(*words, meanwhile=lambda: update(files, "z1", **meanwhile)) == 0
    assert files.agent("z1")["status"] in ("completed", "terminated")
    assert files.listed("z1")["status"] == files.agent("z1")["status"]
    files.assert_counters_match()


# --- leaked ones --------------------------------------------------------------

LEAKED = [("kill", "--leaked"), ("kill", "old")]


@pytest.mark.parametrize("words", LEAKED, ids=" ".join)
def test_a_leaked_agent_that_is_at_work_again_in_its_session_is_not_killed(
    files: Files,
    server: RealTmux,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    server.start("agent_old")
    assert run(*words, meanwhile=lambda: update(files, "old", status="working")) == 1
    assert "left alone: old (is active again" in capsys.readouterr().out
    assert server.names() == {"keeper", "agent_old"}
    assert on_record(files) == ()


def test_a_leaked_agent_that_works_after_its_end_is_only_killed_alone(
    files: Files, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """An orchestrator may record the end of an agent that was silent for some minutes."""
    server.start("agent_old")
    log = files.registry().parent / "logs" / "old_stream.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.write_text("{}\n")
    last = time.time() + 120
    os.utime(log, (last, last))
    assert run("kill", "--leaked") == 1
    assert "it works after its recorded end" in capsys.readouterr().out
    assert server.names() == {"keeper", "agent_old"}
    assert run("kill", "old") == 0
    assert server.names() == {"keeper"}


@pytest.mark.parametrize("words", LEAKED, ids=" ".join)
def test_a_leaked_agent_that_was_deployed_anew_is_not_killed(
    files: Files, server: RealTmux, run: Run, words: tuple[str, ...]
) -> None:
    server.start("agent_old")
    anew = {"started_at": stamp(0), "status": "running"}
    assert run(*words, meanwhile=lambda: update(files, "old", **anew)) == 1
    assert server.names() == {"keeper", "agent_old"}


def test_a_leaked_agent_is_not_killed_if_its_registry_cannot_be_read(
    files: Files, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    server.start("agent_old")
    broken = files.registry()
    assert run("kill", "--leaked", meanwhile=lambda: broken.write_text("{ broken")) == 1
    assert "left alone: old (cannot read its registry" in capsys.readouterr().out
    assert server.names() == {"keeper", "agent_old"}


# --- while it is killed -------------------------------------------------------


def test_deployed_anew_in_the_grace_only_old_processes_end(
    files: Files,
    server: RealTmux,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    termed = tmp_path / "termed"
    server.start("agent_z1", STUBBORN.format(termed))
    (pid,) = server.pane_pids() - {
        int(server.run("list-panes", "-t", "keeper", "-F", "#{pane_pid}"))
    }
    listed = read(files.global_registry)

    def orchestrator() -> None:
        until(termed.exists, "the TERM of the agent")
        deploy_anew(files, server, status="working")

    beside = threading.Thread(target=orchestrator)
    beside.start()
    code = run("kill", "z1", "--yes")
    beside.join()
    said = capsys.readouterr().out
    assert code == 1
    assert "left alone: z1 (ended its session and " in said
    assert "; was deployed again meanwhile; its status stays 'working')" in said
    assert not runs(pid)
    assert server.names() == {"keeper", "agent_z1_again"}
    assert files.agent("z1")["status"] == "working"
    assert read(files.global_registry) == listed
    (ended,) = on_record(files)
    assert (ended.session is not None, ended.state, ended.changes) == (True, State.DONE, ())


# --- plans --------------------------------------------------------------------


def test_a_plan_keeps_which_deployments_it_is_about() -> None:
    one = replace(agent("a"), started_at="2025-10-17T21:00:00")
    other = replace(agent("a"), started_at="2025-10-17T21:00:05")
    through = replace(agent("a", "failed", session="agent_before"), started_at="2025-10-17T20")
    roll = roll_call(*called(task_state(through, one, other), answer=answered()))
    rows = [row for row in roll.agents() if row.record is one]
    for plan in (plan_complete(roll, rows), plan_kill(roll, rows)):
        (step,) = plan.steps
        assert step.judged == {
            Deployment("agent_a", "2025-10-17T21:00:00"),
            Deployment("agent_a", "2025-10-17T21:00:05"),
        }
