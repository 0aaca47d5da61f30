"""What the operator set on the screen, and what of it the next start of muster shows again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.dataclass import dataclass, field
from tui.app.screens.split import Split
from tui.config.settings import THEMES
from tui.config.state_file import StateFile
from tui.model.roll import Verdict
from tui.text.sanitize import harmless
from tui.view.view import Sort, View

_LONGEST_FILTER = 1000

# No terminal has more cells in a row.
_MOST_CELLS = 1000


@dataclass(frozen=True, slots=True)
class ScreenState:
    """What the operator can set on the screen.

    Attributes:
        theme: One of `THEMES`; None for the theme of the settings.
        view: The filter and the sort order.
        split: The place and size of the panel.
    """

    theme: str | None = None
    view: View = field(default_factory=View)
    split: Split = field(default_factory=Split)

    def values(self) -> dict[str, Any]:
        """Returns the values for the state file."""
        view, split = self.view, self.split
        return {
            "theme": self.theme,
            "filter": view.query,
            "sort": view.sort.value,
            "reverse": view.reverse,
            "only": None if view.only is None else view.only.value,
            "hide_finished": view.hide_finished,
            "panel_beside": split.beside,
            "panel_wider": split.wider,
            "panel_higher": split.higher,
        }


def state_from(values: Mapping[str, Any]) -> ScreenState:
    """Returns the state that the values of a state file describe.

    Each invalid value is replaced by the default. The file may be of another version of muster,
    or changed by hand.
    """

    def chosen(name: str, choices: Mapping[str, Any], default: Any = None) -> Any:
        value = values.get(name)
        return choices.get(value, default) if isinstance(value, str) else default

    def flag(name: str) -> bool | None:
        value = values.get(name)
        return value if isinstance(value, bool) else None

    def cells(name: str) -> int:
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            return 0
        return max(-_MOST_CELLS, min(value, _MOST_CELLS))

    query = values.get("filter")
    if not isinstance(query, str) or harmless(query, _LONGEST_FILTER) != query:
        query = ""
    view = View(
        query,
        chosen("sort", {sort.value: sort for sort in Sort}, Sort.HIERARCHY),
        chosen("only", {verdict.value: verdict for verdict in Verdict}),
        bool(flag("hide_finished")),
        bool(flag("reverse")),
    )
    split = Split(flag("panel_beside"), cells("panel_wider"), cells("panel_higher"))
    return ScreenState(chosen("theme", {name: name for name in THEMES}), view, split)


class Keeper:
    """Keeps what the operator sets, for the next start of muster.

    What the operator does not change keeps its value in the file, also if an option or a setting
    replaced this value for this run.

    Args:
        file: The state file; None to keep nothing.

    Attributes:
        kept: The state that the file had at the start.
    """

    def __init__(self, file: StateFile | None) -> None:
        self._file = file
        self.kept = state_from({} if file is None else file.load())
        self._before = self._saved = self._now = self.kept.values()
        self._first: dict[str, Any] | None = None

    def note(self, state: ScreenState) -> bool:
        """Takes note of the present state; returns whether `save` has something to save."""
        values = state.values()
        if self._first is None:
            self._first = values
        changed = {name: value for name, value in values.items() if value != self._first[name]}
        self._now = {**self._before, **changed}
        return self.can_keep and self._now != self._saved

    def save(self) -> None:
        """Writes the noted state, if it changed since the last call; may be slow."""
        if self._file is not None and self._now != self._saved:
            self._saved = self._now
            self._file.save(self._saved)

    @property
    def can_keep(self) -> bool:
        """Whether there is a file."""
        return self._file is not None
