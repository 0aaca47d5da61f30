"""What callers give to the operations, checked. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

RegistryPath = str | os.PathLike[str]


def strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """What is given as a collection of strings, and is one.

    Args:
        name: What errors call it.
        values: What is given.

    Raises:
        TypeError: It is a lone string, or something in it is no string.
    """
    if isinstance(values, (str, bytes)):
        kind = "string" if isinstance(values, str) else "bytes"
        raise TypeError(f"{name} must be a collection of strings, not the {kind} {values!r:.80}")
    given = tuple(values)
    for each in given:
        if not isinstance(each, str):
            raise TypeError(f"{name} must hold strings, not {each!r:.80}")
    return given


def distinct_ids(agent_ids: Iterable[str]) -> tuple[str, ...]:
    """Ids to go through more than once; a lone string is no collection of ids.

    Raises:
        TypeError: It is one, or something in it is no string.
    """
    return tuple(dict.fromkeys(strings("agent_ids", agent_ids)))


def path_or_none(registry_path: RegistryPath | None) -> Path | None:
    """The path of a registry that there may be none of."""
    return Path(registry_path) if registry_path is not None else None


def timestamp() -> str:
    """Now as registries write it: local time, ISO 8601, no zone."""
    return datetime.now().isoformat()
