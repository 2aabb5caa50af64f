"""What a confirmation found: the best few configurations and the default, compared on fresh paired seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raytune_suite import formats
from raytune_suite.certainty import posterior

CERTAIN = 0.95
"""The probability from which on one configuration is called the best."""
_NAME = re.compile(r"confirmed-(\d+)\.json")


@dataclass(frozen=True)
class Contender:
    """One configuration in a confirmation.

    Attributes:
        trial: its number in the experiment.
        state: how its training for the confirmation ended.
        values: by seed; empty if it did not complete.
        mean, std_error: of the values.
        best: the probability that its true mean is the best; 0 without values.
        over_default: the probability that its true mean is better than the default's; None for the default itself.
        behind: the central 95% interval of its true mean minus that of the most probable best; None for that one.
    """

    trial: int
    state: str
    values: tuple[float, ...] = ()
    mean: float | None = None
    std_error: float | None = None
    best: float = 0.0
    over_default: float | None = None
    behind: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """The contenders, the most probable best first; ``name`` is the folder in the experiment with their trainings."""

    name: str
    metric: str
    mode: str
    rule: str
    seeds: int
    default: int | None
    contenders: tuple[Contender, ...]

    @property
    def certain(self) -> bool:
        """Whether one configuration is the best with a probability of at least :data:`CERTAIN`."""
        return bool(self.contenders) and self.contenders[0].best >= CERTAIN

    @property
    def among(self) -> tuple[int, ...]:
        """The fewest trials that hold the best with a probability of at least :data:`CERTAIN`."""
        chosen: list[int] = []
        total = 0.0
        for contender in self.contenders:
            if total >= CERTAIN:
                break
            chosen.append(contender.trial)
            total += contender.best
        return tuple(chosen)

    def chance(self) -> str:
        """The probability of the most probable best, in words."""
        return _chance(self.contenders[0].best) if self.contenders else "-"

    def sentence(self) -> str:
        """The verdict in a line."""
        if not self.contenders or not self.contenders[0].values:
            return "nothing to compare: no configuration completed its training"
        leader = self.contenders[0]
        if self.certain:
            return f"trial {leader.trial} is the best with probability {_chance(leader.best)} ({self._basis()})"
        named = formats.numbers(list(self.among))
        total = sum(c.best for c in self.contenders if c.trial in self.among)
        return (
            f"indistinguishable: the best is one of trials {named} with probability {_chance(total)}, "
            f"trial {leader.trial} with {_chance(leader.best)} ({self._basis()})"
        )

    def _basis(self) -> str:
        return f"{self.seeds} fresh seeds, {self.rule} value"

    def rows(self) -> Iterator[dict[str, str]]:
        """A table: one row a contender, in words."""
        for contender in self.contenders:
            name = f"{contender.trial}" + (" (default)" if contender.trial == self.default else "")
            shown = contender.behind
            yield {
                "trial": name,
                self.metric: formats.measured(contender.mean, contender.std_error)
                if contender.values
                else contender.state,
                "is the best": _chance(contender.best),
                "beats the default": "" if contender.over_default is None else _chance(contender.over_default),
                "against the first": f"{shown[0]:+.3g} to {shown[1]:+.3g}" if shown else "",
            }

    def data(self) -> dict[str, Any]:
        """The verdict for JSON."""
        return {**asdict(self), "certain": self.certain, "among": list(self.among), "sentence": self.sentence()}


def judge(
    name: str,
    metric: str,
    mode: str,
    rule: str,
    seeds: int,
    default: int | None,
    found: Mapping[int, tuple[str, Sequence[float]]],
) -> Verdict:
    """Compare what was ``found``: trial number -> state and values by seed (none if it did not complete)."""
    whole = [trial for trial, (_, values) in found.items() if len(values) == seeds]
    made = [Contender(trial, state) for trial, (state, _) in found.items() if trial not in whole]
    if len(whole) == 1:
        values = tuple(found[whole[0]][1])
        made.append(Contender(whole[0], found[whole[0]][0], values, *_moments(values), best=1.0))
    elif whole:
        made += _compared([(trial, *found[trial]) for trial in whole], mode, default)
    ordered = sorted(made, key=lambda contender: (-contender.best, not contender.values, contender.trial))
    return Verdict(name, metric, mode, rule, seeds, default, tuple(ordered))


def _compared(found: Sequence[tuple[int, str, Sequence[float]]], mode: str, default: int | None) -> list[Contender]:
    import numpy as np

    beliefs = posterior(np.array([values for _, _, values in found]), mode)
    trials = [trial for trial, _, _ in found]
    yardstick = trials.index(default) if default in trials else None
    leader = int(beliefs.best.argmax())
    return [
        Contender(
            trial,
            state,
            tuple(values),
            *_moments(values),
            best=float(beliefs.best[index]),
            over_default=None if yardstick in (None, index) else beliefs.better(index, yardstick),
            behind=None if index == leader else beliefs.difference(index, leader),
        )
        for index, (trial, state, values) in enumerate(found)
    ]


def _moments(values: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def verdict_of(experiment: Path) -> Verdict | None:
    """The last verdict on an experiment, None if there is none (yet)."""
    for file in reversed(files(experiment)):
        held = read(file).get("verdict")
        if held is not None:
            contenders = tuple(
                Contender(**{**c, "values": tuple(c["values"]), "behind": c["behind"] and tuple(c["behind"])})
                for c in held["contenders"]
            )
            known = {key: held[key] for key in ("name", "metric", "mode", "rule", "seeds", "default")}
            return Verdict(**known, contenders=contenders)
    return None


def files(experiment: Path) -> list[Path]:
    """The files of an experiment's confirmations, in their order."""
    found = [(match, path) for path in experiment.glob("confirmed-*.json") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]


def read(file: Path) -> dict[str, Any]:
    """What a confirmation's file holds; nothing if it is not one."""
    try:
        held = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _chance(probability: float) -> str:
    """A probability as far as the sampling tells it."""
    if probability > 0.995:
        return "above 0.99"
    return "below 0.01" if probability < 0.005 else f"{probability:.2f}"
