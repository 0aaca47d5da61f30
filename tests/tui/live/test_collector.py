"""Gathering: registries and sessions in, one frozen roll call after another out."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_tmux import RealTmux
from tests.support.rolls import answered, cannot_tell, no_server
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.waiting import PATIENCE, until
from tests.support.workspaces import QUICK, Files, entry, read, row_of, stamp, verdicts, write
from tui.host import tmux_servers
from tui.host.file_watch import DirectoryWatcher
from tui.host.tmux import Tmux
from tui.host.tmux_types import Elsewhere, TmuxSnapshot
from tui.live import collector, other_servers
from tui.live.builder import RollBuilder
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.live.other_servers import OtherServers
from tui.live.registry_cache import Registries
from tui.model import call as rollcall
from tui.model.clock_jumps import ClockReading
from tui.model.evidence import Evidence
from tui.model.roll import RollCall, TaskRoll, TaskState, Verdict


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(
        tmp_path,
        {
            "TASK-1": [entry("a"), entry("b", "completed")],
            "TASK-2": [entry("c"), entry("d", parent="c")],
        },
    )


# --- once ---------------------------------------------------------------------

BOTH = answered(made_now("agent_a", number=1), made_now("agent_c", number=2))
EVERYBODY = answered(*(made_now(f"agent_{each}", number=n) for n, each in enumerate("acd")))


def test_tmux_is_asked_once_when_nobody_is_missing(files: Files) -> None:
    tmux = ScriptedTmux(EVERYBODY)
    roll = take_roll(files.workspaces(), tmux, QUICK)
    assert tmux.asked == 1
    assert verdicts(roll)["a"] is Verdict.LIVE


def test_tmux_is_asked_a_second_time_when_somebody_is_missing(files: Files) -> None:
    tmux = ScriptedTmux(BOTH)
    roll = take_roll(files.workspaces(), tmux, QUICK)
    assert tmux.asked == 2
    assert verdicts(roll) == {
        "a": Verdict.LIVE,
        "b": Verdict.FINISHED,
        "c": Verdict.LIVE,
        "d": Verdict.ZOMBIE,
    }


def test_who_is_back_at_the_second_question_is_no_zombie(files: Files) -> None:
    roll = take_roll(files.workspaces(), ScriptedTmux(BOTH, EVERYBODY), QUICK)
    assert verdicts(roll)["d"] is Verdict.LIVE


def test_who_is_missing_only_at_the_second_question_is_no_zombie(files: Files) -> None:
    roll = take_roll(files.workspaces(), ScriptedTmux(BOTH, answered()), QUICK)
    assert verdicts(roll)["a"] is Verdict.UNKNOWN
    assert verdicts(roll)["d"] is Verdict.ZOMBIE


def test_tmux_is_not_asked_again_when_it_cannot_tell(files: Files) -> None:
    tmux = ScriptedTmux(cannot_tell())
    roll = take_roll(files.workspaces(), tmux, QUICK)
    assert tmux.asked == 1
    assert {verdicts(roll)[each] for each in "acd"} == {Verdict.UNKNOWN}


def test_a_second_answer_that_is_none_proves_no_death(files: Files) -> None:
    roll = take_roll(files.workspaces(), ScriptedTmux(no_server(), cannot_tell()), QUICK)
    assert roll.counts[Verdict.ZOMBIE] == 0


def test_the_counts_are_those_of_all_rows_and_orphans(files: Files) -> None:
    there = answered(made_now("agent_a"), made_now("agent_lost", number=2))
    roll = take_roll(files.workspaces(), ScriptedTmux(there), QUICK)
    rows = list(roll.agents())
    assert len(rows) == 4
    for verdict in Verdict:
        rest = len(roll.orphans) if verdict is Verdict.ORPHAN else 0
        assert roll.counts[verdict] == sum(row.verdict is verdict for row in rows) + rest
    assert roll.counts[Verdict.ORPHAN] == 1


# --- live ---------------------------------------------------------------------


class Rolls:
    """Every roll that was handed out."""

    def __init__(self) -> None:
        self.all: list[RollCall] = []

    def __call__(self, roll: RollCall) -> None:
        self.all.append(roll)

    def wait_for(
        self, look: Callable[[RollCall], bool], what: str, patience: float = PATIENCE
    ) -> RollCall:
        """Waits until the newest roll is as it should be."""
        try:
            until(lambda: self.all and look(self.all[-1]), what, patience)
        except AssertionError as error:
            last = self.all[-1] if self.all else None
            rows = [(row.key.id, row.verdict, row.note) for row in last.agents()] if last else []
            raise AssertionError(f"{error}; {rows}, {last and last.answer}") from None
        return self.all[-1]


def task_of(roll: RollCall, name: str) -> TaskRoll | None:
    found = [task for task in roll.tasks() if task.state.registry.parent.name == name]
    return found[0] if found else None


def arm(files: Files, rolls: Rolls) -> None:
    """Waits until the watch is in place: a task that comes is seen, and so is its end."""

    def seen() -> bool:
        files.write_task("probe")
        try:
            rolls.wait_for(lambda roll: task_of(roll, "probe") is not None, "it", patience=0.5)
        except AssertionError:
            return False
        finally:
            shutil.rmtree(files.path / "probe")
        return True

    until(seen, "the watch")
    rolls.wait_for(lambda roll: task_of(roll, "probe") is None, "the end of the probe")


Start = Callable[[Files, Tmux], Rolls]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Follows a workspace; what is seen, is seen by events and not by the slow nets."""
    monkeypatch.setattr(collector, "SWEEP", 600.0)
    monkeypatch.setattr(collector, "RESCAN", 600.0)
    started: list[LiveRoll] = []

    def begin(files: Files, tmux: Tmux) -> Rolls:
        rolls = Rolls()
        roll = LiveRoll(files.workspaces(), tmux, QUICK)
        roll.listen(rolls)
        started.append(roll)
        roll.start()
        rolls.wait_for(lambda roll: roll.answer.state != "unknown", "the first answer")
        arm(files, rolls)
        return rolls

    yield begin
    for each in started:
        each.stop()


