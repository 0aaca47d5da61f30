"""The agents and orphans that the operator marked for an action. Pure."""

from __future__ import annotations

from collections.abc import Set

from registry.dataclass import dataclass, replace
from tui.view.outline import Key


@dataclass(frozen=True, slots=True)
class Marks:
    """The agents and orphans that the operator marked.

    The operator can mark a range: all lines from a start line to the cursor.

    Attributes:
        keys: The keys of the marked agents and orphans, including those in the range.
        start: The key of the line where the range starts; None without a range.
        before: The keys that were marked when the range was started.
    """

    keys: frozenset[Key] = frozenset()
    start: Key | None = None
    before: frozenset[Key] = frozenset()

    def adding(self, keys: Set[Key]) -> Marks:
        """Returns a copy without a range, in which `keys` are marked too."""
        return Marks(self.keys | keys)

    def inverting(self, keys: Set[Key]) -> Marks:
        """Returns a copy without a range, in which the marks of `keys` are inverted."""
        return Marks(self.keys ^ keys)

    def starting(self, at: Key) -> Marks:
        """Returns a copy with a range that starts at the line with the key `at`."""
        return Marks(self.keys, at, self.keys)

    def reaching(self, keys: Set[Key]) -> Marks:
        """Returns a copy in which the range consists of `keys`."""
        return replace(self, keys=self.before | keys)

    def ended(self) -> Marks:
        """Returns a copy without a range; the same keys stay marked."""
        return Marks(self.keys)

    def alive(self, present: Set[Key]) -> Marks:
        """Returns a copy that keeps only the marks of keys in `present`."""
        return replace(self, keys=self.keys & present, before=self.before & present)
