"""A disk that is full, limited or read-only: no byte of any registry is changed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import InaccessibleRegistryError, durable_commits
from registry.snapshots import read_task
from tests.support import small_disk
from tests.support.faults import GLOBAL, TASK, Act, Call, Place, failing
from tests.support.limits import no_file_longer_than
from tests.support.small_disk import ACTS, Pretended, assert_refused, grow_both

pytestmark = pytest.mark.usefixtures("quiet")

every_act = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
every_kind = pytest.mark.parametrize("durable", [False, True], ids=["plain", "durable"])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(os.path.realpath(tmp_path))


def mounted(directory: Path, what: str, options: str) -> dict[str, int] | None:
    """What came of a scenario on a file system of its own; None where none can be mounted."""
    way = small_disk.way_to_mount(directory)
    if way is None:
        return None
    command = (sys.executable, "-B", "-m", "tests.support.small_disk", what, str(directory))
    done = small_disk.mounted(way, directory, options, *command)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(counts, dict)
    print(f"{what}, by {way.name}: {counts}")
    return counts


def assert_enough(counts: dict[str, int]) -> None:
    """Each page too few was tried: of the journals, and of the room to grow."""
    assert counts["one, plain"] >= 4
    assert counts["one, durable"] >= 4
    assert counts["both, plain"] >= 8
    assert counts["both, durable"] >= 8
    assert counts["recovery"] >= 2


def test_a_full_disk_changes_no_byte(directory: Path) -> None:
    counts = mounted(directory, "full", "size=512k")
    if counts is None and (there := small_disk.small_disk_that_is_there()) is not None:
        try:
            counts = small_disk.SCENARIOS["full"](there)
        finally:
            shutil.rmtree(there)
    if counts is None:
        # The same is then tried with room that is only counted: see the test below.
        warnings.warn(
            "No small file system can be had here (no user namespaces, no sudo, no small "
            "/dev/shm): a full disk was pretended, not had",
            stacklevel=1,
        )
        with (room := Pretended()).counted():
            counts = small_disk.full(directory, room)
    assert_enough(counts)


def test_on_a_full_disk_a_message_says_what_was_written(directory: Path) -> None:
    counts = mounted(directory, "steps", "size=512k")
    if counts is None:
        pytest.skip("no small file system can be mounted here: no user namespaces, and no root")
    assert counts["refused"] >= 2
    assert counts["part"] >= 1
    assert counts["whole"] == 2


def test_a_disk_that_is_pretended_to_be_full_changes_no_byte(directory: Path) -> None:
    with (room := Pretended()).counted():
        assert_enough(small_disk.full(directory, room))


def test_a_disk_without_an_inode_left_changes_no_byte(directory: Path) -> None:
    counts = mounted(directory, "no inode", "size=512k,nr_inodes=30")
    if counts is None:
        warnings.warn("No disk of few inodes can be had here: pretended", stacklevel=1)
        counts = {"refused": refused_by_journals(directory, errno.ENOSPC)}
    assert counts == {"refused": 2}


def test_a_disk_that_is_read_only_changes_no_byte(directory: Path) -> None:
    counts = mounted(directory, "read-only", "size=512k")
    if counts is None:
        warnings.warn("No disk can be mounted read-only here: pretended", stacklevel=1)
        counts = {"refused": 2 * refused_by_journals(directory, errno.EROFS)}
    assert counts == {"refused": 4}


def refused_by_journals(directory: Path, error: int) -> int:
    """Pretends that no journal can be made; says how many acts were refused."""
    looked_for: set[str] = set()

    def fault(_: int, call: Call) -> int | None:
        if call.name != "open" or not call.of.endswith(".journal"):
            return None
        # Recovery looks whether there is one before the commit makes it.
        again = call.of in looked_for
        looked_for.add(call.of)
        return error if again else None

    place = Place(directory / "disk", kept=False)
    refused = 0
    for act in ACTS.values():
        place.lay_out()
        looked_for.clear()
        before = place.texts()
        with pytest.raises(OSError) as caught, failing(place.root, fault):
            act(place.root)
        assert_refused(place, caught.value, error, before)
        refused += 1
    return refused


@every_act
@every_kind
def test_a_limit_on_the_size_of_files_changes_no_byte(
    directory: Path, act: Act, durable: bool
) -> None:
    place = Place(directory / "disk", kept=False)
    place.lay_out()
    before = place.texts()
    refused = 0
    for limit in range(0, 1 << 20, 89):
        place.lay_out()
        status = place.status()
        with no_file_longer_than(limit), durable_commits(durable):
            try:
                act(place.root)
                break
            except OSError as error:
                caught = error
        assert_refused(place, caught, errno.EFBIG, before)
        assert place.status() == status
        refused += 1
    assert refused > 90
    assert place.texts() != before
    assert place.texts().keys() == before.keys()


@contextmanager
def as_nobody() -> Iterator[bool]:
    """Whoever runs the tests: root may write everywhere. False if root has to stay root."""
    if os.geteuid() != 0:
        yield True
        return
    try:
        os.seteuid(65534)
    except OSError:
        # A container whose user namespace has no such user.
        yield False
        return
    try:
        yield True
    finally:
        os.seteuid(0)


@pytest.fixture
def open_to_all() -> Iterator[Place]:
    """Registries that any user may reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        place = Place(Path(os.path.realpath(folder)) / "disk", kept=False)
        place.lay_out()
        place.root.chmod(0o755)
        yield place
        for name in (TASK, GLOBAL):
            (place.root / name).parent.chmod(0o755)


@every_act
@every_kind
@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_may_not_be_written_is_not_changed_and_the_error_says_so(
    open_to_all: Place, act: Act, durable: bool, what: str
) -> None:
    place = open_to_all
    for name in (TASK, GLOBAL):
        file = place.root / name
        file.chmod(0o666 if what == "directory" else 0o444)
        file.parent.chmod(0o555)
    before, status = place.texts(), place.status()
    with as_nobody() as bound:
        if bound:
            with pytest.raises(InaccessibleRegistryError) as caught, durable_commits(durable):
                act(place.root)
            assert read_task(place.root / TASK).record.task_id == "TASK-1"
    if not bound:
        warnings.warn("Root cannot become anybody else here: pretended", stacklevel=1)
        refused_by_journals(place.root.parent, errno.EACCES)
        return
    assert caught.value.errno == errno.EACCES
    assert "Permission denied. Nothing was changed; " in str(caught.value)
    assert "writable for this user" in str(caught.value)
    assert str(place.root / TASK) in str(caught.value)
    assert place.texts() == before
    assert place.status() == status
    place.assert_let_go()
    for name in (TASK, GLOBAL):
        (place.root / name).chmod(0o666)
        (place.root / name).parent.chmod(0o755)
    grow_both(place.root)
