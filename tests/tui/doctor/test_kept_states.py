"""Tests that the monitor keeps valid states of registries, and that the doctor restores them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from registry import audit
from registry.audit import kept_of, place_of
from registry.snapshots import signature_of
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, read, take
from tui.actions.execute import Result
from tui.actions.undo import carry_out_undo, plan_undo
from tui.doctor.describe import propose_fix
from tui.doctor.examine import Examination, examine
from tui.doctor.fix import carry_out_fix
from tui.live import state_keeper
from tui.live.collector import LiveRoll
from tui.live.state_keeper import StateKeeper

TMUX = ScriptedTmux(answered(made_now("agent_a", number=1), made_now("agent_b", number=2)))
LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a")], "TASK-2": [entry("b")]})


@pytest.fixture
def registries(files: Files) -> list[Path]:
    made = [files.registry("TASK-1"), files.registry("TASK-2"), files.global_registry]
    paths = [path.resolve() for path in made]
    for path in paths:
        os.utime(path, LONG_AGO)
    return paths


def destroy(path: Path) -> bytes:
    text = path.read_bytes()
    path.write_bytes(text[:200] + b'{"id": "lost", ' + text[250:])
    os.utime(path, LONG_AGO)
    return path.read_bytes()


def look(files: Files) -> Examination:
    return examine(files.workspaces(), take(files, TMUX), settled=0.0)


def test_the_monitor_keeps_them_and_a_read_only_one_never(
    files: Files, registries: list[Path]
) -> None:
    before = sorted(files.path.rglob("*"))
    live = LiveRoll(files.workspaces(), TMUX, QUICK, recover=False)
    live.start()
    until(lambda: live.latest, "a roll call")
    for _ in range(3):
        seen = live.latest
        live.refresh()
        until(lambda seen=seen: live.latest is not seen, "another")  # type: ignore[misc]
    live.stop()
    assert sorted(files.path.rglob("*")) == before

    live = LiveRoll(files.workspaces(), TMUX, QUICK)
    live.start()
    try:
        until(lambda: all(map(kept_of, registries)), "the kept states")
    finally:
        live.stop()
    for path in registries:
        assert place_of(path).read_bytes() == path.read_bytes()


def test_a_broken_registry_is_set_right_on_record_and_undo_brings_it_back(
    files: Files, registries: list[Path]
) -> None:
    StateKeeper().keep(registries)
    path = registries[0]
    whole = path.read_bytes()
    broken = destroy(path)

    found = look(files)
    (issue,) = found.files
    assert issue.fixable and "lost" in issue.says and "with 1 agents" in issue.says
    plan = propose_fix(found)
    assert "replace the broken text by the valid state" in dict(plan.steps)[f"TASK-1/{path.name}"]

    outcome = carry_out_fix(found, TMUX, "two writers")
    (step,) = (each for each in outcome.steps if each.label == f"TASK-1/{path.name}")
    assert step.result is Result.DONE and ".broken" in step.detail
    assert path.read_bytes() == whole and path in outcome.written
    assert look(files).files == ()

    states = [task.state for task in take(files, TMUX).tasks()]
    undo = plan_undo(states, (files.path.resolve(),), None)
    ((label, says), *_) = [each for each in undo.preview.steps if path.name in each[0]]
    assert "TASK-1" in label and "broken text" in says
    path.write_bytes(whole + b" ")
    again = plan_undo(states, (files.path.resolve(),), None)
    assert "was changed after it was restored" in dict(again.preview.refused)[label]
    path.write_bytes(whole)
    undone = carry_out_undo(undo, "")
    assert undone.complete and label in {step.label for step in undone.steps}
    assert path.read_bytes() == broken


def test_few_are_kept_at_once_and_each_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path, {f"TASK-{n:02}": [entry(f"a{n}")] for n in range(12)})
    paths = sorted(files.path.glob("TASK-*/AGENT_REGISTRY.json"))
    monkeypatch.setattr(state_keeper, "SHARE", 1e9)
    keeper = StateKeeper()
    keeper.keep(paths)
    assert not any(map(kept_of, paths)), "they were just written"
    for path in paths:
        os.utime(path, LONG_AGO)
    keeper.keep(paths)
    assert sum(kept_of(path) is not None for path in paths) == state_keeper.AT_ONCE
    keeper.keep(paths)
    assert all(map(kept_of, paths))

    kept: list[Path] = []
    monkeypatch.setattr(audit, "keep", kept.append)
    keeper.keep(paths)
    assert kept == [], "nothing changed"
    files.write_task("TASK-03", entry("a3", "completed"))
    os.utime(paths[3], LONG_AGO)
    keeper.keep(paths)
    assert kept == [paths[3]], "nobody writes it"
    files.write_task("TASK-03", entry("a3", "failed"))
    os.utime(paths[3], LONG_AGO)
    keeper._not_before[paths[3]] = time.monotonic() + 1e9
    keeper.keep(paths)
    assert kept == [paths[3]], "its last copy took long"


def test_one_that_is_written_all_the_time_is_kept_in_the_end(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_keeper, "QUIET", 1e9)
    path, keeper = files.registry("TASK-1"), StateKeeper()
    until(lambda: signature_of(path), "a time at which nobody writes")
    keeper.keep([path])
    assert kept_of(path) is None
    monkeypatch.setattr(state_keeper, "EVERY", 0.0)
    keeper.keep([path])
    assert kept_of(path) is not None


def test_what_cannot_be_kept_keeps_no_other_from_being_kept(
    files: Files, registries: list[Path]
) -> None:
    place_of(registries[0]).mkdir()
    StateKeeper().keep(registries)
    assert kept_of(registries[0]) is None
    assert all(map(kept_of, registries[1:]))


def test_a_registry_of_a_time_that_lies_ahead_is_kept_when_that_is_far(
    files: Files, registries: list[Path]
) -> None:
    ahead = time.time() + 3600
    os.utime(registries[0], (ahead, ahead))
    keeper = StateKeeper()

    def kept() -> bool:
        keeper.keep(registries)
        return kept_of(registries[0]) is not None

    until(kept, "the kept state")
    assert read(registries[0])["agents"]


def test_a_copy_follows_the_permissions_of_its_registrys_directory(
    files: Files, registries: list[Path]
) -> None:
    path, keeper = files.registry("TASK-1"), StateKeeper()
    path.chmod(0o644)
    for mode, expected in ((0o755, 0o644), (0o700, 0o600)):
        path.parent.chmod(mode)
        keeper._not_before.clear()

        def kept(expected: int = expected) -> bool:
            keeper.keep([path])
            place = place_of(path)
            return place.exists() and place.stat().st_mode & 0o777 == expected

        until(kept, "the copy")
