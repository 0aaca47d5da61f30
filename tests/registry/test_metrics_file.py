"""What many processes counted adds up, exactly, in one file a workspace."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import RegistryError, finish_agents, metrics_file, publish_metrics
from registry.metrics_file import METRICS_FILE, path_in, read_each, read_metrics
from registry.storage import metrics
from registry.storage.metrics import WAIT_BOUNDS, LockMetrics
from tests.support.crowd import Crowd
from tests.support.json_values import values
from tests.support.limits import no_file_longer_than
from tests.support.registries import load

TASK = "TASK-1/AGENT_REGISTRY.json"


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process counts from 0, and publishes nothing of other tests."""
    monkeypatch.setattr(metrics, "_by_path", {})
    monkeypatch.setattr(metrics, "_last_corrupt", {})
    monkeypatch.setattr(metrics_file, "_published", {})
    yield


@pytest.fixture
def workspace(task: Path, global_: Path) -> Path:
    assert global_.exists()
    return task.parent.parent


def _on_file(workspace: Path, name: str = TASK) -> LockMetrics:
    return LockMetrics.from_json(load(path_in(workspace))["registries"][name])


def test_what_operations_did_is_added_once(workspace: Path, task: Path, global_: Path) -> None:
    assert not publish_metrics(workspace)
    assert not path_in(workspace).exists()
    finish_agents(task, global_, ["busy"], status="completed")
    counted = metrics.snapshot()[task]
    assert counted.acquisitions == 1

    assert publish_metrics(workspace)
    assert not publish_metrics(workspace)
    assert set(load(path_in(workspace))["registries"]) == {TASK, "registry/GLOBAL_REGISTRY.json"}
    assert _on_file(workspace) == counted

    finish_agents(task, global_, ["busy"], status="completed")
    assert publish_metrics(workspace)
    assert _on_file(workspace) == metrics.snapshot()[task]
    assert _on_file(workspace).acquisitions == 2


def test_every_kind_is_counted_and_kept(workspace: Path, task: Path) -> None:
    for seconds in (0.001, 0.004, 2.0):
        metrics.count_wait(task, seconds)
    metrics.count_timeout(task)
    metrics.count_recovery(task)
    metrics.count_recovery(task)
    metrics.count_corrupt_read(task, "one state")
    metrics.count_corrupt_read(task, "one state")
    metrics.count_corrupt_read(task, "another")
    publish_metrics(workspace)

    held = _on_file(workspace)
    assert (held.acquisitions, held.timeouts, held.recoveries, held.corrupt_reads) == (3, 1, 2, 2)
    assert held.waited == pytest.approx(2.005)
    assert held.longest_wait == 2.0
    assert sum(held.buckets) == 3


def test_what_is_only_a_timeout_or_a_corrupt_read_is_published_too(
    workspace: Path, task: Path
) -> None:
    metrics.count_timeout(task)
    assert publish_metrics(workspace)
    metrics.count_corrupt_read(task, "state")
    assert publish_metrics(workspace)
    assert (_on_file(workspace).timeouts, _on_file(workspace).corrupt_reads) == (1, 1)


def test_registries_of_elsewhere_are_not_published_here(
    workspace: Path, task: Path, tmp_path: Path
) -> None:
    for other in (
        tmp_path / "other" / "TASK-1" / "AGENT_REGISTRY.json",
        workspace / "registry" / "muster_audit.jsonl",
        path_in(workspace),
        workspace / "TASK-1" / "GLOBAL_REGISTRY.json",
        workspace / "a name\n" / "AGENT_REGISTRY.json",
    ):
        metrics.count_timeout(other)
    assert not publish_metrics(workspace)
    metrics.count_timeout(task)
    assert publish_metrics(workspace)
    assert list(load(path_in(workspace))["registries"]) == [TASK]


def test_several_processes_add_up_exactly(workspace: Path, task: Path, crowd: Crowd) -> None:
    for _ in range(3):
        crowd.enlist("tests.support.workers", "publish", workspace, task, 15)
    crowd.go()
    crowd.finish()
    held = _on_file(workspace)
    assert held.acquisitions == 45
    assert sum(held.buckets) == 45
    assert held.waited == pytest.approx(0.045)


