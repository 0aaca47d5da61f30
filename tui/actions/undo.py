"""Taking back what an operator did: planned, shown, carried out; the same everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from registry.audit import (
    UNDO,
    Audit,
    Entry,
    Log,
    State,
    Undoable,
    last_actions,
    log_in,
    read_logs,
    undoables,
)
from registry.errors import RegistryError
from registry.schema import Workspace
from registry.sources import Source, workspace_source
from registry.storage import Json, durable_commits
from registry.text import command_line, quoted_name, shown_name, whole_name
from tui.actions.audit_text import by_holder, change_words, local_time
from tui.actions.execute import Outcome, Result, StepOutcome
from tui.actions.plan import Verb
from tui.actions.preview import Preview
from tui.model.roll import TaskState
from tui.text.sanitize import harmless


class NothingToUndoError(Exception):
    """Nothing on record can be taken back; says why."""


class NoSuchActionError(NothingToUndoError):
    """Nothing is on record by the id that was given."""


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What taking an action back will do.

    Attributes:
        steps: Those that can be taken back, at least in part.
        sources: What each of them is taken back in.
        preview: The same in words.
    """

    action_id: str
    steps: tuple[Undoable, ...]
    sources: tuple[Source, ...]
    preview: Preview


def logs_of(states: Iterable[TaskState], workspaces: Iterable[Path]) -> tuple[Path, ...]:
    """Every audit log that concerns some tasks and workspaces."""
    found = dict.fromkeys(map(log_in, workspaces))
    found |= dict.fromkeys(state.source.audit_log for state in states)
    return tuple(found)


def plan_undo(
    states: Iterable[TaskState],
    workspaces: Iterable[Path],
    action_id: str | None,
    *,
    offer_earlier: bool = False,
) -> UndoPlan:
    """Plans to take an action back. Reads logs and registries; changes nothing.

    Args:
        states: All tasks that muster sees.
        workspaces: The workspaces that were named or found; nothing outside is touched.
        action_id: Which action; None for the last that was not taken back.
        offer_earlier: If nothing of the last can be taken back, plan for the last of
            which something can, and say so.

    Raises:
        NothingToUndoError: There is no such action.
        AuditError: A log cannot be read.
    """
    states, workspaces = tuple(states), tuple(workspaces)
    log = read_logs(logs_of(states, workspaces))
    # Not those that a global registry says lie elsewhere: these were not asked for.
    sources = [each.source for each in states if each.source.directory.parent in workspaces]
    homes = [workspace_source(Workspace(path)) for path in workspaces]
    known: Mapping[Path, Source] = {each.path: each for each in (*sources, *homes)}
    if action_id is not None:
        return _plan_given(action_id, log, known)
    refused: UndoPlan | None = None
    for each in last_actions(log):
        steps = undoables(log, each, known)
        plan = _plan(each, steps, log, known)
        if not (plan.steps or _is_certain(steps)):
            # Intended, and then cut off before it changed anything.
            continue
        if plan.steps or not offer_earlier:
            return plan if refused is None else _instead_of(refused, plan)
        refused = refused or plan
    if refused is not None:
        return refused
    raise NothingToUndoError("nothing is on record that could be undone")


def _plan_given(action_id: str, log: Log, known: Mapping[Path, Source]) -> UndoPlan:
    steps = undoables(log, action_id, known)
    if not steps:
        if not any(entry.action_id == action_id for entry in log.entries):
            raise NoSuchActionError(f"no action {quoted_name(action_id)} is on record")
        raise NothingToUndoError(f"{shown_name(action_id)} changed nothing")
    return _plan(action_id, steps, log, known)


def _instead_of(refused: UndoPlan, plan: UndoPlan) -> UndoPlan:
    """A plan that says which later action it passes over, and why."""
    over = (f"{refused.preview.title}, which came later", undo_refusal_reason(refused))
    preview = replace(plan.preview, refused=(over, *plan.preview.refused))
    return replace(plan, preview=preview)


def _is_certain(steps: Iterable[Undoable]) -> bool:
    """Whether it is on record that any of it was done."""
    return any(step.entry.state is State.DONE for step in steps)


