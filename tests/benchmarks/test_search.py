from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from searching import runs
from searching.peers.protocol import Parameter, active_only
from searching.references import climb, load, lower, random_medians, save, score
from searching.report import report
from searching.runs import MODES, Mode, Run, append, evaluate, plan, read, record, work
from searching.scores import collect
from searching.sessions import SEARCHERS, Local, Remote
from searching.statistics import difference, estimate, means, resampled
from searching.tasks import TASKS, VERSION

from raytune_suite.search.random import RandomSearcher

SHORT = Mode("sequential", 60, 1)
CHEAP = [name for name, task in TASKS.items() if task.group != "model"]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_gives_the_same_finite_loss_each_time(name: str) -> None:
    task = TASKS[name]
    points = [task.space.sample(np.random.default_rng(seed)) for seed in range(8)]
    losses = [task.loss(point) for point in points]
    assert all(map(math.isfinite, losses))
    assert losses == [task.loss(point) for point in points]


@pytest.mark.parametrize("name", [n for n, t in TASKS.items() if t.optimum is not None])
def test_a_known_optimum_is_reached_and_not_undercut(name: str) -> None:
    task = TASKS[name]
    rng = np.random.default_rng(0)
    points = [task.space.sample(rng) for _ in range(3000)]
    points.sort(key=task.loss)
    found = min(climb(task, point, 3000, rng) for point in points[:4])
    assert task.optimum is not None
    assert found >= task.optimum - 1e-5
    reference = load()[name]
    assert score(reference, found, 60) < 0.35


@pytest.mark.parametrize("name", TASKS)
def test_peers_read_the_conditions_of_a_space_as_the_suite_does(name: str) -> None:
    task = TASKS[name]
    parameters = [Parameter.read(json.loads(json.dumps(raw))) for raw in task.parameters()]
    rng = np.random.default_rng(3)
    for _ in range(200):
        values = {p.name: p.domain.sample(rng) for p in task.space.parameters}
        assert active_only(parameters, values) == task.space.activate(values)


@pytest.mark.parametrize("name", TASKS)
def test_steps_of_a_quantised_parameter_are_values_of_the_space(name: str) -> None:
    task = TASKS[name]
    for raw, ours in zip(task.parameters(), task.space.parameters, strict=True):
        parameter = Parameter.read(raw)
        if parameter.steps is not None:
            values = [parameter.of_step(k) for k in range(parameter.steps + 1)]
            assert values == list(ours.values() or ())


def test_optuna_gives_only_points_of_the_space() -> None:
    session = SEARCHERS["tpe"].open(Path())
    try:
        for name in ("branches, conditional", "ensemble, quantised, noisy", "depth, conditional"):
            task = TASKS[name]
            session.start(task, 0, 20, 1)
            for number in range(20):
                point, _ = session.ask(number)
                assert point is not None
                assert not task.space.check(point)
                session.tell(number, task.loss(point))
    finally:
        session.close()


def test_a_peer_that_dies_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("raise SystemExit(3)")
    session = Remote([sys.executable, str(script)])
    with pytest.raises((RuntimeError, BrokenPipeError)):
        session.start(TASKS["branin"], 0, 5, 1)
    session.close()