def test_a_forked_child_adds_its_own_numbers_only(workspace: Path, task: Path) -> None:
    for _ in range(5):
        metrics.count_wait(task, 0.001)
    publish_metrics(workspace)
    metrics.count_timeout(task)
    child = os.fork()
    if child == 0:
        try:
            metrics.count_wait(task, 0.002)
            publish_metrics(workspace)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (_on_file(workspace).acquisitions, _on_file(workspace).timeouts) == (6, 0)
    publish_metrics(workspace)
    assert (_on_file(workspace).acquisitions, _on_file(workspace).timeouts) == (6, 1)


SPOILED = {
    "empty": b"",
    "cut off": b"{",
    "no object": b"[]",
    "zeros": bytes(4096),
    "too much": b"{}{",
}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED)
def test_a_file_that_says_nothing_is_begun_anew(
    workspace: Path, task: Path, spoiled: bytes
) -> None:
    place = path_in(workspace)
    place.write_bytes(spoiled)
    metrics.count_wait(task, 0.5)
    assert read_metrics([workspace])[str(task)].acquisitions == 1
    assert place.read_bytes() == spoiled
    assert publish_metrics(workspace)
    assert _on_file(workspace).acquisitions == 1
    metrics.count_wait(task, 0.5)
    assert publish_metrics(workspace)
    assert _on_file(workspace).acquisitions == 2


def test_one_that_is_too_large_is_not_read_and_is_begun_anew(
    workspace: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = path_in(workspace)
    place.touch()
    os.truncate(place, 100 * 1024**3)
    metrics.count_wait(task, 0.5)
    assert read_metrics([workspace])[str(task)].acquisitions == 1
    assert publish_metrics(workspace)
    assert place.stat().st_size < 10_000
    assert _on_file(workspace).acquisitions == 1


@pytest.mark.parametrize("room", [0, 5, 100])
def test_a_full_disk_when_it_is_made_does_not_spoil_it(
    workspace: Path, task: Path, room: int
) -> None:
    metrics.count_wait(task, 0.5)
    with no_file_longer_than(room), pytest.raises(RegistryError):
        publish_metrics(workspace)
    assert publish_metrics(workspace)
    assert _on_file(workspace).acquisitions == 1


def _fifo(place: Path) -> None:
    os.mkfifo(place)


def _directory(place: Path) -> None:
    place.mkdir()


def _symlink(place: Path) -> None:
    other = place.parent.parent.with_name("other.json")
    other.write_text(OTHERS)
    place.symlink_to(other)


def _dangling(place: Path) -> None:
    place.symlink_to(place.parent.parent.with_name("none.json"))


def _hard_link(place: Path) -> None:
    other = place.parent.parent.with_name("other.json")
    other.write_text(OTHERS)
    os.link(other, place)


def _linked_folder(place: Path) -> None:
    other = place.parent.parent.with_name("other")
    place.parent.rename(other)
    (other / place.name).write_text(OTHERS)
    place.parent.symlink_to(other)


def _somebody_elses(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    place.write_text(OTHERS)
    os.chown(place, 64179, 64179)


OTHERS = json.dumps({"schema": 1, "registries": {TASK: {"timeouts": 7}}})


def _texts(directory: Path) -> dict[Path, str]:
    found = directory.rglob("*")
    return {path: path.read_text() if path.is_file() else "" for path in found}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "plant",
    [_fifo, _directory, _symlink, _dangling, _hard_link, _linked_folder, _somebody_elses],
)
def test_what_was_put_in_its_place_is_neither_read_nor_written(
    workspace: Path, task: Path, plant: Callable[[Path], None]
) -> None:
    place = path_in(workspace)
    metrics.count_wait(task, 0.5)
    plant(place)
    before = _texts(workspace.parent)
    for use in (publish_metrics, lambda path: read_metrics([path])):
        with pytest.raises(RegistryError, match=METRICS_FILE):
            use(workspace)
    assert _texts(workspace.parent) == before


def test_what_could_not_be_published_is_kept_for_the_next_time(
    workspace: Path, task: Path
) -> None:
    metrics.count_wait(task, 0.5)
    place = path_in(workspace)
    os.mkfifo(place)
    with pytest.raises(RegistryError):
        publish_metrics(workspace)
    place.unlink()
    assert publish_metrics(workspace)
    assert _on_file(workspace).acquisitions == 1


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"registries": None},
        {"registries": []},
        {"registries": {TASK: None}},
        {"registries": {TASK: {"acquisitions": -1, "waited": "x", "buckets": [1]}}},
        {"registries": {TASK: {"acquisitions": True, "timeouts": 1.5, "buckets": ["x"] * 22}}},
        {"registries": {TASK: {"acquisitions": 10**400, "longest_wait": float("inf")}}},
        {"registries": {TASK: {"waited": float("nan"), "longest_wait": float("nan")}}},
    ],
)
def test_garbage_that_is_json_counts_as_nothing_and_is_survived(
    workspace: Path, task: Path, garbage: dict[str, Any]
) -> None:
    path_in(workspace).write_text(json.dumps(garbage | {"kept": [1]}))
    metrics.count_wait(task, 0.5)
    assert read_metrics([workspace])[str(task)].acquisitions == 1
    publish_metrics(workspace)
    held = _on_file(workspace)
    assert held == metrics.snapshot()[task]
    assert load(path_in(workspace))["kept"] == [1]


