"""A study in virtual time, and what it says about the real one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytune_suite import Study, probing, search, simulate
from raytune_suite.engine import seam
from raytune_suite.errors import ExperimentError, PlanError, StudyError
from raytune_suite.journal import Journal
from raytune_suite.pace import Pace
from raytune_suite.probing import probe
from raytune_suite.record import Record, Report
from raytune_suite.recorded import Recorded, carried_on, onward, reservations
from raytune_suite.runner import Results
from raytune_suite.search import Observation
from raytune_suite.simulate import Bill, Played, course, play, replications, table
from raytune_suite.states import State

TOYS = Path(__file__).parent / "cluster"


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "played",
        "trainable": "toys:Quadratic",
        "metric": "loss",
        "num_trials": 27,
        "max_iterations": 9,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
        "scheduler": {"name": "asha", "reduction_factor": 3},
        "storage": "/nowhere",
    }
    return Study.from_dict({**base, **changes}, project=TOYS)


class Bowl:
    """Better the nearer to 0.3; a step takes a second, or as long as ``x`` says."""

    def __init__(self, cost: float = 0.0) -> None:
        self.cost, self.configs, self.loaded = cost, {}, []  # type: ignore[var-annotated]

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        self.configs[trial_id] = config

    def step(self, trial_id: str, iteration: int) -> tuple[float, float]:
        x = self.configs[trial_id]["x"]
        return (x - 0.3) ** 2 + 1 / iteration, 1.0 + self.cost * x

    def save(self, trial_id: str) -> Any:
        return self.configs[trial_id]["x"]

    def load(self, trial_id: str, state: Any) -> None:
        self.loaded.append((trial_id, self.configs[trial_id]["x"], state))


def test_trials_take_the_time_their_steps_take() -> None:
    played = play(study(scheduler="fifo", num_trials=6), Bowl(), slots=2)
    assert (played.trials, played.epochs) == (6, 54)
    assert (played.wall_s, played.trained_s) == (27.0, 54.0)
    assert played.rungs == {9: 6}


def test_no_ray_is_started_and_the_seam_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    started: list[Any] = []  # other tests of this process may have a Ray of their own, so what counts is a new one
    monkeypatch.setattr(ray, "init", lambda *arguments, **options: started.append((arguments, options)))
    places = [seam._place(module, name) for module, name in seam.VIRTUAL]
    before = [getattr(owner, name) for owner, name in places]
    play(study(num_trials=4), Bowl(), slots=2)
    assert started == []
    assert [getattr(owner, name) for owner, name in places] == before


@pytest.mark.parametrize("scheduler", ["asha", {"name": "asha", "rule": "promotion"}, "hyperband", "median"])
def test_early_stopping_trains_less_and_finds_as_much(scheduler: Any) -> None:
    whole, early = (play(study(scheduler=s, num_trials=40), Bowl(cost=1.0), slots=4) for s in ("fifo", scheduler))
    assert early.epochs < whole.epochs == 360
    assert early.best is not None
    assert whole.best is not None
    assert early.best <= whole.best + 0.05
    assert early.rungs[9] < 40


def test_a_budget_of_time_ends_a_study_in_virtual_time() -> None:
    played = play(study(scheduler="fifo", num_trials=1000, stop={"time": "100s"}), Bowl(), slots=2)
    assert 100 <= played.wall_s <= 102
    assert played.trials < 30


POPULATIONS = [
    {"name": name, "perturbation_interval": 3, "synch": synch} for name in ("pbt", "pb2") for synch in (False, True)
]


@pytest.mark.parametrize("slots", [1, 3, 8])
@pytest.mark.parametrize("scheduler", POPULATIONS, ids=str)
def test_a_weak_member_of_a_population_goes_on_from_a_strong_one(scheduler: Any, slots: int) -> None:
    model, record, events = Bowl(), Record(), []  # type: ignore[var-annotated]
    course(study(scheduler=scheduler, num_trials=8), model, slots, record, events)
    assert {trial.iteration for trial in record.trials.values()} == {9}
    exploits = [event for event in events if event.get("action") == "exploit"]
    assert exploits
    points = {trial.trial_id: trial.point["x"] for trial in record.trials.values()}
    taken = {(trial_id, now) for trial_id, now, state in model.loaded if state != now}
    for event in exploits:
        reason, number = event["reason"], event["number"]
        assert reason["source_score"] < reason["score"]
        changed = reason["config"]["x"] != reason["changes"]["x"]["source"]
        assert not changed or (f"{number:05d}", reason["config"]["x"]) in taken
        following = next(e for e in events[events.index(event) :] if e["event"] == "report" and e["number"] == number)
        assert following["iteration"] == reason["source_iteration"] + 1
    assert model.configs != points


def test_members_of_a_population_meet_before_any_goes_on_where_it_is_synchronous() -> None:
    record, events = Record(), []  # type: ignore[var-annotated]
    course(study(scheduler=POPULATIONS[1], num_trials=8), Bowl(cost=5.0), 3, record, events)
    order = [event["iteration"] for event in events if event["event"] == "report"]
    assert [sorted(order[:24]), sorted(order[24:48])] == [sorted([1, 2, 3] * 8), sorted([4, 5, 6] * 8)]


def test_a_scheduler_from_elsewhere_cannot_be_played() -> None:
    elsewhere = study(scheduler="ray.tune.schedulers:FIFOScheduler")
    with pytest.raises(PlanError, match=r"FIFOScheduler cannot be simulated: choose one of fifo, asha, .*, pbt, pb2"):
        play(elsewhere, Bowl(), slots=2)


def test_with_a_ray_that_differs_nothing_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "VIRTUAL", {("ray.train._internal.session", "_FutureTrainingResult.resolve"): "timeout"})
    assert seam.virtual_differences() == ["_FutureTrainingResult.resolve takes block, not timeout"]
    with pytest.raises(PlanError, match="this version of Ray differs, so that nothing can be simulated with it"):
        play(study(), Bowl(), slots=2)


def recorded(curves: Mapping[float, list[float]], seconds: float = 2.0) -> Record:
    record = Record()
    record.apply({"event": "experiment", "name": "earlier", "metric": "loss", "mode": "min"})
    for number, (x, curve) in enumerate(curves.items()):
        record.apply(
            {"event": "trial", "number": number, "trial_id": f"{number:05d}", "config": {"x": x}, "point": {"x": x}}
        )
        record.trials[number].reports = [
            Report(i, {"loss": value}, 0.0, i * seconds) for i, value in enumerate(curve, start=1)
        ]
    return record


def test_a_curve_that_ended_goes_on_as_those_near_it_did() -> None:
    found = carried_on([[4.0, 3.0, 2.0], [8.0, 7.0, 6.5], [4.1, 3.1]], 4)
    assert found[2].tolist() == [4.1, 3.1, pytest.approx(2.1), pytest.approx(2.1)]
    assert found[:2, 3].tolist() == [2.0, 6.5]  # nobody went on
    assert not np.isnan(found).any()


def test_a_simulated_trial_follows_a_recorded_one_nearby_with_its_costs() -> None:
    curves = {x / 10: [x / 10, x / 20] for x in range(10)}
    model = Recorded(study(max_iterations=2), recorded(curves))
    model.begin("00000", {"x": 0.7})
    first = [model.step("00000", iteration) for iteration in (1, 2)]
    assert first[0][0] in (0.5, 0.6, 0.7, 0.8, 0.9)
    assert first[1] == (first[0][0] / 2, 2.0)
    model.begin("00000", {"x": 0.7})  # it goes on
    assert model.step("00000", 1) == first[0]


def test_each_stay_on_a_worker_costs_what_lies_beside_the_steps() -> None:
    model = Recorded(study(max_iterations=3), recorded({x / 10: [1.0, 0.5, 0.2] for x in range(10)}))
    model._pace = Pace((2.0,) * 10, beside=5.0)
    model.begin("00000", {"x": 0.7})
    costs = [model.step("00000", iteration)[1] for iteration in (1, 2)]
    model.begin("00000", {"x": 0.7})  # after a pause
    assert [*costs, model.step("00000", 3)[1]] == [7.0, 2.0, 7.0]


def test_who_takes_over_a_checkpoint_starts_at_the_donors_value_and_follows_a_curve_near_its_new_configuration() -> (
    None
):
    curves = {**{x / 10: [1.0, 0.5, 0.2] for x in range(5)}, **{x / 10: [1.0, 1.0, 1.0] for x in range(5, 10)}}
    model = Recorded(study(max_iterations=3), recorded(curves))
    model.begin("00000", {"x": 0.0})
    model.begin("00001", {"x": 1.0})
    donor = [model.step("00000", iteration)[0] for iteration in (1, 2)]
    model.step("00001", 1)
    saved = model.save("00000")
    for trial_id, x in (("00001", 0.9), ("00002", 0.1)):
        model.begin(trial_id, {"x": x})
        model.load(trial_id, saved)
    model.load("00000", saved)  # as after a pause
    assert [model.step(trial_id, 3)[0] for trial_id in ("00000", "00001", "00002")] == [0.2, donor[1], 0.2]


@pytest.mark.parametrize(
    ("curve", "value", "best", "then"),
    [
        ([1.0, 0.5, 0.25], 0.4, 0.0, [0.4, 0.2]),  # half of the way
        ([0.1, 0.6, 0.8], 0.7, 1.0, [0.7, 0.85]),  # also upwards
        ([1.0, 0.5, 0.5], 0.1, 0.0, [0.1, 0.1]),
        ([1.0, 0.5, 0.8], 0.1, 0.0, [0.1, 0.4]),  # what is lost
        ([1.0, 0.0, 0.5], 0.1, 0.0, [0.1, 0.1]),  # no way is left
    ],
)
def test_a_taken_over_state_goes_on_by_shares_of_the_way_to_the_best(
    curve: list[float], value: float, best: float, then: list[float]
) -> None:
    assert onward(np.array(curve), 2, value, best).tolist() == [curve[0], *map(pytest.approx, then)]


def test_in_a_forecast_a_population_ends_better_than_by_itself_and_no_better_than_the_best_recorded() -> None:
    earlier, ends = recorded({x / 20: [1 / i + x / 20 for i in range(1, 10)] for x in range(20)}), {}
    for scheduler in ("fifo", POPULATIONS[0], POPULATIONS[1]):
        made, record = study(num_trials=8, scheduler=scheduler), Record()
        course(made, Recorded(made, earlier), 3, record)
        ends[str(scheduler)] = [trial.last() for trial in record.trials.values()]
    alone, *together = ends.values()
    assert all(np.mean(end) < np.mean(alone) and 1 / 9 <= min(end) <= min(alone) for end in together)


def test_too_few_curves_are_refused() -> None:
    with pytest.raises(ExperimentError, match="earlier has 2 trials with a curve of loss: 5 are needed"):
        Recorded(study(), recorded({0.1: [1.0], 0.2: [1.0], 0.3: []}))


def test_a_metric_that_no_trial_reported_is_refused_with_those_that_were() -> None:
    with pytest.raises(ExperimentError, match=r"0 trials with a curve of cost: 5 are needed. Its trials report loss$"):
        Recorded(study(metric="cost"), recorded({0.1: [1.0], 0.2: [1.0]}))


def test_a_folder_that_holds_something_else_is_no_beginning(tmp_path: Path) -> None:
    Journal.create(tmp_path / "played").close()
    with pytest.raises(ExperimentError, match=r"begun with other options: .*--from .*played, .* --set name=played-2"):
        probe(study(storage=str(tmp_path)))


def test_an_experiment_of_another_space_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"earlier varies x, and knows none of the parameters of played \(y\)"):
        list(reservations(study(space={"y": {"uniform": [0, 1]}}), recorded({0.1: [1.0]})))


def test_what_a_forecast_cannot_know_is_told() -> None:
    earlier = recorded({0.1: [1.0, 0.9], 0.2: [1.0]})
    assert list(reservations(study(max_iterations=2), earlier)) == []
    space = {"x": {"uniform": [0, 1]}, "width": {"choice": [1, 2]}}
    lines = list(reservations(study(space=space), earlier))
    assert lines == [
        "earlier knows nothing of width: its trials are compared by the other parameters",
        "its curves end at iteration 2 of 9: from there on nothing changes in them",
    ]
    earlier.experiment["constants"] = {"width": 2}
    assert list(reservations(study(space=space, max_iterations=2), earlier)) == []


def test_machines_are_paid_for_from_the_beginning_to_the_end() -> None:
    played = [Played(trials=4, epochs=8, wall_s=1800.0, trained_s=900.0, best=0.1, reached=False, rungs={9: 4})]
    rows = dict(Bill(slots=4, gpu=0.5, cpu=2.0, price=3.0).rows({"asha": played}))
    assert rows == {"GPU-hours": ["1.0 (1.0 to 1.0)"], "at 3 an hour": ["3.0 (3.0 to 3.0)"]}
    assert list(Bill(slots=4, gpu=0.0, cpu=2.0).rows({"asha": played})) == [("CPU-hours", ["4.0 (4.0 to 4.0)"])]


def test_probes_that_were_interrupted_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, went_on = study(storage=str(tmp_path)), []  # type: ignore[var-annotated]

    def interrupted(beginning: Study) -> Results:
        folder = Path(beginning.folder)
        with Journal.create(folder) as journal:
            (folder / "study.yaml").write_text(beginning.dump())
            journal.append("close", state="interrupted", reason="SIGINT", exit_code=130)
        return Results(folder, "interrupted", 130)

    monkeypatch.setattr(probing, "run", interrupted)
    monkeypatch.setattr(probing, "resume", lambda folder, **options: went_on.append((folder, options)))
    assert probe(made, 8).exit_code == 130
    assert probing.begun(made)
    assert not probing.whole(made)
    assert not probing.begun(study(storage=str(tmp_path), max_iterations=3))
    probe(made)
    probe(made, 12)
    assert went_on == [(tmp_path / "played", {"num_trials": n, "project": TOYS}) for n in (8, 12)]
    assert probe(study(storage=str(tmp_path), num_trials=8)).exit_code == 0  # all of it was begun: run goes on with it
    assert len(went_on) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scheduler": "hyperband"}, r"hyperband shares all trials out .* --from .*played-probes"),
        ({"scheduler": "pbt"}, r"pbt trains its whole population from the start.* --num-trials 8 --set scheduler=fifo"),
        ({"num_trials": 8}, "played has 8 trials, of which 8 would be trained to foresee the others: run it"),
        ({"num_trials": None, "search": "grid", "space": {"x": {"grid": [0.1, 0.2]}}}, "a grid is trained as a whole"),
    ],
)
def test_what_has_no_beginning_cannot_be_begun(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        probe(study(**changes), 8)


def test_a_scheduler_that_is_only_compared_is_checked_before_anything_is_trained() -> None:
    with pytest.raises(StudyError, match=r"played under ashaa.*\n.*there is no scheduler ashaa. Did you mean asha"):
        simulate.variants(study(), ["fifo", "ashaa"])
    with pytest.raises(StudyError, match=r"played under pbt.*\n.*num_trials"):
        simulate.variants(study(num_trials=1), ["pbt"])
    with pytest.raises(PlanError, match="FIFOScheduler cannot be simulated"):
        simulate.variants(study(), ["ray.tune.schedulers:FIFOScheduler"])


def test_a_replication_in_which_the_budget_is_spent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    record = recorded({x / 20: [x / 20 + 1 / i for i in range(1, 10)] for x in range(20)})
    whole = list(replications(study(), record, 2, 4, budget_s=math.inf))
    clock = itertools.count()  # a second passes between two looks at it
    monkeypatch.setattr(simulate, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    steps = len(list(replications(study(), record, 2, 1, budget_s=math.inf))) and next(clock)
    played = list(replications(study(), record, 2, 4, budget_s=1.5 * steps))
    assert played == whole[:1]
    with pytest.raises(PlanError, match=r"too few .* once under asha: ended after \d+ of 27 trials.*--budget"):
        list(replications(study(), record, 2, 4, budget_s=steps / 2))


def test_what_is_only_compared_is_left_out_where_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = recorded({x / 20: [x / 20 + 1 / i for i in range(1, 10)] for x in range(20)})
    monkeypatch.setattr("raytune_suite.analysis.load", lambda folder: SimpleNamespace(record=earlier))

    def cut(made: Study, *given: Any) -> Any:
        if made.scheduler.name == "pb2":
            raise simulate.OutOfTimeError("too few seconds for pb2")
        return replications(made, *given)

    monkeypatch.setattr(simulate, "replications", cut)
    terms = simulate.Terms(count=2, slots=2, budget_s=math.inf)
    made = study(num_trials=8)
    lines = list(simulate.forecast(made, Path(), simulate.variants(made, ["pb2", "pbt", "fifo"]), terms))
    assert lines[1] == "left out: too few seconds for pb2"
    assert lines[2].split() == ["asha", "pbt", "fifo"]
    assert lines[-1].split()[-4:] == ["9:", "8", "9:", "8"]  # a population, and fifo: all to the end
    slow = study(num_trials=8, scheduler="pb2")
    with pytest.raises(PlanError, match="too few seconds for pb2"):
        list(simulate.forecast(slow, Path(), simulate.variants(slow, ["fifo"]), terms))


def test_a_searcher_that_spares_time_fits_its_model_less_often_the_more_is_known() -> None:
    searcher = search.build(study(search="bayesian", num_trials=160))
    searcher.spare()
    fits = []
    for number in range(160):
        suggestion = searcher.ask(number)
        assert suggestion is not None
        fits.append(suggestion.note)
        loss = (suggestion.point["x"] - 0.3) ** 2
        searcher.tell(Observation(number, suggestion.point, loss, 9, State.COMPLETED))
    distinct = [len({id(note) for note in fits[start : start + 40]}) for start in (40, 120)]
    assert distinct[0] == 40
    assert distinct[1] <= 14


def test_replications_differ_in_their_seed_and_keep_to_their_budget() -> None:
    record = recorded({x / 20: [x / 20 + 1 / i for i in range(1, 10)] for x in range(20)})
    played = list(replications(study(), record, 2, 4, budget_s=math.inf))
    assert len({p.best for p in played}) > 1
    assert list(replications(study(), record, 2, 4, budget_s=math.inf)) == played
    lines = list(table(study(stop={"target": 0.2}), {"asha": played}))
    assert lines[1].split() == ["replications", "4"]
    assert lines[-2].startswith("reaches 0.2")
    assert lines[-1].split()[2:6] == ["1:", "27;", "3:", lines[-1].split()[5]]
