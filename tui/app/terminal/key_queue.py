"""A queue of keys: each key waits until the previous key has taken effect.

Textual sends a key to the widget that has the focus when the key arrives. Over a slow connection,
several keys arrive at once. If the user types ``/x``, the "x" would then start a kill, because
the "/" has not moved the focus to the filter field yet.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

from textual import events
from textual.message import Message
from textual.message_pump import MessagePump

from registry.dataclass import dataclass

# Seconds after which a key counts as handled, even if no `Followed` came back.
_AT_MOST = 1.0

_INTERRUPT = "ctrl+c"

# A key may cause a message (a submitted field), which causes a second message that moves the
# focus. So `Followed` must make this many round trips.
_ROUNDS = 2


@dataclass
class Followed(Message):
    """A message that `TypeAhead` sends after a key; arrives when the key has been handled."""

    number: int
    rounds: int


class TypeAhead:
    """Delays each key until the previous key has been handled.

    Args:
        act_on: Handles a key immediately.
        target: Returns the widget that would get a key now.
        later: Calls a function after a number of seconds.
    """

    def __init__(
        self,
        act_on: Callable[[events.Key], Awaitable[None]],
        target: Callable[[], MessagePump],
        later: Callable[[float, Callable[[], Awaitable[None]]], object],
    ) -> None:
        self._act_on = act_on
        self._target = target
        self._later = later
        self._waiting: deque[events.Key] = deque()
        self._number = 0
        self._busy_until = 0.0
        self._behind: MessagePump | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a key is being handled."""
        return time.monotonic() < self._busy_until

    async def take(self, key: events.Key) -> None:
        """Handles a key after all keys that already wait.

        Ctrl-C is handled at once; as in a terminal, it discards the waiting keys.
        """
        if key.key == _INTERRUPT:
            self._waiting.clear()
            self._busy_until = 0.0
        self._waiting.append(key)
        await self.go_on()
        if self._waiting:
            # In case `Followed` does not come back for the previous key.
            self._later(_AT_MOST, self.go_on)

    async def go_on(self) -> None:
        """Handles the next waiting key, unless another key is still being handled."""
        while self._waiting and not self.is_busy:
            key = self._waiting.popleft()
            self._number += 1
            self._busy_until = time.monotonic() + _AT_MOST
            target = self._target()
            await self._act_on(key)
            self._follow(target, Followed(self._number, _ROUNDS))

    async def followed(self, message: Followed) -> None:
        """Receives a `Followed` message; after its last round trip, handles the next key."""
        if message.number != self._number:
            return
        if message.rounds > 1 and self._behind is not None:
            self._follow(self._behind, Followed(message.number, message.rounds - 1))
        else:
            self._busy_until = 0.0
        await self.go_on()

    def _follow(self, target: MessagePump, message: Followed) -> None:
        self._behind = target
        # Textual does not bubble a message beyond its sender, so the sender is set here.
        message.set_sender(target)
        if not target.post_message(message):
            # The widget is gone, so the message will not arrive.
            self._busy_until = 0.0
