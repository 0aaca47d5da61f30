"""Functions that read the key bindings of the monitor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode

CHANGING = frozenset({"kill", "kill.tree", "complete", "undo", "doctor.fix"})
"""The ids of bindings that change agents or files; disabled in read-only mode."""


HELP = "help"
"""The id of the help screen."""


def declared(node: type[DOMNode]) -> list[Binding]:
    """Returns the bindings of a class and its bases, without the bindings of Textual's classes."""
    own = [base for base in node.__mro__ if not base.__module__.startswith("textual.")]
    return [binding for base in own for binding in vars(base).get("BINDINGS", ())]


def normal_keys(keys: str) -> list[str]:
    """Splits keys at commas, and returns Textual's names: ``?`` becomes ``question_mark``."""
    made = Binding.make_bindings([Binding(keys, "", "")])
    return [binding.key for binding in made]


def keys_of(binding: Binding, keymap: Mapping[str, str]) -> list[str]:
    """Returns the keys of a binding; the user's keys replace the default keys."""
    return normal_keys(keymap.get(binding.id or "", binding.key))


def shown_keys(
    app: App[None], bindings: Iterable[Binding], keymap: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yields the shown keys and the description of each action; each action is listed once."""
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
