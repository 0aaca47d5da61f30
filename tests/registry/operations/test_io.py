"""What the operations do to files, counted: one open, one read and one write a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.operations import Io, count_io, io_table
from tests.benchmarks.spawning import OURS, Place
from tests.support.io_counts import passes, watching


@pytest.fixture(scope="module")
def counted() -> dict[str, Io]:
    """Every operation, and the seed's ways to do some of them."""
    return {each.operation: each for each in count_io()}


@pytest.mark.parametrize(
    "operation",
    [
        "register: ours",
        "register: ours, durable",
        "report: ours",
        "terminate 4",
        "clean up a task, 4 dead",
        "clean up a workspace, 4 dead",
    ],
)
def test_an_operation_opens_each_of_two_registries_once(
    counted: dict[str, Io], operation: str
) -> None:
    assert counted[operation].registries["open"] == 2


def test_an_operation_reads_and_writes_the_text_of_each_registry_once(tmp_path: Path) -> None:
    place = Place.lay_out(tmp_path, 10)
    for act in (OURS.register, OURS.report):
        with watching() as last_activity:
            act(place, "agent-1" if act == OURS.report else "new")
        assert passes(last_activity, place.task) == passes(last_activity, place.global_) == (1, 1)


def test_the_seeds_ways_open_more_and_read_more(counted: dict[str, Io]) -> None:
    ours = counted["register: ours"].registries
    # Three loads and a write, a load and a write; a load and two locked passes.
    assert counted["register: seed, before"].registries["open"] == 6
    assert counted["register: seed, after"].registries["open"] == 3
    for theirs in ("before", "after"):
        assert counted[f"register: seed, {theirs}"].registries["bytes read"] > ours["bytes read"]


def test_only_a_durable_commit_flushes(counted: dict[str, Io]) -> None:
    flushes = {
        name: each.registries["flush"] + each.journals["flush"] for name, each in counted.items()
    }

    assert flushes.pop("register: ours, durable") == 8
    assert set(flushes.values()) == {0}


def test_a_clean_up_of_nobody_writes_nothing(counted: dict[str, Io]) -> None:
    assert counted["clean up, nobody dead"].registries["write"] == 0
    assert counted["clean up, nobody dead"].journals["write"] == 0


def test_the_table_has_a_line_for_each(counted: dict[str, Io]) -> None:
    table = io_table(counted.values()).splitlines()

    assert len(table) == len(counted) + 2
    assert len({line.count("|") for line in table}) == 1
