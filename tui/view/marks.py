"""The operator's marks on the roll. Pure."""

from __future__ import annotations

from collections.abc import Set

from registry.dataclass import dataclass, replace
from tui.view.outline import Key


@dataclass(frozen=True, slots=True)
class Marks:
    """The marked agents and orphans.

    Attributes:
        keys: The keys of the marked agents and orphans.
        start: The line where a range starts; the range ends at the cursor. None without a range.
        before: The marks without the range.
    """

    keys: frozenset[Key] = frozenset()
    start: Key | None = None
    before: frozenset[Key] = frozenset()

    def adding(self, keys: Set[Key]) -> Marks:
        """Returns the marks with more keys, and without a range."""
        return Marks(self.keys | keys)

    def inverting(self, keys: Set[Key]) -> Marks:
        """Returns the marks with the mark of each key inverted, and without a range."""
        return Marks(self.keys ^ keys)

    def starting(self, at: Key) -> Marks:
        """Returns the marks with a range that starts at a line."""
        return Marks(self.keys, at, self.keys)

    def reaching(self, keys: Set[Key]) -> Marks:
        """Returns the marks from before the range, and these keys, which are the new range."""
        return replace(self, keys=self.before | keys)

    def ended(self) -> Marks:
        """Returns the same marks without a range."""
        return Marks(self.keys)

    def alive(self, present: Set[Key]) -> Marks:
        """Returns the marks without those of agents and orphans that are gone."""
        return replace(self, keys=self.keys & present, before=self.before & present)
