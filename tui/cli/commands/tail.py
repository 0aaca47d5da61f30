"""`muster tail`: prints an agent's reports, findings and log. Does not query tmux."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from registry.errors import RegistryError
from registry.text import shown_name
from tui.cli.context import find
from tui.cli.help import Page
from tui.cli.output import DONE, NOT_ALL_DONE, complain, say, wait_for_reader
from tui.cli.parser import (
    add_agent,
    add_json,
    whole_number,
)
from tui.errors import UsageError
from tui.text.sanitize import as_json_line, some

if TYPE_CHECKING:
    from registry.agent_output import AgentFile, Batch

FOLLOW_EVERY = 0.25
"""Seconds between two readings of the files with ``--follow``."""

PAGE = Page(
    """\
Prints the last progress reports, findings and stream log lines of an agent, ordered
by time. A line without a time follows the line before it. Does not query tmux.

With --follow, prints new lines until you interrupt the command, also of files that are
created, replaced or truncated later. An incomplete last line is printed when complete.
Lines of the log that are not JSON are printed unchanged. Lines of other files that are
not JSON are only counted.

With --json, prints one object per line: `source`, `timestamp` as in the file, `at` in
seconds since the epoch, and the content of the line.""",
    (
        ("muster tail -f fixer", "what is the agent doing?"),
        ("muster tail -n 100 --only findings fixer-215911-8c90c7", "what did the agent find?"),
    ),
    "0 done; 1 a file cannot be read; 2 wrong usage, or no such agent; 130 interrupted",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_agent(parser)
    parser.add_argument(
        "--follow", "-f", action="store_true", help="print new lines until interrupted"
    )
    parser.add_argument(
        "-n",
        dest="number",
        type=whole_number,
        default=10,
        help="the last N lines of each file (default: 10)",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=("progress", "findings", "log"),
        help="only this file; may be given more than once",
    )
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


class _Files:
    """The output files of an agent. If one file is unreadable, the other files are still read.

    Attributes:
        problems: Maps the name of each unreadable file to the error of the last reading.
    """

    def __init__(self, files: Mapping[str, AgentFile[Any]]) -> None:
        self._files = files
        self.problems: dict[str, str] = {}

    def read(self, count: int | None = None) -> dict[str, Batch[Any]]:
        """Returns the last `count` records of each file; only new records if `count` is None."""
        batches: dict[str, Batch[Any]] = {}
        for name, file in self._files.items():
            try:
                batches[name] = file.more() if count is None else file.last(count)
            except RegistryError as error:
                # A lasting error is printed once.
                if self.problems.get(name) != str(error):
                    self.problems[name] = str(error)
                    _warn([str(error)])
            else:
                self.problems.pop(name, None)
        return batches


def run(options: argparse.Namespace) -> int:
    """Runs `muster tail`."""
    from registry.agent_output import FINDINGS, PROGRESS, STREAM_LOG
    from tui.cli.lookup import agent_with

    task, agent = agent_with(find(options), options.agent, options.task)
    if agent != options.agent:
        _warn([f"the agent is {shown_name(agent)}"])
    if task.problem is not None:
        raise UsageError(f"{shown_name(agent)} has no files: {task.problem}")
    sources = (PROGRESS, FINDINGS, STREAM_LOG)
    chosen = [source for source in sources if not options.only or source.name in options.only]
    with contextlib.ExitStack() as stack:
        opened: dict[str, AgentFile[Any]] = {}
        for source in chosen:
            file: AgentFile[Any] = task.output(agent, source)
            opened[source.name] = stack.enter_context(file)
        files = _Files(opened)
        try:
            batches = files.read(options.number)
        except ValueError as error:
            raise UsageError(str(error)) from None
        _print(batches, options.json)
        if not options.follow:
            _warn(
                f"{name}: the last line is incomplete and was left out"
                for name, batch in batches.items()
                if batch.torn
            )
            if not any(batch.size for batch in batches.values()) and not options.json:
                where = ", ".join(shown_name(file.path) for file in opened.values())
                _warn([f"{shown_name(agent)} has written nothing to {where}"])
            return NOT_ALL_DONE if files.problems else DONE
        while True:
            sys.stdout.flush()
            if not any(batch.behind for batch in batches.values()):
                wait_for_reader(FOLLOW_EVERY)
            batches = files.read()
            _warn(
                f"{shown_name(opened[name].path)} was replaced or truncated; "
                "the lines from its beginning follow"
                for name, batch in batches.items()
                if batch.restarted
            )
            _print(batches, options.json)


def _print(batches: Mapping[str, Batch[Any]], as_json: bool) -> None:
    from registry.agent_output import STREAM_LOG, LogKind, LogLine
    from tui.details.output_text import merged, record_json, record_lines

    for source, record in merged(batches):
        if as_json:
            print(as_json_line(record_json(source, record)))
        else:
            say(record_lines(record))
    for name, batch in batches.items():
        raw = sum(
            isinstance(record, LogLine) and record.kind is LogKind.RAW for record in batch.records
        )
        if raw:
            _warn([f"{name}: {some(raw, 'line')} printed unchanged: not JSON"])
        if left_out := batch.malformed - raw:
            # Lines of a log that are not JSON are left out only if they are too long.
            reason = "too long" if name == STREAM_LOG.name else "not JSON"
            _warn([f"{name}: {some(left_out, 'line')} left out: {reason}"])


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.flush()
        complain(line)
