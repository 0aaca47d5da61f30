"""The progress of long work, reported by a callback and shown as a bar. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tui.text.sanitize import fit

ProgressCallback = Callable[[str, int, int], None]
"""Called with a description of the work, the number of finished steps and the number of steps."""


def no_progress(_what: str, _done: int, _of: int) -> None:
    """Ignores the progress."""


def bar(what: str, done: int, of: int, cells: int) -> str:
    """Returns one line with a progress bar, exactly `cells` wide.

    Args:
        what: A description of the work.
        done: The number of finished steps.
        of: The total number of steps, at least `done`.
        cells: The width in cells.
    """
    label = f" {what}: {done} of {of} "
    room = min(40, cells - len(label) - 1)
    if room < 8:
        return fit(label, cells)
    full = room * done // max(of, 1)
    return fit(f"{label}{'━' * full}{'─' * (room - full)}", cells)
