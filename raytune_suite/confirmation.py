"""Training an experiment's best configurations again on fresh seeds, to see whether the winner won by luck.

The best of many noisy trials is partly the luckiest. A confirmation is a small study of its own inside the experiment's
folder: the best few configurations and the default, each trained whole from the same fresh seeds. It is run, journaled
and resumed like any other. Beside it lies a file with what was asked and, once it is done, the verdict.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_suite import copies
from raytune_suite import journal as journals
from raytune_suite.analysis import Experiment, Rule, load
from raytune_suite.closing import shown_path
from raytune_suite.errors import ExperimentError
from raytune_suite.metrics import repeat_of
from raytune_suite.opening import study_of
from raytune_suite.record import TrialRecord
from raytune_suite.remote import below
from raytune_suite.resuming import resume
from raytune_suite.runner import Results, run
from raytune_suite.states import State
from raytune_suite.study import Study
from raytune_suite.study.file import read_yaml
from raytune_suite.verdict import Verdict, files, judge, read

TOP, SEEDS = 5, 5


@dataclass(frozen=True)
class Confirmation:
    """What came of it: ``verdict`` is None if the trainings were interrupted; ``folder`` is where they lie."""

    folder: Path
    results: Results
    verdict: Verdict | None


@dataclass(frozen=True)
class _Request:
    """What a confirmation was asked: ``trials`` of the experiment in the order of its own, the default first."""

    name: str
    top: int
    seeds: int
    rule: Rule
    trials: tuple[int, ...]
    default: int | None


def confirm(
    experiment: Path | str,
    *,
    top: int | None = None,
    seeds: int | None = None,
    rule: Rule | None = None,
    project: Path | str | None = None,
    **engine: Any,
) -> Confirmation:
    """Train the best configurations and the default again on fresh paired seeds and judge which is the best.

    One that was interrupted is gone on with; otherwise a new one is begun, with other seeds than any before it.

    Args:
        experiment: its folder.
        top: how many of the best configurations (5), beside the default.
        seeds: how many seeds for each (5), at least 2.
        rule: what of a training counts: its ``best`` value at any iteration, or its ``last``.
        project: where the training code is, if it is not where it was.
        engine: as for :func:`raytune_suite.run`: ``address``, ``verbosity``, ``console``, ``num_cpus``, ``num_gpus``.

    Raises:
        ExperimentError: no such experiment, it still runs, fewer than two configurations, population based training,
            or an unfinished confirmation that was asked something else.
    """
    folder = Path(experiment).resolve()
    read_back = load(folder)
    asked = _unfinished(folder, top, seeds, rule) or _asked(read_back, top or TOP, seeds or SEEDS, rule or "best")
    study = _study(read_back, asked, None if project is None else Path(project))
    uri = copies.remote_of(folder)
    _copy(uri, folder, asked)
    results = _trained(study, project, {**engine, "copy_to": below(uri, asked.name) if uri is not None else None})
    verdict = None
    if results.state == "finished":
        verdict = _judged(read_back, results.experiment, asked)
        _write(folder, asked, verdict)
        _copy(uri, folder, asked)
    return Confirmation(study.folder, results, verdict)


def _copy(uri: str | None, folder: Path, request: _Request) -> None:
    """Send the confirmation's file to remote storage, if the experiment is copied there."""
    if uri is not None and (missing := copies.put(uri, folder, f"{request.name}.json")) is not None:
        sys.stderr.write(f"{missing}\n")


def _trained(study: Study, project: Path | str | None, engine: dict[str, Any]) -> Results:
    if not (study.folder / journals.FILE).is_file():
        return run(study, **engine)
    found = load(study.folder)
    if found.status == "finished":  # the driver ended between the last training and the verdict
        return Results(found.folder, "finished", 0)
    return resume(study.folder, project=project, **engine)


def _unfinished(folder: Path, top: int | None, seeds: int | None, rule: Rule | None) -> _Request | None:
    """The last confirmation, if it has no verdict yet."""
    last = files(folder)[-1:]
    held = read(last[0]) if last else {}
    if "request" not in held or held.get("verdict") is not None:
        return None
    request = _Request(**{**held["request"], "trials": tuple(held["request"]["trials"])})
    for name, value in {"top": top, "seeds": seeds, "rule": rule}.items():
        if value is not None and value != getattr(request, name):
            given = f"{request.name} is unfinished and was asked for {name} {getattr(request, name)}, got {value}"
            way_out = f"Leave --{name} out, or delete {shown_path(folder / request.name)} and {last[0].name}."
            raise ExperimentError(f"{given}. {way_out}")
    return request


