"""Reads the SQLite database of a workspace without blocking its writers and without a trace."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.database.connection import USUAL as USUAL
    from registry.database.connection import Limits as Limits
    from registry.database.files import DatabaseStamp as DatabaseStamp
    from registry.database.files import stamp_of as stamp_of
    from registry.database.rows import lists_task as lists_task
    from registry.database.rows import read_agent as read_agent
    from registry.database.rows import read_rows as read_rows
    from registry.database.tables import Row as Row
    from registry.database.tables import Rows as Rows
    from registry.database.tables import grouped as grouped
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "connection": (
                "Limits",
                "USUAL",
            ),
            "files": (
                "DatabaseStamp",
                "stamp_of",
            ),
            "rows": (
                "lists_task",
                "read_agent",
                "read_rows",
            ),
            "tables": (
                "Row",
                "Rows",
                "grouped",
            ),
        },
    )
