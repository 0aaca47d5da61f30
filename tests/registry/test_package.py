"""The package as its users import it."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

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


PACKAGES = [
    registry,
    *(
        import_module(f"registry.{each.name}")
        for each in pkgutil.iter_modules(registry.__path__)
        if each.ispkg
    ),
]


def _exported(package: ModuleType) -> set[str]:
    """What a type checker is told that a package exports."""
    source = Path(str(package.__file__)).read_text(encoding="utf-8")
    return {
        alias.asname or alias.name
        for node in ast.parse(source).body
        if isinstance(node, ast.If)
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda each: each.__name__)
def test_every_package_has_the_names_that_it_exports(package: ModuleType) -> None:
    names = _exported(package)
    assert names
    assert all(hasattr(package, each) for each in names)
    found = {name for name in dir(package) if not isinstance(getattr(package, name), ModuleType)}
    machinery = {"exports", "TYPE_CHECKING"}
    assert {name for name in found - machinery if not name.startswith("__")} == names


@pytest.mark.parametrize("package", PACKAGES, ids=lambda each: each.__name__)
def test_no_public_name_is_that_of_a_module(package: ModuleType) -> None:
    # Importing the module would put it in the name's place.
    modules = {each.name for each in pkgutil.iter_modules(package.__path__)}
    assert not modules & _exported(package)


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
