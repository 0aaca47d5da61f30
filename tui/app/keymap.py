"""Lists the key bindings of the monitor, and checks the keys that a user sets."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, key_to_character

from registry.dataclass import dataclass
from registry.text import quoted_name
from tui.app.app import MusterApp
from tui.app.bindings import declared, normal_keys, view_bindings
from tui.app.screens.body import Body
from tui.app.screens.choice import ChoiceScreen
from tui.app.screens.confirm import ACCEPT, ConfirmScreen, ReasonInput
from tui.app.screens.doctor import DoctorScreen
from tui.app.screens.metrics import MetricsScreen
from tui.app.screens.report import OutcomeScreen, ReportScreen
from tui.app.screens.roll import RollScreen
from tui.app.widgets.details_panel import Panel
from tui.app.widgets.roll_list import RollView
from tui.app.widgets.text_view import TextView
from tui.config.named_views import VIEW_ID, NamedView, view_keys
from tui.config.settings import meant
from tui.view.filter import parse
from tui.view.view import Sort


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the monitor, such as a screen, and the key bindings that are active there.

    Attributes:
        name: The name of the part in messages to the user.
        nodes: The classes that define the bindings, the innermost widget first.
        typing: Whether a text field has the focus.
    """

    name: str
    nodes: tuple[type[DOMNode], ...]
    typing: bool = False


PLACES = (
    Place("the roll", (RollView, Body, RollScreen, MusterApp)),
    Place("the panel", (TextView, Panel, Body, RollScreen, MusterApp)),
    Place("the question", (ReasonInput, ConfirmScreen), typing=True),
    Place("the doctor", (DoctorScreen,)),
    Place("the metrics", (MetricsScreen,)),
    Place("a report", (ReportScreen,)),
    Place("an outcome", (OutcomeScreen,)),
    Place("a choice", (ChoiceScreen,)),
)

_MODIFIERS = frozenset({"ctrl", "alt", "shift", "super", "meta", "hyper"})
_CHARACTERS = frozenset(
    key for character in string.punctuation if character != "," for key in normal_keys(character)
) | {"comma", "space"}
_NAMED = frozenset(key.value for key in Keys) | _CHARACTERS

# Terminals send the same bytes for both keys of a pair.
_SAME = {"ctrl+i": "tab", "ctrl+m": "enter", "ctrl+[": "escape", "return": "enter"}


def all_bindings() -> Iterator[Binding]:
    """Yields each key binding of the monitor once, in the order of `PLACES`."""
    seen: set[str | None] = set()
    for place in PLACES:
        for node in place.nodes:
            for binding in declared(node):
                if binding.id not in seen:
                    seen.add(binding.id)
                    yield binding


def documented() -> list[tuple[str, str, str]]:
    """Returns the id, the default keys and the description of each key binding."""
    return [
        (binding.id or "", binding.key, binding.tooltip or binding.description)
        for binding in all_bindings()
    ]


def view_problems(views: Sequence[NamedView]) -> tuple[str, ...]:
    """Returns a message for each problem of a filter or an order of the named views."""
    problems: list[str] = []
    for view in views:
        parsed = parse(view.where)
        whys = [*parsed.problems, *(f"{part}: the value is missing" for part in parsed.unfinished)]
        if view.sort:
            try:
                Sort.named(view.sort)
            except ValueError as error:
                whys.append(f"sort {error}")
        problems += (f"views.{view.name}: {why}" for why in whys)
    return tuple(problems)


def key_problems(keys: Mapping[str, str], views: Sequence[NamedView] = ()) -> tuple[str, ...]:
    """Checks the keys that a user has set.

    Args:
        keys: Maps the id of a binding to the new keys, separated by commas.
        views: The named views, with their keys.

    Returns:
        A message for each problem; the message names the binding and the remedy.
    """
    known = {binding.id or "" for binding in all_bindings()}
    known |= {VIEW_ID + view.name for view in views}
    set_keys, keys = keys, {**keys, **view_keys(views, keys)}
    problems: list[str] = []
    for id_, given in keys.items():
        if id_ not in known:
            problems.append(f"keys.{id_}: unknown id; {meant(id_, tuple(known))}")
            continue
        problems += (f"keys.{id_}: {why}" for key in _split(given) if (why := _wrong(key)))
    problems += _conflicts(keys, views)
    for view in views:
        if (id_ := VIEW_ID + view.name) not in set_keys:
            # The key is in the table of the view.
            former, name = f"keys.{id_}: ", f"views.{view.name}.key: "
            problems = [problem.replace(former, name, 1) for problem in problems]
    return tuple(dict.fromkeys(problems))


