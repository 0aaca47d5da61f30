"""The help: the keys of where one is, made from the bindings, and the verdicts."""

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
    Binding("pageup,pagedown", "", "Scroll by windows"),
    Binding("home,end", "", "To the beginning, to the end"),
)


class HelpScreen(ReportScreen):
    """The help; the keys that open it close it, too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "close", "Close", show=False, id="help.close"),
    ]

    def __init__(self, title: str, parts: Iterable[Part]) -> None:
        super().__init__(title, parts)
        self.id = HELP


def help_of(screen: Screen[object], keymap: Mapping[str, str], read_only: bool) -> HelpScreen:
    """The keys of what has the focus on a screen, of the screen and of the monitor.

    Those that have no use at the moment are listed as well.

    Args:
        screen: Where one is.
        keymap: The user's keys by the id of their binding.
        read_only: Leaves those out that change something.
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
    # A question or a report keeps all keys from the roll but a few.
    everywhere = [each for each in _bindings(app) if each.priority or not screen.is_modal]
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
        yield "\nRead-only: nothing can be changed from here.\n"
        return
    yield (
        "\nUndo takes back the last change of registries; nobody undoes a kill."
        "\nKill and complete are about the marked agents, or else the one under the "
        "cursor; on a task's line kill is about all its agents. Both show what they "
        "will do and ask first.\n"
    )
