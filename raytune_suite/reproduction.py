"""Training one trial again, from its recorded seed and configuration, to see whether its curve comes out the same.

The trial is trained in a child process, with the recorded number of threads and the recorded variables that change
numbers, outside Ray. A trial of population based training is trained along its lineage: every configuration that its
weights went through, in the trials in which they did.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_suite import environment, standalone
from raytune_suite import journal as journals
from raytune_suite.errors import ExperimentError, TrainableError
from raytune_suite.likeness import Comparison, Difference
from raytune_suite.lineage import Stretch, lineages
from raytune_suite.opening import study_of
from raytune_suite.record import Record, fold
from raytune_suite.retraining import JOB
from raytune_suite.seeds import repeat_seeds, trial_seed
from raytune_suite.study import Study

TOLERANCE = 1e-2
"""The relative difference allowed where the software or hardware is not the recorded one. Rounding differs there in the
last bit of a float32 (6e-8), and training lets it grow."""
Fact = environment.Difference
Watch = Callable[[int, int, Mapping[str, Any]], None]
"""Called with the iterations done, all there are, and the metrics of the last one."""


@dataclass(frozen=True)
class Reproduction:
    """What came of training a trial again.

    Attributes:
        number: of the trial.
        iterations: how many were trained and compared, and ``of`` how many that it reported.
        lineage: the trials its weights went through, its own number last.
        tolerance: the relative difference that was allowed; 0: none.
        difference: the first that is larger, or None.
        largest: the largest within the tolerance, or None if every value is bit-equal.
        environment: what differs between the recorded environments and this one and may change numbers.
        other: what else differs.
        metrics: the names that were compared.
        hint: what the difference may come from.
        checkpoint: the folder the final checkpoint was saved to.
    """

    number: int
    iterations: int
    of: int
    lineage: tuple[int, ...]
    tolerance: float
    difference: Difference | None
    largest: Difference | None
    environment: tuple[Fact, ...]
    other: tuple[Fact, ...] = ()
    metrics: tuple[str, ...] = ()
    hint: str = ""
    checkpoint: Path | None = None

    @property
    def identical(self) -> bool:
        """Whether every compared value of every iteration is bit-equal."""
        return self.difference is None and self.largest is None

    @property
    def reproduced(self) -> bool:
        """Whether no value differs by more than the tolerance."""
        return self.difference is None

    def lines(self) -> list[str]:
        """The outcome as ``raytune reproduce`` prints it."""
        found = [self._verdict()]
        if len(set(self.lineage)) > 1:
            found.append(f"trained along its lineage: trials {' -> '.join(map(str, self.lineage))}")
        if self.hint:
            found.append(self.hint)
        if self.environment:
            found += ["this is not where it was trained:", environment.table([*self.environment], "recorded", "here")]
        if self.difference is not None and self.other:
            shown = [*self.other[:8]]
            more = f" (8 of {len(self.other)})" if len(self.other) > 8 else ""
            found += [f"what else differs{more}:", environment.table(shown, "recorded", "here")]
        if self.checkpoint is not None:
            found.append(f"saved its last checkpoint in {self.checkpoint}")
        return found

    def _verdict(self) -> str:
        compared = f"{_count(self.iterations, 'iteration')}, {_count(len(self.metrics), 'metric')}"
        if self.difference is not None:
            allowed = f" (a relative {self.difference.relative:.2g}, {self.tolerance:g} is allowed)"
            return f"different: trial {self.difference.number}, {self.difference}{allowed if self.tolerance else ''}"
        if self.largest is None:
            return f"identical: trial {self.number}, {compared}"
        return (
            f"within tolerance {self.tolerance:g}: trial {self.number}, {compared}; "
            f"largest relative difference {self.largest.relative:.2g}, {self.largest}"
        )


def reproduce(
    experiment: Path | str,
    trial: int,
    *,
    tolerance: float | None = None,
    ignore: Sequence[str] = (),
    save: Path | str | None = None,
    project: Path | str | None = None,
    watch: Watch | None = None,
) -> Reproduction:
    """Train one trial again and compare what it reports with the journal, report by report.

    Training ends at the first difference, unless ``save`` asks for the final checkpoint.

    Args:
        experiment: its folder.
        trial: its number.
        tolerance: the relative difference to allow in every number; by default 0 on the same kind of CPU with the
            same build of torch and number of threads, else :data:`TOLERANCE`.
        ignore: patterns of metrics not to compare, beside what is measured on the machine.
        save: a folder, not there yet, for the checkpoint after the last iteration.
        project: where the training code is, if it is not where it was.
        watch: called after every iteration.

    Raises:
        ExperimentError: no such experiment or trial, it reported nothing, ``save`` exists, or the training ended early.
        TrainableError: the training code cannot be found or fails.
    """
    folder, target = Path(experiment).resolve(), _new(save)
    record = fold(journals.read(folder))
    study = study_of(folder, record.sessions[-1] if record.sessions else {}, None if project is None else Path(project))
    path = _path(folder, record, trial)
    comparison = Comparison([(s.leg.number, r) for s in path for r in s.reports], list(ignore))
    with tempfile.TemporaryDirectory(prefix="raytune-again-") as scratch:
        run = _Child(_job(study, record, path, target), _variables(record, path), Path(scratch))
        facts = _compared(run, comparison, _recorded(record, path), tolerance, watch, whole=target is not None)
    return _outcome(trial, path, comparison, facts, target)


def _new(save: Path | str | None) -> Path | None:
    target = None if save is None else Path(save).resolve()
    if target is not None and target.exists():
        raise ExperimentError(f"{target} exists already: name a folder that does not.")
    return target


def _outcome(
    trial: int,
    path: Sequence[Stretch],
    comparison: Comparison,
    facts: tuple[list[Fact], list[Fact]],
    target: Path | None,
) -> Reproduction:
    return Reproduction(
        number=trial,
        iterations=comparison.done,
        of=len(comparison.expected),
        lineage=tuple(stretch.leg.number for stretch in path),
        tolerance=comparison.tolerance,
        difference=comparison.difference,
        largest=comparison.largest,
        environment=tuple(facts[0]),
        other=tuple(facts[1]),
        metrics=tuple(comparison.metrics),
        hint=_hint(path, comparison.difference),
        checkpoint=target,
    )


def _path(folder: Path, record: Record, number: int) -> list[Stretch]:
    if number not in record.trials:
        span = f"0 to {max(record.trials)}" if record.trials else "none yet"
        raise ExperimentError(f"{record.name} has no trial {number}. Its trials: {span}.")
    path = lineages(journals.read(folder)).path(number)
    if not path:
        state = record.trials[number].state
        raise ExperimentError(f"Trial {number} ({state}) reported nothing: there is nothing to compare.")
    return path


def _compared(
    run: _Child,
    comparison: Comparison,
    recorded: Sequence[Mapping[str, Any]],
    tolerance: float | None,
    watch: Watch | None,
    whole: bool,
) -> tuple[list[Fact], list[Fact]]:
    """Feed the comparison; returns what differs in the environments, and may change numbers or not."""
    numeric: list[Fact] = []
    other: list[Fact] = []
    for said in run.messages():
        if "environment" in said:
            numeric, other = _environments(recorded, said["environment"], said["gpu"] > 0 or run.wants_gpu)
            comparison.tolerance = (TOLERANCE if numeric else 0.0) if tolerance is None else tolerance
        else:
            comparison.take(said["iteration"], said["metrics"])
            if watch is not None:
                watch(comparison.done, len(comparison.expected), said["metrics"])
            if comparison.difference is not None and not whole:
                break
    else:
        if comparison.done < len(comparison.expected):
            raise ExperimentError(
                f"The training ended after {_count(comparison.done, 'iteration')}; {len(comparison.expected)} were "
                "logged. Was the code changed?"
            )
    return numeric, other


def _environments(
    recorded: Sequence[Mapping[str, Any]], here: Mapping[str, Any], gpu: bool
) -> tuple[list[Fact], list[Fact]]:
    numeric = {d.key: d for facts in recorded for d in environment.numerics(facts, here, gpu)}
    every = {d.key: d for facts in recorded for d in environment.compare(facts, here)}
    other = [d for key, d in every.items() if key not in numeric and not key.startswith(("flags.", "variables."))]
    return list(numeric.values()), other


def _recorded(record: Record, path: Sequence[Stretch]) -> list[dict[str, Any]]:
    keys = dict.fromkeys(key for stretch in path for key in sorted(stretch.leg.environments))
    return [record.environments[key] for key in keys if key in record.environments]


def _variables(record: Record, path: Sequence[Stretch]) -> dict[str, str]:
    """This process's environment with the variables that change numbers as the worker of the first stretch had them."""
    recorded = _recorded(record, path)
    kept = {name: value for name, value in os.environ.items() if name not in environment.VARIABLES}
    if not recorded:
        return dict(os.environ)
    known = recorded[0].get("variables") or {}
    return {**kept, **{name: str(value) for name, value in known.items() if name in environment.VARIABLES}}


