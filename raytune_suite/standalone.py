"""A trial's training code hosted outside any cluster, in a child process: what a check and a reproduction run on.

The child hosts it exactly as a worker does (:mod:`raytune_suite.hosts`), so what works here works there; a crash, an
exit or a hang of the user's code ends the child and not its parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_suite.hosts import Host

OUTPUT = "output.txt"
_LAST_LINES = 20

# --- in the parent


def start(module: str, folder: Path, project: str, **options: Any) -> subprocess.Popen[bytes]:
    """Run ``python -m module folder`` in the project, in a process group of its own.

    Args:
        module: of the suite; it reads what to do from ``folder``.
        folder: of this child; what it prints goes to :data:`OUTPUT` there.
        project: the working directory.
        options: of ``Popen``; ``env`` is completed so that the child finds the packages found here.
    """
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *(entry for entry in sys.path if entry)])
    options["env"] = {**options.get("env", os.environ), "PYTHONPATH": paths}
    options.setdefault("stdin", subprocess.DEVNULL)
    with (folder / OUTPUT).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            cwd=project,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and the loader workers it may have left."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        child.wait()


def ending(code: int) -> str:
    """Say how a process with this exit code ended."""
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


def printed(folder: Path) -> str:
    """Return the last lines that the child printed."""
    lines = (folder / OUTPUT).read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:])


# --- in the child


def host(job: Mapping[str, Any]) -> Host:
    """Host a trial.

    ``job`` holds plain values: trainable, project, folder (of the child), config, trial_id, number, seed, repeat_seeds,
    cpus, gpu, max_iterations, metric, mode.
    """
    from raytune_suite.repeats import open_trial

    arguments = job["trainable"], Path(job["project"]), job["config"], context(job), job["repeat_seeds"]
    return open_trial(*arguments, **_tune(job))


def user_trace(error: BaseException, own: tuple[str, ...]) -> str:
    """The traceback without our own frames, those of the files ``own``, above the user's code."""
    described = traceback.TracebackException.from_exception(error)
    ours = (*own, "raytune_suite/standalone.py", "raytune_suite/hosts.py")
    frames = [frame for frame in described.stack if not frame.filename.endswith(ours)]
    if frames:
        described.stack = traceback.StackSummary.from_list(frames)
    return "".join(described.format())


def context(job: Mapping[str, Any]) -> Any:
    """The context of the trial that ``job`` describes (see :func:`host`)."""
    from raytune_suite.trainable import Context

    # prepared data goes where the workers look for it, so that neither makes it twice
    cache = os.environ.get("RAYTUNE_DATA_DIR")
    shared = Path(cache) if cache else Context.standalone().data_dir
    folder = Path(job["folder"])
    trial_dir = folder / "trial"
    trial_dir.mkdir(exist_ok=True)
    return Context(
        trial_id=job["trial_id"],
        number=job["number"],
        seed=job["seed"],
        trial_dir=trial_dir,
        data_dir=shared,
        tensorboard_dir=folder / "tensorboard",
        cpus=job["cpus"],
        gpu=job["gpu"],
        max_iterations=job["max_iterations"],
        metric=job["metric"],
        mode=job["mode"],
    )


def _tune(job: Mapping[str, Any]) -> dict[str, Any]:
    """What Ray Tune gives its own kinds of trainables; nothing for ours, which must not import ray."""
    from raytune_suite.hosts import kind_of
    from raytune_suite.resolve import resolve

    if kind_of(resolve(job["trainable"], job["project"])) == "suite":
        return {}
    return _tune_arguments(job)


def _tune_arguments(job: Mapping[str, Any]) -> dict[str, Any]:
    from ray.train._internal.storage import StorageContext
    from ray.tune import PlacementGroupFactory

    class LocalStorage(StorageContext):  # type: ignore[misc]
        def _get_session_path(self) -> str:
            # Tune asks a running Ray for this folder; one trial needs no Ray
            return str(Path(job["folder"]) / "session")

    name = job["trial_id"]
    storage = LocalStorage(str(Path(job["folder"]) / "tune"), "standalone", trial_dir_name=name)
    Path(storage.trial_driver_staging_path).mkdir(parents=True, exist_ok=True)
    needs = PlacementGroupFactory([{"CPU": job["cpus"], "GPU": job["gpu"]}])
    names = {"experiment_name": "standalone", "trial_name": name, "trial_id": name, "trial_resources": needs}
    return {"storage": storage, "trial_info": SimpleNamespace(**names)}
