"""`muster workspaces`: prints which workspaces the commands take, and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.schema import Survey, survey, user_environment
from registry.text import shown_name
from tui.cli.context import current_directory
from tui.cli.help import Page
from tui.cli.output import DONE, USAGE, complain, say
from tui.cli.parser import add_json, add_settings, add_socket, add_workspaces

if TYPE_CHECKING:
    from registry.schema import Place
    from registry.sources import Dialect
    from tui.live.registry_cache import Branch

SCHEMA = 1
"""The version of the JSON; increased when a field changes its meaning or is removed."""

PAGE = Page(
    """\
Prints which workspaces the other commands take, and which they do not take, each with
the reason. The reasons to look at a path:

  argument  you named the path
  variable  the variable MUSTER_WORKSPACES has the path
  nearest   the path is in the current directory, or in a directory above it
  default   the orchestrator's default: ~/.claude-orchestrator/workspaces, or the value
            of CLAUDE_ORCHESTRATOR_WORKSPACE
  known     the orchestrator's list has the path
            (~/.claude-orchestrator/global_registry.sqlite3)

Only the first of these groups that has a workspace is taken; `default` and `known` are
one group. With --json, each path has `path`, `taken`, `origin` (see above), `state`
(workspace, gone, foreign, unreadable, silent, other), `why` (why it is not taken; null),
`storage` (json, sqlite), `tasks` (their number; null if they are not read) and `error`
(null). `notes` has problems of the orchestrator's list.""",
    (("muster workspaces", "what would `muster` show here?"),),
    "0 at least one workspace is taken; 2 wrong usage, or no workspace is taken",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster workspaces`."""
    from tui.host.asker import ask_each

    environment = user_environment()
    here = current_directory(options.workspaces, environment)
    places = survey(options.workspaces, environment, here, ask_each)
    branches = _read(places)
    if options.json:
        from tui.text.sanitize import as_json

        print(as_json(_json(places, branches)))
    else:
        say(_lines(places, branches))
        for note in places.notes:
            complain(note)
    return DONE if places.taken else USAGE


def _read(places: Survey) -> Mapping[Path, Branch]:
    """Reads all workspaces that the user may use; returns their contents by their paths."""
    from tui.live.separate_registries import SeparateRegistries

    found = [place.workspace for place in (*places.taken, *places.others) if place.workspace]
    registries = SeparateRegistries(found)
    registries.rescan()
    return {branch.path: branch for branch in registries.branches()}


def _json(places: Survey, branches: Mapping[Path, Branch]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "workspaces": [
            *(_place_json(place, branches, None) for place in places.taken),
            *(_place_json(place, branches, places.why_others) for place in places.others),
        ],
        "notes": list(places.notes),
    }


def _place_json(
    place: Place, branches: Mapping[Path, Branch], why_not: str | None
) -> dict[str, Any]:
    branch = branches.get(place.location)
    return {
        "path": str(place.location),
        "taken": why_not is None,
        "origin": place.origin.value,
        "state": place.state.value,
        "why": place.why or why_not,
        "storage": [] if branch is None else [dialect.value for dialect in _formats(branch)],
        "tasks": None if branch is None else len(branch.states),
        "error": None if branch is None else _error(branch),
    }


def _formats(branch: Branch) -> list[Dialect]:
    """Returns the storage formats of the tasks of a workspace."""
    return sorted({state.source.dialect for state in branch.states})


def _error(branch: Branch) -> str | None:
    return branch.error or (None if branch.database is None else str(branch.database))


def _lines(places: Survey, branches: Mapping[Path, Branch]) -> Iterator[str]:
    from tui.model.warnings import format_names
    from tui.text.sanitize import some

    def cells(place: Place, why_not: str) -> tuple[str, str, str]:
        parts, branch = [place.why or why_not], branches.get(place.location)
        if branch is not None:
            formats = format_names(_formats(branch))
            parts += [formats, some(len(branch.states), "task"), _error(branch) or ""]
        return shown_name(place.location), place.origin.value, "; ".join(filter(None, parts))

    taken = [cells(place, "") for place in places.taken]
    others = [cells(place, places.why_others) for place in places.others]
    rows = [*taken, *others]
    wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for title, group in (("Taken:", taken), ("Not taken:", others)):
        if group:
            yield title
        for path, origin, note in group:
            yield f"  {path:{wide[0]}}  {origin:{wide[1]}}  {note}".rstrip()
    if not taken:
        yield "No workspace is taken."
