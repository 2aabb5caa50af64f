"""Optuna's samplers, asked directly: TPE, its Gaussian process and CMA-ES.

What Optuna is told: a trial that completed with its value, one that was stopped early as *pruned* with the value and
the iteration it reached (never as complete with a truncated value), a failed one as *fail*, one in flight as
*running*. TPE ranks pruned trials behind all complete ones, those that got furthest first; the Gaussian process and
CMA-ES leave them out.

A proposal that breaks the constraint or was made before stays in the study as a running trial and Optuna is asked
again, a bounded number of times; then a random point takes its place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from raytune_suite.search.core import Observation, Point, Searcher, SearchOptions, Suggestion
from raytune_suite.search.extras import require
from raytune_suite.space import Space
from raytune_suite.states import State

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler

    from raytune_suite.search.optuna_study import Trials


class OptunaOptions(SearchOptions):
    """``n_startup_trials``: trials that end before the model is asked; until then points are drawn at random."""

    n_startup_trials: int = Field(default=10, ge=0)


class OptunaSearcher(Searcher):
    """A sampler of Optuna's under our protocol; a subclass makes the sampler."""

    learns: ClassVar[bool] = True
    options: OptunaOptions
    proposals: ClassVar[int]
    """So many proposals are asked for at most; the price of one differs by a thousand."""
    conditional: ClassVar[bool] = True
    """Whether the sampler is told of parameters that not all trials have."""

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(space, **settings)
        self._trials: Trials | None = None
        self._attributes: dict[int, dict[str, Any]] = {}

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """A fresh sampler with the options of the study."""

    @property
    def learns_from_pruned(self) -> bool:
        """Whether trials that were stopped early count among those the model is built on."""
        return False

    def prepare(self) -> None:
        """Import optuna (0.3 s)."""
        self._ready()

    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """The sampler's first proposal that is feasible and new."""
        from raytune_suite.search import optuna_study

        trials = self._ready()
        with optuna_study.quiet():
            study = trials.study(self.sampler(int(rng.integers(2**31))), self._known(), self._attributes)
            origin = "model" if self._informed(study) else "random"
            for attempt in range(self.proposals if self.space.parameters else 0):
                point, trial = optuna_study.propose(study, self.space, trials.distributions)
                if self.space.feasible(point) and not self.seen(point):
                    self.keep(number, optuna_study.attributes(study, trial))
                    return Suggestion(number, point, origin, {"attempts": attempt + 1})
        unseen = self.unseen(rng)
        return None if unseen is None else Suggestion(number, unseen, "random")

    def keep(self, number: int, attributes: dict[str, Any]) -> None:
        """Remember what the sampler noted with its trial, if it will want it back."""

    def _ready(self) -> Trials:
        from raytune_suite.search.optuna_study import Trials

        if self._trials is None:
            self._trials = Trials(self.space, self.loss, self.max_iterations, conditional=self.conditional)
        return self._trials

    def _known(self) -> Iterator[Observation]:
        """Every trial, numbers ascending; one without an observation is in flight."""
        observed, pending = self.observed, self.pending
        for number in sorted({*observed, *pending}):
            yield observed.get(number) or Observation(number, pending[number], None, 0, State.PENDING)

    def _informed(self, study: Study) -> bool:
        """Whether the sampler has what it needs to do better than chance."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED) if self.learns_from_pruned else (TrialState.COMPLETE,)
        ended = study.get_trials(deepcopy=False, states=states)
        return len(ended) >= max(1, self.options.n_startup_trials)


class TPEOptions(OptunaOptions):
    """Options of ``optuna.samplers.TPESampler``, with the defaults of Optuna 5 whichever version is installed.

    ``constant_liar``: trials in flight count as bad ones, so that the next proposal is another; trials run at the same
    time here, hence true.
    """

    n_ei_candidates: int = Field(default=24, ge=1)
    multivariate: bool = True
    group: bool = False
    constant_liar: bool = True

    @field_validator("group")
    @classmethod
    def _needs_multivariate(cls, group: bool, info: ValidationInfo) -> bool:
        if group and not info.data.get("multivariate", True):
            raise PydanticCustomError("combination", "needs multivariate: true")
        return group


class OptunaTPESearcher(OptunaSearcher):
    """Tree-structured Parzen estimators (Bergstra et al., 2011; Optuna's: Watanabe, 2023)."""

    name: ClassVar[str] = "optuna:tpe"
    Options: ClassVar[type[SearchOptions]] = TPEOptions
    options: TPEOptions
    proposals: ClassVar[int] = 30

    @property
    def learns_from_pruned(self) -> bool:
        """They rank behind all complete ones, those that got furthest first."""
        return True

    def sampler(self, seed: int) -> BaseSampler:
        """Make a ``TPESampler``."""
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, **self.options.model_dump())


