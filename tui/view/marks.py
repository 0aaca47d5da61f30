"""The operator's marks on the roll. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from tui.view.outline import Key


@dataclass(frozen=True, slots=True)
class Marks:
    """Which agents and orphans are marked.

    Attributes:
        keys: Those.
        start: The line at which a range began that still follows the cursor, or None.
        before: What was marked before that range.
    """

    keys: frozenset[Key] = frozenset()
    start: Key | None = None
    before: frozenset[Key] = frozenset()

    def adding(self, keys: Set[Key]) -> Marks:
        """With some more; a range ends there."""
        return Marks(self.keys | keys)

    def inverting(self, keys: Set[Key]) -> Marks:
        """With those of some that are not marked, without those that are; a range ends there."""
        return Marks(self.keys ^ keys)

    def starting(self, at: Key) -> Marks:
        """With a range that begins at a line."""
        return Marks(self.keys, at, self.keys)

    def reaching(self, keys: Set[Key]) -> Marks:
        """With exactly these in the range."""
        return replace(self, keys=self.before | keys)

    def ended(self) -> Marks:
        """Without a range; what it marked stays so."""
        return Marks(self.keys)

    def alive(self, there: Set[Key]) -> Marks:
        """Without those that are not there any more."""
        return replace(self, keys=self.keys & there, before=self.before & there)
