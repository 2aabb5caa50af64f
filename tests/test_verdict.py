from __future__ import annotations

import json
from pathlib import Path

import pytest

from raytune_suite.verdict import Verdict, judge, verdict_of

CLEAR = {0: ("completed", [1.0, 1.1, 0.9]), 4: ("completed", [0.1, 0.21, 0.0]), 7: ("completed", [0.6, 0.7, 0.48])}
CLOSE = {0: ("completed", [1.0, 1.1, 0.9]), 4: ("completed", [0.10, 0.20, 0.30]), 7: ("completed", [0.11, 0.18, 0.32])}


def judged(found: dict[int, tuple[str, list[float]]], default: int | None = 0) -> Verdict:
    return judge("confirmed-1", "validation/loss", "min", "best", 3, default, found)


def test_a_clear_winner_is_named_with_its_probability() -> None:
    verdict = judged(CLEAR)
    assert (verdict.certain, verdict.among, verdict.contenders[0].trial) == (True, (4,), 4)
    assert verdict.sentence().startswith("trial 4 is the best with probability ")
    over_default = {c.trial: c.over_default for c in verdict.contenders}
    assert over_default[0] is None
    assert over_default[4] is not None
    assert over_default[4] > 0.98


def test_close_ones_are_indistinguishable_and_the_far_one_is_not_among_them() -> None:
    verdict = judged(CLOSE)
    assert not verdict.certain
    assert set(verdict.among) == {4, 7}
    assert verdict.sentence().startswith("indistinguishable: the best is one of trials ")


def test_one_that_failed_or_diverged_is_listed_last_and_cannot_be_the_best() -> None:
    verdict = judged({**CLEAR, 9: ("diverged", [])})
    assert [c.trial for c in verdict.contenders][-1] == 9
    assert verdict.contenders[-1].best == 0
    assert [row["validation/loss"] for row in verdict.rows()][-1] == "diverged"


def test_a_default_that_failed_is_no_yardstick() -> None:
    verdict = judged({**CLEAR, 0: ("failed", [])})
    assert [c.over_default for c in verdict.contenders] == [None] * 3


def test_the_only_one_that_completed_is_the_best() -> None:
    verdict = judged({0: ("failed", []), 4: CLEAR[4]})
    assert (verdict.certain, verdict.among) == (True, (4,))


def test_nothing_that_completed_is_nothing_to_compare() -> None:
    assert judged({0: ("failed", []), 4: ("oom", [])}).sentence().startswith("nothing to compare")


def test_the_last_finished_confirmation_of_an_experiment_is_found(tmp_path: Path) -> None:
    assert verdict_of(tmp_path) is None
    for number, found in ((1, CLEAR), (2, CLOSE), (10, CLEAR)):
        data = judged(found).data() | {"name": f"confirmed-{number}"}
        (tmp_path / f"confirmed-{number}.json").write_text(json.dumps({"request": {}, "verdict": data}))
    (tmp_path / "confirmed-11.json").write_text(json.dumps({"request": {}}))
    (tmp_path / "confirmed-12.json").write_text("{torn")
    held = verdict_of(tmp_path)
    assert held is not None
    assert held.name == "confirmed-10"
    assert held.contenders == judged(CLEAR).contenders
    assert held.sentence() == judged(CLEAR).sentence()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_direction_counts(mode: str) -> None:
    verdict = judge("confirmed-1", "accuracy", mode, "last", 3, None, CLEAR)
    assert verdict.contenders[0].trial == (4 if mode == "min" else 0)
