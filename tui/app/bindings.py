"""Reads the key bindings of the monitor's classes, for the help and the checks of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode

from tui.config.named_views import VIEW_ID, NamedView, view_keys
from tui.text.sanitize import harmless

CHANGING = frozenset({"kill", "kill.tree", "complete", "complete.zombies", "undo", "doctor.fix"})
"""The ids of the key bindings that change agents or files. Read-only mode disables these keys."""


HELP = "help"
"""The id of the help screen."""


def declared(node: type[DOMNode]) -> list[Binding]:
    """Returns the key bindings of a class and its base classes, except those of Textual."""
    own = [base for base in node.__mro__ if not base.__module__.startswith("textual.")]
    return [binding for base in own for binding in vars(base).get("BINDINGS", ())]


def view_bindings(views: Sequence[NamedView], keys: Mapping[str, str]) -> list[Binding]:
    """Returns the key bindings of the named views that have a key.

    Args:
        views: The named views of the settings.
        keys: The table ``[keys]`` of the settings.
    """
    key_of = view_keys(views, keys)
    return [
        Binding(
            key_of[VIEW_ID + view.name],
            f"named_view({number})",
            view_title(view),
            show=False,
            id=VIEW_ID + view.name,
        )
        for number, view in enumerate(views)
        if VIEW_ID + view.name in key_of
    ]


def view_title(view: NamedView) -> str:
    """Returns the text for a named view in the help and in the palette."""
    sort = f"by {view.sort}" if view.sort else ""
    return harmless(f"View {view.name}: {' '.join(filter(None, (view.where, sort)))}", 120)


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