def _plan(
    action_id: str, steps: tuple[Undoable, ...], log: Log, known: Mapping[Path, Source]
) -> UndoPlan:
    doable: list[Undoable] = []
    sources: list[Source] = []
    says: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    whole: dict[str, dict[str, None]] = {}
    files: dict[Path, None] = {}
    registries: dict[Path, Json] = {}
    for step in steps:
        if step.refused is not None:
            # The end of a session and what was written of it are two, of the same agent.
            whole.setdefault(step.refused, {}).update(dict.fromkeys(_agents(step.entry)))
            continue
        assert step.task is not None  # None is refused.
        try:
            reverted = known[step.task].preview_revert(step, registries)
        except RegistryError as error:
            refused.append((_whom(step.entry), str(error)))
            continue
        refused += reverted.refused.items()
        if reverted.agents or reverted.fields:
            doable.append(step)
            sources.append(known[step.task])
            says += _says(step.entry, frozenset(reverted.refused))
            files |= dict.fromkeys(each for each in (step.task, step.global_) if each is not None)
    refused = [(", ".join(sorted(whom)) or "?", why) for why, whom in whole.items()] + refused
    first = steps[-1].entry
    title = f"Undo {first.action} ({local_time(first.at)})"
    note = f"{shown_name(action_id)}, by {first.who.user}"
    note += f": {first.reason}. " if first.reason else ". "
    note += _elsewise(log, action_id) if not doable else "Counters move back as far as they moved."
    preview = Preview(title, tuple(says), tuple(refused), tuple(files), note)
    return UndoPlan(action_id, tuple(doable), tuple(sources), preview)


def _elsewise(log: Log, action_id: str) -> str:
    """Which earlier action may be undone instead, by its id."""
    undone = log.taken_back
    before = itertools.takewhile(lambda each: each.action_id != action_id, log.entries)
    earlier = [
        entry
        for entry in before
        if entry.changes
        and entry.final is None
        and entry.action != UNDO
        and entry.place not in undone
    ]
    if not earlier:
        return ""
    last = earlier[-1]
    said = f"Before it: {last.action} of {local_time(last.at)}"
    taking_back = command_line("muster", "undo", names=(last.action_id,))
    return said if taking_back is None else f"{said}; {taking_back}"


def _whom(entry: Entry) -> str:
    return ", ".join(_agents(entry)) or "?"


def _agents(entry: Entry) -> list[str]:
    if entry.session is not None:
        return [entry.session.agent or entry.session.name]
    return list(dict.fromkeys(each.agent for each in entry.changes if each.agent))


def _says(entry: Entry, refused: frozenset[str]) -> Iterator[tuple[str, str]]:
    words: dict[str, dict[str, str]] = {}
    with_agents = {each.file for each in entry.changes if each.agent is not None}
    for (file, agent), changes in by_holder(entry.changes).items():
        label = agent if agent is not None else "counters"
        if agent is not None and agent in refused:
            continue
        # Counters that only follow agents are not said: they move back with these.
        back = [
            replace(each, before=each.after, after=each.before)
            for each in changes
            if not (each.is_counter and file in with_agents)
        ]
        said = change_words(back)
        if said:
            words.setdefault(label, {}).setdefault(said, Path(file).name)
    for label, files in words.items():
        # Where the two registries differ, it is said which becomes what.
        parts = (f"{file}: {said}" if len(files) > 1 else said for said, file in files.items())
        yield whole_name(label), "; ".join(parts)


def carry_out_undo(plan: UndoPlan, reason: str) -> Outcome:
    """Takes back what a plan says, each step on record first. Blocks.

    Args:
        plan: A confirmed plan.
        reason: Why, in the operator's words; may be empty.
    """
    audit = Audit(UNDO, reason)
    outcomes: list[StepOutcome] = []
    written: dict[Path, None] = {}
    problems: list[str] = []
    with durable_commits():
        for step, source in zip(plan.steps, plan.sources, strict=True):
            whom = _whom(step.entry)
            try:
                made = source.revert(step, audit)
            except (RegistryError, OSError) as error:
                outcomes.append(StepOutcome(whom, Result.FAILED, str(error)))
                continue
            written |= dict.fromkeys(made.written)
            problems += made.problems
            done = (*made.result.agents, *made.result.fields)
            outcomes += [StepOutcome(who, Result.DONE, "taken back") for who in done]
            outcomes += [
                StepOutcome(who, Result.LEFT, why) for who, why in made.result.refused.items()
            ]
    return Outcome(Verb.UNDO, tuple(outcomes), tuple(written), tuple(problems))


def undo_refusal_reason(plan: UndoPlan) -> str:
    """Why nothing of a plan can be done, each of whom named once."""
    reasons: dict[str, dict[str, None]] = {}
    for whom, why in plan.preview.refused:
        reasons.setdefault(why, {})[whom] = None
    return "; ".join(
        f"{', '.join(map(whole_name, whom))}: {harmless(why)}" for why, whom in reasons.items()
    )


def undo_refusal(plan: UndoPlan) -> str:
    """As `undo_refusal_reason`, and what may be undone instead."""
    return f"{undo_refusal_reason(plan)}. {harmless(plan.preview.note)}"
