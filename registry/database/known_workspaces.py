"""Reads the database in which the orchestrator lists the workspaces of a user."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from registry.database.connection import USUAL, Limits, Transaction
from registry.database.rows import patiently, unknown_schema

TABLE, COLUMN = "known_workspaces", "workspace_base"

KNOWN_AT_MOST = 100
"""The largest number of workspaces that are read from the list."""


class KnownWorkspaces(NamedTuple):
    """The paths that the orchestrator's list of workspaces has.

    Attributes:
        paths: The paths, the last used one first. A value that is not a text is left out.
        is_whole: Whether the list has no more workspaces than `KNOWN_AT_MOST`.
    """

    paths: tuple[str, ...]
    is_whole: bool


def read_known_workspaces(path: Path, limits: Limits = USUAL) -> KnownWorkspaces:
    """Returns the paths that the orchestrator's list of workspaces has.

    The paths are not checked. The list keeps workspaces that no longer exist.

    Args:
        path: The database; usually `~/.claude-orchestrator/global_registry.sqlite3`.
        limits: The limits of the reading.

    Raises:
        RegistryNotFoundError: The database does not exist.
        UnreadableDatabaseError: The database is damaged, or has an unknown schema.
        RegistryError: The database is busy, not accessible, or not trusted.
    """
    return patiently(path, _known, limits)


def _known(transaction: Transaction) -> KnownWorkspaces:
    if transaction.table(TABLE) is None:
        raise unknown_schema(transaction.path, f"it has no table '{TABLE}'", TABLE)
    columns = transaction.columns(TABLE)
    if COLUMN not in columns:
        missing = f"{TABLE}.{COLUMN}"
        raise unknown_schema(transaction.path, f"it has no column '{missing}'", missing)
    last_used = "last_accessed DESC, " if "last_accessed" in columns else ""
    query = f"SELECT {COLUMN} FROM {TABLE} ORDER BY {last_used}{COLUMN} LIMIT {KNOWN_AT_MOST + 1}"  # noqa: S608
    values = [value for (value,) in transaction.select(query)]
    paths = tuple(value for value in values[:KNOWN_AT_MOST] if isinstance(value, str))
    return KnownWorkspaces(paths, len(values) <= KNOWN_AT_MOST)