def _asked(experiment: Experiment, top: int, seeds: int, rule: Rule) -> _Request:
    """A new request, written down."""
    if experiment.live:
        raise ExperimentError(f"{experiment.name} is still running ({experiment.live}): confirm it when it has ended.")
    if seeds < 2:
        raise ExperimentError(f"--seeds must be at least 2 to tell luck from merit, got {seeds}.")
    if experiment.study.scheduler.name in ("pbt", "pb2"):
        raise ExperimentError(
            f"{experiment.name} ran under {experiment.study.scheduler.name}: its weights went through several "
            "configurations, and training the last one from scratch would confirm something else. "
            "raytune reproduce trains a trial along its lineage."
        )
    chosen = _chosen(experiment, top)
    if len(chosen) < 2:
        raise ExperimentError(
            f"{experiment.name} has {len(chosen)} configuration{'s' if len(chosen) != 1 else ''} with a value: "
            "there is nothing to compare."
        )
    default = chosen[0].number if chosen[0].origin == "default" else None
    name = f"confirmed-{_next(experiment.folder)}"
    request = _Request(name, top, seeds, rule, tuple(trial.number for trial in chosen), default)
    _write(experiment.folder, request)
    return request


def _chosen(experiment: Experiment, top: int) -> list[TrialRecord]:
    """The default, if there is one, and the ``top`` best ones beside it; no configuration twice."""
    default = [trial for trial in [experiment.default] if trial is not None]
    best: list[TrialRecord] = []
    for trial in experiment.ranked():
        if len(best) < top and trial.point not in [other.point for other in default + best]:
            best.append(trial)
    return default + best


def _next(folder: Path) -> int:
    numbers = [int(path.stem.rpartition("-")[2]) for path in files(folder)]
    return max(numbers, default=0) + 1


def _study(experiment: Experiment, request: _Request, project: Path | None) -> Study:
    """The study of a confirmation: the experiment's own, with nothing but what each training needs."""
    sessions = experiment.record.sessions
    own = study_of(experiment.folder, sessions[-1] if sessions else {}, project)
    data = read_yaml(own.dump(), "the study")
    points = [experiment.record.trials[number].point for number in request.trials]
    given = points if request.default is None else points[1:]
    for key in ("from", "scheduler", "stop", "default", "num_trials"):
        data.pop(key, None)
    if request.default is not None:
        data["default"] = points[0]
    if own.stop.step_time is not None:
        data["stop"] = {"step_time": own.stop.step_time * request.seeds}
    data |= {
        "name": request.name,
        "storage": str(experiment.folder),
        "search": "random",
        "num_trials": len(points),
        "points_to_evaluate": given,
        "repeats": request.seeds,
        "seed": _fresh(own.seed, request.name),
    }
    return Study.from_dict(data, own.project)


def _fresh(seed: int, name: str) -> int:
    """A seed that no trial of the study and no other confirmation of it has."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") >> 1


def _judged(experiment: Experiment, confirmed: Experiment, request: _Request) -> Verdict:
    record = confirmed.record
    found = {}
    for index, number in enumerate(request.trials):
        trial = record.trials.get(index)
        values = _values(trial, request) if trial is not None else []
        state = trial.state.value if trial is not None else State.PENDING.value
        found[number] = ("diverged" if trial is not None and trial.diverged else state, values)
    goal = experiment.record.metric, experiment.record.mode
    return judge(request.name, *goal, request.rule, request.seeds, request.default, found)


def _values(trial: TrialRecord, request: _Request) -> Sequence[float]:
    """One value for each seed, none if a training did not complete or has no finite value."""
    if trial.state is not State.COMPLETED:
        return []
    names = [repeat_of(trial.metric, repeat) for repeat in range(request.seeds)]
    if request.rule == "best":
        bests = [trial.best(name) for name in names]
        found: list[Any] = [None if best is None else best.value for best in bests]
    else:
        found = [trial.last(name) for name in names]
    return found if all(isinstance(v, int | float) and math.isfinite(v) for v in found) else []


def _write(folder: Path, request: _Request, verdict: Verdict | None = None) -> None:
    """Replace the confirmation's file whole."""
    held: dict[str, Any] = {"version": 1, "request": vars(request) | {"trials": list(request.trials)}}
    if verdict is not None:
        held["verdict"] = verdict.data()
    draft = folder / f".{request.name}.new"
    draft.write_text(json.dumps(held, indent=2))
    draft.replace(folder / f"{request.name}.json")
