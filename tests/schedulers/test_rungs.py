"""Rungs on their own: who is among the best, who was promoted, at which rung a report is compared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raytune_suite.schedulers.rungs import Ladder, Rung, kept


def filled(losses: list[float], factor: float = 3) -> Rung:
    rung = Rung(1, factor)
    for number, loss in enumerate(losses):
        rung.record(f"t{number}", loss, 1)
    return rung


class Everybody:
    def __contains__(self, trial_id: object) -> bool:
        return True


def test_one_in_factor_goes_on_rounded_down() -> None:
    assert [kept(n, 3) for n in range(8)] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert [kept(n, 2.5) for n in range(8)] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert kept(77, 7.7) == 10  # 77 / 7.7 is 9.999... in floating point


def test_the_best_that_live_and_were_not_promoted_are_promotable_best_first() -> None:
    rung = filled([0.5, 0.2, 0.9, 0.1, 0.3, 0.8, 0.4, 0.7, 0.6])
    assert rung.promotable(Everybody()) == ["t3", "t1", "t4"]
    rung.promoted.add("t1")
    assert rung.promotable({"t1", "t4", "t0"}) == ["t4"]  # t3 has ended and keeps its place: t0 does not move up


def test_of_equal_values_the_first_is_better() -> None:
    rung = filled([0.5, 0.5, 0.5])
    assert rung.promotable(Everybody()) == ["t0"]
    assert [rung.standing(f"t{n}").rank for n in range(3)] == [1, 2, 3]


def test_the_first_value_of_a_trial_counts() -> None:
    rung = filled([0.5, 0.4, 0.3])
    rung.record("t0", 0.1, 2)
    at = rung.standing("t0")
    assert (at.rank, at.compared, at.kept, at.cutoff) == (3, 3, 1, 0.3)
    assert (at.entry.loss, at.entry.iteration) == (0.5, 1)


def test_a_report_is_compared_at_the_highest_rung_above_those_passed() -> None:
    ladder = Ladder([1, 3, 9], 3)
    first, second, third = ladder.rungs
    assert ladder.reached("t", 0) is None
    assert ladder.reached("t", 2) is first
    assert ladder.reached("t", 5) is second
    second.record("t", 0.5, 5)  # it never was at the first rung
    assert ladder.held("t") is second
    assert ladder.reached("t", 4) is second
    assert ladder.reached("t", 20) is second  # it waits there, however far its worker went on
    assert ladder.reached("t", 2) is None  # back at an earlier checkpoint, on its way to where it waits
    second.promoted.add("t")
    assert ladder.held("t") is None
    assert ladder.reached("t", 5) is None
    assert ladder.reached("t", 1) is None  # a skipped rung is not entered later
    assert ladder.reached("t", 9) is third
    assert ladder.after(second) == 9
    assert ladder.after(third) is None


@given(
    losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    factor=st.sampled_from([1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 7.7]),
)
def test_each_value_makes_at_most_one_trial_promotable(losses: list[float], factor: float) -> None:
    """So promoting at once, whatever the slots, never needs more of them than reports have made free."""
    rung = Rung(1, factor)
    for number, loss in enumerate(losses):
        rung.record(f"t{number}", loss, 1)
        found = rung.promotable(Everybody())
        assert len(found) <= 1
        rung.promoted.update(found)
        ranked = sorted(range(number + 1), key=lambda n: (losses[n], n))
        assert {f"t{n}" for n in ranked[: kept(number + 1, factor)]} <= rung.promoted
