"""A signal handler that raises: its exception comes through, and leaves nothing open.

Python runs a handler when a call has returned, before what it gave is kept anywhere. So
that is where it is made to raise here: after each call that `registry` makes.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import portalocker
import pytest

import registry
from registry import (
    Audit,
    LockedRegistryFile,
    OnRecord,
    atomic_increment_counts,
    clean_up_task,
    create_task_registry,
    durable_commits,
    publish_metrics,
    read_registry,
    recover_registry,
    report_progress,
)
from registry.agent_output.files import AgentFile, facts_of
from registry.agent_output.lines import PROGRESS
from registry.audit import log
from registry.audit.entries import State
from registry.audit.transaction import change_pair
from registry.schema.layout import TASK_REGISTRY, last_reports, task_places
from registry.schema.trust import why_foreign
from registry.schema.workspaces import find_workspaces
from registry.snapshots import read_task
from registry.storage import metrics
from registry.storage.codec import Json
from registry.storage.commit import is_durable
from registry.storage.files.descriptor import open_owned
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.locked_file import StagedText
from tests.support.hot_journal import cut_off_update
from tests.support.locks import is_free
from tests.support.registries import load, rewrite
from tests.support.selection import in_torture

_PACKAGE = str(Path(registry.__file__).parent)
_USED = (str(Path(portalocker.__file__).parent), contextlib.__file__)
# What only computes has no descriptors, and no errors that could be taken for others.
_PURE = {"codec.py", "records.py", "edits.py", "journal.py", "metrics.py", "errors.py"}
_PURE |= {"statuses.py", "timestamps.py", "counters.py", "advice.py"}
_PURE |= {"diff.py", "entries.py", "lines.py", "interruption.py", "text.py", "arguments.py"}


class Alarm(TimeoutError):  # noqa: N818
    """What the handler raises."""


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Alarm


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, _raise)
    # What is interrupted must be let go by itself, and not when garbage is collected.
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Exceptions that the interpreter only printed: it got them while it destroyed an object."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: seen.append(told.exc_value))
    return seen


@cache
def _is_meant(code: CodeType) -> bool:
    """Whether what a function calls is counted, and interrupted."""
    where = code.co_filename
    if not where.startswith((_PACKAGE, *_USED)) or os.path.basename(where) in _PURE:
        return False
    # Called by the interpreter, too, when it destroys one: it says nothing then.
    return code is not StagedText.close.__code__


def interrupted(number: int, do: Callable[[], object]) -> str:
    """Does something, and lets the handler raise after its call of that number.

    Returns:
        "raised"; "done", if there were not so many calls; else where the exception got lost.
    """
    calls = 0
    fired = ""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls, fired
        code = frame.f_code
        if not _is_meant(code) or event not in ("c_return", "c_exception", "call") or fired:
            return
        calls += 1
        if calls == number:
            fired = f"{event} at {code.co_filename}:{frame.f_lineno}"
            signal.raise_signal(signal.SIGUSR1)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        do()
    except Alarm:
        return "raised"
    finally:
        sys.setprofile(before)
    return fired or "done"


def descriptors() -> list[str]:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(link) for link in links if os.path.lexists(link))


def _locked(task: Path, _: Path) -> None:
    with LockedRegistryFile(task) as (found, file):
        rewrite(file, found | {"status": "DONE"})


def _reported(task: Path, global_: Path) -> None:
    report_progress(task, global_, "busy", progress=50)


def _durable(task: Path, _: Path) -> None:
    with durable_commits():
        atomic_increment_counts(task, total=1)


def _read(task: Path, _: Path) -> None:
    read_registry(task)
    read_task(task)


def _on_record(task: Path, _: Path) -> None:
    # It would grow, and be read line by line.
    log.log_of(task).unlink(missing_ok=True)
    log.append(log.log_of(task), b'{"a": 1}\n')
    log.read_log(log.log_of(task))


def _agent_file(task: Path, _: Path) -> None:
    with AgentFile(task.parent, "busy", PROGRESS) as file:
        file.last(5)
        file.more()
    facts_of(task.parent, "busy")


def _metrics(task: Path, _: Path) -> None:
    atomic_increment_counts(task, total=1)
    publish_metrics(task.parent.parent)


def _created(task: Path, _: Path) -> None:
    (task.parent.parent / "TASK-new" / TASK_REGISTRY).unlink(missing_ok=True)
    with durable_commits():
        create_task_registry(task.parent.parent, "TASK-new", "a task")


def _one_more(in_task: Json, in_global: Json | None) -> None:
    in_task["total_spawned"] += 1


def _changed_on_record(task: Path, global_: Path) -> None:
    log.log_of(task).unlink(missing_ok=True)
    on_record = OnRecord(Audit("complete", "why"))
    change_pair(task, global_, _one_more, timeout=10, on_record=on_record)


def _cleaned(task: Path, global_: Path) -> None:
    clean_up_task(task, global_, ["agent_busy"])


def _found(task: Path, _: Path) -> None:
    root = task.parent.parent
    (workspace,) = find_workspaces([str(root)], {}, root)
    task_places(workspace, {})
    last_reports(task, ["busy"])
    assert why_foreign(root) is None


def _recovered(task: Path, _: Path) -> None:
    recover_registry(task)


def _failures(task: Path) -> list[str]:
    """What is on record as failed, which no interruption is: it may come after the commit."""
    entries = log.read_log(log.log_of(task)).entries
    return [each.detail for each in entries if each.state is State.FAILED]


_OPERATIONS = (
    _locked,
    _reported,
    _durable,
    _read,
    _on_record,
    _agent_file,
    _metrics,
    _created,
    _changed_on_record,
    _cleaned,
    _found,
)
# These make many calls.
_DEAR = (_changed_on_record, _cleaned, _created, _durable, _metrics, _reported)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", _OPERATIONS, ids=lambda each: each.__name__[1:])
@pytest.mark.parametrize("every", [False, *in_torture(True)], ids=["some", "all"])
def test_a_handler_that_raises_is_heard_and_leaves_nothing_open(
    task: Path,
    global_: Path,
    operation: Callable[[Path, Path], None],
    every: bool,
    unraisable: list[object],
) -> None:
    # What tests before counted would be gone through again each time.
    metrics._by_path.clear()
    reports = task.parent / "progress" / "busy_progress.jsonl"
    reports.parent.mkdir(exist_ok=True)
    reports.write_text('{"status": "working"}\n')
    operation(task, global_)
    before = descriptors()
    number, step = 0, 1 if every else 13 if operation in _DEAR else 3
    while (
        came := interrupted(number := number + step, lambda: operation(task, global_))
    ) != "done":
        assert descriptors() == before, f"after call {number}"
        assert not is_durable()
        for path in (task, global_):
            assert is_free(path), f"after call {number}"
        assert came == "raised" or unraisable
        unraisable.clear()
        recover_registry(task)
        recover_registry(global_)
        assert load(task)
        assert _failures(task) == []
    assert number > 20


@pytest.mark.parametrize("stride", [41, *in_torture(13)], ids=["some", "more"])
def test_a_recovery_that_a_handler_interrupts_is_done_by_the_next(
    task: Path, unraisable: list[object], stride: int
) -> None:
    number = 0
    came = "raised"
    while came != "done":
        cut_off_update(task, "busy")
        before = descriptors()
        number += stride
        came = interrupted(number, lambda: recover_registry(task))
        assert descriptors() == before
        assert came in ("raised", "done") or unraisable
        unraisable.clear()
        recover_registry(task)
        assert load(task)["agents"][0]["progress"] == 77
    assert number > 50


# What only a step of the block itself raises, and no handler could.
_RAISED_THERE = {"UnnamedError", "_DuplicateKeyError", "_TooLargeError"}


def _sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(Path(_PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield f"{path}:{getattr(node, 'lineno', 0)}", node


def test_nothing_is_held_by_what_forms_a_cycle_when_it_is_interrupted() -> None:
    found = [
        where
        for where, node in _sources()
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ExitStack"
    ]
    assert found == []


def test_every_descriptor_is_opened_with_an_owner() -> None:
    opening = {"dup", "dup2", "eventfd", "fdopen", "memfd_create", "open", "openpty", "pidfd_open"}
    opening |= {"FileIO", "pipe", "pipe2", "mkstemp", "NamedTemporaryFile", "TemporaryFile"}
    found = [
        where
        for where, node in _sources()
        # `Lock.open` opens with an owner itself.
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in opening
        and ast.unparse(node.func) != "lock.open"
    ]
    assert found == []


def test_every_clause_hands_on_what_a_handler_raised() -> None:
    found = []
    for where, node in _sources():
        if isinstance(node, ast.ExceptHandler):
            steps = [ast.unparse(each) for each in node.body]
            hands_on = any(each == "raise" or each.startswith("hand_on(") for each in steps)
            if not hands_on and (node.type is None or ast.unparse(node.type) not in _RAISED_THERE):
                found.append(where)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            found.append(where)
    assert found == []


def test_an_error_of_a_call_is_not_handed_on() -> None:
    with tolerating(FileNotFoundError):
        os.stat("/nowhere at all")
    try:
        os.stat("/nowhere at all")
    except OSError as error:
        hand_on(error)


class _Caller:
    def __call__(self, signum: int, frame: FrameType | None) -> None:
        raise Alarm

    def method(self, signum: int, frame: FrameType | None) -> None:
        raise Alarm


@pytest.mark.parametrize("kind", ["function", "method", "object", "lambda"])
def test_a_handler_of_any_kind_is_known(kind: str) -> None:
    kinds: dict[str, Any] = {
        "function": _raise,
        "method": _Caller().method,
        "object": _Caller(),
        "lambda": lambda signum, frame: _raise(signum, frame),
    }
    signal.signal(signal.SIGUSR1, kinds[kind])
    with pytest.raises(Alarm), tolerating(OSError):
        signal.raise_signal(signal.SIGUSR1)


def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        open_owned(tmp_path / "none", os.O_RDONLY)
    assert descriptors() == before