def effective_keys(keys: Mapping[str, str], views: Sequence[NamedView] = ()) -> dict[str, str]:
    """Returns the keys of all bindings that differ from the defaults.

    If the user gives a default key of one binding to another binding, the first binding loses this
    key, unless it has no other default key.

    Args:
        keys: Maps the id of a binding to the keys that the user set, separated by commas.
        views: The named views, with their keys.
    """
    keys = {**keys, **view_keys(views, keys)}
    effective = dict(keys)
    for place in PLACES:
        bindings = _bindings_in(place, views)
        ids = {binding.id or "" for binding in bindings}
        given = {key for id_ in ids & keys.keys() for key in _split(keys[id_])}
        for binding in bindings:
            id_ = binding.id or ""
            before = _split(effective.get(id_, binding.key))
            left = [key for key in before if key not in given]
            if id_ not in keys and left and left != before:
                effective[id_] = ",".join(left)
    return effective


def _split(keys: str) -> list[str]:
    return [_SAME.get(name, name) for name in normal_keys(keys)]


def _wrong(key: str) -> str | None:
    *modifiers, name = key.split("+")
    if not key or key.endswith("+"):
        return f'{quoted_name(key, 40)} is not a key; write "plus" for the plus sign'
    unknown = [modifier for modifier in modifiers if modifier not in _MODIFIERS]
    if unknown:
        names = ", ".join(sorted(_MODIFIERS))
        return f"{quoted_name(key, 40)} is not a key; only these can stand before +: {names}"
    if modifiers == ["shift"] and len(name) == 1:
        return f'terminals send shift and a letter as a capital letter: write "{name.upper()}"'
    if key in _NAMED or name in _NAMED or _is_typed(name):
        return None
    return f"{quoted_name(key, 40)} is not a key; {meant(name, tuple(sorted(_NAMED)))}"


def _bindings_in(place: Place, views: Sequence[NamedView]) -> list[Binding]:
    bindings = [binding for node in place.nodes for binding in declared(node)]
    return [*bindings, *(view_bindings(views, {}) if RollScreen in place.nodes else ())]


def _own(binding: Binding) -> list[str]:
    """Returns the default keys; the key of a named view is set by the user."""
    return [] if (binding.id or "").startswith(VIEW_ID) else _split(binding.key)


def _is_typed(key: str) -> bool:
    """Returns whether a key types a character into a text field."""
    if key in _CHARACTERS:
        return True
    character = key_to_character(key)
    return character is not None and character.isprintable()


def _conflicts(keys: Mapping[str, str], views: Sequence[NamedView]) -> Iterator[str]:
    effective = effective_keys(keys, views)
    told: set[tuple[str, frozenset[str | None]]] = set()
    everywhere = [binding for binding in declared(MusterApp) if binding.priority]
    for place in PLACES:
        bindings = _bindings_in(place, views)
        taken: dict[str, Binding] = {}
        for binding in dict.fromkeys([*bindings, *everywhere]):
            id_ = binding.id or ""
            for key in _split(effective.get(id_, binding.key)):
                if place.typing and id_ in keys and id_ != ACCEPT and _is_typed(key):
                    problem = f"keys.{id_}: {quoted_name(key, 40)} types a character into"
                    yield f"{problem} the field of {place.name}; use another key"
                other = taken.setdefault(key, binding)
                if other.id == id_ or (key in _own(binding) and key in _own(other)):
                    # Two defaults may share a key: only one of the two is active at a time.
                    continue
                both = (key, frozenset((id_, other.id)))
                if both not in told and (id_ in keys or other.id in keys):
                    told.add(both)
                    changed, rival = (id_, other.id) if id_ in keys else (other.id, id_)
                    problem = f"keys.{changed}: {quoted_name(key, 40)} is also the key of {rival}"
                    yield f"{problem} in {place.name}; give one of the two another key"
