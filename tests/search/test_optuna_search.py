"""Optuna's samplers under our protocol: what they are told, and that they answer as in Optuna's own study."""

import math
import random
import subprocess
import sys
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from raytune_suite.errors import MissingExtraError, StudyError
from raytune_suite.search import Observation, Searcher
from raytune_suite.search.optuna import OptunaCmaEsSearcher, OptunaGPSearcher, OptunaSearcher, OptunaTPESearcher
from raytune_suite.search.optuna_study import Trials, decode, distribution, encode
from raytune_suite.space import Space
from raytune_suite.states import State
from raytune_suite.testing.searchers import play

optuna.logging.set_verbosity(optuna.logging.WARNING)
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

BOX = Space.parse({"x": {"uniform": [-1.0, 2.0]}, "y": {"loguniform": [1e-4, 1.0]}, "k": {"randint": [1, 20]}})
MIXED = Space.parse({"x": {"uniform": [-1.0, 2.0]}, "c": {"choice": ["p", None, 3]}, "k": {"qlograndint": [8, 512, 8]}})
CONDITIONAL = Space.parse(
    {
        "x": {"uniform": [-1.0, 2.0]},
        "c": {"choice": ["p", "q"]},
        "m": {"uniform": [0.0, 1.0], "when": "c == 'p'"},
        "y": {"loguniform": [1e-4, 1.0]},
    }
)


def loss(point: Any) -> float:
    total = (point["x"] - 0.4) ** 2 + (0.0 if point.get("c", "p") == "p" else 0.5) + point.get("m", 0.1)
    return float(total + (math.log10(point["y"]) + 2) ** 2 if "y" in point else total)


def end(s: Any) -> Observation:
    """Whole, stopped early and failed trials."""
    if s.number % 7 == 6:
        return Observation(s.number, s.point, None, 0, State.FAILED)
    if s.number % 3 == 2:
        return Observation(s.number, s.point, loss(s.point) + 1.0, 4, State.STOPPED)
    return Observation(s.number, s.point, loss(s.point), 9, State.COMPLETED)


def whole(s: Any) -> Observation:
    return Observation(s.number, s.point, loss(s.point), 9, State.COMPLETED)


def make(kind: type[OptunaSearcher], space: Space = BOX, **settings: Any) -> OptunaSearcher:
    return kind(space, **{"seed": 5, "num_trials": 80, "max_iterations": 9, **settings})


class Bare:
    """A study of Optuna's, used as its documentation says, with the seeds that the searcher has."""

    def __init__(self, searcher: OptunaSearcher) -> None:
        self.searcher, self.space = searcher, searcher.space
        self.study = optuna.create_study(direction="maximize" if searcher.mode == "max" else "minimize")
        self.trial: Any = None

    def ask(self, number: int) -> dict[str, Any]:
        self.study.sampler = self.searcher.sampler(int(self.searcher.rng(number).integers(2**31)))
        self.trial = self.study.ask({p.name: distribution(p.domain) for p in self.space.parameters})
        return {p.name: decode(p.domain, self.trial.params[p.name]) for p in self.space.parameters}

    def tell(self, observation: Observation) -> None:
        if observation.state is State.FAILED:
            self.study.tell(self.trial, state=TrialState.FAIL)
            return
        self.trial.report(observation.value, observation.iteration)
        stopped = observation.state is State.STOPPED
        self.study.tell(self.trial, None if stopped else observation.value, TrialState.PRUNED if stopped else None)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    ("kind", "space", "options", "trials"),
    [
        (OptunaTPESearcher, BOX, {"n_startup_trials": 5}, 40),
        (OptunaTPESearcher, MIXED, {"n_startup_trials": 5, "group": True}, 40),
        (OptunaTPESearcher, MIXED, {"n_startup_trials": 5, "multivariate": False, "constant_liar": False}, 40),
        (OptunaCmaEsSearcher, BOX, {}, 40),
        (OptunaCmaEsSearcher, BOX, {"with_margin": True, "consider_pruned_trials": True, "popsize": 4}, 40),
        (OptunaGPSearcher, MIXED, {"n_startup_trials": 4}, 9),
    ],
)
def test_one_trial_at_a_time_it_proposes_what_optunas_own_study_does(
    kind: type[OptunaSearcher], space: Space, options: Any, trials: int, mode: str
) -> None:
    searcher = make(kind, space, options=options, mode=mode)
    bare = Bare(searcher)
    for number in range(trials):
        suggestion = searcher.ask(number)
        assert suggestion is not None
        assert suggestion.point == bare.ask(number)
        assert suggestion.note == {"attempts": 1}
        # its Gaussian process does not see stopped trials and would have them again; the searcher never repeats one
        ended = end(suggestion) if kind is not OptunaGPSearcher else whole(suggestion)
        searcher.tell(ended)
        bare.tell(ended)


