"""What trials took of a GPU, beside what was forecast."""

from __future__ import annotations

from pathlib import Path

from made_up import METRIC, Story

from raytune_suite.analysis import Experiment, load
from raytune_suite.plots.memory import NONE, gpu_memory, peaks
from raytune_suite.report import html


def measured(folder: Path) -> Experiment:
    """Trial 0 was forecast and measured, 1 only forecast, 2 only measured."""
    story = Story(folder)
    for number, forecast in enumerate([100, 200, None]):
        resources = {"gpu": 0.25, "forecast": forecast * 2**20} if forecast else {"gpu": 1.0}
        story._say("trial", number=number, trial_id=f"{number:05d}", config={}, point={}, resources=resources)
        story._say("start", number=number, attempt=0)
    for iteration, peak in enumerate([90.0, 120.0, 110.0], start=1):
        for number in (0, 2):
            metrics = {METRIC: 0.5, "memory/gpu_mb": peak}
            story._say("report", number=number, iteration=iteration, metrics=metrics, elapsed=1.0)
    story.journal.close()
    return load(folder)


def test_the_largest_report_of_a_trial_is_set_against_its_forecast(tmp_path: Path) -> None:
    (row,) = peaks(measured(tmp_path / "a"))

    assert (row.number, row.forecast, row.measured) == (0, 100.0, 120.0)
    assert row.text == "trial 0<br>forecast 100 MiB<br>took 120 MiB<br>0.25 of a GPU"


def test_it_is_drawn_and_in_the_report_where_there_is_something_to_see(tmp_path: Path) -> None:
    experiment = measured(tmp_path / "a")

    drawn = gpu_memory(experiment)
    assert [list(trace.x) for trace in drawn.data] == [[0.0, 126.0], [100.0]]
    assert 'id="memory-figure"' in html(experiment)


def test_without_a_gpu_the_report_does_not_speak_of_it(tmp_path: Path) -> None:
    story = Story(tmp_path / "a")
    story.journal.close()
    experiment = load(tmp_path / "a")

    assert gpu_memory(experiment).layout.annotations[0].text == NONE
    assert "memory-figure" not in html(experiment)
