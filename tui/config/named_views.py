"""The named views of the settings file: filters with a name, an order and a key. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from registry.dataclass import dataclass
from registry.text import is_plain, quoted_name

VIEW_ID = "view."
"""The ids of the named views' key bindings begin with this text."""

_LONGEST_NAME = 32
_LONGEST_TEXT = 1000
_FIELDS = ("where", "sort", "key")
_FREE_KEYS = tuple(f"f{number}" for number in range(2, 13))


@dataclass(frozen=True, slots=True)
class NamedView:
    """A filter with a name. The filter, the order and the key are not checked.

    Attributes:
        name: The name; plain text.
        where: The filter; empty for all agents.
        sort: The name of the sort order; empty to keep the present order.
        key: The key, or several with commas; empty for the next free function key.
    """

    name: str
    where: str = ""
    sort: str = ""
    key: str = ""


def checked_views(table: Any, problems: list[str]) -> tuple[NamedView, ...]:
    """Returns the views of the table ``[views]``; appends a message for each invalid view."""
    if not isinstance(table, dict):
        problems.append(f"views: must be a table, [views], not {_shown(table)}")
        return ()
    views = []
    for name, entry in table.items():
        where = f"views.{quoted_name(name, 80)}" if not is_plain(name, 80) else f"views.{name}"
        try:
            views.append(_checked_view(name, entry))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    return tuple(views)


def _checked_view(name: str, entry: Any) -> NamedView:
    if not is_plain(name, _LONGEST_NAME):
        raise ValueError(f"the name must be plain text with at most {_LONGEST_NAME} characters")
    if isinstance(entry, str):
        entry = {"where": entry}
    if not isinstance(entry, dict) or not entry:
        raise ValueError(
            'must be a filter, or a table such as {where = "status:blocked", sort = "age", '
            f'key = "f5"}}, not {_shown(entry)}'
        )
    for field, value in entry.items():
        if field not in _FIELDS:
            raise ValueError(f"has the unknown field {_shown(field)}; use {', '.join(_FIELDS)}")
        if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT:
            raise ValueError(f"{field} must be a text, not {_shown(value)}")
        if not value.isprintable():
            raise ValueError(f"{field} must not contain control characters")
    key = entry.get("key", "")
    return NamedView(
        name, entry.get("where", ""), entry.get("sort", ""), "comma" if key == "," else key
    )


def view_keys(views: Sequence[NamedView], keys: Mapping[str, str]) -> dict[str, str]:
    """Returns the keys of the named views, by the ids of their bindings.

    A view without a key gets the next function key that no setting uses; if there is none, no key.

    Args:
        views: The views, in the order of the file.
        keys: The table ``[keys]`` of the settings, which takes precedence.
    """
    given = {
        id_: key for view in views if (key := keys.get(id_ := VIEW_ID + view.name) or view.key)
    }
    used = {key for several in (*keys.values(), *given.values()) for key in several.split(",")}
    free: Iterator[str] = (key for key in _FREE_KEYS if key not in used)
    ids = [VIEW_ID + view.name for view in views]
    chosen = {id_: given.get(id_) or next(free, "") for id_ in ids}
    return {id_: key for id_, key in chosen.items() if key}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
