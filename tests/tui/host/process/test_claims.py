"""A process is ended on the word of a log only where it proves that it belongs there."""

from __future__ import annotations

import pytest

from tui.host.process.claims import Claim, Facts, believed, users_believed

ADA, BOB, EVE = 1001, 1002, 1003
CLAIM = Claim(frozenset({ADA}), since=1000.0, until=2000.0)


def facts(parent: int = 1, *, begun: float = 1500.0, users: tuple[int, ...] = (ADA,)) -> Facts:
    return Facts(parent, frozenset(users), begun)


@pytest.mark.parametrize(
    ("told_by", "owner", "ourselves", "expected"),
    [
        # The word of another user is good for its own processes alone.
        ({EVE}, EVE, 0, {EVE}),
        ({EVE}, ADA, 0, {EVE}),
        ({EVE}, 0, 0, {EVE}),
        ({EVE}, EVE, ADA, {EVE}),
        # Also where root wrote down what it had read from that user.
        ({0, EVE}, 0, 0, {EVE}),
        ({ADA, EVE}, ADA, ADA, {EVE}),
        ({EVE, BOB}, EVE, 0, set()),
        # Root's and our own word is good for the agents of the registry's owner.
        ({0}, ADA, 0, {ADA}),
        ({0}, 0, 0, {0}),
        ({0}, None, 0, set()),
        ({0}, ADA, ADA, {ADA}),
        ({ADA}, ADA, ADA, {ADA}),
        ({ADA}, BOB, ADA, {ADA, BOB}),
        (set(), ADA, ADA, set()),
    ],
)
def test_whose_processes_may_be_ended_on_whose_word(
    told_by: set[int], owner: int | None, ourselves: int, expected: set[int]
) -> None:
    assert users_believed(told_by, owner, ourselves) == expected


def test_what_began_between_the_session_and_its_end_belongs_to_it() -> None:
    found, doubts = believed(CLAIM, {7: facts(), 8: facts(begun=999.5), 9: facts(begun=2005)})
    assert found == {7, 8, 9} and not doubts


@pytest.mark.parametrize(
    ("stranger", "why"),
    [
        (facts(users=(0,)), "another user (id 0)"),
        (facts(users=(ADA, 0)), "another user (id 0)"),
        (facts(begun=900), "which started before the session"),
        (facts(begun=2100), "which started after the end of the session"),
        (facts(begun=float("nan")), "which started before the session"),
    ],
)
def test_a_process_without_proof_is_left_alone_with_a_reason(stranger: Facts, why: str) -> None:
    found, doubts = believed(CLAIM, {7: facts(), 8: stranger})
    assert found == {7}
    assert why in doubts[8]


def test_what_is_left_of_it_may_have_started_others_since() -> None:
    later = {
        9: facts(8, begun=2200),
        8: facts(7, begun=2100),
        7: facts(),
        5: facts(4, begun=2100),
        6: facts(7, begun=2100, users=(0,)),
    }
    found, doubts = believed(CLAIM, later)
    assert found == {7, 8, 9}
    assert set(doubts) == {5, 6}
