"""Why a trial was proposed, in words, and how predictions are compared with what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite.analysis import Experiment
from raytune_suite.proposal import final_value, prediction, sentence
from raytune_suite.record import fold

NOTE = {"why": "explore", "predicted": 0.12, "low": 0.08, "high": 0.2, "acquisition": -2.1, "observations": 14,
        "pending": 3, "failed": 1}  # fmt: skip


def experiment(
    origin: str,
    note: dict[str, Any] | None = None,
    *,
    values: tuple[float, ...] = (0.3, 0.2, 0.15),
    state: str | None = "completed",
    before: tuple[str, ...] = (),
) -> Experiment:
    """An experiment of three iterations whose last trial has this origin and this end."""
    events: list[dict[str, Any]] = [{"event": "experiment", "metric": "loss", "mode": "min", "max_iterations": 3}]
    for number, one in enumerate((*before, origin)):
        events.append({"event": "trial", "number": number, "origin": one, "note": note or {}, "time": 0.0})
    events.append({"event": "start", "number": number, "time": 1.0})
    for iteration, value in enumerate(values, start=1):
        report = {"number": number, "iteration": iteration, "metrics": {"loss": value}, "time": 1.0 + iteration}
        events.append({"event": "report", **report})
    if state:
        events.append({"event": "end", "number": number, "state": state, "value": values[-1], "time": 9.0})
    return Experiment(Path("nowhere"), fold(events), None)


def said(*given: Any, **how: Any) -> str:
    made = experiment(*given, **how)
    return sentence(made, made.record.trials[max(made.record.trials)])


def test_a_trial_of_the_model_tells_what_was_expected_from_what_and_what_came() -> None:
    assert said("model", NOTE) == (
        "proposed by the model to explore: it expected 0.12 (0.08 to 0.2) from 14 trials with a value, 3 in flight, "
        "1 failed; it came to 0.15 (0.03 higher, inside the range)"
    )


def test_one_that_misses_its_range_says_so_and_zeros_are_not_counted_up() -> None:
    note = {**NOTE, "why": "exploit", "predicted": 0.2, "low": 0.19, "high": 0.21, "pending": 0, "failed": 0}
    assert said("model", note) == (
        "proposed by the model to improve on what looks best: it expected 0.2 (0.19 to 0.21) from 14 trials with a "
        "value; it came to 0.15 (0.05 lower, outside the range)"
    )


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ((0.3, 0.2), "stopped", "stopped at iteration 2, so its value cannot be compared with a whole training's"),
        ((0.3, 0.2), None, "it has not ended yet"),
        ((0.3, 0.2), "oom", "it ran out of memory"),
        ((0.3, 0.2), "timed_out", "it timed out"),
        ((0.3, 0.2, float("nan")), "completed", "its last value is not a number"),
    ],
)
def test_what_was_not_trained_to_the_end_is_not_compared(values: Any, state: str | None, words: str) -> None:
    text = said("model", NOTE, values=values, state=state)
    assert text.endswith(words)
    assert "it came to" not in text


def test_a_trial_that_was_stopped_at_the_very_end_counts_as_whole() -> None:
    made = experiment("model", NOTE, state="stopped")
    trial = made.record.trials[0]
    assert final_value(made, trial) == 0.15
    found = prediction(made, trial)
    assert found is not None
    assert found.inside


def test_without_a_prediction_the_model_tells_what_it_knew() -> None:
    note = {"why": "explore", "acquisition": -1.0, "observations": 5, "pending": 1, "failed": 0}
    assert said("model", note) == "proposed by the model to explore, from 5 trials with a value, 1 in flight"
    assert said("model", {"attempts": 1}) == "proposed by the model"
    made = experiment("model", {**NOTE, "predicted": float("nan")})
    assert prediction(made, made.record.trials[0]) is None


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("default", "the study's default configuration"),
        ("given", "a point the study names (points_to_evaluate)"),
        ("design", "one of the even cover at the start"),
        ("prior", "one of the even cover at the start, drawn towards the study's belief (prior)"),
        ("transfer", "promising in an earlier experiment"),
        ("mine", "mine"),
        ("", "unknown"),
    ],
)
def test_every_origin_is_told_in_words(origin: str, words: str) -> None:
    assert said(origin) == words


def test_facts_of_an_unknown_origin_are_shown_as_they_are() -> None:
    assert said("mine", {"temperature": 0.5}) == "mine (temperature 0.5)"


def test_at_random_means_something_else_for_each_searcher() -> None:
    assert said("random", before=("default",)) == "drawn at random"
    assert said("random", {"attempts": 1}) == "drawn at random, as the first trials are"
    assert "tried before or breaks the constraint" in said("random", before=("design", "model"))
