"""The package as its users import it."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys

import pytest

import registry

SIGNATURES = {
    "LockedRegistryFile": ["path", "timeout=10", "retry_delay=0.1"],
    "atomic_add_agent": ["registry_path", "agent_data", "parent"],
    "atomic_update_agent_status": ["registry_path", "agent_id", "status", "extra_fields"],
    "atomic_increment_counts": ["registry_path", "active=0", "total=0"],
    "atomic_decrement_active_count": ["registry_path", "amount=1"],
    "atomic_mark_agents_completed": ["registry_path", "agent_ids"],
}


@pytest.mark.parametrize(("name", "expected"), SIGNATURES.items(), ids=SIGNATURES)
def test_the_signatures_are_the_promised_ones(name: str, expected: list[str]) -> None:
    parameters = inspect.signature(getattr(registry, name)).parameters.values()
    shown = [
        each.name if each.default is each.empty else f"{each.name}={each.default}"
        for each in parameters
    ]
    assert shown[: len(expected)] == expected
    rest = list(parameters)[len(expected) :]
    assert all(each.kind is each.KEYWORD_ONLY for each in rest)


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in registry.__all__:
        assert getattr(registry, name).__doc__, name


def test_no_public_name_is_that_of_a_module() -> None:
    # Importing the module would put it in the name's place.
    modules = {each.name for each in pkgutil.iter_modules(registry.__path__)}
    assert not modules & set(registry.__all__)


def test_a_missing_name_is_an_attribute_error_and_all_are_listed() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(registry, "no_such_name")  # noqa: B009 - not known to the type checker
    assert set(registry.__all__) <= set(dir(registry))


def test_the_library_brings_no_screen_no_tmux_and_no_processes_along() -> None:
    heavy = {"textual", "rich", "libtmux", "psutil", "watchfiles", "tui"}
    program = (
        "import sys, registry, registry.snapshots, registry.schema.layout;"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_what_puts_a_change_on_record_has_its_earlier_name_too() -> None:
    assert registry.OnRecord is registry.AuditContext
