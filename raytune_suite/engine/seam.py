"""The private seam under Ray Tune's controller: what is relied upon, whether it is as expected, and the exchange.

This is the only file that names what is private in Tune for the engine's sake. ``differences`` compares; where
anything differs the pool is not used, and a run goes on with Tune's own manager.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

CONTROLLER = "ray.tune.execution.tune_controller"
MANAGER = "RayActorManager"

EXPECTED = {
    "__init__": "resource_manager",
    "add_actor": "cls kwargs resource_request on_start on_stop on_error",
    "remove_actor": "tracked_actor kill stop_future",
    "schedule_actor_task": "tracked_actor method_name args kwargs on_result on_error _return_future",
    "clear_actor_task_futures": "tracked_actor",
    "next": "timeout",
    "is_actor_started": "tracked_actor",
    "is_actor_failed": "tracked_actor",
    "get_live_actors_resources": "",
    "cleanup": "",
}
"""The methods of Tune's manager that the controller calls, with their parameters."""

USED = {
    *(name for name in EXPECTED if name != "__init__"),
    *("num_live_actors", "num_pending_actors", "num_total_actors", "num_actor_tasks"),
    *("_live_actors_to_ray_actors_resources", "_actor_task_events"),  # the latter to export models, which we do not
}
"""Everything the controller uses of its manager."""

ASKED = {"train", "train_buffered", "save", "restore", "reset", "stop", "export_model"}
"""What the controller has an actor do."""


VIRTUAL = {
    ("ray.train._internal.storage", "_get_ray_train_session_dir"): "",
    ("ray.train._internal.session", "_FutureTrainingResult.resolve"): "block",
}
"""Where Tune asks Ray for a folder, and for a checkpoint that is still being written, with their parameters: in virtual
time there is no Ray."""


def differences() -> list[str]:
    """What this version of Ray has that is not as expected, one line each; nothing if the pool can be used."""
    try:
        controller = importlib.import_module(CONTROLLER)
        manager, source = getattr(controller, MANAGER), inspect.getsource(controller.TuneController)
    except (ImportError, AttributeError, OSError) as error:
        return [f"{CONTROLLER}.{MANAGER} is not there: {error}"]
    found = [line for name, wanted in EXPECTED.items() if (line := _signature(manager, name, wanted))]
    used = set(re.findall(r"_actor_manager\.(\w+)", source))
    if unknown := used - USED:
        found.append(f"the controller uses {', '.join(sorted(unknown))} of its manager")
    asked = set(re.findall(r'method_name\s*=\s*"(\w+)"', source))
    if unknown := asked - ASKED:
        found.append(f"the controller calls {', '.join(sorted(unknown))} of its actors")
    if f"{MANAGER}(resource_manager=resource_manager)" not in source:
        found.append(f"the controller does not make its {MANAGER} as expected")
    return found


def virtual_differences() -> list[str]:
    """What else is not as expected, of what virtual time needs beyond the pool; nothing if it can be had."""
    return [line for (module, name), wanted in VIRTUAL.items() if (line := _elsewhere(module, name, wanted))]


def _elsewhere(module: str, name: str, wanted: str) -> str | None:
    path, _, last = name.rpartition(".")
    try:
        owner = importlib.import_module(module)
        return _signature(getattr(owner, path) if path else owner, last, wanted, name)
    except (ImportError, AttributeError) as error:
        return f"{module}.{name} is not there: {error}"


def _signature(owner: Any, name: str, wanted: str, shown: str = "") -> str | None:
    method, shown = getattr(owner, name, None), shown or f"{MANAGER}.{name}"
    if method is None:
        return f"{shown} is not there"
    has = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    if sorted(has) != sorted(wanted.split()):
        return f"{shown} takes {' '.join(has) or 'nothing'}, not {wanted or 'nothing'}"
    return None


@contextmanager
def installed(make: Callable[[], Any]) -> Iterator[None]:
    """Let controllers made meanwhile ask ``make()`` for actors instead of a manager of Tune's."""
    controller = importlib.import_module(CONTROLLER)
    original = getattr(controller, MANAGER)

    def manager(resource_manager: Any) -> Any:  # noqa: ARG001 (resources are the pool's business)
        return make()

    setattr(controller, MANAGER, manager)
    try:
        yield
    finally:
        setattr(controller, MANAGER, original)


@contextmanager
def without_ray(folder: str) -> Iterator[None]:
    """Let a controller work where no Ray runs; what it would keep in Ray's session goes to ``folder``.

    What it would wait for is an :class:`~raytune_suite.engine.virtual.Answer`, which is there already.
    """
    instead = (lambda: folder, lambda future, **_: future.future.value)
    places = [_place(module, name) for module, name in VIRTUAL]
    originals = [getattr(owner, name) for owner, name in places]
    for (owner, name), function in zip(places, instead, strict=True):
        setattr(owner, name, function)
    try:
        yield
    finally:
        for (owner, name), original in zip(places, originals, strict=True):
            setattr(owner, name, original)


def _place(module: str, name: str) -> tuple[Any, str]:
    path, _, last = name.rpartition(".")
    owner = importlib.import_module(module)
    return (getattr(owner, path) if path else owner), last


def controller(folder: str, **parts: Any) -> Any:
    """A controller of Tune's own making, outside ``tune.run``, which would start a Ray; it writes no snapshots."""
    from ray.train._internal.storage import StorageContext
    from ray.tune import CheckpointConfig
    from ray.tune.execution.tune_controller import TuneController

    storage = StorageContext(folder, "virtual")
    config = CheckpointConfig(checkpoint_at_end=False)
    made = TuneController(storage=storage, trial_checkpoint_config=config, reuse_actors=False, **parts)
    made.checkpoint = lambda *_, **__: None
    parts["search_alg"].add_configurations(SimpleNamespace(storage=storage, checkpoint_config=config))
    return made
