"""What a trial needs, as trials before it teach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from raytune_suite.memory.calibration import PRIOR_MARGIN
from raytune_suite.memory.forecaster import Forecast
from raytune_suite.memory.needs import PEAK, Needs

GIB = 2**30


class Asked:
    """Forecasts ``size`` GiB, or says why not; counts the questions."""

    def __init__(self) -> None:
        self.questions = 0

    def __call__(self, config: Mapping[str, Any]) -> Forecast:
        self.questions += 1
        size = config["size"]
        return Forecast(None, "it reads its mind") if size is None else Forecast(int(size * GIB))


def some_needs() -> Needs:
    made = Needs(Asked())
    for size in (1, 2, 4, None):
        made.foresee({"size": size})
    return made


def trial(needs: Needs, number: int, size: float | None, peak: float | None = None, given: float = 0) -> None:
    resources = {"gpu_memory": given * GIB} | ({"forecast": size * GIB} if size is not None else {})
    needs.apply({"event": "trial", "number": number, "config": {"size": size}, "resources": resources})
    if peak is not None:
        needs.apply({"event": "report", "number": number, "metrics": {"loss": 1, PEAK: peak * 1024}})


def test_a_configuration_is_asked_for_once() -> None:
    asked = Asked()
    needs = Needs(asked)
    for _ in range(3):
        needs.foresee({"size": 1, "rate": 0.1})

    assert asked.questions == 1


def test_before_anything_is_measured_a_forecast_counts_with_its_margin() -> None:
    need = some_needs().need({"size": 2})

    assert (need.forecast, need.expected, need.bytes) == (2 * GIB, 2 * GIB, int(2 * GIB * PRIOR_MARGIN))


def test_peaks_of_trials_correct_the_forecasts_of_those_to_come() -> None:
    needs = some_needs()
    for number in range(20):
        trial(needs, number, 1, 1.5)

    need = needs.need({"size": 2})
    assert need.expected == 3 * GIB
    assert need.bytes is not None
    assert need.bytes < 3.1 * GIB


def test_only_the_largest_report_of_a_trial_counts() -> None:
    needs = some_needs()
    trial(needs, 0, 1, 1.5)
    trial(needs, 0, 1, 1.2)

    assert needs.calibration.factor == 1.5


def test_what_cannot_be_forecast_needs_nobody_knows_what_until_a_trial_is_measured() -> None:
    needs = some_needs()
    assert needs.need({"size": None}).bytes is None
    assert needs.need({"size": None}).why == "it reads its mind"
    assert needs.need({"size": 7}).bytes is None  # nobody has asked

    trial(needs, 0, None, 3)
    assert needs.need({"size": None}).bytes == int(1.25 * 3 * GIB)
    assert needs.need({"size": 2}).expected == 2 * GIB  # which says nothing of those that were forecast


@pytest.mark.parametrize(("step", "learnt"), [("share", 2.2), ("alone", 2.2), (None, 2.2), ("again", 1.0)])
def test_a_trial_that_ran_out_of_its_share_needs_more_than_it(step: str | None, learnt: float) -> None:
    needs = some_needs()
    trial(needs, 0, 1, given=2)
    needs.apply({"event": "retry", "number": 0, "state": "oom", **({"step": step} if step else {})})

    assert needs.calibration.factor == pytest.approx(learnt)


def test_a_second_step_up_counts_from_the_share_of_the_first() -> None:
    needs = some_needs()
    trial(needs, 0, 2, given=1)
    needs.apply({"event": "retry", "number": 0, "state": "oom", "step": "share"})
    needs.apply({"event": "end", "number": 0, "state": "oom"})

    assert needs.calibration.factor == pytest.approx(1.1)  # of 2 GiB


def test_a_trial_computed_in_pieces_says_nothing_about_those_that_are_not() -> None:
    needs = some_needs()
    trial(needs, 0, 1, 1.5)
    needs.apply({"event": "retry", "number": 0, "state": "oom", "step": "micro_batch"})
    needs.apply({"event": "report", "number": 0, "metrics": {PEAK: 100}})

    assert needs.calibration.trials == 0


def test_a_resumed_study_knows_the_forecasts_of_its_journal() -> None:
    needs = Needs(Asked())
    trial(needs, 0, 4, 6)

    assert needs.need({"size": 4}).expected == 6 * GIB