def status_of(roll: RollCall, agent_id: str) -> str:
    return row_of(roll, agent_id).record.status


def error_of(roll: RollCall, name: str) -> str | None:
    task = task_of(roll, name)
    assert task is not None
    return task.state.error


def test_a_change_of_a_registry_makes_a_new_roll(files: Files, start: Start) -> None:
    rolls = start(files, ScriptedTmux(EVERYBODY))
    files.write_task("TASK-1", entry("a", progress=41.5), entry("b", "completed"))
    rolls.wait_for(lambda roll: row_of(roll, "a").record.progress == 41.5, "the progress")


def test_what_did_not_change_stays_the_very_same(files: Files, start: Start) -> None:
    rolls = start(files, ScriptedTmux(EVERYBODY))
    before = task_of(rolls.all[-1], "TASK-2")
    files.write_task("TASK-1", entry("a", "blocked"))
    after = rolls.wait_for(lambda roll: status_of(roll, "a") == "blocked", "the status")
    assert task_of(after, "TASK-2") is before


def test_a_new_task_appears_and_goes_by_itself(files: Files, start: Start) -> None:
    rolls = start(files, ScriptedTmux(EVERYBODY))
    files.write_task("TASK-3", entry("e"))
    rolls.wait_for(lambda roll: task_of(roll, "TASK-3") is not None, "the task")
    files.write_task("TASK-3", entry("e", "blocked"))
    rolls.wait_for(lambda roll: status_of(roll, "e") == "blocked", "its change")
    shutil.rmtree(files.path / "TASK-3")
    rolls.wait_for(lambda roll: task_of(roll, "TASK-3") is None, "its end")