@pytest.mark.parametrize(
    ("state", "value", "iteration", "told", "told_value", "curve"),
    [
        (State.COMPLETED, 0.5, 9, TrialState.COMPLETE, 0.5, {9: 0.5}),
        (State.COMPLETED, 0.5, 4, TrialState.COMPLETE, 0.5, {4: 0.5}),
        (State.STOPPED, 0.5, 9, TrialState.COMPLETE, 0.5, {9: 0.5}),
        (State.STOPPED, 0.5, 4, TrialState.PRUNED, 0.5, {4: 0.5}),
        (State.STOPPED, None, 4, TrialState.PRUNED, None, {4: math.nan}),
        (State.STOPPED, None, 0, TrialState.PRUNED, None, {}),
        (State.COMPLETED, None, 9, TrialState.FAIL, None, {9: math.nan}),
        (State.FAILED, 0.5, 4, TrialState.FAIL, None, {4: math.nan}),
        (State.OOM, None, 0, TrialState.FAIL, None, {}),
        (State.TIMED_OUT, 0.5, 4, TrialState.FAIL, None, {4: math.nan}),
        (State.INFEASIBLE, None, 0, TrialState.FAIL, None, {}),
        (State.RUNNING, 0.5, 4, TrialState.RUNNING, None, {4: 0.5}),
        (State.PAUSED, 0.5, 4, TrialState.RUNNING, None, {4: 0.5}),
        (State.PENDING, None, 0, TrialState.RUNNING, None, {}),
        (State.INTERRUPTED, 0.5, 4, TrialState.RUNNING, None, {4: 0.5}),
        (State.PREEMPTED, None, 0, TrialState.RUNNING, None, {}),
    ],
)
def test_what_optuna_is_told_of_a_trial(
    state: State, value: float | None, iteration: int, told: TrialState, told_value: float | None, curve: Any
) -> None:
    point = {"x": 0.5, "c": None, "k": 16}
    trials = Trials(MIXED, float, 9)
    study = trials.study(optuna.samplers.RandomSampler(), [Observation(0, point, value, iteration, state)], {})
    (trial,) = study.trials
    assert (trial.state, trial.value) == (told, told_value)
    assert repr(trial.intermediate_values) == repr(curve)
    assert trial.params == {"x": 0.5, "c": 1, "k": 2}


def test_a_failed_trial_that_is_tried_again_is_in_flight_again() -> None:
    trials = Trials(BOX, float, 9)
    point = {"x": 0.5, "y": 0.1, "k": 3}

    def told(*observations: Observation) -> list[TrialState]:
        return [trial.state for trial in trials.study(optuna.samplers.RandomSampler(), observations, {}).trials]

    assert told(Observation(0, point, None, 2, State.FAILED)) == [TrialState.FAIL]
    assert told(Observation(0, point, None, 2, State.PENDING)) == [TrialState.RUNNING]
    assert told(Observation(0, point, 0.5, 9, State.COMPLETED)) == [TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ({"randn": [1.0, 2.0]}, [1.0, -3.5, 8.25]),
        ({"randint": [-3, 4]}, [-3, 0, 3]),
        ({"qrandint": [10, 70, 16]}, [16, 64]),
        ({"qlograndint": [8, 512, 8]}, [8, 136, 512]),
        ({"qloguniform": [0.01, 1.0, 0.01]}, [0.01, 0.3, 1.0]),
        ({"quniform": [0.1, 0.7, 0.1]}, [0.1, 0.3, 0.7]),
        ({"choice": [None, [1, 2], {"a": 1}]}, [None, [1, 2], {"a": 1}]),
        ({"grid": [8, 1, 4]}, [1, 4, 8]),
    ],
)
def test_values_of_every_type_are_numbers_of_optunas_distribution(declared: Any, values: list[Any]) -> None:
    (parameter,) = Space.parse({"x": declared}).parameters
    asked = distribution(parameter.domain)
    for value in values:
        number = encode(parameter.domain, value)
        assert asked._contains(asked.to_internal_repr(number))
        back = decode(parameter.domain, number)
        assert back == (pytest.approx(value) if "randn" in declared else value)


