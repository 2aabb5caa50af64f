"""Starting Ray, or joining it: the settings it needs, the addresses it binds, what a trial asks of it."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raytune_suite import authentication
from raytune_suite.errors import PlanError
from raytune_suite.hardware import slices
from raytune_suite.resources import Request

logger = logging.getLogger("raytune_suite")

SETTINGS = {
    "RAY_worker_niceness": "0",  # Ray starts workers at nice 15: anything else on the machine would starve them
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's newer output prints whatever the verbosity
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the CSV, JSON and TensorBoard loggers keep an entry per trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # it would end the whole run; reports are checked by the driver
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the journal is the record
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1000",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
    "TUNE_WARN_THRESHOLD_S": "1000000000",
}


# Ray takes 127.0.0.1 for a mistake and binds every interface instead, except where it thinks it cannot form a
# cluster; this is how it is told that it need not.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def environment(address: str | None = None) -> Iterator[None]:
    """The settings of Ray and Tune that must be there before ray is imported, for the time of the run."""
    authentication.prepare()
    settings = SETTINGS if _joins(address) else {**SETTINGS, **LOOPBACK}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update({name: value for name, value in settings.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def connected(address: str | None, verbosity: int, num_cpus: float | None, num_gpus: float | None) -> Iterator[None]:
    """A Ray to run on: this process's own if it has one, the cluster at ``address``, or a new local one."""
    import ray

    if ray.is_initialized():
        yield
        return
    common = {"logging_level": logging.ERROR, "log_to_driver": verbosity > 0, "namespace": "raytune"}
    if _joins(address):
        wanted: dict[str, Any] = {"address": address}
    else:
        # Everything on the loopback address: nobody else can reach what would run any code they send.
        wanted = {
            "address": "local",  # without it Ray joins any cluster that somebody has started on this machine
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "num_cpus": num_cpus,
            "num_gpus": num_gpus if num_gpus is not None else slices(),
            "_temp_dir": os.environ.get("RAYTUNE_TEMP_DIR"),
        }
    try:
        ray.init(**wanted, **common)
    except Exception as error:  # Ray raises whatever failed first: a bare Exception, ConnectionError, ValueError
        raise PlanError(_not_started(address, error)) from error
    try:
        with _raylet_in_the_log(verbosity):
            yield
    finally:
        gc.collect()  # a reference collected after the shutdown, in whatever thread, would end the process
        ray.shutdown()


def _not_started(address: str | None, error: Exception) -> str:
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if _joins(address):
        where = address or os.environ["RAY_ADDRESS"]
        return f"there is no Ray to join at {where} ({said}). Start one with ray start --head, or leave the address out"
    folder = os.environ.get("RAYTUNE_TEMP_DIR") or "/tmp/ray"
    return f"Ray did not start here ({said}). See that {folder} and /dev/shm have room, and the logs in {folder}"


@contextmanager
def _raylet_in_the_log(verbosity: int) -> Iterator[None]:
    """What Ray says of a dead worker belongs to the log: the run says itself which trial died of what.

    Ray prints these lines whatever ``log_to_driver`` is; without the private function they stay on the terminal.
    """
    from ray._private import worker

    printer = getattr(worker, "print_to_stdstream", None)
    if verbosity > 0 or printer is None:
        yield
        return

    def write(data: dict[str, Any], **_: Any) -> None:
        logger.warning("%s: %s", data.get("pid"), " ".join(map(str, data.get("lines", ()))))

    worker.print_to_stdstream = write
    try:
        yield
    finally:
        worker.print_to_stdstream = printer


def _joins(address: str | None) -> bool:
    """Whether a cluster that runs already is to be used."""
    return address is not None or bool(os.environ.get("RAY_ADDRESS"))


def placement(needs: Request, split: int = 1) -> Any:
    """Ray's form of a request; ``split`` travels with it to the worker: into how many pieces batches are cut."""
    from ray.tune import PlacementGroupFactory

    class Placement(PlacementGroupFactory):  # type: ignore[misc]
        def __repr__(self) -> str:
            """Short: Tune writes it into every line it does not log, twice a trial."""
            return f"<{self.required_resources}>"

    made = Placement([needs.bundle()])
    made.split = split
    return made