def test_a_task_that_went_and_came_back_is_followed(files: Files, start: Start) -> None:
    rolls = start(files, ScriptedTmux(EVERYBODY))
    shutil.rmtree(files.path / "TASK-2")
    rolls.wait_for(lambda roll: task_of(roll, "TASK-2") is None, "its end")
    files.write_task("TASK-2", entry("c"))
    rolls.wait_for(lambda roll: task_of(roll, "TASK-2") is not None, "its return")
    files.write_task("TASK-2", entry("c", "blocked"))
    rolls.wait_for(lambda roll: status_of(roll, "c") == "blocked", "its change")


def test_a_registry_that_alone_is_deleted_goes_at_once(files: Files, start: Start) -> None:
    files.write_task("TASK-3", entry("e"))
    rolls = start(files, ScriptedTmux(EVERYBODY))
    files.registry("TASK-3").unlink()
    rolls.wait_for(lambda roll: task_of(roll, "TASK-3") is None, "its end")


def test_a_corrupt_registry_keeps_its_agents_and_disturbs_no_other(
    files: Files, start: Start
) -> None:
    rolls = start(files, ScriptedTmux(EVERYBODY))
    good = files.registry("TASK-1").read_bytes()
    files.registry("TASK-1").write_bytes(good[: len(good) // 2])
    roll = rolls.wait_for(lambda roll: error_of(roll, "TASK-1") is not None, "the error")
    assert set(verdicts(roll)) == set("abcd")
    files.write_task("TASK-2", entry("c", "blocked"))
    rolls.wait_for(lambda roll: status_of(roll, "c") == "blocked", "the other task's change")
    files.registry("TASK-1").write_bytes(good)
    rolls.wait_for(lambda roll: error_of(roll, "TASK-1") is None, "the end of the error")


def test_a_description_in_the_global_registry_is_followed(files: Files, start: Start) -> None:
    rolls = start(files, ScriptedTmux(EVERYBODY))
    whole = read(files.global_registry)
    whole["tasks"]["TASK-1"]["description"] = "another"
    write(files.global_registry, whole)

    def follows(roll: RollCall) -> bool:
        task = task_of(roll, "TASK-1")
        return task is not None and task.state.listed_description == "another"

    rolls.wait_for(follows, "the description")


def test_a_sessions_death_is_seen_without_the_sweep(
    files: Files, start: Start, server: RealTmux
) -> None:
    session_id = server.start("agent_a")
    rolls = start(files, server.client())
    rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.LIVE, "the agent alive")
    server.kill(session_id)
    rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "the zombie")


def test_a_session_that_dies_first_thing_is_seen_without_the_sweep(
    files: Files, start: Start, server: RealTmux
) -> None:
    ids = {each: server.start(f"agent_{each}") for each in "acd"}
    rolls = start(files, server.client())
    for each in "acd":
        server.kill(ids[each])
        rolls.wait_for(lambda roll, e=each: verdicts(roll)[e] is Verdict.ZOMBIE, each)  # type: ignore[misc]


def answering_late(
    client: Tmux, instead: TmuxSnapshot, monkeypatch: pytest.MonkeyPatch
) -> list[TmuxSnapshot]:
    """Has tmux say something else the first three times that `a` is missing; those times."""
    asked, late = client.ask, list[TmuxSnapshot]()

    def ask() -> TmuxSnapshot:
        answer = asked()
        if "agent_a" not in answer.sessions and len(late) < 3:
            late.append(answer)
            return replace(instead, asked_at=answer.asked_at)
        return answer

    monkeypatch.setattr(client, "ask", ask)
    return late


def test_a_death_that_tmux_is_slow_to_notice_is_asked_for_again(
    files: Files, start: Start, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {each: server.start(f"agent_{each}") for each in "acd"}
    client = server.client()
    late = answering_late(client, client.ask(), monkeypatch)
    rolls = start(files, client)
    server.kill(ids["a"])
    rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "the zombie")
    assert len(late) == 3


