"""Notifies the operator of agents that need attention.

The ways are toasts, the bell, the terminal's own notifications, and hook commands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from functools import partial

from textual.app import App

from registry.dataclass import replace
from registry.text import shown_name
from tui.config.settings import KINDS, Notify, filled
from tui.host.hooks import run_hook
from tui.model.alerts import Item, Pace, Seen, kind_of, news, sentence, still_true
from tui.model.roll import AgentRow, RollCall
from tui.text.sanitize import harmless

GATHER = 1.0
"""Seconds for which events of one kind are gathered for one notification."""

SETTLE = 4.0
"""Seconds for which an agent must stay a zombie before the operator is notified of it.

When the orchestrator kills an agent, it ends the session first, and writes the registry up to 4 s
later. Meanwhile the agent is a zombie.
"""

_IDS_AT_MOST = 50


class Notifier:
    """Compares each roll call with the previous roll call, and notifies the operator of changes.

    Args:
        app: The app that shows toasts and runs timers and workers.
        notify: The settings for notifications.
    """

    def __init__(self, app: App[None], notify: Notify) -> None:
        self._app = app
        self._notify = notify
        self._seen: Seen | None = None
        self._roll: RollCall | None = None
        self._paces = {kind: Pace(GATHER, notify.pause) for kind in KINDS}
        self._broken: set[str] = set()

    def see(self, roll: RollCall) -> None:
        """Compares a new roll call with the previous roll call; called in the app's thread."""
        if self._roll is not None and roll.workspaces == self._roll.workspaces:
            self._roll = roll
            return
        self._roll = roll
        self._seen, items = news(self._seen, roll)
        for kind in self._paces:
            wanted = [item for item in items if item.kind == kind and self._is_told(kind)]
            if kind == "zombie":
                self._settle(wanted)
            else:
                self._gather(kind, wanted)

    def expect(self, agent_ids: Iterable[str]) -> None:
        """Notes agents that the operator makes active again, which cause no notification."""
        seen = self._seen or Seen()
        self._seen = replace(seen, restored=seen.restored | frozenset(agent_ids))

    def _settle(self, zombies: Sequence[Item]) -> None:
        if zombies:
            self._app.set_timer(SETTLE, partial(self._settled, zombies))

    def _settled(self, zombies: Sequence[Item]) -> None:
        """Gathers the agents that are still zombies; waits again for unknown agents."""
        rows = {} if self._roll is None else {row.key: row for row in self._roll.agents()}
        kinds = {item: kind_of(rows[item.key]) for item in zombies if item.key in rows}
        self._settle([item for item, kind in kinds.items() if kind is None])
        self._gather("zombie", [item for item, kind in kinds.items() if kind == item.kind])

    def _gather(self, kind: str, items: Sequence[Item]) -> None:
        wait = self._paces[kind].add(items, time.monotonic())
        if wait is not None:
            self._app.set_timer(wait, partial(self._tell, kind))

    def _is_told(self, kind: str) -> bool:
        return bool(self._notify.ways.get(kind) or self._notify.hooks.get(kind))

    def _tell(self, kind: str) -> None:
        items: Sequence[Item] = self._paces[kind].take(time.monotonic())
        roll = self._roll
        if roll is None:
            return
        # Leave out agents that recovered meanwhile, or that the operator ended.
        rows = [row for _, row in still_true(items, roll)]
        if not rows:
            return
        text = sentence(kind, rows)
        ways = self._notify.ways.get(kind, ())
        if "toast" in ways:
            self._app.notify(text, title=kind.capitalize(), severity="warning", markup=False)
        if "bell" in ways:
            self._app.bell()
        if "osc9" in ways:
            self._send(osc9(f"muster: {text}", inside_tmux=bool(os.environ.get("TMUX"))))
        command = self._notify.hooks.get(kind, ())
        if command:
            words = filled(command, _values(kind, text, rows, roll))
            self._app.run_worker(partial(self._run, words), thread=True, group="hooks")

    def _send(self, sequence: str) -> None:
        driver = self._app._driver
        if driver is not None and not self._app.is_headless:
            driver.write(sequence)

    def _run(self, words: Sequence[str]) -> None:
        problem = run_hook(words, self._notify.hook_timeout)
        if problem is None or words[0] in self._broken:
            return
        # Report each failing command only once: a broken hook fails in the same way each time.
        self._broken.add(words[0])
        text = f"{harmless(problem, 300)}; correct the hook in the settings file, under [notify]"
        self._app.call_from_thread(
            self._app.notify, text, title="Hook", severity="error", markup=False
        )


def osc9(text: str, *, inside_tmux: bool) -> str:
    """Returns the OSC 9 sequence that makes a terminal show a notification.

    Args:
        text: The text of the notification, without control characters.
        inside_tmux: Whether to wrap the sequence for tmux. tmux passes a wrapped sequence to the
            terminal if the tmux option ``allow-passthrough`` is on.
    """
    sequence = f"\x1b]9;{text}\x07"
    return f"\x1bPtmux;\x1b{sequence}\x1b\\" if inside_tmux else sequence


def _values(kind: str, text: str, rows: Sequence[AgentRow], roll: RollCall) -> dict[str, str]:
    listed = rows[:_IDS_AT_MOST]
    tasks_by_registry = {task.state.registry: task for task in roll.tasks()}
    tasks = [
        tasks_by_registry[row.key.registry]
        for row in listed
        if row.key.registry in tasks_by_registry
    ]

    def joined(values: Sequence[str]) -> str:
        # Commas are escaped, so that a program that splits the list gets whole names.
        shown = (shown_name(value) if value else "" for value in values)
        return ",".join(dict.fromkeys(value.replace(",", "\\x2c") for value in shown))

    return {
        "id": joined([row.record.id or "" for row in listed]),
        "type": joined([row.record.type or "" for row in listed]),
        "task": joined([task.task_id for task in tasks]),
        "workspace": joined([str(task.state.workspace) for task in tasks]),
        "kind": kind,
        "count": str(len(rows)),
        "said": text,
        "host": harmless(roll.host, 200),
    }
