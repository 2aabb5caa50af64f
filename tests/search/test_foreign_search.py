"""Ray searchers under our protocol, with OptunaSearch as the real one and a recorder as the exact one."""

from typing import Any

import pytest

pytest.importorskip("ray.tune")

from ray.tune.search import ConcurrencyLimiter
from ray.tune.search import Searcher as RaySearcher
from ray.tune.search.optuna import OptunaSearch

from raytune_suite.errors import StudyError
from raytune_suite.search import Observation
from raytune_suite.search.foreign import ForeignSearcher
from raytune_suite.space import Space
from raytune_suite.states import State
from raytune_suite.testing.searchers import play

SPACE = Space.parse(
    {
        "model": {"depth": {"randint": [1, 4]}},
        "kind": {"choice": [None, [1, 2], "x"]},
        "rate": {"loguniform": [1e-3, 1.0], "when": "kind == 'x'"},
        "shift": {"randn": [0.0, 1.0]},
        "width": {"qrandint": [8, 32, 8]},
    }
)


class Recorder(RaySearcher):
    """Gives the middle of every domain and writes down what it is told."""

    def __init__(self, size: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.size, self.seed = size, seed
        self.space: dict[str, Any] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.answer: Any = {}

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        self.metric_name, self.mode_name, self.space = metric, mode, config
        return True

    def suggest(self, trial_id: str) -> Any:
        self.calls.append(("suggest", trial_id))
        return self.answer

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.calls.append(("result", trial_id, result["value"], result["training_iteration"]))

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.calls.append(("complete", trial_id, result and result["value"], error))


ANSWER = {"model.depth": 2, "kind": 1, "rate": 0.1, "shift": 0.5, "width": 16}


def recorder(space: Space = SPACE, **settings: Any) -> tuple[ForeignSearcher, Recorder]:
    searcher = ForeignSearcher(space, searcher=Recorder, seed=5, **settings)
    searcher.inner.answer = ANSWER
    return searcher, searcher.inner


def test_the_space_is_handed_over_flat_and_points_come_back_in_our_types() -> None:
    searcher, inner = recorder(mode="max")
    suggestion = searcher.ask(0)
    assert set(inner.space) == set(SPACE.names)
    assert inner.mode_name == "max"
    assert suggestion is not None
    assert suggestion.point == {"model.depth": 2, "kind": [1, 2], "shift": 0.0, "width": 16}
    assert suggestion.origin == "model"


def test_it_gets_the_study_s_seed_unless_its_options_say_otherwise() -> None:
    assert recorder()[1].seed == 5
    assert recorder(options={"seed": 9})[1].seed == 9


def test_reports_and_ends_reach_it_under_its_own_trial_ids() -> None:
    searcher, inner = recorder()
    suggestion = searcher.ask(0)
    assert suggestion is not None
    for iteration, value, state in (
        (1, 3.0, State.RUNNING),
        (1, 3.0, State.RUNNING),
        (2, float("nan"), State.RUNNING),
        (3, 2.0, State.RUNNING),
        (3, 2.0, State.STOPPED),
        (4, 1.0, State.RUNNING),
    ):
        searcher.tell(Observation(0, suggestion.point, value, iteration, state))
    assert inner.calls == [
        ("suggest", "00000"),
        ("result", "00000", 3.0, 1),
        ("result", "00000", 2.0, 3),
        ("complete", "00000", 2.0, False),
    ]


def test_failures_are_told_as_errors() -> None:
    searcher, inner = recorder()
    suggestion = searcher.ask(0)
    assert suggestion is not None
    searcher.tell(Observation(0, suggestion.point, None, 0, State.OOM))
    assert inner.calls[-1] == ("complete", "00000", None, True)


def test_repeated_or_forbidden_points_are_refused_and_asked_for_again() -> None:
    searcher, inner = recorder()
    searcher.ask(0)
    second = searcher.ask(1)
    assert second is not None
    assert second.origin == "random"
    assert inner.calls[1:5] == [
        ("suggest", "00001"),
        ("complete", "00001", None, True),
        ("suggest", "00001_1"),
        ("complete", "00001_1", None, True),
    ]


@pytest.mark.parametrize("answer", [None, RaySearcher.FINISHED])
def test_a_searcher_without_an_answer_does_not_end_the_study(answer: Any) -> None:
    searcher, inner = recorder()
    inner.answer = answer
    suggestion = searcher.ask(0)
    assert suggestion is not None
    assert suggestion.origin == "random"


@pytest.mark.parametrize(
    ("searcher", "options", "message"),
    [
        (Recorder, {"sice": 3}, "Recorder takes no such option. Did you mean size"),
        (OptunaSearch, {"metric": "loss"}, "Use the study's field metric"),
        (OptunaSearch, {"points_to_evaluate": []}, "Use the study's field points_to_evaluate"),
        (ConcurrencyLimiter, {}, "use the study's field max_concurrent"),
    ],
)
def test_options_that_belong_elsewhere_are_refused(searcher: Any, options: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        ForeignSearcher(SPACE, searcher=searcher, options=options)


def test_optuna_learns_from_what_it_is_told() -> None:
    space = Space.parse({f"x{i}": {"uniform": [0.0, 1.0]} for i in range(3)})

    def ended(s: Any) -> Observation:
        value = sum((x - 0.3) ** 2 for x in s.point.values())
        return Observation(s.number, s.point, value, 1, State.COMPLETED)

    given = play(ForeignSearcher(space, searcher=OptunaSearch, seed=1, num_trials=60), 60, tell=ended)
    losses = [ended(s).value or 0.0 for s in given]
    assert sum(losses[40:]) < 0.5 * sum(losses[:10]) * 2


def test_optuna_is_told_of_given_points() -> None:
    space = Space.parse({"x": {"uniform": [0.0, 1.0]}})
    searcher = ForeignSearcher(space, searcher=OptunaSearch, default={"x": 0.25})
    searcher.ask(0)
    searcher.tell(Observation(0, {"x": 0.25}, 1.5, 1, State.COMPLETED))
    (trial,) = searcher.inner._ot_study.trials
    assert trial.params == {"x": 0.25}
    assert trial.value == 1.5
