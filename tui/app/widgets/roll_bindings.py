"""The default keys of the main screen: a list for each class that has the keys' actions."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from tui.model.roll import Verdict
from tui.model.verdicts import VERDICTS


def _hidden(key: str, action: str, does: str, id_: str, tooltip: str = "") -> Binding:
    return Binding(key, action, does, show=False, tooltip=tooltip, id=f"roll.{id_}")


_BY_KEY = sorted(VERDICTS, key=lambda verdict: VERDICTS[verdict].key)


def _counter(verdict: Verdict) -> Binding:
    return _hidden(
        VERDICTS[verdict].key,
        f"only('{verdict.value}')",
        f"Only {verdict.value}",
        f"only-{verdict.value}",
        f"Only {', '.join(_BY_KEY)}",
    )


_MOVING = (
    _hidden("up,k", "move(-1)", "Up", "up"),
    _hidden("down,j", "move(1)", "Down", "down"),
    _hidden("pageup", "page(-1)", "Page up", "page-up"),
    _hidden("pagedown", "page(1)", "Page down", "page-down"),
    _hidden("home", "edge(-1)", "First line", "first"),
    _hidden("end", "edge(1)", "Last line", "last"),
    _hidden("left", "fold", "Fold, or go to the parent", "fold"),
    _hidden("right", "unfold", "Unfold, or go to the first child", "unfold"),
)

_TRIAGE = (
    Binding(
        "t",
        "triage",
        "Triage",
        tooltip="Sort by urgency, or go back to the tree",
        id="roll.triage",
    ),
    _hidden(
        "s",
        "sort(1)",
        "Sort",
        "sort",
        "Sort by urgency, age, progress, CPU, memory, heard, status",
    ),
    _hidden("S", "sort(-1)", "Sort back", "sort-back", "Go back to the previous sort order"),
    _hidden("R", "reverse", "Reverse", "reverse", "Reverse the sort order"),
    _hidden(
        "h", "hide_finished", "Hide finished", "hide-finished", "Hide or show finished agents"
    ),
    *map(_counter, _BY_KEY),
)

_MARKING = (
    Binding("space", "mark", "Mark", id="roll.mark"),
    _hidden("v", "range", "Range", "range", "Mark a range: all lines from here to the cursor"),
    Binding("escape", "leave_range", "End range", id="roll.leave-range"),
    _hidden(
        "shift+down", "extend(1)", "Mark down", "extend-down", "Mark this line and the next line"
    ),
    _hidden("shift+up", "extend(-1)", "Mark up", "extend-up", "Mark this line and the line above"),
    _hidden(
        "plus", "mark_found", "Mark all", "mark-found", "Mark all agents that the filter matches"
    ),
    _hidden("asterisk", "invert", "Invert", "invert", "Invert the marks"),
    _hidden("z", "mark_zombies", "Zombies", "mark-zombies", "Mark all zombies"),
    _hidden("u", "unmark", "Unmark", "unmark", "Remove all marks"),
)

ROLL_KEYS: list[BindingType] = [*_MOVING, *_TRIAGE, *_MARKING]
"""The keys of the agent list. The actions of these keys are methods of `RollView`."""

LINE_KEYS: list[BindingType] = [
    Binding("left_square_bracket", "step(-1)", "Previous tab", show=False, id="panel.tab-before"),
    Binding("right_square_bracket", "step(1)", "Next tab", show=False, id="panel.tab-next"),
    Binding(
        "p",
        "enlarge",
        "Larger panel",
        show=False,
        tooltip="Enlarge the panel, or restore its size",
        id="panel.enlarge",
    ),
    Binding(
        "vertical_line",
        "turn",
        "Panel aside",
        show=False,
        tooltip="Put the panel beside the roll, or below it",
        id="panel.turn",
    ),
    Binding(
        "less_than_sign",
        "divide(1)",
        "Larger",
        show=False,
        tooltip="Move the divider: a larger panel",
        id="panel.larger",
    ),
    Binding(
        "greater_than_sign",
        "divide(-1)",
        "Smaller",
        show=False,
        tooltip="Move the divider: a smaller panel",
        id="panel.smaller",
    ),
    Binding("a", "attach", "Attach", show=False, tooltip="Go into the session", id="attach"),
    Binding(
        "enter",
        "enter",
        "Look",
        show=False,
        tooltip="Show what the agent does now, and go back; fold or unfold a task",
        id="enter",
    ),
    Binding(
        "A",
        "attach(True)",
        "Watch",
        show=False,
        tooltip="Watch the session without typing",
        id="attach.read-only",
    ),
    Binding(
        "o",
        "open",
        "Open",
        show=False,
        tooltip="Open a file of this line in $EDITOR",
        id="open",
    ),
    Binding("y", "copy", "Copy id", show=False, tooltip="Copy the id", id="copy"),
    Binding(
        "Y",
        "copy(True)",
        "Copy session",
        show=False,
        tooltip="Copy the name of the session",
        id="copy.session",
    ),
]
"""The keys for the details panel and for the line under the cursor.

The actions of these keys are methods of `Body`.
"""

ACTION_KEYS: list[BindingType] = [
    Binding("x", "kill", "Kill", id="kill"),
    Binding(
        "X",
        "kill(True)",
        "Kill tree",
        show=False,
        tooltip="Kill, with all descendants",
        id="kill.tree",
    ),
    Binding("c", "complete", "Complete", id="complete"),
    Binding(
        "C",
        "complete(True)",
        "Complete zombies",
        show=False,
        tooltip="Complete all zombies",
        id="complete.zombies",
    ),
    Binding("U", "undo", "Undo", tooltip="Undo the last change of registries", id="undo"),
    Binding("slash", "filter", "Filter", id="filter"),
    Binding("escape", "clear_filter", "Clear filter", show=False, id="filter.clear"),
    Binding(
        "d",
        "doctor",
        "Doctor",
        show=False,
        tooltip="Show problems, and repair them",
        id="doctor",
    ),
    Binding("l", "log", "Log", show=False, tooltip="Show the audit log", id="log"),
    Binding(
        "m",
        "metrics",
        "Metrics",
        show=False,
        tooltip="Show lock waits and their goals",
        id="metrics",
    ),
]
"""The keys that plan an action or open a screen, and the keys of the filter.

The actions of these keys are methods of `RollActions`.
"""