def test_reading_takes_what_is_on_file_and_what_is_not_yet(workspace: Path, task: Path) -> None:
    assert read_metrics([workspace]) == {}
    metrics.count_wait(task, 0.5)
    publish_metrics(workspace)
    metrics.count_wait(task, 0.25)
    (found,) = read_metrics([workspace]).values()
    assert (found.acquisitions, found.waited, found.longest_wait) == (2, 0.75, 0.5)
    # Looking adds nothing to the file.
    assert _on_file(workspace).acquisitions == 1


waits = st.lists(st.floats(0, 100), min_size=1, max_size=40)
shares = st.sampled_from([0.5, 0.9, 0.99, 1.0])


@given(first=waits, second=waits, share=shares)
def test_quantiles_and_the_longest_wait_outlast_any_publishing(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[float],
    second: list[float],
    share: float,
) -> None:
    workspace = tmp_path_factory.mktemp("metrics")
    (workspace / "registry").mkdir()
    registry = workspace / TASK
    for some in (first, second):
        for seconds in some:
            metrics.count_wait(registry, seconds)
        assert publish_metrics(workspace)

    held, ordered = _on_file(workspace), sorted(first + second)
    assert held.longest_wait == ordered[-1]
    assert held.waited == pytest.approx(sum(ordered))
    exact = ordered[math.ceil(share * len(ordered)) - 1]
    bound = held.quantile(share)
    assert bound is not None
    # An upper bound, at most twice the truth where the buckets reach.
    assert exact <= bound <= ordered[-1]
    if WAIT_BOUNDS[0] <= exact <= WAIT_BOUNDS[-1]:
        assert bound <= 2 * exact
    metrics._by_path.clear()
    metrics_file._published.clear()


@given(data=values)
def test_whatever_is_read_can_be_added_and_written(data: Any) -> None:
    fields = dict.fromkeys(LockMetrics.__slots__, data)
    for given_ in (data, fields, fields | {"buckets": [data] * (len(WAIT_BOUNDS) + 1)}):
        numbers = LockMetrics.from_json(given_)
        numbers.add(LockMetrics(acquisitions=1, waited=0.5, longest_wait=0.5))
        assert LockMetrics.from_json(json.loads(json.dumps(numbers.as_json()))) == numbers
        assert math.isfinite(numbers.waited)
        assert numbers.longest_wait >= 0.5


def test_without_a_wait_there_is_no_quantile() -> None:
    assert LockMetrics(timeouts=3).quantile(0.5) is None


def test_numbers_of_registries_that_do_not_exist_here_are_left_out(
    workspace: Path, task: Path
) -> None:
    elsewhere = workspace.parent / "other" / "TASK-1" / "AGENT_REGISTRY.json"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("{}")
    names = (str(elsewhere), "../other/TASK-1/AGENT_REGISTRY.json", "GONE/AGENT_REGISTRY.json")
    held = {name: {"timeouts": 777} for name in names}
    path_in(workspace).write_text(json.dumps({"registries": held}))
    assert read_metrics([workspace]) == {}
    metrics.count_wait(task, 0.5)
    assert list(read_metrics([workspace])) == [str(task)]


def test_a_file_that_cannot_be_read_hides_no_other(
    workspace: Path, task: Path, tmp_path: Path
) -> None:
    metrics.count_wait(task, 0.5)
    publish_metrics(workspace)
    broken = tmp_path / "broken"
    (broken / "registry").mkdir(parents=True)
    _fifo(path_in(broken))
    found, errors = read_each([broken, workspace])
    assert found[str(task)].acquisitions == 1
    (error,) = errors
    assert str(path_in(broken)) in str(error)
