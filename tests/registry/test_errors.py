"""The errors: each is what a plain `open` and `json.load` would raise, and travels."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import registry
from registry import (
    AgentNotFoundError,
    CorruptRegistryError,
    RegistryError,
    atomic_update_agent_status,
)
from tests.support.errors import ERRORS, PATH

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def test_every_error_is_tried_here() -> None:
    public = {getattr(registry, name) for name in registry.__all__ if name.endswith("Error")}
    assert public == {RegistryError, *map(type, ERRORS)}


@each_error
def test_an_error_is_the_builtin_one_that_callers_expect(error: RegistryError) -> None:
    assert isinstance(error, ERRORS[error])


@each_error
def test_an_error_says_in_words_what_and_where(error: RegistryError) -> None:
    said = str(error)
    assert str(PATH.parent) in said or "agents" in said
    assert "object at 0x" not in said
    assert not said.startswith("(")


@each_error
def test_an_error_after_an_earlier_step_does_not_say_that_nothing_was_changed(
    error: RegistryError,
) -> None:
    assert "nothing was changed" not in error.brief.lower()
    assert str(PATH.parent) in error.brief or "agents" in error.brief


@each_error
def test_an_error_is_whole_after_a_journey_to_another_process(error: RegistryError) -> None:
    for traveller in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(traveller) is type(error)
        assert str(traveller) == str(error)
        assert traveller.args == error.args
        assert vars(traveller) == vars(error)
        assert getattr(traveller, "errno", None) == getattr(error, "errno", None)


def test_a_pool_of_processes_hands_on_what_an_operation_raised(task: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(atomic_update_agent_status, task, "nobody", "completed")
        with pytest.raises(AgentNotFoundError, match="nobody"):
            future.result(60)


def test_a_corrupt_registry_is_not_kept_alive_by_its_error() -> None:
    error = CorruptRegistryError(PATH, "Expecting value", "{]" + " " * 10_000, 1)
    assert (error.lineno, error.colno, error.pos) == (1, 2, 1)
    assert len(pickle.dumps(error)) < 1000
