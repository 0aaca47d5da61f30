"""The functions of `registry` for programs with an event loop.

Each function takes the same arguments as the function of the same name in `registry`, and raises
the same errors. The work is done in a thread, so that the event loop never waits for a lock or a
disk.

If the caller is cancelled, the function raises `CancelledError` only after the thread has
finished. So the thread makes no change after this error. The thread waits for locks at most until
the timeout.

Example:
    >>> async with awaitable.registering(task, global_, "fixer") as agent:
    ...     await start_session(agent.tmux_session)
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import registry
from registry.operations.register import Registration, withdraw_after
from registry.schema.arguments import RegistryPath
from registry.storage.locked_file import DEFAULT_TIMEOUT

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _awaitable(function: Callable[_P, _R]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    @functools.wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await _ended(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)))

    return call


async def _ended(work: asyncio.Future[_R]) -> _R:
    """Awaits the work of a thread.

    If the caller is cancelled, this function raises `CancelledError` after the end of the work.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            # Without this call, asyncio logs the error as one that was never retrieved.
            work.exception()
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
gone_sessions = _awaitable(registry.gone_sessions)
atomic_add_agent = _awaitable(registry.atomic_add_agent)
atomic_update_agent_status = _awaitable(registry.atomic_update_agent_status)
atomic_increment_counts = _awaitable(registry.atomic_increment_counts)
atomic_decrement_active_count = _awaitable(registry.atomic_decrement_active_count)
atomic_mark_agents_completed = _awaitable(registry.atomic_mark_agents_completed)


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
    work = asyncio.ensure_future(
        asyncio.to_thread(
            registry.register_agent,
            task_registry,
            global_registry,
            agent_type,
            timeout=timeout,
            **options,
        )
    )
    try:
        agent = await _ended(work)
    except asyncio.CancelledError as error:
        if work.exception() is None and not work.result().existing:
            await _withdraw_after(error, work.result(), timeout)
        raise
    try:
        yield agent
    except BaseException as error:
        if not agent.existing:
            await _withdraw_after(error, agent, timeout)
        raise


_withdraw_after = _awaitable(withdraw_after)
