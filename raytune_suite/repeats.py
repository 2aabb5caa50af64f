"""A configuration trained several times from several seeds, side by side, as one trial.

One step of the trial is one step of every repeat. Its metrics are means over the repeats, so that schedulers, stoppers
and searchers compare configurations at the same step; its checkpoint holds all repeats. The repeats share the process
and its memory, and take turns with the global random number generators.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from raytune_suite.errors import TrainableError
from raytune_suite.hosts import Host, kind_of, open_host, seed_globals
from raytune_suite.metrics import MEASURED, Metric, repeat_of, std_error
from raytune_suite.resolve import resolve
from raytune_suite.trainable import Context


def open_trial(
    spec: str,
    project: Path,
    config: Mapping[str, Any],
    context: Context,
    seeds: Sequence[int] = (),
    **tune: Any,
) -> Host:
    """Host a trial: one training, or one for each of ``seeds`` side by side. The rest as :func:`open_host`."""
    if not seeds:
        return open_host(spec, project, config, context, **tune)
    if kind_of(resolve(spec, project)) == "function":
        raise TrainableError(
            f"{spec} is a function, whose repeats cannot train side by side: a loop of its own decides when it "
            "reports. Make it a class with a step method, or set repeats: 1"
        )
    return RepeatedHost(lambda one: open_host(spec, project, config, one, **tune), context, seeds)


class RepeatedHost:
    """A host of several; each has its own seed and folders, and finds the generators as it left them."""

    def __init__(self, open_one: Callable[[Context], Host], context: Context, seeds: Sequence[int]) -> None:
        self.finished = False
        self._metric = context.metric
        self._hosts: list[Host] = []
        self._last: list[dict[str, Any]] = [{} for _ in seeds]
        self._generators: list[Callable[[], None] | None] = [None for _ in seeds]
        self._size = len(seeds)
        try:
            for repeat, seed in enumerate(seeds):
                with self._turn(repeat):
                    seed_globals(seed)
                    self._hosts.append(open_one(_own(context, repeat, seed)))
        except BaseException:
            self.close()
            raise

    def step(self) -> dict[str, Any]:
        """One step of every repeat, combined; of a repeat that has ended the last values count on."""
        new = False
        for repeat, host in enumerate(self._hosts):
            if host.finished:
                continue
            with self._turn(repeat):
                metrics = host.step()
            if metrics:
                new, self._last[repeat] = True, metrics
            elif not self._last[repeat]:
                raise TrainableError(f"repeat {repeat} of {self._size} ended without reporting anything")
            else:
                host.finished = True
        self.finished = all(host.finished for host in self._hosts)
        return combine(self._last, self._metric) if new else {}

    @property
    def saveable(self) -> bool:
        """Whether every repeat has something to save."""
        return all(host.saveable for host in self._hosts)

    @property
    def divisible(self) -> int:
        """What every repeat can still divide."""
        return min((host.divisible for host in self._hosts), default=0)

    def save(self, folder: Path) -> None:
        """Write a folder for each repeat into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for repeat, host in enumerate(self._hosts):
            with self._turn(repeat):
                host.save(folder / _name(repeat))

    def load(self, folder: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        found = sum(1 for _ in folder.glob(_name("*")))
        if found != self._size:
            raise TrainableError(f"the checkpoint {folder} holds {found} repeats, the study has {self._size}")
        for repeat, host in enumerate(self._hosts):
            with self._turn(repeat):
                host.load(folder / _name(repeat))

    def reset(self, config: dict[str, Any], context: Context) -> bool:
        """Always False: all repeats must have left the process before the first of another trial sets its switches."""
        return False

    def test(self) -> dict[str, Any] | None:
        """Means over the repeats, or None if the code has no test."""
        found = []
        for repeat, host in enumerate(self._hosts):
            with self._turn(repeat):
                found.append(host.test())
        known = [metrics for metrics in found if metrics is not None]
        return combine(known, self._metric) if known else None

    def close(self) -> None:
        """Release everything, in the opposite order, so that process-wide switches end up as they were at first."""
        while self._hosts:
            self._hosts.pop().close()

    @contextmanager
    def _turn(self, repeat: int) -> Iterator[None]:
        """Give the global generators to one repeat; an error says whose it is."""
        if (put_back := self._generators[repeat]) is not None:
            put_back()
        try:
            yield
        except Exception as error:
            error.add_note(f"This was repeat {repeat} of {self._size}.")
            raise
        self._generators[repeat] = generators()


def combine(repeats: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Metric]:
    """The metrics of a trial from those of its repeats.

    A number is the mean, with its standard error (sample standard deviation by the root of their number) as
    ``NAME/std_error``; of the study's ``metric`` also each repeat's own value, as ``NAME/repeat_0`` and so on. What is
    measured on the machine or counted (equal integers) has no standard error, and memory is the most that any repeat
    saw. A truth value is true if it is for any; another value stands if all agree on it, else all are listed. A repeat
    that did not measure something (None) is left out of its mean.
    """
    found: dict[str, Metric] = {}
    for name in dict.fromkeys(name for metrics in repeats for name in metrics):
        values = [metrics.get(name) for metrics in repeats]
        known = [value for value in values if value is not None]
        whole = len(set(known)) == 1 and all(type(value) is int for value in known)  # a count, not a measurement
        if not known or whole or not all(_is_number(value) for value in known):
            found[name] = _agreed(known)
        elif name.startswith("memory/"):
            found[name] = max(known)
        elif name.startswith(MEASURED):
            found[name] = math.fsum(known) / len(known)
        else:
            found |= _mean(name, values, name == metric)
    return found


def generators() -> Callable[[], None]:
    """Remember the states of the process's global generators; the result puts them back."""
    undo: list[tuple[Callable[[Any], Any], Any]] = [(random.setstate, random.getstate())]
    if (numpy := sys.modules.get("numpy")) is not None:
        undo.append((numpy.random.set_state, numpy.random.get_state()))
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        undo.append((torch.set_rng_state, torch.get_rng_state()))
        if torch.cuda.is_initialized():
            undo.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))

    def put_back() -> None:
        for put, state in undo:
            put(state)

    return put_back


def _mean(name: str, values: Sequence[Any], single: bool) -> dict[str, Metric]:
    known = [float(value) for value in values if value is not None]
    count = len(known)
    mean = _average(known)
    found: dict[str, Metric] = {name: mean}
    if count > 1:
        found[std_error(name)] = math.hypot(*(value - mean for value in known)) / math.sqrt((count - 1) * count)
    if single:
        found |= {repeat_of(name, repeat): value for repeat, value in enumerate(values)}
    return found


def _average(values: Sequence[float]) -> float:
    """The mean, of equal values exactly that value, in whatever order they come."""
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values)
    least = min(values)
    return least + math.fsum((value - least) / len(values) for value in values)


def _agreed(values: Sequence[Any]) -> Metric:
    if not values:
        return None
    if all(isinstance(value, bool) for value in values):
        return any(values)
    distinct = list(dict.fromkeys(map(str, values)))
    return values[0] if len(distinct) == 1 else ", ".join(distinct)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _own(context: Context, repeat: int, seed: int) -> Context:
    """The context of one repeat: its seed, and folders of its own inside the trial's."""
    name = _name(repeat)
    trial_dir = context.trial_dir / name
    trial_dir.mkdir(parents=True, exist_ok=True)
    return replace(context, seed=seed, trial_dir=trial_dir, tensorboard_dir=context.tensorboard_dir / name)


def _name(repeat: int | str) -> str:
    return f"repeat-{repeat}"