def test_a_death_of_which_tmux_cannot_tell_at_once_is_asked_for_again(
    files: Files, start: Start, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {each: server.start(f"agent_{each}") for each in "acd"}
    client = server.client()
    refused = answering_late(client, cannot_tell(), monkeypatch)
    rolls = start(files, client)
    server.kill(ids["a"])
    rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "the zombie")
    assert len(refused) == 3
    server.kill(ids["c"])
    rolls.wait_for(lambda roll: verdicts(roll)["c"] is Verdict.ZOMBIE, "the other zombie")


def test_an_agent_on_another_server_is_no_zombie_until_it_is_gone_there_too(
    files: Files, start: Start, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "SWEEP", 0.2)
    monkeypatch.setattr(other_servers, "_LOOK_AGAIN", 0.1)
    session_id = server.start("agent_a")
    server.start("agent_somebody")
    with RealTmux() as wrong:
        wrong.start("agent_d")
        rolls = start(files, wrong.client())
        roll = rolls.wait_for(lambda roll: verdicts(roll)["c"] is Verdict.ZOMBIE, "c's death")
        row = row_of(roll, "a")
        assert (row.verdict, f"-S {server.socket}" in row.note) == (Verdict.UNKNOWN, True)
        server.kill(session_id)
        rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "a's death")


def test_maybe_elsewhere_it_is_proven_gone_only_after_that(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"agent_a": "try -S /x"}
    monkeypatch.setattr(tmux_servers, "look_elsewhere", lambda *_: Elsewhere(dict(found)))
    monkeypatch.setattr(other_servers, "_LOOK_AGAIN", 0.0)
    elsewhere = OtherServers(files.workspaces())
    gone = answered(asked_at=1.0)
    evidence = elsewhere.noted(Evidence(gone, {"agent_a": 1.0, "agent_c": 1.0}))
    assert dict(evidence.elsewhere) == found
    assert evidence.missing_since == {"agent_a": 1.0, "agent_c": 1.0}
    found.clear()
    evidence = elsewhere.noted(Evidence(replace(gone, asked_at=5.0), evidence.missing_since))
    assert evidence.elsewhere == {}
    assert evidence.missing_since == {"agent_a": 5.0, "agent_c": 1.0}
    found["agent_a"] = "try -S /y"
    again = elsewhere.noted(Evidence(replace(gone, asked_at=6.0), evidence.missing_since))
    assert again.elsewhere == found
    back = elsewhere.noted(Evidence(answered(asked_at=7.0), {"agent_c": 1.0}))
    assert back.elsewhere == {}


def test_other_servers_are_asked_once_about_each_that_is_missing(
    files: Files, start: Start, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[set[str]] = []

    def look(names: Collection[str], *_: object) -> Elsewhere:
        looked.append(set(names))
        return Elsewhere()

    monkeypatch.setattr(tmux_servers, "look_elsewhere", look)
    ids = {each: server.start(f"agent_{each}") for each in "ac"}
    rolls = start(files, server.client())
    rolls.wait_for(lambda roll: verdicts(roll)["d"] is Verdict.ZOMBIE, "d's death")
    server.kill(ids["a"])
    rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "a's death")
    assert looked == [{"agent_d"}, {"agent_a"}]


def test_a_name_that_is_taken_again_is_not_the_agents_session(
    files: Files, start: Start, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "SWEEP", 0.2)
    files.write_task("TASK-1", entry("a", started_at=stamp(7200), last_update=stamp(3600)))
    server.start("keeper")
    rolls = start(files, server.client())
    rolls.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "the zombie")
    server.start("agent_a")
    roll = rolls.wait_for(lambda roll: row_of(roll, "a").name_reused_by is not None, "the other")
    assert (row_of(roll, "a").verdict, row_of(roll, "a").session) == (Verdict.UNKNOWN, None)


def test_an_agent_stalls_though_nothing_is_new(files: Files) -> None:
    policy = replace(QUICK, stall_timeout=1.0)
    caller = RollBuilder(policy)
    registries = Registries(files.workspaces())
    registries.rescan()
    now = time.time()
    everybody = answered(
        *(replace(each, activity=int(now)) for each in EVERYBODY.sessions.values())
    )
    assert caller.call(registries, Evidence(everybody), now).counts[Verdict.LIVE] == 3
    later = replace(everybody, asked_at=everybody.asked_at + 3)
    assert caller.call(registries, Evidence(later), now + 3).counts[Verdict.STALLED] == 3


