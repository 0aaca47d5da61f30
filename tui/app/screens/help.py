"""The help screen: lists the keys of the present screen, and explains the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.dom import DOMNode
from textual.screen import Screen
from textual.scroll_view import ScrollView

from tui.app.bindings import CHANGING, HELP, declared, shown_keys
from tui.app.screens.report import Part, ReportScreen
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import fit, width

_SCROLLING = (
    Binding("up,down", "", "Scroll"),
    Binding("pageup,pagedown", "", "Scroll by pages"),
    Binding("home,end", "", "To the first or the last line"),
)


class HelpScreen(ReportScreen):
    """Shows the help. The keys that open this screen also close it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "close", "Close", show=False, id="help.close"),
    ]

    def __init__(self, title: str, parts: Iterable[Part]) -> None:
        super().__init__(title, parts)
        self.id = HELP


def help_of(screen: Screen[object], keymap: Mapping[str, str], read_only: bool) -> HelpScreen:
    """Makes the help for the present screen.

    The help lists the keys of the focused widget, of the screen and of the app. Keys that have no
    effect at the moment are included.

    Args:
        screen: The present screen.
        keymap: Maps the id of a key binding to the keys that the user set.
        read_only: Whether to leave out the keys that change agents or files.
    """
    app = screen.app
    innermost = screen.focused or screen
    nodes = list(innermost.ancestors_with_self)
    here = [
        binding
        for node in nodes
        if node is not app and (node in screen.ancestors_with_self or screen in node.ancestors)
        for binding in _bindings(node)
    ]
    # A modal screen blocks all keys of the app except those with priority.
    everywhere = [binding for binding in _bindings(app) if binding.priority or not screen.is_modal]
    sections = {"Here": here, "Everywhere": everywhere}
    return HelpScreen(
        "Help",
        _help_parts(
            {
                title: list(
                    shown_keys(
                        app,
                        (b for b in bindings if not (read_only and b.id in CHANGING)),
                        keymap,
                    )
                )
                for title, bindings in sections.items()
            },
            with_verdicts=not screen.is_modal,
            read_only=read_only,
        ),
    )


def _bindings(node: DOMNode) -> Iterable[Binding]:
    yield from declared(type(node))
    yield from getattr(node, "view_bindings", ())
    if isinstance(node, ScrollableContainer) and not isinstance(node, ScrollView):
        yield from _SCROLLING


def _help_parts(
    sections: Mapping[str, list[tuple[str, str]]], *, with_verdicts: bool, read_only: bool
) -> Iterator[Part]:
    longest = max((width(keys) for rows in sections.values() for keys, _ in rows), default=0)
    wide = max(16, min(longest + 2, 28))
    for title, rows in sections.items():
        if rows:
            yield (f"{title}\n", "bold")
        for keys, description in rows:
            yield (f"  {fit(keys, wide)}", "$primary bold")
            yield f"{description}\n"
        yield "\n"
    if not with_verdicts:
        return
    yield ("Verdicts\n", "bold")
    for verdict, entry in VERDICTS.items():
        yield (f"  {entry.glyph} {fit(verdict.value, 14)}", "bold")
        yield f"{entry.meaning}\n"
    if read_only:
        yield "\nRead-only mode: muster changes nothing.\n"
        return
    yield (
        "\nUndo takes back the last change of registries. A kill cannot be undone."
        "\nKill and complete apply to the marked agents, or else to the agent under the "
        "cursor. On a task's line, kill applies to all agents of the task. Kill and complete both "
        "show a plan and ask for a confirmation.\n"
    )
