"""Of what another process says of itself no more is read than a process can have been given."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from tui.host.process import descriptors, pane_environment, procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.pane_origin import pane_origin
from tui.host.process.process_paths import directories_of, directories_touched
from tui.host.process.process_tree import processes_with_argument

# struct prctl_mm_map of <linux/prctl.h>; no privilege is needed for it.
_HUGE = """
import ctypes, mmap, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
size = 1 << 30
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
start = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
stat = [0, 0, 0] + open("/proc/self/stat").read().rpartition(")")[2].split()
code, stack, data = stat[26:28], stat[28], stat[45:48]
numbers = map(int, (*code, *data, libc.sbrk(0), stack))
fields = struct.pack("12QIi", *numbers, *(start, start + size) * 2, 0, 0, -1)
PR_SET_MM, PR_SET_MM_MAP = 35, 14
libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p] + [ctypes.c_ulong] * 2
if libc.prctl(PR_SET_MM, PR_SET_MM_MAP, fields, len(fields), 0):
    print(f"prctl: error {ctypes.get_errno()}", flush=True)
else:
    print("huge", flush=True)
sys.stdin.read()
"""


_FIRST_THREAD_ENDS = """
import ctypes, sys, threading
log = open("log", "a")
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.fixture
def huge() -> Iterator[int]:
    """A process that says that its environment and its command line have a gigabyte each."""
    with subprocess.Popen(
        [sys.executable, "-c", _HUGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if said != "huge":
            process.kill()
            pytest.skip(f"the kernel lets no process move its environment ({said})")
        yield process.pid
        process.kill()


@pytest.mark.timeout(60)
def test_an_environment_of_any_size_is_read_to_a_bound(huge: int) -> None:
    for name in ("environ", "cmdline"):
        with open(f"/proc/{huge}/{name}", "rb") as file:
            file.seek(1 << 29)
            assert file.read(1)
        assert len(procfs.read(huge, name)) == procfs.LARGEST
    tracemalloc.start()
    try:
        assert pane_origin(huge) is None
        assert directories_of(huge)
        touched = directories_touched(huge)
        assert touched.directories and not touched.is_whole
        assert processes_with_argument("no such argument") == ()
        assert tracemalloc.get_traced_memory()[1] < 1 << 29
    finally:
        tracemalloc.stop()


def test_what_a_process_was_given_is_read() -> None:
    environment = {"ONE": "1=2", "TWO": "", "THREE": "\udcff"}
    with subprocess.Popen(["sleep", "1000"], env={"PATH": os.environ["PATH"], **environment}) as p:
        try:
            found = until(lambda: procfs.environment(p.pid), "its environment")
        finally:
            p.kill()
    assert {name: found[name] for name in environment} == environment
    with pytest.raises(OSError):
        procfs.read(p.pid, "environ")


def test_a_process_lives_as_long_as_one_of_its_threads(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FIRST_THREAD_ENDS]
    named = {"TMUX": "/s,7,3", "TMUX_PANE": "%4"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path, env=named) as process:
        assert process.stdin is not None

        def stat() -> procfs.Stat:
            found = procfs.stat_of(process.pid)
            assert found is not None
            return found

        until(lambda: stat().state == "Z", "the first thread to end")
        assert not stat().is_ended
        assert pane_environment.pane_said_by(process.pid) == PaneEnvironment("/s", 7, "$3", "%4")
        opened = {target: link for link, target in descriptors.open_files(process.pid)}
        assert descriptors.is_open_for_writing(opened[str(tmp_path / "log")])
        process.kill()
        until(lambda: stat().is_ended, "the other thread to end")


@pytest.mark.parametrize(
    ("environment", "is_overwritten"),
    [
        (b"", False),
        (b"A=1\0B=2\0", False),
        (b"agent: idle\0\0\0", True),
        (b"\0" * 40, True),
        (b"--loglevel=INFO)\0\0\0\0", True),
        (b"A=\0\0TMUX=/s,1,2\0", False),
    ],
)
def test_an_overwritten_environment_is_no_environment(
    environment: bytes, is_overwritten: bool
) -> None:
    assert procfs.is_overwritten(environment) is is_overwritten