def test_only_tasks_of_which_something_is_new_are_judged_again(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_task("TASK-3", entry("e", "completed"))
    judged: list[str] = []

    def call_task(state: TaskState, *rest: Any, **named: Any) -> TaskRoll:
        judged.append(state.registry.parent.name)
        return rollcall.call_task(state, *rest, **named)

    monkeypatch.setattr("tui.live.builder.call_task", call_task)
    caller, registries = RollBuilder(QUICK), Registries(files.workspaces())
    now, sessions = time.time(), EVERYBODY.sessions

    def call(answer: TmuxSnapshot, at: float = now) -> list[str]:
        judged.clear()
        for path in files.path.rglob("*.json"):
            # What is young is read twice.
            if os.stat(path).st_mtime > now - 30:
                os.utime(path, (now - 60, now - 60))
        registries.rescan()
        caller.call(registries, Evidence(answer), at)
        return judged

    assert call(EVERYBODY) == ["TASK-1", "TASK-2", "TASK-3"]
    assert call(replace(EVERYBODY, asked_at=200.0)) == []
    output = replace(sessions["agent_c"], activity=int(now) + 1)
    assert call(replace(EVERYBODY, sessions={**sessions, "agent_c": output})) == ["TASK-2"]
    leaked = replace(sessions["agent_a"], id="$9", name="agent_e")
    assert call(replace(EVERYBODY, sessions={**sessions, "agent_e": leaked})) == [
        "TASK-2",
        "TASK-3",
    ]
    assert call(EVERYBODY) == ["TASK-3"]
    assert call(EVERYBODY, now + 20) == ["TASK-1", "TASK-2"]
    assert call(EVERYBODY, now - 20) == ["TASK-1", "TASK-2"]
    files.write_task("TASK-2", entry("c", "blocked"))
    assert call(EVERYBODY, now - 20) == ["TASK-2"]
    assert call(cannot_tell(), now - 20) == ["TASK-1", "TASK-2", "TASK-3"]
    assert call(cannot_tell(), now - 20) == ["TASK-1", "TASK-2"]


def test_no_agent_has_stalled_when_the_machine_wakes_up(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]
    monkeypatch.setattr(
        collector, "ClockReading", lambda wall, steady: ClockReading(wall + slept[0], steady)
    )
    rolls: list[RollCall] = []
    live = LiveRoll(files.workspaces(), ScriptedTmux(EVERYBODY), QUICK)
    live.listen(rolls.append)
    live.start()
    try:
        until(lambda: rolls and verdicts(rolls[-1])["a"] is Verdict.LIVE, "the evening")
        slept[0] = 8 * 3600.0
        live.refresh()
        until(lambda: rolls[-1].evidence.jumps, "the morning")
        found = verdicts(rolls[-1])
        assert found == {"a": Verdict.LIVE, "b": Verdict.FINISHED} | dict.fromkeys(
            "cd", Verdict.LIVE
        )
        slept[0] = 0.0
    finally:
        live.stop()


def test_a_line_in_its_progress_file_keeps_an_agent_from_being_stalled(files: Files) -> None:
    caller = RollBuilder(replace(QUICK, stall_timeout=1.0))
    registries = Registries(files.workspaces())
    registries.rescan()
    # So that the file's time is not ahead of the clock, which would not be believed.
    now = time.time() - 5
    quiet = answered(*(replace(each, activity=int(now)) for each in EVERYBODY.sessions.values()))
    rows = caller.call(registries, Evidence(quiet), now).agents()
    written, linked, *_ = (row for row in rows if row.verdict is Verdict.LIVE)
    folder = written.key.registry.parent / "progress"
    folder.mkdir(exist_ok=True)
    (folder / f"{written.key.id}_progress.jsonl").write_text("{}\n")
    os.utime(folder / f"{written.key.id}_progress.jsonl", (now + 2.5, now + 2.5))
    other = linked.key.registry.parent / "progress"
    other.mkdir(exist_ok=True)
    (other / f"{linked.key.id}_progress.jsonl").symlink_to("/dev/null")
    later = replace(quiet, asked_at=quiet.asked_at + 3)
    found = verdicts(caller.call(registries, Evidence(later), now + 3))
    assert found[written.key.id] is Verdict.LIVE
    assert found[linked.key.id] is Verdict.STALLED
    assert (
        row_of(caller.call(registries, Evidence(later), now + 3), written.key.id).last_activity
        == now + 2.5
    )


def test_an_agent_whose_session_is_new_is_asked_for_at_once(
    files: Files, start: Start, server: RealTmux
) -> None:
    server.start("keeper")
    rolls = start(files, server.client())
    server.start("agent_new")
    files.write_task("TASK-1", entry("new"))
    rolls.wait_for(lambda roll: verdicts(roll).get("new") is Verdict.LIVE, "the new agent")


def test_a_server_that_goes_and_comes_is_found_again(
    files: Files, start: Start, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    monkeypatch.setattr(collector, "SWEEP", 0.2)
    begun = start(files, server.client())
    server.kill_server()
    begun.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.ZOMBIE, "the zombie")
    server.start("agent_a")
    begun.wait_for(lambda roll: verdicts(roll)["a"] is Verdict.LIVE, "the agent alive")


def test_a_refresh_looks_at_everything_again(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "SWEEP", 600.0)
    monkeypatch.setattr(collector, "RESCAN", 600.0)
    monkeypatch.setattr(DirectoryWatcher, "watch", lambda *_: None)
    tmux, rolls = ScriptedTmux(EVERYBODY), Rolls()
    roll = LiveRoll(files.workspaces(), tmux, QUICK)
    roll.listen(rolls)
    roll.start()
    try:
        rolls.wait_for(lambda roll: verdicts(roll).get("a") is Verdict.LIVE, "a roll")
        asked = tmux.asked
        files.write_task("TASK-1", entry("a", "blocked"))
        roll.refresh()
        rolls.wait_for(lambda roll: status_of(roll, "a") == "blocked", "the change")
        until(lambda: tmux.asked > asked, "another question")
    finally:
        roll.stop()


def test_changes_that_no_event_told_of_are_caught_by_the_net(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it is by default: tmux is asked more often than everything is looked at.
    monkeypatch.setattr(collector, "SWEEP", 0.1)
    monkeypatch.setattr(collector, "RESCAN", 0.3)
    monkeypatch.setattr(DirectoryWatcher, "watch", lambda *_: None)
    rolls = Rolls()
    roll = LiveRoll(files.workspaces(), ScriptedTmux(EVERYBODY), QUICK)
    roll.listen(rolls)
    roll.start()
    try:
        rolls.wait_for(lambda roll: verdicts(roll).get("a") is Verdict.LIVE, "a roll")
        for status in ("blocked", "working"):
            files.write_task("TASK-1", entry("a", status))
            rolls.wait_for(lambda roll, s=status: status_of(roll, "a") == s, status)  # type: ignore[misc]
    finally:
        roll.stop()


def test_one_roll_that_fails_is_not_the_last(files: Files) -> None:
    class FailingOnce(Rolls):
        def __call__(self, roll: RollCall) -> None:
            super().__call__(roll)
            if len(self.all) == 1:
                raise RuntimeError("the screen is not there yet")

    rolls = FailingOnce()
    roll = LiveRoll(files.workspaces(), ScriptedTmux(EVERYBODY), QUICK)
    roll.listen(rolls)
    roll.start()
    try:
        until(lambda: rolls.all, "the roll that fails")
        files.write_task("TASK-1", entry("a", "blocked"))
        rolls.wait_for(lambda roll: status_of(roll, "a") == "blocked", "the next roll")
    finally:
        roll.stop()


def test_a_roll_that_fails_does_not_hold_up_the_end(files: Files) -> None:
    called = threading.Event()

    def fail(roll: RollCall) -> None:
        called.set()
        raise RuntimeError("the screen is not there any more")

    roll = LiveRoll(files.workspaces(), ScriptedTmux(EVERYBODY), QUICK)
    roll.listen(fail)
    roll.start()
    assert called.wait(PATIENCE)
    roll.stop()
    until(lambda: our_threads() == set(), "the end of all threads")


def our_threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("muster-")}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_stopped_roll_leaves_no_thread_and_no_descriptor(files: Files, server: RealTmux) -> None:
    server.start("agent_a")
    before = descriptors()
    for _ in range(3):
        rolls = Rolls()
        roll = LiveRoll(files.workspaces(), server.client(), QUICK)
        roll.listen(rolls)
        roll.start()
        rolls.wait_for(lambda roll: verdicts(roll).get("a") is Verdict.LIVE, "a roll")
        assert our_threads() - {"muster-read"} == {"muster-ask", "muster-gather", "muster-watch"}
        roll.stop()
        until(lambda: our_threads() == set(), "the end of all threads")
    # The watch's own thread closes its descriptors a moment later.
    until(lambda: descriptors() <= before, "the last descriptor")


def test_a_stopped_roll_hands_nothing_out_any_more(files: Files) -> None:
    rolls = Rolls()
    roll = LiveRoll(files.workspaces(), ScriptedTmux(EVERYBODY), QUICK)
    roll.listen(rolls)
    roll.start()
    rolls.wait_for(lambda roll: verdicts(roll).get("a") is Verdict.LIVE, "a roll")
    roll.stop()
    count = len(rolls.all)
    files.write_task("TASK-1", entry("a", "blocked"))
    roll.refresh()
    assert len(rolls.all) == count


# --- before anybody listens -----------------------------------------------------


def many(tmp_path: Path, count: int) -> Files:
    tasks = {f"TASK-{number:03}": [entry(f"a{number}")] for number in range(count)}
    return Files(tmp_path, tasks)


@pytest.fixture
def early(tmp_path: Path) -> Iterator[LiveRoll]:
    """For more tasks than are read at first, with nobody to tell."""
    files = many(tmp_path, collector._AT_FIRST + 5)
    roll = LiveRoll(files.workspaces(), ScriptedTmux(answered()), QUICK)
    yield roll
    roll.stop()


def test_until_somebody_listens_the_first_tasks_alone_are_there(
    early: LiveRoll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_NOBODY_LISTENS", 2 * PATIENCE)
    early.start()
    until(lambda: early.latest is not None, "the first roll call")
    first = early.latest
    assert first is not None and not first.whole and not first.orphans_known
    assert [task.task_id for task in first.tasks()] == [
        f"TASK-{number:03}" for number in range(collector._AT_FIRST)
    ]
    rolls, told = Rolls(), []
    early.listen(rolls, lambda what, done, of: told.append((what, done, of)))
    assert rolls.all[0] is first
    whole = rolls.wait_for(lambda roll: roll.whole, "all of them")
    assert len(list(whole.tasks())) == collector._AT_FIRST + 5
    every = collector._AT_FIRST + 5
    assert any(of == every and done >= collector._AT_FIRST for _, done, of in told)
    assert not [roll for roll in rolls.all[1:] if not roll.whole]


def test_though_nobody_listens_all_are_read_after_a_while(
    early: LiveRoll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_NOBODY_LISTENS", 0.0)
    early.start()
    until(lambda: early.latest is not None and early.latest.whole, "all of them")


def test_who_listens_from_the_start_hears_of_whole_workspaces_only(tmp_path: Path) -> None:
    files, rolls = many(tmp_path, collector._AT_FIRST + 5), Rolls()
    roll = LiveRoll(files.workspaces(), ScriptedTmux(answered()), QUICK)
    roll.listen(rolls)
    roll.start()
    try:
        rolls.wait_for(lambda roll: True, "a roll call")
        assert all(each.whole for each in rolls.all)
    finally:
        roll.stop()
