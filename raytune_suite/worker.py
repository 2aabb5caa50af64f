"""The one class that Ray Tune runs: it finds the user's trainable, hosts it, reports for it and watches it.

The driver never imports the user's code. It hands Tune :func:`worker_class`, a subclass of :class:`Worker` that
carries the study's settings; everything else happens here, in the worker process.
"""

from __future__ import annotations

import os

os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # read by Tune when a trainable starts: stay in the project

import json
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from raytune_suite import environment, sharing
from raytune_suite.checkpoints import Broken, Saved, TrialCheckpoints, Unheard
from raytune_suite.hosts import Host
from raytune_suite.metrics import value_of
from raytune_suite.repeats import open_trial
from raytune_suite.seeds import repeat_seeds, trial_seed
from raytune_suite.trainable import Context
from raytune_suite.trialerror import TrialError, failure_of
from raytune_suite.watchdog import watchdog

REPORT = "_raytune"  # the key under which a result carries Reports to the driver; they never reach callbacks
POINTER = "pointer.json"
TRAINING_ITERATION, TIME_THIS_ITER_S = "training_iteration", "time_this_iter_s"  # Tune's names for them


Report = tuple[int, dict[str, Any], float, dict[str, Any]]
"""Iteration, flat metrics (empty: the code ended), training seconds so far, facts for the driver."""


