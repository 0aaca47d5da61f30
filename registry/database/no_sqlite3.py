"""Takes the place of Python's module sqlite3 where Python was built without it.

Then JSON registries work as usual, and each database is unreadable.
"""

from __future__ import annotations


class Error(Exception):
    """Never raised."""


DatabaseError = OperationalError = Error


def __getattr__(name: str) -> int:
    """Returns a number for each of SQLite's constants, which nothing uses."""
    return -1
