"""Finds the workspaces for a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass
from registry.errors import SilentWorkspaceError, WorkspaceNotFoundError
from registry.schema.layout import WORKSPACE_NAME, Workspace
from registry.schema.places import (
    ENVIRONMENT_VARIABLE,
    Ask,
    Origin,
    Place,
    PlaceState,
    ask_directly,
    kept_places,
    named_places,
    nearest_places,
)


def find_workspaces(
    arguments: Iterable[str],
    environment: Mapping[str, str],
    here: Path,
    passed_over: Callable[[str], object] = str,
    *,
    missing: Callable[[str], object] | None = None,
    ask: Ask = ask_directly,
) -> tuple[Workspace, ...]:
    """Finds the workspaces for a command line.

    These are the workspaces that the user named; else the workspaces in the variable
    `MUSTER_WORKSPACES`; else the nearest workspace upward; else all of these:

    - the default workspaces of the orchestrator (see `default_paths`);
    - the workspaces that the orchestrator knows, according to its list
      `~/.claude-orchestrator/global_registry.sqlite3`.

    A workspace that the user did not name is used only if it belongs to this user or root. The
    content of the orchestrator's files is not trusted.

    Args:
        arguments: The paths that the user named. Each path leads to a `.agent-workspace`, to a
            directory with a `.agent-workspace`, to a task's directory, to a registry, or to a
            database.
        environment: The environment variables; `MUSTER_WORKSPACES`, `HOME` and
            `CLAUDE_ORCHESTRATOR_WORKSPACE` are used.
        here: The directory where an upward search starts if no workspace is named.
        passed_over: A function that receives a message for each workspace that the search skips
            because another user could have created the workspace, or because the workspace cannot
            be examined.
        missing: A function that receives a message for each named path that is not a workspace.
            Such a path is an error if `missing` is None, or if no named path is a workspace.
        ask: Calls functions that may hang.

    Raises:
        WorkspaceNotFoundError: A named path is not a workspace, or the search found no workspace.
        SilentWorkspaceError: A file system does not answer, and `missing` is None or nothing else
            was found.
        ReplacedWorkspaceError: A workspace was replaced by a symlink during the call.
    """
    named = named_places(arguments, environment, here, ask)
    if named:
        return _choose_named(named, missing)
    upward = nearest_places(here, ask)
    refused = [place.skipped for place in upward if place.skipped is not None]
    found = _found_in(upward)
    if not found:
        if any(place.state is PlaceState.SILENT for place in upward):
            raise SilentWorkspaceError()
        kept, notes = kept_places(environment, ask)
        refused += [place.skipped for place in kept if place.skipped is not None]
        refused += notes
        found = _found_in(kept)
        if not found:
            raise _nothing_found(upward, kept, refused)
    for message in refused:
        passed_over(message)
    return found


@dataclass(frozen=True, slots=True)
class Survey:
    """All places where a workspace may be, for an explanation.

    Attributes:
        taken: The places with the workspaces that `find_workspaces` returns.
        others: The other places.
        why_others: Why the workspaces in `others` are not taken, as words.
        notes: Messages about the list of the orchestrator, if it cannot be used.
    """

    taken: tuple[Place, ...]
    others: tuple[Place, ...]
    why_others: str
    notes: tuple[str, ...]


def survey(
    arguments: Iterable[str],
    environment: Mapping[str, str],
    here: Path,
    ask: Ask = ask_directly,
) -> Survey:
    """Looks at all places, also at those that `find_workspaces` does not need.

    Args:
        arguments: See `find_workspaces`, also for the other arguments.
        environment: The environment variables.
        here: The directory where the upward search starts.
        ask: Calls functions that may hang.

    Raises:
        ReplacedWorkspaceError: A workspace was replaced by a symlink during the call.
    """
    named = named_places(arguments, environment, here, ask)
    upward = nearest_places(here, ask)
    kept, notes = kept_places(environment, ask)
    why = ""
    decisive: tuple[Place, ...] = kept
    if named:
        decisive, why = named, "other workspaces are named"
    elif _found_in(upward):
        decisive, why = upward, "a nearer workspace is taken"
    elif any(place.state is PlaceState.SILENT for place in upward):
        decisive, why = (), "a nearer workspace may exist"
    places = [*named, *(place for place in upward if place.state is not PlaceState.GONE), *kept]
    taken: dict[Workspace, Place] = {}
    for place in decisive:
        if place.workspace is not None:
            taken.setdefault(place.workspace, place)
    others: dict[Path, Place] = {}
    for place in places:
        if place.workspace not in taken:
            others.setdefault(
                place.path if place.workspace is None else place.workspace.path, place
            )
    return Survey(tuple(taken.values()), tuple(others.values()), why, notes)


def _choose_named(
    places: Sequence[Place], missing: Callable[[str], object] | None
) -> tuple[Workspace, ...]:
    found = _found_in(places)
    wrong = [place for place in places if place.workspace is None]
    if wrong and (missing is None or not found):
        if any(place.state is PlaceState.SILENT for place in wrong):
            raise SilentWorkspaceError()
        looked = (path for place in wrong for path in (place.path, place.path / WORKSPACE_NAME))
        if places[0].origin is Origin.VARIABLE:
            advice = f"Correct {ENVIRONMENT_VARIABLE}, or name a workspace: muster WORKSPACE"
        else:
            advice = (
                "Name a .agent-workspace, a directory that contains one, or a registry file; "
                "or try `muster demo`."
            )
        raise WorkspaceNotFoundError(tuple(looked), advice)
    for place in wrong:
        if missing is not None and place.skipped is not None:
            missing(place.skipped)
    return found


def _found_in(places: Iterable[Place]) -> tuple[Workspace, ...]:
    """Returns the workspaces at some places, each once, in their order."""
    found = (place.workspace for place in places if place.workspace is not None)
    return tuple(dict.fromkeys(found))


def _nothing_found(
    upward: Sequence[Place], kept: Sequence[Place], refused: Sequence[str]
) -> WorkspaceNotFoundError:
    looked = [place.path for place in (*upward, *kept) if place.origin is not Origin.KNOWN]
    gone = sum(place.origin is Origin.KNOWN and place.skipped is None for place in kept)
    notes = [*refused]
    if gone:
        places = "1 workspace" if gone == 1 else f"{gone} workspaces"
        notes.append(f"The orchestrator knows {places} that no longer exist.")
    advice = (
        f"Name a workspace (muster WORKSPACE), set {ENVIRONMENT_VARIABLE}, or try `muster demo`."
    )
    return WorkspaceNotFoundError(tuple(looked), "\n".join((*notes, advice)))
