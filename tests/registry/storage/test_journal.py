"""Journals as they are written and read, and what a registry beside one needs."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from registry.storage.journal import (
    SECTOR,
    Journal,
    RecoveryAction,
    Role,
    decide,
    decode,
    digest,
    encode,
    is_over,
)

texts = st.binary(max_size=1500)
names = st.text(max_size=20)


@st.composite
def journals(draw: st.DrawFn) -> Journal:
    old = draw(texts)
    return Journal(
        transaction=draw(names),
        role=draw(st.sampled_from(Role)),
        partner=draw(st.none() | names),
        boot=draw(names),
        old_length=len(old),
        old_digest=digest(old),
        old=draw(st.sampled_from([old, None])),
        new=draw(texts),
    )


@given(journals())
def test_a_journal_is_read_as_it_was_written(journal: Journal) -> None:
    assert decode(encode(journal)) == journal


@given(journals(), st.data())
def test_a_journal_cut_short_was_not_finished(journal: Journal, data: st.DataObject) -> None:
    written = encode(journal)
    assert decode(written[: data.draw(st.integers(0, len(written) - 1))]) is None


@given(journals(), st.data())
def test_a_journal_with_any_bit_wrong_was_not_finished(
    journal: Journal, data: st.DataObject
) -> None:
    written = bytearray(encode(journal))
    bit = data.draw(st.integers(0, len(written) * 8 - 1))
    written[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(written)) is None


@given(journals(), st.data())
def test_a_journal_with_a_sector_of_zeros_was_not_finished(
    journal: Journal, data: st.DataObject
) -> None:
    written = encode(journal)
    start = data.draw(st.integers(0, (len(written) - 1) // SECTOR)) * SECTOR
    zeros = bytes(len(written[start : start + SECTOR]))
    assert decode(written[:start] + zeros + written[start + SECTOR :]) is None


@given(journals(), st.binary(min_size=1, max_size=600))
def test_what_is_left_of_a_longer_journal_before_says_nothing(
    journal: Journal, tail: bytes
) -> None:
    assert decode(encode(journal) + tail) == journal


@given(journals(), journals(), st.data())
def test_a_journal_half_written_over_another_was_not_finished(
    before: Journal, journal: Journal, data: st.DataObject
) -> None:
    over = b"\0" + encode(before)[1:]
    written = encode(journal)
    # The first byte comes last.
    cut = data.draw(st.integers(1, len(written)))
    mixed = over[:1] + written[1:cut] + over[cut:]
    assert is_over(mixed)
    assert decode(mixed) is None


@given(journals())
def test_a_journal_that_is_over_says_nothing(journal: Journal) -> None:
    over = b"\0" + encode(journal)[1:]
    assert is_over(over)
    assert decode(over) is None
    assert not is_over(encode(journal))
    assert is_over(b"")


@given(st.binary(max_size=200), st.booleans())
def test_other_files_are_no_journals(data: bytes, marked: bool) -> None:
    assert decode(b"muster journal 1\n" * marked + data) is None


def of(old: bytes, new: bytes, *, durable: bool = True) -> Journal:
    kept = old if durable else None
    return Journal("t", Role.ALONE, None, "then", len(old), digest(old), kept, new)


def text(letter: str, size: int) -> bytes:
    return b'{"t": "' + letter.encode() * (size - 9) + b'"}'


sizes = st.integers(10, 1700)


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A text before and one after."""
    return text("o", draw(sizes)), text("n", draw(sizes))


any_boot = st.sampled_from(["then", "now"])


@given(changes(), any_boot, st.booleans(), st.booleans(), st.booleans())
def test_after_needs_nothing(
    change: tuple[bytes, bytes], boot: str, committed: bool, parses: bool, durable: bool
) -> None:
    journal = of(*change, durable=durable)
    found = decide(journal, journal.new, boot=boot, committed=committed, parses=parses)
    assert found is RecoveryAction.NOTHING


@given(changes(), st.text(" \0", max_size=700), any_boot, st.booleans(), st.booleans())
def test_before_is_cut_back_to_its_length_or_written_where_the_commit_counts(
    change: tuple[bytes, bytes], room: str, boot: str, parses: bool, durable: bool
) -> None:
    journal = of(*change, durable=durable)
    data = change[0] + room.encode()

    def found(committed: bool) -> RecoveryAction:
        return decide(journal, data, boot=boot, committed=committed, parses=parses)

    assert found(False) is (RecoveryAction.CUT_BACK if room else RecoveryAction.NOTHING)
    assert found(True) is RecoveryAction.WRITE


