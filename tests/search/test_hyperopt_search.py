"""Hyperopt under our protocol: what it is told, what it is asked for, and that it answers as by itself."""

import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hyperopt")

import hyperopt
from hyperopt import tpe

from raytune_suite.errors import MissingExtraError, StudyError
from raytune_suite.search import Observation, axes
from raytune_suite.search.hyperopt import HyperoptSearcher, ranks, to_hyperopt
from raytune_suite.space import Space
from raytune_suite.states import State
from raytune_suite.testing.searchers import play

KINDS: dict[str, Any] = {
    "uniform": {"uniform": [-1.0, 2.0]},
    "loguniform": {"loguniform": [1e-4, 1.0]},
    "quniform": {"quniform": [0.0, 0.5, 0.1]},
    "qloguniform": {"qloguniform": [0.01, 1.0, 0.01]},
    "randint": {"randint": [-3, 4]},
    "qrandint": {"qrandint": [10, 70, 16]},
    "lograndint": {"lograndint": [1, 50]},
    "qlograndint": {"qlograndint": [8, 512, 8]},
    "randn": {"randn": [1.0, 2.0]},
    "qrandn": {"qrandn": [1.0, 2.0, 0.25]},
    "choice": {"choice": [None, True, "x", [1, 2]]},
    "numbers": {"grid": [8, 1, 4, 2]},
}
CONDITIONAL = Space.parse(
    {
        "x": {"uniform": [-1.0, 2.0]},
        "c": {"choice": ["p", "q"]},
        "m": {"uniform": [0.0, 1.0], "when": "c == 'p'"},
        "fixed": {"choice": ["only"]},
    }
)


def make(space: Space, **settings: Any) -> HyperoptSearcher:
    return HyperoptSearcher(space, **{"seed": 5, "num_trials": 200, "max_iterations": 9, **settings})


def completed(s: Any) -> Observation:
    x = s.point.get("x", 0.0)
    return Observation(s.number, s.point, (x - 0.4) ** 2 + s.point.get("m", 0.8), 9, State.COMPLETED)


def test_losses_are_ranks_with_stopped_trials_behind_whole_ones() -> None:
    told = [
        Observation(0, {}, 3.0, 9, State.COMPLETED),
        Observation(1, {}, 0.1, 3, State.STOPPED),
        Observation(2, {}, 0.5, 1, State.STOPPED),
        Observation(3, {}, 0.3, 3, State.STOPPED),
        Observation(4, {}, 1.0, 9, State.STOPPED),
        Observation(5, {}, 2.0, 4, State.COMPLETED),
        Observation(6, {}, 0.0, 5, State.RUNNING),
        Observation(7, {}, 0.0, 5, State.FAILED),
        Observation(8, {}, None, 5, State.STOPPED),
    ]
    assert ranks(told, float, 9) == {4: 0.0, 5: 1.0, 0: 2.0, 1: 3.0, 3: 4.0, 2: 5.0}
    assert list(ranks(told, lambda value: -value, 9)) == [0, 5, 4, 3, 1, 2]


def test_what_it_is_told_of_a_trial() -> None:
    searcher = make(CONDITIONAL)
    searcher.prepare()
    point = {"x": 0.5, "c": "q", "fixed": "only"}
    searcher.tell(Observation(0, point, 0.7, 9, State.COMPLETED))
    searcher.tell(Observation(1, {**point, "x": 0.6}, None, 0, State.OOM))
    searcher.tell(Observation(2, {**point, "x": 0.7}, 0.1, 4, State.RUNNING))
    told = searcher._documents()
    assert [(d["state"], d["result"]) for d in told] == [
        (hyperopt.JOB_STATE_DONE, {"status": "ok", "loss": 0.0}),
        (hyperopt.JOB_STATE_DONE, {"status": "fail"}),
        (hyperopt.JOB_STATE_RUNNING, {"status": "running"}),
    ]
    assert told[2]["misc"] == {"tid": 2, "vals": {"x": [0.7], "c": [1], "m": []}, "idxs": {"x": [2], "c": [2], "m": []}}
    hyperopt.trials_from_docs([{**d, "spec": None, "owner": None, "version": 0, "book_time": None, "refresh_time": None,
                                "misc": {**d["misc"], "cmd": None}} for d in told], validate=True)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_every_type_are_drawn_and_come_back(kind: str) -> None:
    (parameter,) = Space.parse({"x": KINDS[kind]}).parameters
    domain = parameter.domain
    rng = np.random.default_rng(0)
    drawn = [hyperopt.pyll.stochastic.sample({"x": to_hyperopt("x", domain)}, rng)["x"] for _ in range(300)]
    values = [axes.decode(domain, float(number)) for number in drawn]
    assert all(domain.contains(value) for value in values)
    if domain.count is not None and domain.count <= 8 and not domain.log and kind != "quniform":
        counts = [sum(v == value for v in values) for value in domain.values() or ()]
        assert min(counts) > 0.6 * 300 / domain.count


