"""Reads the key bindings of the monitor's classes, for the help and the checks of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode

CHANGING = frozenset({"kill", "kill.tree", "complete", "complete.zombies", "undo", "doctor.fix"})
"""The ids of the key bindings that change agents or files. Read-only mode disables these keys."""


HELP = "help"
"""The id of the help screen."""


def declared(node: type[DOMNode]) -> list[Binding]:
    """Returns the key bindings of a class and its base classes, except those of Textual."""
    own = [base for base in node.__mro__ if not base.__module__.startswith("textual.")]
    return [binding for base in own for binding in vars(base).get("BINDINGS", ())]


def normal_keys(keys: str) -> list[str]:
    """Splits a text at commas into keys, and returns Textual's names of these keys.

    For example, Textual's name of ``?`` is ``question_mark``.
    """
    made = Binding.make_bindings([Binding(keys, "", "")])
    return [binding.key for binding in made]


def keys_of(binding: Binding, keymap: Mapping[str, str]) -> list[str]:
    """Returns the keys that the user set for a binding, or else the default keys."""
    return normal_keys(keymap.get(binding.id or "", binding.key))


def shown_keys(
    app: App[None], bindings: Iterable[Binding], keymap: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yields two texts for each action: its keys, separated by commas, and its description."""
    rows: dict[str, list[str]] = {}
    for binding in bindings:
        keys = rows.setdefault(binding.tooltip or binding.description, [])
        for key in keys_of(binding, keymap):
            shown = app.get_key_display(binding.with_key(key, None))
            if shown not in keys:
                keys.append(shown)
    for description, keys in rows.items():
        if description:
            yield ", ".join(keys), description
