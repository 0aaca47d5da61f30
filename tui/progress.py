"""How far long work is, told by who does it to who shows it. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tui.text.sanitize import fit

ProgressCallback = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""


def untold(_what: str, _done: int, _of: int) -> None:
    """Tells nobody."""


def bar(what: str, done: int, of: int, cells: int) -> str:
    """One line with a bar: exactly so many cells.

    Args:
        what: What is being done.
        done: How many are done.
        of: Of how many; at least as many as are done.
        cells: How wide it is.
    """
    said = f" {what}: {done} of {of} "
    room = min(40, cells - len(said) - 1)
    if room < 8:
        return fit(said, cells)
    full = room * done // max(of, 1)
    return fit(f"{said}{'━' * full}{'─' * (room - full)}", cells)
