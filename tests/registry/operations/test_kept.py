"""What an operation does not change comes back as it was, whatever it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    LockedRegistryFile,
    RegistryError,
    WrongShapeError,
    atomic_add_agent,
    atomic_increment_counts,
    atomic_mark_agents_completed,
    atomic_update_agent_status,
    finish_agents,
    registry_health_check,
    validate_and_repair_registry,
)
from registry.snapshots import read_agent_fields, read_global, read_task
from tests.support.json_values import as_read, exactly, objects, registries, spelled, texts
from tests.support.registries import agent, load, rewrite, task_registry

spellings = st.tuples(st.sampled_from([None, 1, 2]), st.booleans())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "AGENT_REGISTRY.json"


def _without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


@given(unknown=objects, of_agent=objects, spelling=spellings)
def test_unknown_fields_keep_value_and_place(
    path: Path, unknown: dict[str, Any], of_agent: dict[str, Any], spelling: tuple[Any, bool]
) -> None:
    entry = _without(of_agent, "status", "tmux_session") | agent("one") | {"last_update": None}
    other = _without(of_agent, "id", "status") | {"id": "other"}
    registry = as_read({**unknown, **task_registry(entry, other), **unknown})
    # A field of the generated text may be one of ours; then it is not unknown.
    registry.update(task_registry(entry, other))
    path.write_bytes(spelled(registry, *spelling))
    before = load(path)

    said = atomic_update_agent_status(path, "one", "completed", progress=100)

    after = load(path)
    entry = after["agents"][0]
    assert exactly(after["agents"][1]) == exactly(before["agents"][1])
    for name, value in before["agents"][0].items():
        if name not in ("status", "last_update", "progress"):
            assert exactly(entry[name]) == exactly(value)
    assert [name for name in entry if name in before["agents"][0]] == list(before["agents"][0])
    assert list(after) == list(before)
    changed = ("agents", "active_count", "completed_count")
    assert exactly(_without(after, *changed)) == exactly(_without(before, *changed))
    assert said["previous_status"] == "running"


@given(fields=objects, name=texts)
def test_what_is_given_is_written_exactly(path: Path, fields: dict[str, Any], name: str) -> None:
    path.write_text(json.dumps(task_registry()))
    new = _without(as_read(fields), "id", "status") | {"id": f"agent {name}"}
    atomic_add_agent(path, new, name)

    registry = load(path)
    assert exactly(registry["agents"]) == exactly([as_read(new)])
    assert exactly(registry["agent_hierarchy"][as_read(name)]) == exactly([as_read(new)["id"]])


@given(registry=registries, spelling=spellings)
def test_rewriting_what_was_given_changes_no_value(
    path: Path, registry: dict[str, Any], spelling: tuple[Any, bool]
) -> None:
    path.write_bytes(spelled(registry, *spelling))
    with LockedRegistryFile(path) as (given_, file):
        rewrite(file, given_)
    assert exactly(load(path)) == exactly(registry)


COUNTERS = (
    "active_count",
    "total_spawned",
    "completed_count",
    "active_agents",
    "total_agents_spawned",
)

OPERATIONS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "add": (
        lambda path: atomic_add_agent(path, agent("new", "completed"), "a"),
        ("agents", "agent_hierarchy", *COUNTERS),
    ),
    "update": (
        lambda path: atomic_update_agent_status(path, "a", "working", progress=7),
        ("agents", *COUNTERS),
    ),
    "count": (lambda path: atomic_increment_counts(path, active=-1, total=2), COUNTERS),
    "complete": (
        lambda path: atomic_mark_agents_completed(path, ["a", "b"]),
        ("agents", *COUNTERS),
    ),
    "finish": (
        lambda path: finish_agents(path, None, ["a", "b"], status="terminated"),
        ("agents", *COUNTERS),
    ),
    "repair": (lambda path: validate_and_repair_registry(path, []), ("agents", *COUNTERS)),
}


def _entries(registry: dict[str, Any]) -> list[Any]:
    agents = registry.get("agents")
    if isinstance(agents, dict):
        return list(agents.values())
    return agents if isinstance(agents, list) else [agents]


def _kept(entry: Any) -> str:
    """What of an agent's entry no operation here changes."""
    if not isinstance(entry, dict):
        return exactly(entry)
    changed = ("status", "last_update", "progress", "completed_at", "terminated_at")
    return exactly(_without(entry, *changed, "termination_reason"))


@pytest.mark.parametrize(("operation", "may_change"), OPERATIONS.values(), ids=OPERATIONS)
@given(registry=registries)
def test_on_any_object_an_operation_works_or_refuses_and_keeps_the_rest(
    path: Path,
    registry: dict[str, Any],
    operation: Callable[[Path], object],
    may_change: tuple[str, ...],
) -> None:
    path.write_bytes(spelled(registry, 2, ascii_only=True))
    before = path.read_bytes()
    try:
        operation(path)
    except RegistryError:
        assert path.read_bytes() == before
        return

    after = load(path)
    assert exactly(_without(after, *may_change)) == exactly(_without(registry, *may_change))
    assert [name for name in after if name in registry] == list(registry)
    if registry.get("agents") is not None:
        was = [_kept(entry) for entry in _entries(registry)]
        assert [_kept(entry) for entry in _entries(after)][: len(was)] == was


@given(registry=registries, live=st.one_of(st.none(), st.sets(texts)))
def test_on_any_object_the_readers_answer(
    path: Path, registry: dict[str, Any], live: set[str] | None
) -> None:
    path.write_bytes(spelled(registry, 2, ascii_only=False))
    assert read_task(path).path == path
    assert read_global(path).path == path
    read_agent_fields(path, "a")
    report = registry_health_check(path, live)
    if report.warnings:
        with pytest.raises(WrongShapeError, match=r"AGENT_REGISTRY.json: field 'agents'"):
            validate_and_repair_registry(path, live, dry_run=True)
        assert report.drifts == ()
        return
    repairs = validate_and_repair_registry(path, live, dry_run=True)
    assert len(report.zombies) == sum(repair.field == "status" for repair in repairs)
    if live is None:
        assert report.healthy == (repairs == ())
