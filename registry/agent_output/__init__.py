"""Reads the output files of agents: progress reports, findings and stream logs."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.agent_output.archived import ArchivedAgentFile as ArchivedAgentFile
    from registry.agent_output.archived import archived_facts_of as archived_facts_of
    from registry.agent_output.deployments import (
        find_database_deployment as find_database_deployment,
    )
    from registry.agent_output.deployments import (
        find_deployed as find_deployed,
    )
    from registry.agent_output.files import AgentFile as AgentFile
    from registry.agent_output.files import Batch as Batch
    from registry.agent_output.files import FileFacts as FileFacts
    from registry.agent_output.files import facts_of as facts_of
    from registry.agent_output.history import TraceReader as TraceReader
    from registry.agent_output.identities import ARCHIVE as ARCHIVE
    from registry.agent_output.identities import Identity as Identity
    from registry.agent_output.identities import OutputFiles as OutputFiles
    from registry.agent_output.identities import output_files as output_files
    from registry.agent_output.last_report import LastReport as LastReport
    from registry.agent_output.last_report import read_last_reports as read_last_reports
    from registry.agent_output.lines import FINDINGS as FINDINGS
    from registry.agent_output.lines import PROGRESS as PROGRESS
    from registry.agent_output.lines import SEVERITIES as SEVERITIES
    from registry.agent_output.lines import STREAM_LOG as STREAM_LOG
    from registry.agent_output.lines import AgentFinding as AgentFinding
    from registry.agent_output.lines import AgentLine as AgentLine
    from registry.agent_output.lines import Line as Line
    from registry.agent_output.lines import LogKind as LogKind
    from registry.agent_output.lines import LogLine as LogLine
    from registry.agent_output.lines import ProgressReport as ProgressReport
    from registry.agent_output.lines import Source as Source
    from registry.agent_output.lines import report_of as report_of
    from registry.agent_output.reported_end import BY_MUSTER as BY_MUSTER
    from registry.agent_output.reported_end import ReportedEnd as ReportedEnd
    from registry.agent_output.reported_end import reported_ends as reported_ends
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "archived": (
                "ArchivedAgentFile",
                "archived_facts_of",
            ),
            "deployments": ("find_database_deployment", "find_deployed"),
            "files": (
                "AgentFile",
                "Batch",
                "FileFacts",
                "facts_of",
            ),
            "history": ("TraceReader",),
            "identities": (
                "ARCHIVE",
                "Identity",
                "OutputFiles",
                "output_files",
            ),
            "last_report": (
                "LastReport",
                "read_last_reports",
            ),
            "lines": (
                "AgentFinding",
                "AgentLine",
                "FINDINGS",
                "Line",
                "LogKind",
                "LogLine",
                "PROGRESS",
                "ProgressReport",
                "SEVERITIES",
                "STREAM_LOG",
                "Source",
                "report_of",
            ),
            "reported_end": (
                "BY_MUSTER",
                "ReportedEnd",
                "reported_ends",
            ),
        },
    )
