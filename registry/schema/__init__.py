"""The content of registries, edits of this content, and the locations of the files."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.schema.counters import CounterDrift as CounterDrift
    from registry.schema.edits import StatusChange as StatusChange
    from registry.schema.ids import find_existing_agent as find_existing_agent
    from registry.schema.ids import generate_unique_agent_id as generate_unique_agent_id
    from registry.schema.ids import verify_agent_id_unique as verify_agent_id_unique
    from registry.schema.layout import DATABASE as DATABASE
    from registry.schema.layout import GLOBAL_FOLDER as GLOBAL_FOLDER
    from registry.schema.layout import GLOBAL_REGISTRY as GLOBAL_REGISTRY
    from registry.schema.layout import TASK_REGISTRY as TASK_REGISTRY
    from registry.schema.layout import WORKSPACE_NAME as WORKSPACE_NAME
    from registry.schema.layout import TaskPlace as TaskPlace
    from registry.schema.layout import Workspace as Workspace
    from registry.schema.layout import last_reports as last_reports
    from registry.schema.layout import task_places as task_places
    from registry.schema.places import ENVIRONMENT_VARIABLE as ENVIRONMENT_VARIABLE
    from registry.schema.places import Ask as Ask
    from registry.schema.places import KnownPaths as KnownPaths
    from registry.schema.places import Origin as Origin
    from registry.schema.places import Place as Place
    from registry.schema.places import PlaceState as PlaceState
    from registry.schema.places import kept_places as kept_places
    from registry.schema.places import known_paths as known_paths
    from registry.schema.places import named_by as named_by
    from registry.schema.places import named_places as named_places
    from registry.schema.places import nearest_places as nearest_places
    from registry.schema.records import ORCHESTRATOR as ORCHESTRATOR
    from registry.schema.records import AgentRecord as AgentRecord
    from registry.schema.records import Deployment as Deployment
    from registry.schema.records import GlobalRecord as GlobalRecord
    from registry.schema.records import GlobalTask as GlobalTask
    from registry.schema.records import Phase as Phase
    from registry.schema.records import TaskRecord as TaskRecord
    from registry.schema.records import agent_entries as agent_entries
    from registry.schema.records import global_record as global_record
    from registry.schema.session_names import SESSION_PREFIX as SESSION_PREFIX
    from registry.schema.session_names import is_tmux_name_certain as is_tmux_name_certain
    from registry.schema.session_names import replaced_spelling as replaced_spelling
    from registry.schema.session_names import replaced_spellings as replaced_spellings
    from registry.schema.session_names import spellings as spellings
    from registry.schema.statuses import ACTIVE_STATUSES as ACTIVE_STATUSES
    from registry.schema.statuses import DATABASE_STATUSES as DATABASE_STATUSES
    from registry.schema.statuses import FAILED_STATUSES as FAILED_STATUSES
    from registry.schema.statuses import TERMINAL_STATUSES as TERMINAL_STATUSES
    from registry.schema.statuses import is_active as is_active
    from registry.schema.statuses import is_terminal as is_terminal
    from registry.schema.timestamps import Instant as Instant
    from registry.schema.timestamps import parse_time as parse_time
    from registry.schema.trust import why_foreign as why_foreign
    from registry.schema.unread_database import UnreadDatabase as UnreadDatabase
    from registry.schema.unread_database import database_beside as database_beside
    from registry.schema.unread_database import find_database as find_database
    from registry.schema.workspaces import Survey as Survey
    from registry.schema.workspaces import find_workspaces as find_workspaces
    from registry.schema.workspaces import survey as survey
    from registry.schema.workspaces_around import default_paths as default_paths
    from registry.schema.workspaces_around import default_workspaces as default_workspaces
    from registry.schema.workspaces_around import resolved_default as resolved_default
    from registry.schema.workspaces_around import user_environment as user_environment
    from registry.schema.workspaces_around import workspaces_above as workspaces_above
    from registry.schema.zombies import END_DELAY as END_DELAY
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "counters": ("CounterDrift",),
            "edits": ("StatusChange",),
            "ids": (
                "find_existing_agent",
                "generate_unique_agent_id",
                "verify_agent_id_unique",
            ),
            "layout": (
                "DATABASE",
                "GLOBAL_FOLDER",
                "GLOBAL_REGISTRY",
                "TASK_REGISTRY",
                "TaskPlace",
                "WORKSPACE_NAME",
                "Workspace",
                "last_reports",
                "task_places",
            ),
            "records": (
                "AgentRecord",
                "Deployment",
                "GlobalRecord",
                "GlobalTask",
                "ORCHESTRATOR",
                "Phase",
                "TaskRecord",
                "agent_entries",
                "global_record",
            ),
            "session_names": (
                "SESSION_PREFIX",
                "is_tmux_name_certain",
                "replaced_spelling",
                "replaced_spellings",
                "spellings",
            ),
            "unread_database": (
                "UnreadDatabase",
                "database_beside",
                "find_database",
            ),
            "statuses": (
                "ACTIVE_STATUSES",
                "DATABASE_STATUSES",
                "FAILED_STATUSES",
                "TERMINAL_STATUSES",
                "is_active",
                "is_terminal",
            ),
            "timestamps": (
                "Instant",
                "parse_time",
            ),
            "trust": ("why_foreign",),
            "workspaces": (
                "Survey",
                "find_workspaces",
                "survey",
            ),
            "workspaces_around": (
                "user_environment",
                "default_paths",
                "default_workspaces",
                "resolved_default",
                "workspaces_above",
            ),
            "places": (
                "ENVIRONMENT_VARIABLE",
                "named_by",
                "Origin",
                "Place",
                "PlaceState",
                "Ask",
                "KnownPaths",
                "named_by",
                "kept_places",
                "known_paths",
                "named_places",
                "nearest_places",
            ),
            "zombies": ("END_DELAY",),
        },
    )
