"""Plans and executes the undo of an operator's action."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from registry.audit import (
    UNDO,
    WHOLE_FILE,
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
from registry.dataclass import dataclass, replace
from registry.errors import RegistryError
from registry.schema import Workspace
from registry.sources import Dialect, Source, workspace_source
from registry.storage import Json, durable_commits
from registry.text import command_line, quoted_name, shown_name, whole_name
from tui.actions.audit_text import by_holder, change_words, local_time
from tui.actions.evidence.record_permission import why_denied
from tui.actions.execute import Outcome, Result, StepOutcome
from tui.actions.plan import Verb
from tui.actions.preview import Preview
from tui.model.roll import TaskState
from tui.text.sanitize import harmless


class NothingToUndoError(Exception):
    """The audit log contains no action that can be undone. The message gives the reason."""


class NoSuchActionError(NothingToUndoError):
    """The audit log contains no action with the given id."""


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """The planned undo of an action.

    Attributes:
        action_id: The id of the action.
        steps: The steps that can be taken back, at least in part.
        sources: For each step, the source (a registry or a workspace) that the step changes.
        name: The action and its time, for the user.
        preview: The description of the undo.
    """

    action_id: str
    steps: tuple[Undoable, ...]
    sources: tuple[Source, ...]
    name: str
    preview: Preview

    @property
    def agents(self) -> frozenset[str]:
        """The ids of the agents whose changes are taken back."""
        changes = (change for step in self.steps for change in step.entry.changes)
        return frozenset(change.agent for change in changes if change.agent is not None)


def logs_of(states: Iterable[TaskState], workspaces: Iterable[Path]) -> tuple[Path, ...]:
    """Returns the paths of the audit logs of tasks and workspaces, without duplicates."""
    logs = dict.fromkeys(map(log_in, workspaces))
    logs |= dict.fromkeys(state.source.audit_log for state in states)
    return tuple(logs)


def plan_undo(
    states: Iterable[TaskState],
    workspaces: Iterable[Path],
    action_id: str | None,
    *,
    offer_earlier: bool = False,
) -> UndoPlan:
    """Plans to undo an action. Reads logs and registries; changes nothing.

    Args:
        states: All tasks in the roll call.
        workspaces: The workspaces of this muster. The registries of other workspaces are not
            changed.
        action_id: The id of the action; None for the last action that was not undone.
        offer_earlier: Whether an earlier action is planned if the last action cannot be undone.
            The preview then names both actions.

    Raises:
        NothingToUndoError: No such action exists, or a log that may contain the action cannot be
            read.
    """
    states, workspaces = tuple(states), tuple(workspaces)
    log = read_logs(logs_of(states, workspaces))
    # Tasks that a global registry lists in other workspaces are left out: the user did not name
    # these workspaces.
    sources = [state.source for state in states if state.source.directory.parent in workspaces]
    homes = [workspace_source(Workspace(path)) for path in workspaces]
    # A database is a file of many tasks, so it is the path of none.
    known: dict[Path, Source] = {
        file.path: source
        for source in sources
        if source.dialect is Dialect.SQLITE
        for file in source.files
    }
    known |= {source.path: source for source in (*sources, *homes)}
    if action_id is not None:
        return _plan_given(action_id, log, known)
    if log.unread:
        raise NothingToUndoError(
            f"the last action cannot be known: {'; '.join(log.unread)}. To undo an action of "
            "another log, give the ID of the action, which `muster log` shows"
        )
    refused: UndoPlan | None = None
    for last_id in last_actions(log):
        steps = undoables(log, last_id, known)
        plan = _plan(last_id, steps, log, known)
        if not (plan.steps or _is_certain(steps)):
            # The action was interrupted after it was logged, and before it changed anything.
            continue
        if plan.steps or not offer_earlier:
            return plan if refused is None else _instead_of(refused, plan)
        refused = refused or plan
    if refused is not None:
        return refused
    raise NothingToUndoError("the audit log contains no action that can be undone")


def _plan_given(action_id: str, log: Log, known: Mapping[Path, Source]) -> UndoPlan:
    steps = undoables(log, action_id, known)
    if not steps:
        if not any(entry.action_id == action_id for entry in log.entries):
            if log.unread:
                unread = "; ".join(log.unread)
                raise NothingToUndoError(
                    f"the action {quoted_name(action_id)} is in no readable log, and some logs "
                    f"cannot be read: {unread}"
                )
            raise NoSuchActionError(f"the audit log contains no action {quoted_name(action_id)}")
        raise NothingToUndoError(f"the action {shown_name(action_id)} changed nothing")
    return _plan(action_id, steps, log, known)


def _instead_of(refused: UndoPlan, plan: UndoPlan) -> UndoPlan:
    """Adds to the preview that a later action cannot be undone, with the reason."""
    skipped = (f"{refused.name}, which came later", undo_refusal_reason(refused))
    preview = replace(plan.preview, refused=(skipped, *plan.preview.refused))
    return replace(plan, preview=preview)


def _is_certain(steps: Iterable[Undoable]) -> bool:
    """Returns whether the log confirms that at least one step was done."""
    return any(step.entry.state is State.DONE for step in steps)


def _plan(
    action_id: str, steps: tuple[Undoable, ...], log: Log, known: Mapping[Path, Source]
) -> UndoPlan:
    doable: list[Undoable] = []
    sources: list[Source] = []
    says: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    agents_by_reason: dict[str, dict[str, None]] = {}
    files: dict[Path, None] = {}
    registries: dict[Path, Json] = {}
    for step in steps:
        if step.refused is not None:
            # A kill has two entries for an agent: for its session, and for its registry.
            agents = dict.fromkeys(_agents(step.entry))
            agents_by_reason.setdefault(step.refused, {}).update(agents)
            continue
        assert step.task is not None  # A step without a task is refused.
        denied = why_denied(known[step.task].audit_log, step.task)
        if denied is not None:
            refused.append((_label(step.entry), denied))
            continue
        try:
            reverted = known[step.task].preview_revert(step, registries)
        except RegistryError as error:
            refused.append((_label(step.entry), str(error)))
            continue
        refused += ((_name(name, step.entry), why) for name, why in reverted.refused.items())
        if reverted.agents or reverted.fields:
            doable.append(step)
            sources.append(known[step.task])
            says += _says(step.entry, frozenset(reverted.refused))
            files |= dict.fromkeys(path for path in (step.task, step.global_) if path is not None)
    whole = [(", ".join(sorted(agents)) or "?", why) for why, agents in agents_by_reason.items()]
    refused = whole + refused
    first = steps[-1].entry
    name = _action_name(first)
    reason = f": {first.reason}" if first.reason else ""
    note = f"{shown_name(action_id)}, by {first.who.user}{reason}."
    if not doable:
        note += f" {_earlier(log, action_id)}"
    elif any(change.is_counter for step in doable for change in step.entry.changes):
        note += " Counters change back by the same number."
    preview = Preview(f"Take back {name}", tuple(says), tuple(refused), tuple(files), note)
    return UndoPlan(action_id, tuple(doable), tuple(sources), name, preview)


def _action_name(entry: Entry) -> str:
    # The quotes separate the action from the text: "complete" and "fix" are also plain words.
    return f'"{entry.action}" of {local_time(entry.at)}'


def _earlier(log: Log, action_id: str) -> str:
    """Returns a text that names an earlier action to undo instead, or says there is none."""
    undone = log.taken_back
    before = itertools.takewhile(lambda entry: entry.action_id != action_id, log.entries)
    earlier = [
        entry
        for entry in before
        if entry.changes
        and entry.final is None
        and entry.action != UNDO
        and entry.place not in undone
    ]
    if not earlier:
        return "The log has no earlier action that can be undone."
    last = earlier[-1]
    text = f"The action before this one: {_action_name(last)}"
    command = command_line("muster", "undo", names=(last.action_id,))
    return text if command is None else f"{text}; undo it with {command}"


def _name(name: str, entry: Entry) -> str:
    """Returns the name of a part of a step: an agent, a field, or the replaced file."""
    return _label(entry) if name == WHOLE_FILE else name


def _label(entry: Entry) -> str:
    files = [change.file for change in entry.changes if change.replaces_file]
    return ", ".join(_agents(entry) or files) or "?"


def _agents(entry: Entry) -> list[str]:
    if entry.session is not None:
        return [entry.session.agent or entry.session.name]
    return list(dict.fromkeys(change.agent for change in entry.changes if change.agent))


def _says(entry: Entry, refused: frozenset[str]) -> Iterator[tuple[str, str]]:
    texts: dict[str, dict[str, str]] = {}
    with_agents = {change.file for change in entry.changes if change.agent is not None}
    for (file, agent), changes in by_holder(entry.changes).items():
        label = agent if agent is not None else "counters"
        if any(change.replaces_file for change in changes):
            label = file
        if agent is not None and agent in refused:
            continue
        # The counters of a file with changed agents are left out. They change with the agents.
        back = [
            replace(change, before=change.after, after=change.before)
            for change in changes
            if not (change.is_counter and file in with_agents)
        ]
        text = change_words(back)
        if text:
            texts.setdefault(label, {}).setdefault(text, Path(file).name)
    for label, files in texts.items():
        # If the changes of the two registries differ, each is shown with its file.
        parts = (f"{file}: {text}" if len(files) > 1 else text for text, file in files.items())
        yield whole_name(label), "; ".join(parts)


def carry_out_undo(plan: UndoPlan, reason: str) -> Outcome:
    """Executes an undo. Each step is logged before it changes a registry. Blocks.

    Args:
        plan: A confirmed plan.
        reason: The reason in the operator's words; may be empty.
    """
    audit = Audit(UNDO, reason)
    outcomes: list[StepOutcome] = []
    written: dict[Path, None] = {}
    problems: list[str] = []
    with durable_commits():
        for step, source in zip(plan.steps, plan.sources, strict=True):
            label = _label(step.entry)
            try:
                made = source.revert(step, audit)
            except (RegistryError, OSError) as error:
                outcomes.append(StepOutcome(label, Result.FAILED, str(error)))
                continue
            written |= dict.fromkeys(made.written)
            problems += made.problems
            done = (*made.result.agents, *made.result.fields)
            parts = [(name, Result.DONE, "taken back") for name in done]
            parts += [(name, Result.LEFT, why) for name, why in made.result.refused.items()]
            outcomes += [
                StepOutcome(_name(name, step.entry), result, text) for name, result, text in parts
            ]
    return Outcome(Verb.UNDO, tuple(outcomes), tuple(written), tuple(problems))


def undo_refusal_reason(plan: UndoPlan) -> str:
    """Returns the reasons why an action cannot be undone, each after the labels of its agents."""
    reasons: dict[str, dict[str, None]] = {}
    for label, why in plan.preview.refused:
        reasons.setdefault(why, {})[label] = None
    return "; ".join(
        f"{', '.join(map(whole_name, labels))}: {harmless(why)}" for why, labels in reasons.items()
    )


def undo_refusal(plan: UndoPlan) -> str:
    """Returns why an action cannot be undone, and an earlier action to undo instead, if any."""
    return f"{undo_refusal_reason(plan)}. {harmless(plan.preview.note)}"