def test_only_active_parameters_are_suggested_and_told() -> None:
    searcher = make(OptunaTPESearcher, CONDITIONAL, options={"n_startup_trials": 4})
    given = play(searcher, 30, in_flight=3, tell=end)
    assert {"m" in s.point for s in given} == {True, False}
    trials = Trials(CONDITIONAL, float, 9)
    study = trials.study(optuna.samplers.RandomSampler(), [end(s) for s in given], {})
    assert [set(trial.params) for trial in study.trials] == [set(s.point) for s in given]


def test_a_proposal_that_the_constraint_forbids_is_made_again_and_not_for_ever() -> None:
    half = Space.parse({"a": {"uniform": [0.0, 1.0]}, "b": {"uniform": [0.0, 1.0]}}, "a + b <= 0.7")
    given = play(make(OptunaTPESearcher, half, num_trials=40), 40, in_flight=4)
    assert max(s.note.get("attempts", 0) for s in given) > 1
    assert all(s.point["a"] + s.point["b"] <= 0.7 for s in given)

    speck = Space.parse({"a": {"uniform": [0.0, 1.0]}, "b": {"uniform": [0.0, 1.0]}}, "a + b <= 0.06")
    given = play(make(OptunaTPESearcher, speck, num_trials=12), 12)
    assert any(s.origin == "random" and not s.note for s in given)


def test_random_startup_and_model_are_told_apart() -> None:
    given = play(make(OptunaTPESearcher, options={"n_startup_trials": 4}, num_trials=8), 8, tell=end)
    assert [s.origin for s in given] == ["random"] * 4 + ["model"] * 4
    given = play(make(OptunaGPSearcher, options={"n_startup_trials": 3}, num_trials=6), 6, tell=end)
    assert [s.origin for s in given] == ["random"] * 4 + ["model"] * 2  # trial 2 was stopped early


def test_tpe_keeps_away_from_what_is_in_flight_as_constant_liar_says() -> None:
    def spread(liar: bool) -> float:
        searcher = make(
            OptunaTPESearcher, Space.parse({"x": {"uniform": [-1.0, 2.0]}}), options={"constant_liar": liar}
        )
        play(searcher, 30)
        points = [searcher.ask(number) for number in range(30, 50)]
        return float(np.std([s.point["x"] for s in points if s is not None]))

    assert spread(True) > 1.3 * spread(False)


@pytest.mark.parametrize("kind", [OptunaTPESearcher, OptunaCmaEsSearcher])
def test_it_finds_what_random_search_does_not(kind: type[OptunaSearcher]) -> None:
    space = Space.parse({f"x{i}": {"uniform": [0.0, 1.0]} for i in range(4)})

    def ended(s: Any) -> Observation:
        return Observation(s.number, s.point, sum((x - 0.3) ** 2 for x in s.point.values()), 9, State.COMPLETED)

    late = [ended(s).value or 0.0 for s in play(make(kind, space), 80, in_flight=4, tell=ended)[50:]]
    chance = [ended(s).value or 0.0 for s in play(make(kind, space, options={"n_startup_trials": 99}), 80)[50:]]
    assert np.mean(late) < 0.6 * np.mean(chance)


def test_the_gaussian_process_goes_on_from_what_it_is_told_alone() -> None:
    old, new = (make(OptunaGPSearcher, MIXED, options={"n_startup_trials": 4}) for _ in range(2))
    given = play(old, 8, in_flight=2, tell=end)
    for number in reversed(range(8)):
        new.tell(old.observed.get(number) or Observation(number, given[number].point, None, 0, State.PENDING))
    assert old.ask(8) == new.ask(8)


class Told:
    """A searcher that is told of all that happens to another one, as when an experiment is resumed."""

    def __init__(self, other: Searcher, alike: Searcher) -> None:
        self.other, self.alike = other, alike
        self.space, self.mode = other.space, other.mode

    def ask(self, number: int) -> Any:
        suggestion = self.other.ask(number)
        assert suggestion is not None
        self.alike.tell(Observation(number, dict(suggestion.point), None, 0, State.PENDING))
        return suggestion

    def tell(self, observation: Observation) -> None:
        self.other.tell(observation)
        self.alike.tell(observation)


