"""Reads and changes tasks and workspaces, independent of how they are stored."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.sources.found import Found as Found
    from registry.sources.found import Job as Job
    from registry.sources.found import unreadable as unreadable
    from registry.sources.issues import find_issues as find_issues
    from registry.sources.json_source import JsonTask as JsonTask
    from registry.sources.json_source import JsonWorkspace as JsonWorkspace
    from registry.sources.source import Dialect as Dialect
    from registry.sources.source import Look as Look
    from registry.sources.source import NamedFile as NamedFile
    from registry.sources.source import Source as Source
    from registry.sources.source import TaskSource as TaskSource
    from registry.sources.source import WorkspaceSource as WorkspaceSource
    from registry.sources.sqlite_source import SqliteTask as SqliteTask
    from registry.sources.sqlite_source import SqliteWorkspace as SqliteWorkspace
    from registry.sources.sqlite_source import workspace_source as workspace_source
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "found": (
                "Found",
                "Job",
                "unreadable",
            ),
            "issues": ("find_issues",),
            "json_source": (
                "JsonTask",
                "JsonWorkspace",
            ),
            "source": (
                "Dialect",
                "Look",
                "NamedFile",
                "Source",
                "TaskSource",
                "WorkspaceSource",
            ),
            "sqlite_source": (
                "SqliteTask",
                "SqliteWorkspace",
                "workspace_source",
            ),
        },
    )