class Worker:
    """Hosts one trial after the other; a reset is a new trial in the same process.

    What Ray Tune's ``Trainable`` gives it comes from a second base: that class (:func:`worker_class`), or in a worker
    process that does without ``ray.tune``, :class:`raytune_suite.engine.lean.Lean`.
    """

    settings: Mapping[str, Any] = {}
    reusable: ClassVar[bool] = True

    config: dict[str, Any]
    trial_id: str
    trial_resources: Any
    _iteration: int
    _time_total: float
    _last_result: dict[str, Any] | None
    _local_ip: str
    _storage: Any
    _trial_info: Any

    def setup(self, config: dict[str, Any]) -> None:
        """Only note that a trial begins: errors must surface in a step, where they are told apart."""
        os.chdir(self.settings["project"])
        sharing.see(self._needs("GPU"))
        self._mps = sharing.join_mps(self._needs("GPU"))
        self._host: Host | None = None
        self._hosted = 0
        self._environment: str | None = None
        self._begin()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        self._begin()
        return True

    def _begin(self) -> None:
        self._open = False
        self._elapsed = 0.0
        self._saved: Saved | None = None
        self._store = self._checkpoints()
        self._deferred: TrialError | None = None
        self._facts: dict[str, Any] = {}
        self._unheard: list[Unheard] = []
        self._repeats: deque[Unheard] = deque()
        self._told: Report | None = None

    # -- training ------------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """One iteration of the trial: its metrics for Tune, and a report for the driver."""
        self._unheard.clear()  # being asked for more means that all before has been heard
        return self._train()

    def _train(self) -> dict[str, Any]:
        if self._deferred is not None:
            raise self._deferred
        started = time.monotonic()
        try:
            with watchdog(self._time_left(), self._trial_dir()):
                host = self._opened()
                if self._repeats:
                    return self._repeated()
                metrics = host.step()
            self._elapsed += time.monotonic() - started
            if metrics:
                self._iteration += 1
                self._unheard.append((self._iteration, metrics, self._elapsed))
                self._checkpoint_if_due(host, metrics)
        except (Exception, SystemExit) as error:
            raise failure_of(error, self._host.divisible if self._host is not None else 0) from None
        return self._result(metrics, host.finished, time.monotonic() - started)

    def train_buffered(self, buffer_time_s: float, max_buffer_length: int = 1000) -> list[dict[str, Any]]:
        """Several quick iterations in one reply: a fraction of a second of them, never past a decision point.

        Where nobody but the driver looks at them, one result carries the reports of all: Tune does much for each.
        The controller passes its two arguments the other way round, so neither is used.
        """
        results = self._trained()
        if not self.settings["joined"]:
            return results
        return [{**results[-1], REPORT: tuple(report for result in results for report in result[REPORT])}]

    def _trained(self) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        self._unheard.clear()
        until = time.monotonic() + self.settings["bucket_s"]
        while True:
            try:
                results.append(self._train())
            except TrialError as error:
                if not results:
                    raise
                self._deferred = error  # first tell what was done before it
                return results
            if time.monotonic() >= until or self._is_decided_upon():
                return results

    @property
    def over(self) -> bool:
        """Whether the last report ends the trial, whatever is decided."""
        if self._told is None:
            return False
        iteration, metrics, _, facts = self._told
        return not metrics or bool(facts.get("finished")) or iteration >= self.settings["max_iterations"]

    def _is_decided_upon(self) -> bool:
        """Whether somebody may end the trial at the last report, so that going on might be in vain."""
        s = self.settings
        iteration, metrics, _, _ = self._told or (0, {}, 0.0, {})
        if self.over or iteration in s["decisions"]:
            return True
        value = value_of(metrics, s["metric"])
        if value is None or s["target"] is None:
            return value is not None and not math.isfinite(value)
        return not math.isfinite(value) or (value <= s["target"] if s["mode"] == "min" else value >= s["target"])

    def _repeated(self) -> dict[str, Any]:
        """A report that lies in the checkpoint the trial goes on from: it may have been lost with its process."""
        iteration, metrics, elapsed = self._repeats.popleft()
        result = {**self._result(metrics, False, 0.0), TRAINING_ITERATION: iteration}
        self._told = (iteration, metrics, elapsed, {**result[REPORT][0][3], "repeated": True})
        result[REPORT] = (self._told,)
        return result

    def _result(self, metrics: dict[str, Any], finished: bool, seconds: float) -> dict[str, Any]:
        facts, self._facts = self._facts, {}
        if finished:
            facts["finished"] = True
        self._time_total += seconds
        result = {**metrics, TRAINING_ITERATION: self._iteration, TIME_THIS_ITER_S: seconds, "done": False}
        result.update(self.get_auto_filled_metrics(time_this_iter=seconds))
        # A tuple, because Tune flattens dicts and would spread the report over the result.
        self._told = (self._iteration, metrics, self._elapsed, facts)
        result[REPORT] = (self._told,)
        self._last_result = {k: v for k, v in result.items() if k != REPORT}
        return result

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tune's own keys, without the copy of the configuration that would travel with every report."""
        filled: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)  # type: ignore[misc]
        filled.pop("config", None)
        return filled

    def _time_left(self) -> float | None:
        limits = []
        if (total := self.settings["trial_time"]) is not None:
            # A trial over its budget is stopped between two steps; only a step that does not return is killed.
            limits.append(max(total - self._elapsed, 0.0) + max(2.0, 0.1 * total))
        if (step := self.settings["step_time"]) is not None:
            limits.append(step)
        return min(limits, default=None)

    # -- the hosted trainable ------------------------------------------------------------------------------------

    def _opened(self) -> Host:
        if self._host is None or not self._open:
            host = self._start_host()
            last, broken = self._store.latest_intact()
            self._tell_broken(broken)
            if last is not None:
                self._load(host, last)
                self._point_at(last)
                self._repeats.extend(last.reports)
        return self._host  # type: ignore[return-value]

    def _start_host(self) -> Host:
        context, config = self._context(), dict(self.config)
        step_time = self.settings["step_time"]
        gpus = sharing.wait_for_room(context.gpu, step_time and step_time / 2)
        if gpus:
            self._facts["gpu"] = {"name": gpus[0].name, "memory": gpus[0].total, "mps": self._mps}
        if self._host is not None and not self._host.reset(config, context):
            self._host.close()
            self._host = None
        if self._host is None:
            self._host = open_trial(
                self.settings["trainable"],
                Path(self.settings["project"]),
                config,
                context,
                repeat_seeds(self.settings["seed"], self.settings["repeats"]),
                storage=lambda: self._storage,
                trial_info=self._trial_info,
            )
        self._open = True
        self._describe()
        self._hosted += 1
        return self._host

    def _describe(self) -> None:
        """Tell the driver, with the trial's first report, where it runs and in which environment."""
        import ray

        if self._environment is None:  # once a process, after the user's code has set what it sets
            facts = environment.capture(Path(self.settings["project"]))
            self._environment = environment.fingerprint(facts)
            self._facts["environment"] = (self._environment, facts)
        self._facts["worker"] = {
            "environment": self._environment,
            "node": ray.get_runtime_context().get_node_id(),
            "ip": self._local_ip,
            "pid": os.getpid(),
            "gpu_ids": [str(gpu) for gpu in ray.get_gpu_ids()],
            "cpus": self._needs("CPU"),
            "gpu": self._needs("GPU"),
            **({"device": device} if (device := self._facts.pop("gpu", None)) is not None else {}),
            "restored": None,
            "restored_from": None,
            "worker_trials": self._hosted,
        }

    def _context(self) -> Context:
        split = int(getattr(self.trial_resources, "split", 1))
        return trial_context(self.settings, self.trial_id, self._needs("CPU"), self._needs("GPU"), split)

    def _needs(self, kind: str) -> float:
        needs = self.trial_resources.required_resources if self.trial_resources else {"CPU": 1}
        return float(needs.get(kind, 0))

    def _trial_dir(self) -> Path:
        return trial_dir(self.settings, self.trial_id)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _checkpoints(self) -> TrialCheckpoints:
        s = self.settings
        return TrialCheckpoints(Path(s["folder"]) / "checkpoints" / self.trial_id, s["keep"], s["mode"])

    def _checkpoint_if_due(self, host: Host, metrics: Mapping[str, Any]) -> None:
        every = self.settings["checkpoint_every"]
        if every and self._iteration % every == 0 and host.saveable:
            self._write_checkpoint(host, metrics)

    def _write_checkpoint(self, host: Host, metrics: Mapping[str, Any]) -> Saved:
        value = metrics.get(self.settings["metric"])
        value = float(value) if isinstance(value, (int, float)) else None
        self._saved = self._store.write(self._iteration, self._elapsed, value, host.save, self._unheard)
        self._point_at(self._saved)
        return self._saved

    def _point_at(self, saved: Saved) -> None:
        path = saved.path.relative_to(self.settings["folder"])
        self._facts["checkpoint"] = {"iteration": saved.iteration, "path": str(path)}

    def _named(self, path: Path) -> tuple[Saved | None, list[Broken]]:
        if path.parent.name != self.trial_id:
            return TrialCheckpoints(path.parent, ("all",)).intact(path)
        saved, broken = self._store.latest_intact()  # after a failure that is later than what Tune knows of
        if saved is not None and saved.iteration > int(path.name):
            self._repeats.extend(saved.reports)
        return saved, broken

    def _tell_broken(self, found: Sequence[Broken]) -> None:
        folder = self.settings["folder"]
        for broken in found:
            path = str(broken.path.relative_to(folder))
            told = {"iteration": broken.iteration, "path": path, "reason": broken.reason}
            self._facts.setdefault("broken", []).append(told)

    def save_checkpoint(self, checkpoint_dir: str) -> str:
        """Give Tune a pointer: the checkpoint itself lies in the experiment folder."""
        host = self._opened()
        saved = self._saved if self._saved and self._saved.iteration == self._iteration else None
        if saved is None and host.saveable:
            saved = self._write_checkpoint(host, self._last_result or {})
        pointer = {"path": str(saved.path) if saved else None}
        Path(checkpoint_dir, POINTER).write_text(json.dumps(pointer))
        return checkpoint_dir

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what a pointer names; it may belong to another trial (population based training)."""
        path = json.loads(Path(checkpoint, POINTER).read_text())["path"]
        host = self._start_host() if not self._open else self._opened()
        if path is None:
            self._iteration = 0
            return
        saved, broken = self._named(Path(path))
        self._tell_broken(broken)
        if saved is None:
            what = f"the checkpoint {path} cannot be loaded ({broken[0].reason}), and there is none before it"
            raise TrialError("failed", "CheckpointMissing", what, "")
        self._load(host, saved)

    def _load(self, host: Host, saved: Saved) -> None:
        host.load(saved.path)
        self._iteration, self._elapsed = saved.iteration, saved.elapsed
        worker = self._facts.setdefault("worker", {})
        worker["restored"], worker["restored_from"] = saved.iteration, saved.path.parent.name

    def cleanup(self) -> None:
        """Release the hosted trainable."""
        if self._host is not None:
            self._host.close()
            self._host = None


def worker_class(settings: Mapping[str, Any]) -> type[Worker]:
    """The class to hand to Tune: :class:`Worker` carrying a study's ``settings`` (plain values only)."""
    from ray import tune

    class Hosted(Worker, tune.Trainable):  # type: ignore[misc]
        pass

    Hosted.settings = dict(settings)
    return Hosted


def trial_context(settings: Mapping[str, Any], trial_id: str, cpus: float, gpu: float, split: int = 1) -> Context:
    """What a trainable is told about the trial it trains."""
    number = int(trial_id)
    return Context(
        trial_id=trial_id,
        number=number,
        seed=trial_seed(settings["seed"], number),
        trial_dir=trial_dir(settings, trial_id),
        data_dir=Path(settings["data_dir"]),
        tensorboard_dir=Path(settings["folder"]) / "tensorboard" / trial_id,
        cpus=cpus,
        gpu=gpu,
        max_iterations=settings["max_iterations"],
        metric=settings["metric"],
        mode=settings["mode"],
        split=split,
    )


def trial_dir(settings: Mapping[str, Any], trial_id: str) -> Path:
    """The folder for the files of a trial; made if it is missing."""
    folder = Path(settings["folder"]) / "trials" / trial_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder
