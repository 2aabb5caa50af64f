"""Which trials Tune's controller goes on knowing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from raytune_suite import Study, schedulers
from raytune_suite.callbacks import Forgetting, forgetting


@dataclass
class Known:
    number: int
    ended: bool

    def is_finished(self) -> bool:
        return self.ended


def test_ended_trials_are_forgotten_now_and_then_and_the_latest_never() -> None:
    trials = [Known(number, ended=number not in (3, 60)) for number in range(63)]
    callback = Forgetting()
    callback.on_step_end(1, trials)
    assert len(trials) == 63
    trials.append(Known(63, ended=True))
    callback.on_step_end(2, trials)
    assert [trial.number for trial in trials] == [3, 60, 63]
    trials.append(Known(64, ended=True))
    callback.on_step_end(3, trials)
    assert len(trials) == 4
    callback.on_experiment_end(trials)
    assert [trial.number for trial in trials] == [3, 60, 64]


@pytest.mark.parametrize(
    ("scheduler", "forgets"),
    [
        *[("fifo", True), ("asha", True), ("median", True), ("hyperband", False), ("pbt", False)],
        ({"name": "asha", "rule": "promotion"}, False),
    ],
)
def test_schedulers_that_go_back_to_trials_keep_all(scheduler: object, forgets: bool) -> None:
    base = {"name": "toy", "trainable": "toys:Quadratic", "metric": "loss", "num_trials": 9, "max_iterations": 9}
    study = Study.from_dict({**base, "search": "random", "space": {"x": {"uniform": [0, 1]}}, "scheduler": scheduler})
    assert bool(forgetting(schedulers.build(study))) is forgets