def _job(study: Study, record: Record, path: Sequence[Stretch], save: Path | None) -> dict[str, Any]:
    """What the child must know, as plain values."""
    return {
        "trainable": study.trainable,
        "project": str(study.project),
        "repeat_seeds": repeat_seeds(study.seed, study.repeats),
        "max_iterations": study.max_iterations,
        "metric": study.metric,
        "mode": study.mode,
        "save": None if save is None else str(save),
        "stretches": [_stretch(study, record, one) for one in path],
    }


def _stretch(study: Study, record: Record, one: Stretch) -> dict[str, Any]:
    leg, asked = one.leg, (record.sessions[-1] if record.sessions else {}).get("resources") or {}
    trial = record.trials[leg.number]
    return {
        "config": leg.config,
        "max_iterations": leg.max_iterations or study.max_iterations,
        "number": leg.number,
        "trial_id": trial.trial_id,
        "seed": trial_seed(study.seed, leg.number) if trial.seed is None else trial.seed,
        "first": leg.start + 1,
        "last": one.last,
        "cpus": asked.get("cpu", 1) if leg.cpus is None else leg.cpus,
        "gpu": asked.get("gpu", 0) if leg.gpu is None else leg.gpu,
    }


class _Child:
    """The process that trains."""

    def __init__(self, job: Mapping[str, Any], variables: Mapping[str, str], folder: Path) -> None:
        self._job, self._variables, self._folder = job, dict(variables), folder

    @property
    def wants_gpu(self) -> bool:
        """Whether the trial was trained on a GPU."""
        return any(stretch["gpu"] > 0 for stretch in self._job["stretches"])

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the child says; ends it when its reader does, and at the latest with this process."""
        ours, theirs = os.pipe()
        (self._folder / JOB).write_text(json.dumps({**self._job, "pipe": theirs}))
        options = {"env": self._variables, "pass_fds": (theirs,), "stdin": subprocess.PIPE}
        child = standalone.start("raytune_suite.retraining", self._folder, self._job["project"], **options)
        os.close(theirs)
        try:
            with os.fdopen(ours) as pipe:
                for line in pipe:
                    said = json.loads(line)
                    if "done" in said:
                        return
                    yield self._heard(said)
            raise TrainableError(
                f"The process {standalone.ending(child.wait())}\n{standalone.printed(self._folder)}".rstrip()
            )
        finally:
            standalone.end_group(child)
            if child.stdin is not None:
                child.stdin.close()

    def _heard(self, said: dict[str, Any]) -> dict[str, Any]:
        if "wrong" in said or "error" in said:
            raise TrainableError(said.get("wrong") or f"Training it again failed:\n{said['error']}")
        return said


def _hint(path: Sequence[Stretch], difference: Difference | None) -> str:
    """A place in the trial's life that a difference follows upon."""
    if difference is None:
        return ""
    at = difference.iteration - 1
    stretch = next(s for s in path if s.leg.start <= at < s.last)
    if at in stretch.leg.resumed:
        return (
            f"That is its first report after another process went on from the checkpoint of iteration {at}: "
            "the trainable's save and load may leave something out."
        )
    source = stretch.leg.source
    if at == stretch.leg.start and source is not None and source.number == stretch.leg.number:
        return f"That is its first report since it was to have {stretch.leg.max_iterations} iterations."
    if at == stretch.leg.start and source is not None:
        return f"That is its first report with the weights of trial {source.number}."
    if difference.iteration == 1:
        return "That is its first report: look for randomness that is not seeded, and for changed code or data."
    return ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