class Spy:
    """A session that notes what was told when."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.events: list[tuple[str, int]] = []
        self.values: dict[int, float] = {}

    def start(self, *settings: Any) -> None:
        self.events.clear()

    def ask(self, number: int) -> tuple[dict[str, Any], tuple[float, float]]:
        self.events.append(("ask", number))
        return {"x0": 1.0 + number, "x1": 2.0}, (0.0, 0.0)

    def tell(self, number: int, value: float) -> tuple[float, float]:
        self.events.append(("tell", number))
        self.values[number] = value
        return 0.0, 0.0

    def close(self) -> None:
        pass


def test_one_at_a_time_each_result_is_told_before_the_next_question() -> None:
    spy = Spy()
    evaluate(spy, TASKS["branin"], Mode("m", 3, 1), 0)
    assert spy.events == [("ask", 0), ("tell", 0), ("ask", 1), ("tell", 1), ("ask", 2)]


def test_eight_in_flight_come_back_in_the_order_they_end() -> None:
    spy = Spy()
    evaluate(spy, TASKS["branin"], Mode("m", 40, 8), 0)
    assert spy.events[:9] == [*(("ask", n) for n in range(8)), spy.events[8]]
    told = [n for kind, n in spy.events if kind == "tell"]
    assert sorted(told) != told
    asked = 0
    for kind, _ in spy.events:
        asked += 1 if kind == "ask" else -1
        assert asked <= 8


def test_noise_is_told_but_not_scored_and_the_same_for_every_searcher() -> None:
    task = TASKS["transformer, noisy"]
    found = [evaluate(Local(RandomSearcher, {"sampling": kind}), task, SHORT, 4) for kind in ("uniform", "sobol")]
    noise = [np.subtract(each["observed"], each["losses"]) for each in found]
    assert found[0]["losses"] != found[1]["losses"]
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-12)
    assert 0.5 * task.noise < np.std(noise[0]) < 2 * task.noise


def test_work_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "r.jsonl"
    todo = plan(["random"], CHEAP[:2], [SHORT], [0, 1])
    work(todo[:3], results, tmp_path)
    with results.open("a") as file:
        file.write('{"searcher": "rand')
    assert len(read([results])) == 3
    results.write_text("".join(line + "\n" for line in results.read_text().splitlines()[:3]))
    capsys.readouterr()
    work(todo, results, tmp_path)
    assert capsys.readouterr().out.count("\n") == 1
    assert len({json.dumps([e["task"], e["seed"]]) for e in read([results])}) == 4


def test_the_plan_covers_all_tasks_before_the_next_seed() -> None:
    runs_ = plan(["random"], CHEAP, [SHORT], [0, 1])
    assert [run.task for run in runs_[: len(CHEAP)]] == CHEAP
    assert {run.seed for run in runs_[: len(CHEAP)]} == {0}


def test_results_of_other_tasks_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append(path, {"tasks_version": VERSION + 1})
    assert read([path]) == []


def test_the_references_cover_every_task_and_are_in_order() -> None:
    references = load()
    assert list(references) == list(TASKS)
    for reference in references.values():
        medians = np.array(reference["random_median"])
        assert len(medians) == 80
        assert (np.diff(medians) <= 0).all()
        assert reference["best_known"] < medians[-1]


def test_a_better_loss_lowers_the_best_known_but_not_a_known_optimum(tmp_path: Path) -> None:
    path = tmp_path / "references.json"
    before = load()
    save(before, path)
    lower([{"task": "branin", "best": [-9.0]}, {"task": "plateaus", "best": [3.0, -9.0]}], path)
    after = load(path)
    assert after.pop("plateaus")["best_known"] == -9.0
    assert after == {name: before[name] for name in TASKS if name != "plateaus"}


def test_the_median_of_random_search_is_what_simulated_random_searches_find() -> None:
    losses = np.random.default_rng(1).lognormal(size=20_000)
    rng = np.random.default_rng(2)
    simulated = np.median([rng.choice(losses, 60).min() for _ in range(2000)])
    assert random_medians(losses)[59] == pytest.approx(simulated, rel=0.05)


def test_random_search_scores_about_one() -> None:
    references = load()
    session = Local(RandomSearcher, {})
    for name in ("branin", "transformer, noisy", "pipeline, categorical"):
        found = [min(evaluate(session, TASKS[name], SHORT, seed)["losses"]) for seed in range(61)]
        below = np.mean([score(references[name], loss, 60) < 1 for loss in found])
        # the median of 61 searches is off by more than this once in a thousand
        assert 0.28 < below < 0.72


def test_scores_are_clipped() -> None:
    reference = {"best_known": 1.0, "random_median": [3.0]}
    assert score(reference, 2.0, 1) == 0.5
    assert score(reference, 0.9, 1) == 0.0
    assert score(reference, 9.0, 1) == 2.0


def test_the_mean_weighs_tasks_alike_however_many_seeds_they_have() -> None:
    tasks = [np.full((10, 1), 1.0), np.full((2, 1), 0.0)]
    assert means(tasks)[0] == 0.5


def test_the_interval_covers_the_mean_of_all_tasks_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        effects = rng.normal(0.3, 0.4, 16)
        tasks = [np.stack([e + rng.normal(0, 0.3, 8), np.zeros(8)], axis=1) for e in effects]
        low, high = np.quantile(difference(resampled(tasks, 400)), [0.025, 0.975])
        hits += low <= 0.3 <= high
    # 95 % promised; percentile intervals of 16 tasks cover a little less
    assert 0.88 < hits / 200 <= 1.0


def test_the_paired_difference_is_over_the_seeds_both_have() -> None:
    references = load()
    task = "branin"
    best, median = references[task]["best_known"], references[task]["random_median"][59]

    def entry(searcher: str, seed: int, at: float) -> dict[str, Any]:
        found = best + at * (median - best)
        return {
            "searcher": searcher,
            "task": task,
            "mode": "sequential",
            "evaluations": 60,
            "seed": seed,
            "best": [found] * 60,
        }

    entries = [entry("suite", 0, 0.2), entry("suite", 1, 0.9), entry("tpe", 0, 0.6)]
    scores = collect(entries, references, "sequential", 60)
    pairs = scores.paired("suite", "tpe")
    np.testing.assert_allclose(pairs[0], [[0.2, 0.6]], rtol=1e-6)
    assert estimate(pairs, difference).value == pytest.approx(-0.4, abs=1e-6)


def test_the_report_has_a_row_for_each_searcher(tmp_path: Path) -> None:
    sessions = {"random": SEARCHERS["random"].open(tmp_path), "sobol": SEARCHERS["sobol"].open(tmp_path)}
    todo = [Run(name, task, MODES["sequential"], seed) for name in sessions for task in CHEAP for seed in (0, 1)]
    entries = [record(run, sessions[run.searcher]) for run in todo]
    text = "\n".join(report(entries, load(), list(MODES.values())))
    assert "## sequential" in text
    assert "## asynchronous" not in text
    assert text.count("| scrambled Sobol |") == 4
    assert f"{len(CHEAP)} / {2 * len(CHEAP)}" in text


def test_quick_runs_are_never_mixed_with_whole_ones() -> None:
    whole = {mode.evaluations for mode in runs.MODES.values()}
    assert not whole & {mode.evaluations for mode in runs.QUICK_MODES.values()}
