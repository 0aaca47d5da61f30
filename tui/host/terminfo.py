"""Finds out whether a terminal can show a screen."""

from __future__ import annotations


def has_cursor_addressing(terminal: str) -> bool:
    """Returns whether the cursor can be placed anywhere on a terminal.

    Without this ability, a screen cannot be drawn. A type that this host does not know counts as
    able: its entry may be missing here, and nearly all terminals are able.

    Args:
        terminal: The type of the terminal: the value of TERM; empty if it is not set.
    """
    if terminal in ("dumb", "unknown"):
        return False
    if not terminal:
        return True
    try:
        # Imported here because only commands with a screen need it. Some systems have no curses.
        import curses

        curses.setupterm(terminal, 1)
        return bool(curses.tigetstr("cup"))
    except (ImportError, curses.error):
        return True
