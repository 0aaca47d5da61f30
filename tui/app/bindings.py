"""What the bindings of the monitor have in common, and the keys that they have now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode

CHANGING = frozenset({"kill", "kill.tree", "complete", "undo", "doctor.fix"})
"""Ids of those that change something: they are not there in read-only mode."""


HELP = "help"
"""The id of the screen that shows the help."""


def declared(node: type[DOMNode]) -> list[Binding]:
    """The bindings that a class of ours has; those of Textual's classes are left out."""
    own = [base for base in node.__mro__ if not base.__module__.startswith("textual.")]
    return [each for base in own for each in vars(base).get("BINDINGS", ())]


def normal_keys(keys: str) -> list[str]:
    """Keys separated by commas as Textual names them: ``?`` is ``question_mark``."""
    made = Binding.make_bindings([Binding(keys, "", "")])
    return [each.key for each in made]


def keys_of(binding: Binding, keymap: Mapping[str, str]) -> list[str]:
    """The keys that a binding has, the user's in place of its own."""
    return normal_keys(keymap.get(binding.id or "", binding.key))


def shown_keys(
    app: App[None], bindings: Iterable[Binding], keymap: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Keys as they are shown and what they do, one entry for each thing that is done."""
    rows: dict[str, list[str]] = {}
    for binding in bindings:
        keys = rows.setdefault(binding.tooltip or binding.description, [])
        for key in keys_of(binding, keymap):
            shown = app.get_key_display(binding.with_key(key, None))
            if shown not in keys:
                keys.append(shown)
    for what, keys in rows.items():
        if what:
            yield ", ".join(keys), what
