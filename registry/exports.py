"""Imports each exported name of a package when the name is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def exports(
    package: str, names_in: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Returns the functions `__getattr__` and `__dir__` for a package.

    Args:
        package: The name of the package.
        names_in: Maps each inner module to the names that it defines for the package.
    """
    module_of = {name: module for module, names in names_in.items() for name in names}
    namespace = sys.modules[package].__dict__

    def find(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        inner = import_module(f"{package}.{module_of[name]}")
        value = namespace[name] = getattr(inner, name)
        return value

    return find, lambda: sorted({*namespace, *module_of})
