"""JSON values of every kind that a registry may hold, for property tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

# With lone surrogates, control characters and escapes.
texts = st.text(st.characters(exclude_categories=()), max_size=12)

numbers = st.one_of(
    st.integers(),
    st.sampled_from([10**4000, -(10**4000), 2**63, 2**64 + 1]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e16, 0.1 + 0.2]),
)

scalars = st.one_of(st.none(), st.booleans(), numbers, texts)


def nested(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Returns a strategy for values in lists and objects, some of them many levels deep."""
    return st.one_of(
        st.lists(inside, max_size=4),
        st.dictionaries(texts, inside, max_size=4),
        st.builds(_deep, inside, st.integers(1, 60), st.booleans()),
    )


def _deep(value: Any, levels: int, lists: bool) -> Any:
    for _ in range(levels):
        value = [value] if lists else {"deeper": value}
    return value


values = st.recursive(scalars, nested, max_leaves=8)

objects = st.dictionaries(texts, values, max_size=5)


def as_read(value: Any) -> Any:
    """Returns the value that the standard library reads after it wrote this value.

    Two surrogates that form a pair become one character.
    """
    return json.loads(json.dumps(value))


def exactly(value: Any) -> str:
    """Returns a text that is equal only for equal order, types, NaN and signs of 0."""
    return json.dumps(value)


def spelled(value: Any, indent: int | None, ascii_only: bool) -> bytes:
    """Returns one of the JSON texts of a value."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent).encode()


statuses = st.sampled_from(
    ["running", "working", "blocked", "completed", "error", "failed", "terminated", "paused", ""]
)

ids = st.sampled_from(["a", "b", "c", "d", "é"])

_agents = st.dictionaries(
    st.sampled_from(
        ["id", "status", "tmux_session", "parent", "depth", "progress", "started_at", "type"]
    ),
    st.one_of(ids, statuses, values),
)

_fields: dict[str, st.SearchStrategy[Any]] = {
    "task_id": st.one_of(st.just("TASK-1"), values),
    "agents": st.one_of(
        st.lists(st.one_of(_agents, scalars), max_size=4),
        st.dictionaries(st.one_of(ids, texts), st.one_of(_agents, scalars), max_size=4),
        values,
    ),
    "agent_hierarchy": st.one_of(
        st.dictionaries(ids, st.one_of(st.lists(st.one_of(ids, values), max_size=3), values)),
        values,
    ),
    "active_count": st.one_of(st.integers(-2, 5), values),
    "total_spawned": st.one_of(st.integers(-2, 5), values),
    "completed_count": st.one_of(st.integers(-2, 5), values),
    "status": st.one_of(statuses, values),
}

_global_fields: dict[str, st.SearchStrategy[Any]] = {
    "tasks": st.one_of(
        st.dictionaries(
            texts, st.one_of(st.dictionaries(st.sampled_from(["workspace", "status"]), values))
        ),
        values,
    ),
    "active_agents": st.one_of(st.integers(-2, 5), values),
    "total_agents_spawned": st.one_of(st.integers(-2, 5), values),
}


def _any_registry(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    known = st.fixed_dictionaries({}, optional=fields)
    return st.builds(lambda first, then, last: {**first, **then, **last}, objects, known, objects)


registries = st.one_of(
    _any_registry(_fields), _any_registry({**_fields, **_global_fields}), objects
).map(as_read)
"""Objects that look more or less like registries, as the standard library reads them."""
