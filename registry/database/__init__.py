"""Reads and writes the SQLite database of a workspace, beside the orchestrator.

A reading blocks no writer and leaves no trace. A write is one short, guarded transaction.
"""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.database.agent_rows import FIELDS as FIELDS
    from registry.database.agent_rows import AgentTables as AgentTables
    from registry.database.agent_rows import agent_tables as agent_tables
    from registry.database.agent_rows import is_storable as is_storable
    from registry.database.agent_rows import read_tables as read_tables
    from registry.database.agent_rows import touch_tasks as touch_tasks
    from registry.database.agent_rows import why_unwritable as why_unwritable
    from registry.database.agent_rows import write_entries as write_entries
    from registry.database.connection import USUAL as USUAL
    from registry.database.connection import Limits as Limits
    from registry.database.files import DatabaseStamp as DatabaseStamp
    from registry.database.files import stamp_of as stamp_of
    from registry.database.known_workspaces import KNOWN_AT_MOST as KNOWN_AT_MOST
    from registry.database.known_workspaces import read_known_workspaces as read_known_workspaces
    from registry.database.readings import between_readings as between_readings
    from registry.database.rows import find_damage as find_damage
    from registry.database.rows import lists_task as lists_task
    from registry.database.rows import read_agent as read_agent
    from registry.database.rows import read_rows as read_rows
    from registry.database.tables import EMPTY as EMPTY
    from registry.database.tables import Chunk as Chunk
    from registry.database.tables import Row as Row
    from registry.database.tables import Rows as Rows
    from registry.database.tables import Table as Table
    from registry.database.tables import Values as Values
    from registry.database.tables import as_rows as as_rows
    from registry.database.transaction import WriteTransaction as WriteTransaction
    from registry.database.transaction import why_locked as why_locked
    from registry.database.transaction import writing as writing
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "connection": (
                "Limits",
                "USUAL",
            ),
            "agent_rows": (
                "AgentTables",
                "FIELDS",
                "agent_tables",
                "is_storable",
                "read_tables",
                "touch_tasks",
                "why_unwritable",
                "write_entries",
            ),
            "files": (
                "DatabaseStamp",
                "stamp_of",
            ),
            "known_workspaces": (
                "KNOWN_AT_MOST",
                "read_known_workspaces",
            ),
            "readings": ("between_readings",),
            "rows": (
                "find_damage",
                "lists_task",
                "read_agent",
                "read_rows",
            ),
            "tables": (
                "Chunk",
                "EMPTY",
                "Row",
                "Rows",
                "Table",
                "Values",
                "as_rows",
            ),
            "transaction": (
                "WriteTransaction",
                "why_locked",
                "writing",
            ),
        },
    )