def test_one_trial_at_a_time_it_proposes_what_hyperopt_does_by_itself() -> None:
    names = ("uniform", "loguniform", "quniform", "qlograndint", "randn", "choice", "numbers")
    space = Space.parse({f"a_{name}": KINDS[name] for name in names})
    searcher = make(space, mode="max", options={"n_startup_jobs": 5, "n_EI_candidates": 12})
    domain = hyperopt.base.Domain(dict, {p.name: to_hyperopt(p.name, p.domain) for p in space.parameters})
    trials = hyperopt.Trials()
    for number in range(30):
        suggestion = searcher.ask(number)
        assert suggestion is not None
        seed = int(searcher.rng(number).integers(2**31))
        (made,) = tpe.suggest([number], domain, trials, seed, n_startup_jobs=5, n_EI_candidates=12, verbose=False)
        numbers = {name: np.asarray(found)[0].item() for name, found in made["misc"]["vals"].items()}
        assert suggestion.point == {p.name: axes.decode(p.domain, numbers[p.name]) for p in space.parameters}
        value = -float(((space.to_unit(suggestion.point) - 0.37) ** 2).sum())
        made["state"], made["result"] = hyperopt.JOB_STATE_DONE, {"status": "ok", "loss": -value}
        encoded = {p.name: axes.encode(p.domain, suggestion.point[p.name]) for p in space.parameters}
        made["misc"]["vals"] = {name: [number] for name, number in encoded.items()}
        trials.insert_trial_docs([made])
        trials.refresh()
        searcher.tell(Observation(number, suggestion.point, value, 9, State.COMPLETED))


def test_a_conditional_parameter_is_modelled_from_the_trials_that_have_it() -> None:
    searcher = make(CONDITIONAL, options={"n_startup_jobs": 10})
    given = play(searcher, 60, in_flight=3, tell=completed)
    with_m = [s.point["m"] for s in given[30:] if "m" in s.point]
    assert {"m" in s.point for s in given} == {True, False}
    assert np.mean(with_m) < 0.35  # of [0, 1]: small values are better


def test_nested_choices_and_the_flat_space_are_the_same_model() -> None:
    flat = hyperopt.base.Domain(dict, {"c": hyperopt.hp.randint("c", 2), "m": hyperopt.hp.uniform("m", 0.0, 1.0)})
    nested = hyperopt.base.Domain(dict, hyperopt.hp.choice("c", [{"m": hyperopt.hp.uniform("m", 0.0, 1.0)}, {}]))
    rng = np.random.default_rng(1)
    documents = []
    for number in range(40):
        c, m = int(rng.integers(2)), float(rng.random())
        active = {"c": [c], "m": [m] if c == 0 else []}
        misc = {"tid": number, "vals": active, "idxs": {k: [number] if v else [] for k, v in active.items()}}
        result = {"status": "ok", "loss": (m - 0.3) ** 2 if c == 0 else 0.2 + rng.random()}
        documents.append({"tid": number, "state": 2, "result": result, "misc": misc, "exp_key": None})
    trials = hyperopt.trials_from_docs(documents, validate=False)

    def proposals(domain: Any) -> Any:
        made = [tpe.suggest([99], domain, trials, seed, verbose=False)[0]["misc"]["vals"] for seed in range(150)]
        return np.array([float(np.asarray(v["m"])[0]) for v in made if int(np.asarray(v["c"])[0]) == 0 and len(v["m"])])

    one, other = proposals(flat), proposals(nested)
    assert min(len(one), len(other)) > 40
    assert abs(one.mean() - other.mean()) < 0.05
    assert abs(one.std() - other.std()) < 0.05


def test_it_finds_what_random_search_does_not() -> None:
    space = Space.parse({f"x{i}": {"uniform": [0.0, 1.0]} for i in range(4)})

    def ended(s: Any) -> Observation:
        return Observation(s.number, s.point, sum((x - 0.3) ** 2 for x in s.point.values()), 9, State.COMPLETED)

    late = [ended(s).value or 0.0 for s in play(make(space), 80, in_flight=4, tell=ended)[50:]]
    chance = [ended(s).value or 0.0 for s in play(make(space, options={"n_startup_jobs": 99}), 80)[50:]]
    assert np.mean(late) < 0.6 * np.mean(chance)


def test_a_proposal_that_the_constraint_forbids_is_made_again_and_not_for_ever() -> None:
    speck = Space.parse({"a": {"uniform": [0.0, 1.0]}, "b": {"uniform": [0.0, 1.0]}}, "a + b <= 0.1")
    given = play(make(speck, num_trials=12), 12)
    assert all(s.point["a"] + s.point["b"] <= 0.1 for s in given)
    assert any(not s.note for s in given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_startup_job": 3}, "hyperopt has no such option. Did you mean n_startup_jobs"),
        ({"n_ei_candidates": 3}, "Did you mean n_EI_candidates"),
        ({"gamma": 0}, r"search\.gamma: .*greater than 0"),
        ({"algo": "anneal"}, "Allowed: n_startup_jobs, n_EI_candidates, gamma, prior_weight"),
    ],
)
def test_wrong_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make(CONDITIONAL, options=options)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytune_suite.search.extras.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"search: hyperopt needs hyperopt: pip install 'raytune-suite\[hyperopt\]'"
    ):
        make(CONDITIONAL)


def test_no_random_state_of_others_is_touched_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    before = random.getstate(), repr(np.random.get_state())
    play(make(CONDITIONAL, options={"n_startup_jobs": 3}), 10, in_flight=2, tell=completed)
    assert before == (random.getstate(), repr(np.random.get_state()))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
