"""Population based training, PBT and PB2: weak trials take over the weights of strong ones and change.

PBT: Jaderberg et al., https://arxiv.org/abs/1711.09846. PB2: Parker-Holder et al.,
https://arxiv.org/abs/2002.02518 (a Gaussian process proposes the change, so only continuous parameters).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from raytune_suite.errors import PlanError, Problem
from raytune_suite.schedulers.core import Family, Ledger, Options, Scheduler, count, trials_of
from raytune_suite.schedulers.mutations import bounds_of, mutations_of, nested

if TYPE_CHECKING:
    from raytune_suite.study import Study


class PbtOptions(Options):
    """Options of Ray's ``PopulationBasedTraining``, in iterations.

    ``perturbation_interval`` defaults to about a tenth of ``max_iterations``, in whole checkpoints.
    ``hyperparam_mutations``: names of the space, or names with a list of values or a domain as in the space;
    without it, every continuous parameter.
    """

    perturbation_interval: int | None = None
    burn_in_period: int = 0
    hyperparam_mutations: list[str] | dict[str, Any] | None = None
    quantile_fraction: float = 0.25
    resample_probability: float = 0.25
    perturbation_factors: list[float] = pydantic.Field(default=[1.2, 0.8])
    synch: bool = False


class Pb2Options(Options):
    """Options of Ray's ``PB2``, in iterations.

    ``hyperparam_bounds``: names of the space, or names with ``[low, high]``; without it, every continuous
    parameter.
    """

    perturbation_interval: int | None = None
    hyperparam_bounds: list[str] | dict[str, list[float]] | None = None
    quantile_fraction: float = 0.25
    synch: bool = False


PopulationOptions = PbtOptions | Pb2Options


def interval(study: Study, options: PopulationOptions) -> int:
    """Return the iterations between two perturbations of a trial."""
    if options.perturbation_interval is not None:
        return options.perturbation_interval
    every = max(1, study.checkpoint.every)
    return max(1, round(study.max_iterations / 10 / every)) * every


def rungs(study: Study, options: PopulationOptions) -> list[int]:
    """Return the iterations at which a trial may be replaced."""
    step = max(1, interval(study, options))
    first = step if isinstance(options, Pb2Options) else max(step, options.burn_in_period)
    return [i for i in range(step, study.max_iterations, step) if i >= first]


def check_pbt(study: Study, options: PbtOptions) -> list[Problem]:
    """Return what cannot work under PBT."""
    problems = _check_population(study, options)
    if options.burn_in_period >= study.max_iterations:
        rule = f"must be below max_iterations ({study.max_iterations}), or nothing is ever perturbed"
        problems.append(Problem("scheduler.burn_in_period", rule, options.burn_in_period))
    if not 0 <= options.resample_probability <= 1:
        rule = "must lie between 0 and 1"
        problems.append(Problem("scheduler.resample_probability", rule, options.resample_probability))
    if not options.perturbation_factors or min(options.perturbation_factors) <= 0:
        rule = "must be positive numbers, usually [1.2, 0.8]"
        problems.append(Problem("scheduler.perturbation_factors", rule, options.perturbation_factors))
    return problems + mutations_of(study, options.hyperparam_mutations)[1]


def check_pb2(study: Study, options: Pb2Options) -> list[Problem]:
    """Return what cannot work under PB2."""
    problems = _check_population(study, options)
    if find_spec("sklearn") is None:
        fix = "pip install scikit-learn, or use pbt."
        problems.append(Problem("scheduler", "pb2 needs scikit-learn, which is not installed", fix=fix))
    return problems + bounds_of(study, options.hyperparam_bounds)[1]


def _check_population(study: Study, options: PopulationOptions) -> list[Problem]:
    problems = _interval_problems(study, options)
    total = trials_of(study)
    if total is not None and total < 2:
        rule = "must be at least 2 for a population: a single trial has nobody to learn from"
        problems.append(Problem("num_trials", rule, total, "Usual populations have 4 to 40."))
    if not 0 < options.quantile_fraction <= 0.5:
        rule = "must be above 0 (0 exploits nobody) and at most 0.5 (nobody is both weak and strong)"
        problems.append(Problem("scheduler.quantile_fraction", rule, options.quantile_fraction))
    return problems


def _interval_problems(study: Study, options: PopulationOptions) -> list[Problem]:
    every, step, longest = study.checkpoint.every, interval(study, options), study.max_iterations
    if every == 0:
        rule = "must be at least 1 for a population: a weak trial loads the checkpoint of a strong one"
        return [Problem("checkpoint.every", rule, 0, f"Use {step} or a divisor of it.")]
    if step < 1:
        return [Problem("scheduler.perturbation_interval", "must be at least 1 iteration", step)]
    if step >= longest:
        rule = f"must be below max_iterations ({longest}): the first perturbation would find every trial ended"
        fix = f"Use {max(1, longest // 10)}, or more iterations."
        return [Problem("scheduler.perturbation_interval", rule, step, fix)]
    if step % every:
        rule = f"must be a multiple of checkpoint.every ({every}), so that strong trials have one to give"
        fix = f"Use {max(every, step - step % every)}, or checkpoint: {{every: 1}}."
        return [Problem("scheduler.perturbation_interval", rule, step, fix)]
    return []


def describe_pbt(study: Study, options: PbtOptions) -> list[str]:
    """Return the plan of PBT: population, moments, and what is mutated."""
    how = f"resampled with probability {options.resample_probability:g}, else moved by a factor or a step"
    return _describe("pbt", study, options, list(mutations_of(study, options.hyperparam_mutations)[0]), how)


def describe_pb2(study: Study, options: Pb2Options) -> list[str]:
    """Return the plan of PB2: population, moments, and what is changed."""
    how = "set by a Gaussian process on the improvements so far, on a linear scale"
    return _describe("pb2", study, options, list(bounds_of(study, options.hyperparam_bounds)[0]), how)


def _describe(name: str, study: Study, options: PopulationOptions, names: list[str], how: str) -> list[str]:
    total = trials_of(study) or 0
    weak = min(-int(-total * options.quantile_fraction // 1), total // 2)
    step = interval(study, options)
    when = "together" if options.synch else "each on its own"
    return [
        f"{name}: a population of {total}, all there from the start; every {count(step, 'iteration')}, {when}, "
        f"the worst {weak} take over a checkpoint of the best {weak}; no trial is stopped early",
        f"changed on the way: {', '.join(names)}; {how}",
    ]


def build_pbt(study: Study, options: PbtOptions, ledger: Ledger) -> Scheduler:
    """Return Ray's PBT, drawing from the study's seed and staying inside the space."""
    from raytune_suite.schedulers.onray.population import ExplainedPBT

    domains = mutations_of(study, options.hyperparam_mutations)[0]
    ray = ExplainedPBT(
        ledger,
        study,
        domains,
        metric=study.metric,
        mode=study.mode,
        perturbation_interval=interval(study, options),
        burn_in_period=options.burn_in_period,
        quantile_fraction=options.quantile_fraction,
        resample_probability=options.resample_probability,
        perturbation_factors=tuple(options.perturbation_factors),
        synch=options.synch,
    )
    return _scheduler("pbt", ray, study, options, ledger)


def build_pb2(study: Study, options: Pb2Options, ledger: Ledger) -> Scheduler:
    """Return Ray's PB2, drawing from the study's seed and staying inside the space.

    Raises:
        PlanError: a package is missing that this version of Ray needs for it, as GPy for 2.50.
    """
    from raytune_suite.schedulers.onray.population import ExplainedPB2

    bounds = bounds_of(study, options.hyperparam_bounds)[0]
    try:
        ray = ExplainedPB2(
            ledger,
            study,
            bounds,
            metric=study.metric,
            mode=study.mode,
            perturbation_interval=interval(study, options),
            hyperparam_bounds=nested({name: [domain.lower, domain.upper] for name, domain in bounds.items()}),
            quantile_fraction=options.quantile_fraction,
            synch=options.synch,
        )
    except RuntimeError as error:
        raise PlanError(f"pb2 cannot be used with this version of Ray: {error} Or use pbt.") from error
    return _scheduler("pb2", ray, study, options, ledger)


def _scheduler(
    name: Literal["pbt", "pb2"], ray: Any, study: Study, options: PopulationOptions, ledger: Ledger
) -> Scheduler:
    return Scheduler(
        name,
        ray,
        ledger,
        max_iterations=study.max_iterations,
        rungs=rungs(study, options),
        pauses=True,
        population=trials_of(study),
        checkpoint_every=study.checkpoint.every,
    )


PBT = Family("pbt", PbtOptions, check_pbt, describe_pbt, rungs, build_pbt)
PB2 = Family("pb2", Pb2Options, check_pb2, describe_pb2, rungs, build_pb2)
