"""Reads the SQLite database of a workspace without blocking its writers and without a trace."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.database.files import DatabaseStamp as DatabaseStamp
    from registry.database.files import stamp_of as stamp_of
    from registry.database.rows import Row as Row
    from registry.database.rows import Rows as Rows
    from registry.database.rows import grouped as grouped
    from registry.database.rows import read_agent as read_agent
    from registry.database.rows import read_rows as read_rows
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "files": (
                "DatabaseStamp",
                "stamp_of",
            ),
            "rows": (
                "Row",
                "Rows",
                "grouped",
                "read_agent",
                "read_rows",
            ),
        },
    )