@pytest.mark.parametrize("options", [{}, {"with_margin": True}, {"use_separable_cma": True}])
def test_cma_es_goes_on_where_it_stood_when_it_is_told_what_happened_in_order(options: Any) -> None:
    settings = {"options": options, "default": {"x": 0.0}, "points_to_evaluate": [{"k": 7}]}
    old, new = (make(OptunaCmaEsSearcher, **settings) for _ in range(2))
    play(Told(old, new), 40, in_flight=3, tell=end)  # type: ignore[arg-type]
    for number in (40, 41, 42):
        assert [old.ask(number)] == [new.ask(number)]
    generations = {noted.get("cma:generation") for noted in new._attributes.values()}
    assert options or max(g for g in generations if g is not None) >= 2


def test_cma_es_is_not_replayed_and_takes_points_it_did_not_make() -> None:
    assert not OptunaCmaEsSearcher.replayable
    searcher = make(OptunaCmaEsSearcher)
    for number in reversed(range(20)):
        point = BOX.sample(np.random.default_rng(number))
        searcher.tell(Observation(number, point, loss(point), 9, State.COMPLETED))
    assert searcher.ask(20) is not None
    assert set(searcher._attributes) == {20}


def test_cma_es_adapts_its_numbers_beside_choices_and_conditions() -> None:
    searcher = make(OptunaCmaEsSearcher, CONDITIONAL, options={"popsize": 5})
    play(searcher, 60, tell=whole)
    assert max(noted.get("cma:generation", 0) for noted in searcher._attributes.values()) >= 8


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (OptunaTPESearcher, {"n_startup_trails": 3}, "optuna:tpe has no such option. Did you mean n_startup_trials"),
        (OptunaTPESearcher, {"seed": 3}, "optuna:tpe has no such option. Allowed: n_startup_trials, n_ei_candidates"),
        (OptunaTPESearcher, {"n_ei_candidates": 0}, r"search\.n_ei_candidates: .*greater than or equal to 1"),
        (OptunaTPESearcher, {"multivariate": False, "group": True}, r"search\.group: needs multivariate: true"),
        (OptunaGPSearcher, {"popsize": 3}, "optuna:gp has no such option"),
        (OptunaCmaEsSearcher, {"use_separable_cma": True, "with_margin": True}, "used together with use_separable_cma"),
        (OptunaCmaEsSearcher, {"with_margin": True, "lr_adapt": True}, r"search\.lr_adapt.*together with with_margin"),
    ],
)
def test_wrong_options_are_refused(kind: type[OptunaSearcher], options: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make(kind, options=options)


def test_every_option_reaches_the_sampler() -> None:
    for kind in (OptunaTPESearcher, OptunaGPSearcher, OptunaCmaEsSearcher):
        made = vars(make(kind).sampler(1))
        for name, value in kind.Options().model_dump().items():
            inside = {"deterministic_objective": "_deterministic"}.get(name, f"_{name}")
            assert made[inside] == value


def test_cma_es_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytune_suite.search.extras.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"search: optuna:cmaes needs cmaes: pip install 'raytune-suite\[cmaes\]'"
    ):
        make(OptunaCmaEsSearcher)


def test_no_random_state_of_others_is_touched() -> None:
    import torch

    before = random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads()
    for kind in (OptunaTPESearcher, OptunaCmaEsSearcher, OptunaGPSearcher):
        play(make(kind, options={"n_startup_trials": 2}), 5, in_flight=2, tell=end)
    after = random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads()
    assert before == after


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        play(make(OptunaTPESearcher, CONDITIONAL, options={"n_startup_trials": 2}), 6, tell=end)
        play(make(OptunaCmaEsSearcher, CONDITIONAL), 6, tell=end)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert not [w for w in recwarn.list if issubclass(w.category, UserWarning | FutureWarning)]


def test_tpe_needs_neither_torch_nor_scipy_and_warns_of_nothing() -> None:
    program = """
import sys
from raytune_suite.search.optuna import OptunaTPESearcher
from raytune_suite.space import Space
from raytune_suite.testing.searchers import play
assert "optuna" not in sys.modules
space = Space.parse({"x": {"uniform": [0.0, 1.0]}})
play(OptunaTPESearcher(space, num_trials=14, options={"group": True}), 14)
assert "optuna" in sys.modules
assert not {"torch", "scipy", "ray"} & set(sys.modules), set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
