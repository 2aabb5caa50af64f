"""The suite's worker in a process of the pool, where ``ray.tune`` need not be imported.

Ray Tune's ``Trainable`` brings pandas, pyarrow and ray.data into a process: a second and a half and 115 MB. What
:class:`~raytune_suite.worker.Worker` uses of it is little, and is here.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_suite.engine.residence import Maker
from raytune_suite.resolve import resolve
from raytune_suite.worker import Worker

TRIAL_INFO = "__trial_info__"


@dataclass
class TrialInfo:
    """What a trainable may ask of its trial, under the names that Tune's own has."""

    trial_id: str
    trial_name: str
    experiment_name: str
    trial_resources: Any


@dataclass(frozen=True)
class Resources:
    """A request for resources, as far as a worker is concerned."""

    required_resources: Mapping[str, float]
    split: int = 1


@dataclass(frozen=True)
class Noted:
    """Tells Tune that a trial may be paused; what it goes on from is the suite's own checkpoint."""

    checkpoint: None = None


class _Bare:
    """The part of ``ray.tune.Trainable`` that a worker builds upon."""

    def __init__(self, settings: Mapping[str, Any], config: dict[str, Any], storage: Any = None) -> None:
        import ray

        self.settings = settings
        self._local_ip = ray.util.get_node_ip_address()
        self._take(config)

    def _take(self, config: dict[str, Any]) -> None:
        self._trial_info: TrialInfo = config.pop(TRIAL_INFO)
        self.trial_id, self.trial_resources = self._trial_info.trial_id, self._trial_info.trial_resources
        self.config = config
        self._iteration, self._time_total = 0, 0.0
        self._last_result: dict[str, Any] | None = None

    def get_auto_filled_metrics(self, time_this_iter: float | None = None) -> dict[str, Any]:
        """The keys that Tune adds to each result."""
        now = time.time()
        return {
            "trial_id": self.trial_id,
            "date": time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now)),
            "timestamp": int(now),
            "time_this_iter_s": time_this_iter,
            "time_total_s": self._time_total,
            "pid": os.getpid(),
            "hostname": platform.node(),
            "node_ip": self._local_ip,
            "time_since_restore": self._time_total,
            "iterations_since_restore": self._iteration,
        }


class Lean(Worker, _Bare):
    """A worker that Tune's controller asks through the pool."""

    def __init__(self, settings: Mapping[str, Any], config: dict[str, Any], storage: Any = None) -> None:
        super().__init__(settings, config, storage)
        self.setup(self.config)

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Take another trial."""
        self._take(new_config)
        return self.reset_config(self.config)

    def save(self) -> Noted:
        """Write a checkpoint into the experiment folder, as before a pause."""
        host = self._opened()
        if host.saveable and (self._saved is None or self._saved.iteration != self._iteration):
            self._write_checkpoint(host, self._last_result or {})
        return Noted()

    def stop(self) -> None:
        """Release everything."""
        self.cleanup()

    @property
    def _storage(self) -> Any:
        """Tune's storage, for trainables written for Tune; others never ask."""
        from ray.train._internal.storage import StorageContext

        return StorageContext(self.settings["scratch"], "tune", trial_dir_name=self.trial_id)


def make(settings: Mapping[str, Any], config: dict[str, Any], storage: Any = None) -> Lean:
    """Make a worker of a study."""
    return Lean(settings, config, storage)


def prepare(settings: Mapping[str, Any]) -> None:
    """Import the study's code, as the first trial would; what is wrong with it the trial will say."""
    os.chdir(settings["project"])
    with suppress(Exception, SystemExit):
        resolve(settings["trainable"], Path(settings["project"]))


def maker(settings: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[Maker, dict[str, Any]]]:
    """What a class that Tune would run tells the pool: make this instead, with these arguments."""
    made = Maker(__name__, "make", {"settings": dict(settings)})

    def pooled(kwargs: Mapping[str, Any]) -> tuple[Maker, dict[str, Any]]:
        config = dict(kwargs["config"])
        info = config[TRIAL_INFO]
        given = info.trial_resources
        needs = Resources(dict(given.required_resources), getattr(given, "split", 1))
        config = {key: value for key, value in config.items() if not key.startswith("__")}
        config[TRIAL_INFO] = TrialInfo(info.trial_id, info.trial_name, info.experiment_name, needs)
        return made, {"config": config}

    return pooled
