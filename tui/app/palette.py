"""The command palette, which finds themes, and actions of the present screen, by their names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.widgets import Input

from tui.app.bindings import view_title
from tui.app.screens.roll import RollScreen
from tui.config.named_views import VIEW_ID
from tui.config.settings import THEMES

_Do = Callable[[], Awaitable[object] | None]


class Actions(Provider):
    """Provides the themes, and all actions of the screen behind the palette that have a key."""

    async def discover(self) -> Hits:
        """Yields all actions; Textual calls this method while no text is typed."""
        for says, help_, do in (*self._actions(), *self._views()):
            yield DiscoveryHit(says, do, says, help_)

    async def search(self, query: str) -> Hits:
        """Yields the actions and themes that match the typed text."""
        matcher = self.matcher(query)
        for says, help_, do in (*self._actions(), *self._views(), *self._themes()):
            score = matcher.match(says)
            if score > 0:
                yield Hit(score, matcher.highlight(says), do, says, help_)

    def _actions(self) -> Iterator[tuple[str, str, _Do]]:
        done: set[str] = set()
        # Textual's own bindings have no ids; they move a cursor or edit a field.
        active = [
            (node, binding)
            for node, binding, enabled, _ in self.screen.active_bindings.values()
            if enabled and binding.id and binding.id != "palette"
            if not binding.id.startswith(VIEW_ID)
        ]
        actions: dict[str, set[str]] = {}
        for _, binding in active:
            actions.setdefault(binding.tooltip, set()).add(binding.action)
        for node, binding in active:
            # If several actions share a tooltip, only their descriptions distinguish the actions.
            several = len(actions[binding.tooltip]) > 1
            says = binding.description if several else binding.tooltip or binding.description
            if says and says not in done:
                done.add(says)
                key = self.app.get_key_display(binding)
                yield says, key, partial(self.app.run_action, binding.action, node)

    def _views(self) -> Iterator[tuple[str, str, _Do]]:
        if not isinstance(self.screen, RollScreen):
            return
        keys = {binding.id: binding for binding in self.screen.view_bindings}
        for number, view in enumerate(self.screen.named_views):
            binding = keys.get(VIEW_ID + view.name)
            key = "" if binding is None else self.app.get_key_display(binding)
            yield view_title(view), key, partial(self._show_view, self.screen, number)

    def _show_view(self, screen: RollScreen, number: int) -> None:
        screen.action_named_view(number)

    def _themes(self) -> Iterator[tuple[str, str, _Do]]:
        keeps = getattr(self.app, "keeps_theme", False)
        until = "kept for the next start" if keeps else "used until you close muster"
        for name in THEMES:
            yield f"Theme: {name}", until, partial(self._set_theme, name)

    def _set_theme(self, name: str) -> None:
        self.app.theme = name


class Palette(CommandPalette):
    """Textual's command palette without a blinking cursor."""

    DEFAULT_CSS = """
    Palette SearchIcon { display: none; }
    """

    def __init__(self) -> None:
        super().__init__([Actions], placeholder="type the name of an action")

    def on_mount(self) -> None:
        """Stops the blinking of the cursor; each blink would send output to the terminal."""
        self.query_one(Input).cursor_blink = False

    def _action_command_list(self, action: str) -> None:
        # If the terminal has no room for a line of the list, Textual raises LookupError.
        with suppress(*((LookupError,) if action.startswith("page_") else ())):
            super()._action_command_list(action)