@given(changes(), st.binary(max_size=1500), any_boot, st.booleans(), st.booleans())
def test_a_nul_in_front_is_the_mark_of_a_commit_under_way(
    change: tuple[bytes, bytes], rest: bytes, boot: str, committed: bool, durable: bool
) -> None:
    journal = of(*change, durable=durable)
    found = decide(journal, b"\0" + rest, boot=boot, committed=committed, parses=False)
    assert found is RecoveryAction.WRITE


@given(changes(), sizes, any_boot, st.booleans(), st.booleans())
def test_a_text_of_a_peer_stands(
    change: tuple[bytes, bytes], size: int, boot: str, committed: bool, durable: bool
) -> None:
    found = decide(
        of(*change, durable=durable), text("p", size), boot=boot, committed=committed, parses=True
    )
    assert found is RecoveryAction.NOTHING


@given(changes(), sizes, any_boot, st.booleans())
def test_a_broken_text_of_somebody_is_set_aside(
    change: tuple[bytes, bytes], size: int, boot: str, committed: bool
) -> None:
    data = text("p", size)[:-1]
    found = decide(of(*change), data, boot=boot, committed=committed, parses=False)
    assert found is RecoveryAction.SET_ASIDE


@st.composite
def mixes(draw: st.DrawFn) -> tuple[Journal, bytes]:
    """What a power cut may leave of a commit, sector by sector."""
    old, new = draw(changes())
    size = draw(st.sampled_from([len(old), len(new)]))
    longest = max(len(old), len(new))
    reserved = old.ljust(longest)
    versions = [
        each.ljust(longest, b"\0")
        # In order: before, room reserved, the new text laid over it, cut to length.
        for each in (old, reserved, new + reserved[len(new) : len(old)], new)
    ]
    data = b"".join(
        draw(st.sampled_from(versions))[start : start + SECTOR] for start in range(0, size, SECTOR)
    )[:size]
    return of(old, new), data


@given(mixes(), st.booleans(), st.booleans())
def test_a_mix_of_sectors_after_a_power_cut_is_written_anew(
    mix: tuple[Journal, bytes], committed: bool, parses: bool
) -> None:
    journal, data = mix
    old = journal.old or b""
    assume(data != journal.new)
    assume(data[: len(old)] != old)
    found = decide(journal, data, boot="now", committed=committed, parses=parses)
    assert found is RecoveryAction.WRITE


@given(mixes())
def test_on_the_same_boot_a_mix_is_the_work_of_a_peer(mix: tuple[Journal, bytes]) -> None:
    journal, data = mix
    old = journal.old or b""
    assume(data != journal.new)
    assume(data[: len(old)] != old)
    found = decide(journal, data, boot="then", committed=False, parses=True)
    assert found is RecoveryAction.NOTHING


def test_a_mix_that_parses_is_known_by_its_last_sector() -> None:
    # The new text over the old one, its tail not yet cut off, its start not yet there.
    old = b'{"a": {"t": "' + b"o" * 984 + b'"}}'
    new = text("n", len(old) - 1)
    data = old[:SECTOR] + new[SECTOR:] + old[len(new) :]
    assert data.endswith(b'n"}}')
    found = decide(of(old, new), data, boot="now", committed=False, parses=True)
    assert found is RecoveryAction.WRITE


@pytest.mark.parametrize("filler", [b" ", b"\0"])
def test_a_mix_that_a_second_power_cut_left_of_a_recovery_is_known(filler: bytes) -> None:
    old, new = text("o", 700), text("n", 1000)
    # The first cut kept the old length, and recovery had reserved the room again.
    data = old[:SECTOR] + new[SECTOR:700] + filler * 300
    found = decide(of(old, new), data, boot="now", committed=False, parses=False)
    assert found is RecoveryAction.WRITE


def test_one_byte_of_somebody_else_is_not_overwritten() -> None:
    old, new = text("o", 1500), text("n", 1500)
    data = bytearray(old[:SECTOR] + new[SECTOR:])
    data[1200] = ord("x")
    found = decide(of(old, new), bytes(data), boot="now", committed=False, parses=True)
    assert found is RecoveryAction.NOTHING
