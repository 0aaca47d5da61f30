"""The environment of every test, the choice of tests, and the shared fixtures."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import textual._wait
import textual.app
import textual.constants
import textual.pilot
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.support import separation
from tests.support.bytecode import compile_ahead
from tests.support.crowd import Crowd
from tests.support.real_tmux import RealTmux, fake_binary
from tests.support.registries import agent, global_registry, task_registry, write
from tests.support.seclusion import seclude
from tests.support.selection import (
    TESTS,
    group_of,
    marks_of,
    mixed,
    run_quickly,
    torture_is_meant,
    waits,
)
from tests.support.stragglers import stragglers
from tests.support.style_sheets import parse_style_sheets_once
from tests.support.two_tasks import two_tasks
from tests.support.zoo import Zoo
from tui.host import tmux_servers
from tui.host.process import process_kill

# With a deadline, examples would fail on a busy machine.
settings.register_profile(
    "muster",
    deadline=None,
    max_examples=12,
    print_blob=True,
    # Tests run in different directories, so the database has a fixed one.
    database=DirectoryBasedExampleDatabase(TESTS.parent / ".hypothesis"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("muster"), max_examples=100)
settings.register_profile("thorough", settings.get_profile("muster"), max_examples=2000)
settings.load_profile("muster")

# Nothing depends on the user who runs the tests.
seclude(in_memory=True)
parse_style_sheets_once()
separation.separate()


def _unflushed(file: int) -> None:
    os.fstat(file)


# Flushes take long, and no test can see their effect on a disk.
os.fsync = os.fdatasync = _unflushed  # type: ignore[assignment]
# The colours of snapshots do not depend on the user's terminal.
textual.constants.COLOR_SYSTEM = "truecolor"  # type: ignore[misc]

# Shells make programs ignore these signals, for example with nohup and `&`.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


WORKERS_OF_A_CORE = 4


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Returns 0 for a few files, else four workers per core, as many tests only wait."""
    directory = config.invocation_params.dir
    if run_quickly(config.option.keyword, config.args, directory):
        return 0
    return WORKERS_OF_A_CORE * len(os.sched_getaffinity(0))


TEST_OF_DIRECTORY = pytest.StashKey[dict[Path, str]]()
LEFT_BEHIND = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Creates the records of the tests' directories and of the processes left behind."""
    # Collecting the tests creates much that stays: see `pytest_collection_finish`.
    gc.disable()
    config.stash[TEST_OF_DIRECTORY] = {}
    config.stash[LEFT_BEHIND] = []


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Compiles the tests once, before all workers need them."""
    compile_ahead(config, TESTS.rglob("test_*.py"), len(os.sched_getaffinity(0)))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Finds processes, also tmux servers, that tests left behind."""
    config = session.config
    found, tests = config.stash[LEFT_BEHIND], config.stash[TEST_OF_DIRECTORY]
    found += stragglers(tests)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left behind"] = found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes over the findings of a worker, unless the worker crashed."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[LEFT_BEHIND].extend(output.get("left behind", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the processes that tests left behind."""
    for line in terminalreporter.config.stash[LEFT_BEHIND]:
        terminalreporter.write_line(f"LEFT BEHIND {line}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests; deselects torture tests that the command line does not ask for."""
    left_out: set[pytest.Item] = set()
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        for mark in marks_of(item.path, fixtures):
            item.add_marker(mark)
        if group := group_of(item.path, fixtures):
            item.add_marker(pytest.mark.xdist_group(group))
        if not item.get_closest_marker("torture"):
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))
        if not torture_is_meant(
            item.path, config.option.markexpr, config.args, config.invocation_params.dir
        ):
            left_out.add(item)
    config.hook.pytest_deselected(items=list(left_out))
    kept = [each for each in items if each not in left_out]
    # Spreads the tests that wait, so that each worker has something to do at any time.
    items[:] = mixed(kept, waits) if hasattr(config, "workerinput") else kept


def pytest_collection_finish() -> None:
    """Excludes the thousands of collected tests from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


_is_idle = textual._wait.wait_for_idle


async def _settled(min_sleep: float = 0.02, max_sleep: float = 1) -> None:
    """Waits until the app is idle, even if the machine is busy.

    Textual alone takes an app for idle if the app used no CPU for a moment.
    """
    await _is_idle(min_sleep, max_sleep)
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    quiet = 0
    for _ in range(2000):
        await asyncio.sleep(0)
        quiet = 0 if ready else quiet + 1
        if quiet == 5:
            return


for module in (textual.app, textual.pilot):
    module.wait_for_idle = _settled  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def nobody_elses_tmux(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Puts the default socket in a private directory in which no server listens.

    Hides all other tmux servers of this host from the tests.
    """
    separation.PROCESSES.forget()
    directory = Path(tempfile.mkdtemp(prefix="mst"))
    request.config.stash[TEST_OF_DIRECTORY][directory] = request.node.nodeid
    monkeypatch.setenv("TMUX_TMPDIR", str(directory))
    # The start directory of the tests may be in a workspace.
    monkeypatch.chdir(directory)
    separation.PRIVATE.add(directory)
    monkeypatch.setattr(tmux_servers, "servers_of", separation.own_servers)
    yield directory
    separation.PRIVATE.discard(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server() -> Iterator[RealTmux]:
    """A private tmux server, killed after the test."""
    with RealTmux() as made:
        yield made


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line for every tmux process that is started."""
    counted = tmp_path / "calls"
    script = f'echo x >> "{counted}"; exec {shutil.which("tmux")} "$@"'
    monkeypatch.setenv("PATH", f"{fake_binary(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    return counted


@pytest.fixture
def listened(nobody_elses_tmux: Path) -> Iterator[Path]:
    """A socket at which a process of this user listens, but never answers."""
    path = nobody_elses_tmux / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4096)
        yield path


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task's registry with one active and one completed agent."""
    directory = tmp_path / ".agent-workspace" / "TASK-1"
    return write(
        directory / "AGENT_REGISTRY.json",
        task_registry(agent("busy"), agent("done", "completed")),
    )


@pytest.fixture
def global_(tmp_path: Path) -> Path:
    """The global registry that lists the same agents as `task`."""
    directory = tmp_path / ".agent-workspace" / "registry"
    return write(
        directory / "GLOBAL_REGISTRY.json",
        global_registry(agent("busy", None), agent("done", "completed")),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace of two tasks with three active agents."""
    return two_tasks(tmp_path)


@pytest.fixture
def empty_task(tmp_path: Path) -> Path:
    """A task's registry without agents."""
    return write(tmp_path / "AGENT_REGISTRY.json", task_registry())


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    """Processes that are hard to kill. The wait after SIGTERM is shortened for them."""
    monkeypatch.setattr(process_kill, "TERM_GRACE", 0.3)
    made = Zoo(tmp_path / "zoo")
    yield made
    made.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """Starts processes, which are killed after the test."""
    with Crowd() as started:
        yield started


@pytest.fixture
def quiet() -> Iterator[None]:
    """Disables the log of `registry`, because a test causes thousands of failures."""
    log = logging.getLogger("registry")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(before)