class GPOptions(OptunaOptions):
    """Options of ``optuna.samplers.GPSampler``. ``deterministic_objective``: results have no noise."""

    deterministic_objective: bool = False


class OptunaGPSearcher(OptunaSearcher):
    """A Gaussian process and log expected improvement (Ament et al., 2023), about a second for a suggestion.

    Parameters with a condition are drawn at random, unless all complete trials have them.
    """

    name: ClassVar[str] = "optuna:gp"
    Options: ClassVar[type[SearchOptions]] = GPOptions
    options: GPOptions
    proposals: ClassVar[int] = 5

    def prepare(self) -> None:
        """Import optuna, and torch and scipy, on which it builds its model (over a second)."""
        import scipy.optimize  # noqa: F401
        import torch  # noqa: F401

        super().prepare()

    def sampler(self, seed: int) -> BaseSampler:
        """Make a ``GPSampler``; its fit starts from its own defaults each time, not from the fit before."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, warn_independent_sampling=False, **self.options.model_dump())


class CmaEsOptions(OptunaOptions):
    """Options of ``optuna.samplers.CmaEsSampler``, with its defaults."""

    n_startup_trials: int = Field(default=1, ge=0)
    popsize: int | None = Field(default=None, ge=2)
    consider_pruned_trials: bool = False
    use_separable_cma: bool = False
    with_margin: bool = False
    lr_adapt: bool = False

    @field_validator("with_margin", "lr_adapt")
    @classmethod
    def _excludes(cls, wanted: bool, info: ValidationInfo) -> bool:
        clash = [name for name in ("use_separable_cma", "with_margin") if info.data.get(name)]
        if wanted and clash:
            raise PydanticCustomError("combination", "cannot be used together with {other}", {"other": clash[0]})
        return wanted


class OptunaCmaEsSearcher(OptunaSearcher):
    """CMA-ES (Hansen, 2016) over the numeric parameters; choices and parameters with a condition are drawn at random.

    Its state lies with the trials it proposed: of which generation they are, and the distribution after the last one.
    A journal does not hold it. A searcher that is told of a trial makes that suggestion again to get it back: being
    told everything in the order in which it happened, as resuming does, it goes on as the old one did. A trial that
    was proposed with less known than when it was written down is the exception: it counts as one from elsewhere.
    """

    name: ClassVar[str] = "optuna:cmaes"
    Options: ClassVar[type[SearchOptions]] = CmaEsOptions
    options: CmaEsOptions
    replayable: ClassVar[bool] = False
    proposals: ClassVar[int] = 50
    conditional: ClassVar[bool] = False

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(space, **settings)
        require("cmaes", "cmaes", self.name)

    @property
    def learns_from_pruned(self) -> bool:
        """If the option says so, by the last value they reached."""
        return self.options.consider_pruned_trials

    def sampler(self, seed: int) -> BaseSampler:
        """Make a ``CmaEsSampler``."""
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False, **self.options.model_dump())

    def keep(self, number: int, attributes: dict[str, Any]) -> None:
        """The trial's generation and, once in a generation, the distribution."""
        self._attributes[number] = attributes

    def tell(self, observation: Observation) -> None:
        """As for every searcher; an unknown trial's suggestion is made again for what was noted with it."""
        number = observation.number
        if number not in self._asked:
            again = self._suggested(number)
            if again is None or self.space.key(again.point) != self.space.key(observation.point):
                self._attributes.pop(number, None)  # a point from elsewhere: of no generation
        super().tell(observation)

    def _suggested(self, number: int) -> Suggestion | None:
        rng = self.rng(number)
        return self._first(number, rng) or self._proposed(number, rng)
