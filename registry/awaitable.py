"""The functions of `registry` for programs with an event loop.

Each function takes the same arguments as the function of the same name in `registry`, and raises
the same errors. The work is done in a thread, so that the event loop never waits for a lock or a
disk. These threads belong to this module. So calls that wait for locks do not delay other work
in threads, for example `asyncio.to_thread`.

If the caller is cancelled, the function raises `CancelledError` only after the thread has
finished, even if the caller is cancelled again meanwhile. So the thread makes no change after this
error. The thread waits for locks at most until the timeout. A call that no thread has begun is
not made.

At the exit of the interpreter, Python waits for the end of calls that threads have begun.

Example:
    >>> async with awaitable.registering(task, global_, "fixer") as agent:
    ...     await start_session(agent.tmux_session)
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import registry
from registry.operations.register import Registration, withdraw_after
from registry.operations.session_proof import PAUSE
from registry.schema.arguments import RegistryPath, strings
from registry.storage.files.interruption import hand_on
from registry.storage.locked_file import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_P = ParamSpec("_P")
_R = TypeVar("_R")

THREADS = 16
"""The largest number of threads, and so of calls at the same time. Further calls wait."""

_Answer = Collection[str] | None

Query = Callable[[], _Answer | Awaitable[_Answer]]
"""A function or coroutine function that queries tmux; see `registry.gone_sessions`."""


@functools.cache
def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(THREADS, thread_name_prefix="registry")


# A forked child has none of the threads, so it needs a pool of its own.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _begin(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
    """Calls a function in a thread, with the context variables of the caller."""
    context = contextvars.copy_context()
    return _pool().submit(context.run, functools.partial(function, *args, **kwargs))


def _awaitable(function: Callable[_P, _R]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    @functools.wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await _ended(_begin(function, *args, **kwargs))

    return call


async def _ended(work: Future[_R], *, may_drop: bool = True) -> _R:
    """Awaits the work of a thread.

    If the caller is cancelled, this function raises `CancelledError` after the end of the work.

    Args:
        work: The work.
        may_drop: Whether a cancellation drops work that no thread has begun.
    """
    waiting = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if may_drop:
            work.cancel()
        while not waiting.done():
            # Further cancellations of the caller must not end this wait.
            try:
                await asyncio.wait([waiting])
            except asyncio.CancelledError as error:
                hand_on(error)
        if not waiting.cancelled():
            # Without this call, asyncio logs the error as one that was never retrieved.
            waiting.exception()
        raise


read_registry = _awaitable(registry.read_registry)
register_agent = _awaitable(registry.register_agent)
withdraw_agent = _awaitable(registry.withdraw_agent)
report_progress = _awaitable(registry.report_progress)
finish_agents = _awaitable(registry.finish_agents)
terminate_agents = _awaitable(registry.terminate_agents)
clean_up_task = _awaitable(registry.clean_up_task)
clean_up_workspace = _awaitable(registry.clean_up_workspace)
create_global_registry = _awaitable(registry.create_global_registry)
create_task_registry = _awaitable(registry.create_task_registry)
registry_health_check = _awaitable(registry.registry_health_check)
validate_and_repair_registry = _awaitable(registry.validate_and_repair_registry)
recover_registry = _awaitable(registry.recover_registry)
publish_metrics = _awaitable(registry.publish_metrics)
atomic_add_agent = _awaitable(registry.atomic_add_agent)
atomic_update_agent_status = _awaitable(registry.atomic_update_agent_status)
atomic_increment_counts = _awaitable(registry.atomic_increment_counts)
atomic_decrement_active_count = _awaitable(registry.atomic_decrement_active_count)
atomic_mark_agents_completed = _awaitable(registry.atomic_mark_agents_completed)


async def gone_sessions(
    sessions: Iterable[str],
    query: Query,
    *,
    pause: float = PAUSE,
    sleep: Callable[[float], object] = time.sleep,
) -> frozenset[str]:
    """Returns the sessions that certainly do not exist; see `registry.gone_sessions`.

    Args:
        sessions: The names of the sessions.
        query: A function or coroutine function that queries tmux; called twice. A coroutine
            runs in the event loop, and any other function in a thread.
        pause: The seconds between the two queries.
        sleep: A function or coroutine function that waits for the given number of seconds.

    Raises:
        TypeError: See `registry.gone_sessions`.
    """
    names = strings("sessions", sessions)
    answers = [await _result(query)]
    if answers[0] is not None:
        if sleep is time.sleep:
            await asyncio.sleep(pause)
        else:
            await _result(functools.partial(sleep, pause))
        answers.append(await _result(query))
    replayed = functools.partial(next, iter(answers))
    return registry.gone_sessions(names, replayed, sleep=lambda _: None)


async def _result(function: Callable[[], Any]) -> Any:
    """Calls a function in a thread, or a coroutine function in the event loop."""
    if inspect.iscoroutinefunction(function):
        return await function()
    result = await _ended(_begin(function))
    return await result if inspect.isawaitable(result) else result


@asynccontextmanager
async def registering(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_type: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the timeout of locks
    **options: Any,
) -> AsyncIterator[Registration]:
    """Registers an agent; withdraws the agent if the ``async with`` block raises an exception.

    A cancellation of the block is such an exception.

    Args:
        task_registry: See `registry.register_agent`.
        global_registry: See `registry.register_agent`.
        agent_type: See `registry.register_agent`.
        timeout: How long to wait for the locks, in seconds, for the registration and for the
            withdrawal.
        **options: Further arguments of `registry.register_agent`.
    """
    # Not `register_agent` above: after a cancellation, the registered agent must be withdrawn.
    work = _begin(
        registry.register_agent,
        task_registry,
        global_registry,
        agent_type,
        timeout=timeout,
        **options,
    )
    try:
        agent = await _ended(work)
    except asyncio.CancelledError as error:
        if not work.cancelled() and work.exception() is None:
            await _withdraw(error, work.result(), timeout)
        raise
    try:
        yield agent
    except BaseException as error:
        await _withdraw(error, agent, timeout)
        raise


async def _withdraw(
    error: BaseException,
    agent: Registration,
    timeout: float,  # noqa: ASYNC109 - the timeout of locks
) -> None:
    """Withdraws an agent that this process registered, also if the caller is cancelled again."""
    if not agent.existing:
        await _ended(_begin(withdraw_after, error, agent, timeout), may_drop=False)
