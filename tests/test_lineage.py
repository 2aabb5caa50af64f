"""Where weights come from, read off made-up events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from raytune_suite.errors import ExperimentError
from raytune_suite.lineage import Stretch, lineages

Event = dict[str, Any]


def trial(number: int, rate: float = 1.0) -> Event:
    return {"event": "trial", "number": number, "config": {"rate": rate}}


def reports(number: int, first: int, last: int) -> Iterator[Event]:
    for iteration in range(first, last + 1):
        yield {"event": "report", "number": number, "iteration": iteration, "metrics": {"loss": iteration}, "time": 0.0}


def exploit(number: int, source: int, rate: float) -> Event:
    reason = {"from": f"{source:05d}", "config": {"rate": rate}}
    return {"event": "decision", "number": number, "action": "exploit", "reason": reason}


def worker(number: int, **facts: Any) -> Event:
    return {"event": "worker", "number": number, **facts}


def shown(path: list[Stretch]) -> list[tuple[int, float, int, int]]:
    """Trial, rate, first and last iteration of each stretch."""
    return [(s.leg.number, s.leg.config["rate"], s.leg.start + 1, s.last) for s in path]


def test_a_trial_nobody_touched_is_one_stretch() -> None:
    found = lineages([trial(0), *reports(0, 1, 5)])
    assert shown(found.path(0)) == [(0, 1.0, 1, 5)]


def test_a_trial_without_reports_has_no_path() -> None:
    assert lineages([trial(0)]).path(0) == []


def test_a_retried_trial_is_one_stretch_with_the_later_reports() -> None:
    again = [dict(event, metrics={"loss": -1}) for event in reports(0, 3, 5)]
    found = lineages([trial(0), *reports(0, 1, 4), worker(0, restored=2, restored_from="00000"), *again])
    (stretch,) = found.path(0)
    assert [report.metrics["loss"] for report in stretch.reports] == [1, 2, -1, -1, -1]
    assert stretch.leg.resumed == {2}


def test_an_exploit_goes_on_from_another_trials_weights_under_a_new_config() -> None:
    events = [
        trial(0, 1.0), trial(1, 2.0), *reports(0, 1, 4), *reports(1, 1, 4),
        exploit(1, 0, 1.2), worker(1, restored=4, restored_from="00000"), *reports(1, 5, 8),
    ]  # fmt: skip
    assert shown(lineages(events).path(1)) == [(0, 1.0, 1, 4), (1, 1.2, 5, 8)]


def test_an_exploit_may_go_back_to_where_its_source_stood() -> None:
    events = [
        trial(0, 1.0), trial(1, 2.0), *reports(0, 1, 4), *reports(1, 1, 8), exploit(1, 0, 1.2), *reports(0, 5, 6),
        worker(1, restored=4, restored_from="00000"), *reports(1, 5, 6),
    ]  # fmt: skip
    assert shown(lineages(events).path(1)) == [(0, 1.0, 1, 4), (1, 1.2, 5, 6)]


def test_weights_are_those_of_before_the_source_itself_took_over_others() -> None:
    events = [
        *(trial(number, number + 1.0) for number in range(3)), *(e for n in range(3) for e in reports(n, 1, 4)),
        exploit(1, 0, 1.1),  # takes the weights trial 0 has now ...
        exploit(0, 2, 3.3), worker(0, restored=4, restored_from="00002"), *reports(0, 5, 8),
        worker(1, restored=4, restored_from="00000"), *reports(1, 5, 8),
    ]  # fmt: skip
    found = lineages(events)
    assert shown(found.path(1)) == [(0, 1.0, 1, 4), (1, 1.1, 5, 8)]
    assert shown(found.path(0)) == [(2, 3.0, 1, 4), (0, 3.3, 5, 8)]


def test_chains_lead_back_through_several_trials_and_through_a_trial_twice() -> None:
    events = [
        trial(0, 1.0), trial(1, 2.0), *reports(0, 1, 2), *reports(1, 1, 2), exploit(1, 0, 1.5), *reports(1, 3, 4),
        *reports(0, 3, 4), exploit(0, 1, 1.8), *reports(0, 5, 6), exploit(1, 0, 2.2), *reports(1, 7, 8),
    ]  # fmt: skip
    assert shown(lineages(events).path(1)) == [(0, 1.0, 1, 2), (1, 1.5, 3, 4), (0, 1.8, 5, 6), (1, 2.2, 7, 8)]


def test_a_trial_that_went_on_from_its_own_checkpoint_in_spite_of_an_exploit_keeps_its_weights() -> None:
    events = [
        trial(0, 1.0), trial(1, 2.0), *reports(0, 1, 4), *reports(1, 1, 4), exploit(1, 0, 1.2),
        worker(1, restored=4, restored_from="00001"), *reports(1, 5, 6),
    ]  # fmt: skip
    assert shown(lineages(events).path(1)) == [(1, 2.0, 1, 4), (1, 1.2, 5, 6)]


def test_a_training_that_was_made_longer_goes_on_under_the_new_length() -> None:
    events = [
        {"event": "session", "max_iterations": 4}, trial(0), *reports(0, 1, 4),
        {"event": "session", "max_iterations": 4}, {"event": "session", "max_iterations": 6}, *reports(0, 5, 6),
    ]  # fmt: skip
    path = lineages(events).path(0)
    assert [(s.leg.number, s.leg.max_iterations, s.leg.start, s.last) for s in path] == [(0, 4, 0, 4), (0, 6, 4, 6)]


def test_weights_of_unknown_origin_are_refused() -> None:
    found = lineages([trial(0), *reports(0, 4, 5)])
    with pytest.raises(ExperimentError, match="after iteration 3"):
        found.path(0)


def test_what_a_worker_had_is_kept_with_what_it_trained() -> None:
    found = lineages([trial(0), worker(0, environment="e1", cpus=2.0, gpu=0.5), *reports(0, 1, 2)])
    leg = found.path(0)[0].leg
    assert (leg.cpus, leg.gpu, leg.environments) == (2.0, 0.5, {"e1"})
