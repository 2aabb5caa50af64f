from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from a_study import a_study
from fake_tune import Table as RayTable

from benchmarks.curves.grid import Grid
from benchmarks.curves.play import Play, Trace
from benchmarks.curves.results import Case, Result
from benchmarks.curves.rules import RULES, Promotion, Stopping, rungs
from benchmarks.curves.scores import Scores, upper_median
from benchmarks.curves.searchers import design, make
from benchmarks.curves.table import Table
from benchmarks.curves.tasks import TASKS
from benchmarks.curves.tpe import TELLINGS, Tpe
from raytune_suite import schedulers
from raytune_suite.search.random import RandomSearcher
from raytune_suite.space import Space

SPACE = Space.parse(
    {
        "rate": {"grid": [0.001, 0.01, 0.1, 1.0]},
        "width": {"grid": [8, 16, 32]},
        "kind": {"choice": ["a", "b"]},
        "extra": {"grid": [1, 2], "when": "kind == 'b'"},
    }
)


def made_up(iterations: int = 27) -> Table:
    """Curves that fall to a bowl over the ordinals; the smaller the width, the quicker."""
    points = list(SPACE.enumerate())
    rows = Grid(SPACE).rows
    floor = np.nansum((rows - [2, 1, 1, 0]) ** 2, axis=1) + 0.1 + 0.001 * np.arange(len(rows))
    losses = floor[:, None] + 3.0 / np.arange(1, iterations + 1)
    seconds = np.repeat(1.0 + rows[:, 1:2], iterations, axis=1)
    return Table("made up", SPACE, points, losses, seconds)


def played(table: Table, searcher: Any, rule: str, workers: int = 4, trainings: float = 6.0) -> Trace:
    return Play(table, searcher, RULES[rule](table.iterations), workers, trainings * table.whole / workers).run()


@pytest.mark.parametrize("seed", range(3))
def test_the_stopping_rule_decides_as_the_scheduler_of_the_suite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    study = a_study(scheduler={"name": "asha", "reduction_factor": 3, "grace_period": 1}, max_iterations=27)
    ours, theirs = Stopping(rungs(27), 3), RayTable(schedulers.build(study))
    at = dict.fromkeys(range(60), 0)
    stopped = 0
    while at:
        trial = int(rng.choice(list(at)))
        at[trial] += 1
        loss = math.inf if rng.random() < 0.01 else round(float(rng.random() / at[trial]), 2)
        expected, _ = theirs.report(trial, at[trial], loss)
        if at[trial] == 27:
            del at[trial]
            continue
        assert ours.report(trial, at[trial], loss) == expected.lower()
        if expected == "STOP":
            stopped += 1
            del at[trial]
    assert stopped > 20


def test_promotion_takes_the_best_third_of_the_highest_rung_once() -> None:
    rule = Promotion([1, 3], 3)
    assert [rule.report(trial, 1, loss) for trial, loss in enumerate([0.3, 0.2])] == ["pause", "pause"]
    assert rule.resume() is None, "a third of two is nobody"
    rule.report(2, 1, 0.9)
    assert (rule.resume(), rule.resume()) == (1, None)
    assert (rule.report(1, 2, 0.15), rule.report(1, 3, 0.1)) == ("continue", "pause")
    for trial in (3, 4, 5):
        rule.report(trial, 1, 0.25 + trial)
    assert (rule.resume(), rule.resume()) == (0, None)
    assert rule.report(0, 2, math.inf) == "stop"


def test_rungs_lie_below_the_whole_training() -> None:
    assert rungs(27) == [1, 3, 9]
    assert rungs(28) == [1, 3, 9, 27]


@pytest.mark.parametrize("rule", RULES)
def test_a_study_keeps_to_workers_and_horizon(rule: str) -> None:
    table = made_up()
    trace = played(table, make("random", table, 0, {}), rule)
    spent = trace.iterations * table.seconds.min()
    assert spent <= 6 * table.whole
    assert all(time <= 6 * table.whole / 4 for time, _, _ in trace.steps)
    losses = [loss for _, loss, _ in trace.steps]
    assert losses == sorted(losses, reverse=True)


def test_one_worker_trains_one_configuration_after_the_other_for_the_recorded_time() -> None:
    table = made_up()
    order = [asked.point for number in range(20) if (asked := RandomSearcher(SPACE, seed=4).ask(number))]
    trace = played(table, RandomSearcher(SPACE, seed=4), "none", workers=1)
    seconds = np.concatenate([table.seconds[table.row(point)] for point in order]).cumsum()
    assert trace.iterations == (seconds <= 6 * table.whole).sum()
    losses = np.concatenate([table.losses[table.row(point)] for point in order])
    for time, loss, _ in trace.steps:
        assert losses[seconds <= time].min() == loss


def test_an_exhausted_space_ends_with_what_runs() -> None:
    table = made_up()
    trace = played(table, make("random", table, 0, {}), "none", trainings=1000)
    assert (trace.trials, trace.completed) == (len(table.points), len(table.points))
    assert trace.exhausted is not None
    assert trace.steps[-1][1] == table.best


