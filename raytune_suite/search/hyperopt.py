"""Hyperopt's tree-structured Parzen estimators, asked directly.

Hyperopt models every parameter by itself, from the trials that have it. So conditions need no nested ``hp.choice``:
the space is flat, a trial tells of its active parameters only, and what a proposal holds beyond is dropped.

It splits the trials by the order of their losses and looks at nothing else of them, and it has no word for a trial
that was stopped early. Hence losses are told as ranks: whole trials by their value, behind them those stopped early
(the furthest first, then by value), and failures and trials in flight, as Hyperopt has it, without a loss at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from raytune_suite.search import axes
from raytune_suite.search.core import Observation, Point, Searcher, SearchOptions, Suggestion
from raytune_suite.search.extras import require
from raytune_suite.space import Choice, Domain, Float, Int, Normal, Space
from raytune_suite.states import State

_PROPOSALS = 20


class HyperoptOptions(SearchOptions):
    """The options of ``hyperopt.tpe.suggest``, with its defaults.

    ``n_startup_jobs``: trials, ended or not, before the model is asked; until then points are drawn at random.
    """

    n_startup_jobs: int = Field(default=20, ge=1)
    n_EI_candidates: int = Field(default=24, ge=1)  # noqa: N815 - hyperopt's name for it
    gamma: float = Field(default=0.25, gt=0.0)
    prior_weight: float = Field(default=1.0, gt=0.0)


class HyperoptSearcher(Searcher):
    """TPE as its authors wrote it (Bergstra et al., 2011, 2013)."""

    name: ClassVar[str] = "hyperopt"
    learns: ClassVar[bool] = True
    Options: ClassVar[type[SearchOptions]] = HyperoptOptions
    options: HyperoptOptions

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(space, **settings)
        require("hyperopt", "hyperopt", self.name)
        self._domain: Any = None
        self._domains = {p.name: p.domain for p in space.parameters if not axes.fixed(p.domain)}
        self._fixed = {p.name: p.domain.from_unit(0.5) for p in space.parameters if axes.fixed(p.domain)}

    def prepare(self) -> None:
        """Import hyperopt (0.8 s)."""
        from hyperopt import Domain  # its objective is never called

        if self._domain is None and self._domains:
            self._domain = Domain(dict, {name: to_hyperopt(name, d) for name, d in self._domains.items()})

    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """Hyperopt's first proposal that is feasible and new."""
        self.prepare()
        documents = self._documents()
        origin = "random" if len(documents) < self.options.n_startup_jobs else "model"
        for attempt in range(_PROPOSALS if self._domains else 0):
            point = self._proposal(number, documents, int(rng.integers(2**31)))
            if self.space.feasible(point) and not self.seen(point):
                return Suggestion(number, point, origin, {"attempts": attempt + 1})
        unseen = self.unseen(rng)
        return None if unseen is None else Suggestion(number, unseen, "random")

    def _proposal(self, number: int, documents: list[dict[str, Any]], seed: int) -> Point:
        from hyperopt import tpe, trials_from_docs

        trials = trials_from_docs(documents, validate=False)
        with np.errstate(all="ignore"):  # far tails have no density in double precision
            (made,) = tpe.suggest([number], self._domain, trials, seed, verbose=False, **self.options.model_dump())
        numbers = made["misc"]["vals"]
        values = {name: axes.decode(d, np.asarray(numbers[name])[0].item()) for name, d in self._domains.items()}
        return self.space.activate({**values, **self._fixed})

    def _documents(self) -> list[dict[str, Any]]:
        observed, pending = self.observed, self.pending
        losses = ranks(observed.values(), self.loss, self.max_iterations)
        points = {**{number: found.point for number, found in observed.items()}, **pending}
        return [self._document(n, point, losses.get(n), n in pending) for n, point in sorted(points.items())]

    def _document(self, number: int, point: Mapping[str, Any], loss: float | None, running: bool) -> dict[str, Any]:
        from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK, STATUS_RUNNING

        status = STATUS_RUNNING if running else STATUS_FAIL if loss is None else STATUS_OK
        active = [name for name in self._domains if name in point]
        values = {name: [axes.encode(self._domains[name], point[name])] for name in active}
        idle: dict[str, list[Any]] = {name: [] for name in self._domains if name not in point}
        return {
            "tid": number,
            "state": JOB_STATE_RUNNING if running else JOB_STATE_DONE,
            "result": {"status": status} if loss is None else {"status": status, "loss": loss},
            "misc": {"tid": number, "vals": {**values, **idle}, "idxs": {**{n: [number] for n in active}, **idle}},
            "exp_key": None,
        }


def ranks(observations: Iterable[Observation], loss: Any, max_iterations: int) -> dict[int, float]:
    """The rank of each trial that ended with a value, by number: whole ones first, then the furthest, then the best."""
    ended = [found for found in observations if found.state.ended and found.has_value]

    def order(found: Observation) -> tuple[int, float, int]:
        whole = found.state is not State.STOPPED or found.iteration >= max_iterations
        return (-max_iterations if whole else -found.iteration, loss(found.value), found.number)

    return {found.number: float(rank) for rank, found in enumerate(sorted(ended, key=order))}


def to_hyperopt(name: str, domain: Domain) -> Any:
    """The stochastic expression that draws the numbers of :func:`axes.encode`."""
    from hyperopt import hp

    if isinstance(domain, Choice) and not domain.ordered:
        return hp.randint(name, domain.count)
    if isinstance(domain, Choice):
        return hp.quniform(name, -0.5, domain.count - 0.5, 1)
    if isinstance(domain, Int):
        return _steps(hp, name, domain)
    if isinstance(domain, Normal):
        mean, sd, q = domain.mean, domain.sd, domain.q
        return hp.normal(name, mean, sd) if q is None else hp.qnormal(name, mean, sd, q)
    if isinstance(domain, Float):
        return _floats(hp, name, domain)
    raise TypeError(f"hyperopt cannot be given a {type(domain).__name__}")


def _steps(hp: Any, name: str, domain: Int) -> Any:
    """Half a step beyond both ends, so that those are as likely as the rest."""
    low, high = axes.steps(domain)
    if domain.log:
        return hp.qloguniform(name, np.log(low - 0.5), np.log(high + 0.5), 1)
    return hp.quniform(name, low - 0.5, high + 0.5, 1)


def _floats(hp: Any, name: str, domain: Float) -> Any:
    low, high = (np.log(domain.lower), np.log(domain.upper)) if domain.log else (domain.lower, domain.upper)
    step = () if domain.q is None else (domain.q,)
    kind = ("q" if step else "") + ("loguniform" if domain.log else "uniform")
    return getattr(hp, kind)(name, low, high, *step)
