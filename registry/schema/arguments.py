"""Checks and converts the arguments of the functions in `registry.operations`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.storage.codec import Json, plain

RegistryPath = str | os.PathLike[str]


def strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """Returns a collection of strings as a tuple.

    Args:
        name: The name of the argument, for errors.
        values: The collection.

    Raises:
        TypeError: `values` is a single string, or contains an object that is not a string.
    """
    if isinstance(values, (str, bytes)):
        kind = "string" if isinstance(values, str) else "bytes"
        raise TypeError(f"{name} must be a collection of strings, not the {kind} {values!r:.80}")
    checked = tuple(values)
    for value in checked:
        if not isinstance(value, str):
            raise TypeError(f"{name} must contain strings, not {value!r:.80}")
    return checked


def distinct_ids(agent_ids: Iterable[str]) -> tuple[str, ...]:
    """Returns the ids in the given order, without repetitions.

    Raises:
        TypeError: `agent_ids` is a single string, or contains an object that is not a string.
    """
    return tuple(dict.fromkeys(strings("agent_ids", agent_ids)))


def further_fields(
    fields: Mapping[str, Any] | None, set_here: Collection[str], by: str, *, name: str = "fields"
) -> Json:
    """Returns a copy of the fields that a caller passes, converted to values of JSON.

    Args:
        fields: The fields; None for no fields.
        set_here: The fields that the called function sets itself.
        by: The name of the called function, for errors.
        name: The name of the argument, for errors.

    Raises:
        TypeError, ValueError: A value cannot be represented in JSON, or a field is in `set_here`.
    """
    extra = plain(fields if fields is not None else {})
    if both := sorted(extra.keys() & set(set_here)):
        raise ValueError(f"{name} must not contain {', '.join(both)}: {by}() sets them")
    return extra


def path_or_none(registry_path: RegistryPath | None) -> Path | None:
    """Converts an optional registry path to an optional `Path`."""
    return Path(registry_path) if registry_path is not None else None


def timestamp() -> str:
    """Returns the present local time in the format of registries: ISO 8601 without time zone."""
    return datetime.now().isoformat()