@pytest.mark.parametrize("telling", TELLINGS)
@pytest.mark.parametrize("rule", ["stop", "promotion", "halves"])
def test_tpe_gives_every_configuration_once(telling: str, rule: str) -> None:
    table = made_up()
    trace = played(table, Tpe(SPACE, 0, design(SPACE, 0), telling, 27), rule, trainings=1000)
    assert trace.trials == len(table.points)


def test_tpe_told_of_first_values_finds_the_good_sooner_than_random_search() -> None:
    table = made_up()
    good = {int(row) for row in np.argsort(table.losses[:, 0])[:4]}

    def met(searcher: Any) -> int:
        """The number of the trial with which the last of the good was tried."""
        played(table, (spy := Spy(searcher)), "stop", workers=1, trainings=1000)
        return max(number for number, point in enumerate(spy.points) if table.row(point) in good)

    ours = [met(Tpe(SPACE, seed, design(SPACE, seed), "first", 27)) for seed in range(8)]
    random = [met(make("random", table, seed, {})) for seed in range(8)]
    assert np.mean(ours) < np.mean(random)


class Spy:
    def __init__(self, searcher: Any) -> None:
        self._searcher, self.points, self.tell = searcher, [], searcher.tell

    def ask(self, number: int) -> Any:
        suggestion = self._searcher.ask(number)
        if suggestion is not None:
            self.points.append(suggestion.point)
        return suggestion


@pytest.mark.parametrize("name", ["random", "tpe-first", "bayesian"])
def test_every_searcher_begins_with_the_same_design(name: str) -> None:
    table = made_up()
    searcher = make(name, table, 3, {})
    points = [asked.point for number in range(10) if (asked := searcher.ask(number))]
    assert points == design(SPACE, 3)
    assert len({SPACE.key(point) for point in points}) == 10


def test_what_is_left_is_seen_part_by_part() -> None:
    grid = Grid(SPACE)
    assert grid.conditional
    assert grid.unseen(["extra"]).tolist() == [[0.0], [1.0]]
    grid.left[[grid.row(point) for point in grid.points if point.get("extra") == 1]] = False
    assert grid.unseen(["extra"]).tolist() == [[1.0]]
    assert len(grid.unseen(["rate", "width", "kind"])) == 24


def test_the_best_of_many_draws_is_known_exactly() -> None:
    table = made_up()
    rng = np.random.default_rng(0)
    best = table.losses.min(1)
    drawn = [best[rng.choice(len(best), 10, replace=False)].min() for _ in range(4000)]
    assert table.best_of(10) == pytest.approx(np.median(drawn))
    assert table.best_of(1) == pytest.approx(np.sort(best)[len(best) // 2], abs=0.2)


def result(arm: str, seed: int, *steps: tuple[float, float]) -> Result:
    return Result(Case("made up", 4, arm, seed), np.array([(*step, step[1]) for step in steps]), {})


def test_a_run_that_misses_the_level_counts_as_the_horizon() -> None:
    random = [result("random/stop", seed, (0.2, 5.0), (0.8, 1.0 + seed)) for seed in range(3)]
    fast = [result("fast/stop", seed, (0.1, 4.0), (0.4, 0.5)) for seed in range(3)]
    scores = Scores(made_up(), [*random, *fast])
    assert scores.level == 2.0
    assert scores.restricted_mean("random/stop") == pytest.approx((0.8 + 0.8 + 1.0) / 3)
    assert (scores.median_time("random/stop"), scores.median_time("fast/stop")) == (0.8, 0.4)
    speedup = scores.speedup("fast/stop", "random/stop")
    assert speedup.ratio == pytest.approx(2.6 / 1.2)
    assert speedup.low <= speedup.ratio <= speedup.high
    assert scores.speedup("random/stop", "random/stop").high == 1.0
    assert math.isinf(Scores(made_up(), [*random, result("slow/stop", 0, (0.1, 9.0))]).median_time("slow/stop"))


def test_the_level_can_be_what_a_share_of_the_table_reaches() -> None:
    table = made_up()
    scores = Scores(table, [result("random/stop", 0, (0.2, 5.0))], share=0.1)
    assert (table.losses.min(1) <= scores.level).mean() == pytest.approx(0.1, abs=0.02)


def test_the_upper_median_is_one_of_the_values() -> None:
    assert upper_median([3.0, 1.0, 2.0]) == 2.0
    assert upper_median([4.0, 1.0, 2.0, 3.0]) == 2.0


def test_the_grids_hold_hundreds_of_configurations_in_stacks_of_one_shape() -> None:
    sizes = {name: task.grid.size() for name, task in TASKS.items()}
    assert sizes == {"tabular": 2916, "digits": 540, "bytes": 1296}
    for task in TASKS.values():
        stacks = list(task.stacks())
        numbers = [number for stack in stacks for number, _ in stack]
        assert sorted(numbers) == list(range(sizes[task.name] or 0))
        for stack in stacks:
            rest = [{k: v for k, v in point.items() if k not in task.stacked} for _, point in stack]
            assert all(shape == rest[0] for shape in rest)
