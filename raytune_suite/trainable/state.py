"""What a trial is made of at the end of an epoch: collected for a checkpoint, and put back.

Everything the trainable holds that has a ``state_dict`` is part of it, whatever its name: models, optimisers,
schedules, gradient scalers, averaged weights. So are generators, the loaders' places, and the global RNGs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import TrainableError
from raytune_suite.trainable.checkpointing import plain
from raytune_suite.trainable.data import load_loader_state, loader_state
from raytune_suite.trainable.seeding import derive, rng_state, seed_all, set_rng_state
from raytune_suite.trainable.team import packed, unpacked

if TYPE_CHECKING:
    from raytune_suite.trainable.base import TorchTrainable


def stateful(trainable: TorchTrainable) -> dict[str, Any]:
    """The trainable's attributes that can save and load themselves, by name."""
    return {
        name: value
        for name, value in sorted(vars(trainable).items())
        if callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))
    }


def capture(trainable: TorchTrainable) -> dict[str, Any]:
    """Everything needed to go on as if nothing had happened."""
    import torch

    objects = stateful(trainable)
    rng = rng_state(trainable.device)
    others = trainable._team.gather(packed(plain(rng, "rng")))[1:] if trainable._team.size > 1 else []
    loaders = trainable.data.loaders() if trainable.data is not None else {}
    return {
        "trainable": type(trainable).__qualname__,
        "config": plain(_jsonable(trainable.config), "config"),
        "iteration": trainable.iteration,
        "epoch": trainable.epoch,
        "diverged": trainable.diverged,
        "kinds": {name: type(value).__qualname__ for name, value in objects.items()},
        "objects": {name: value.state_dict() for name, value in objects.items()},
        "generators": {
            name: value.get_state() for name, value in vars(trainable).items() if isinstance(value, torch.Generator)
        },
        "loaders": loader_state(loaders),
        "extra": trainable.extra_state(),
        "rng": rng,
        **({"ranks": [unpacked(text) for text in others]} if others else {}),
    }


def restore(trainable: TorchTrainable, state: dict[str, Any]) -> None:
    """Put back what :func:`capture` collected.

    If the configuration is another one (population based training clones a trial and changes some of its
    parameters), the optimisers keep the new configuration's hyperparameters.
    """
    same = state["config"] == plain(_jsonable(trainable.config), "config")
    for name, value in stateful(trainable).items():
        _restore_object(trainable, name, value, state, same)
    for name, saved in state["generators"].items():
        getattr(trainable, name).set_state(saved)
    load_loader_state(trainable.data.loaders() if trainable.data is not None else {}, state["loaders"])
    trainable.load_extra_state(state["extra"])
    trainable.iteration = state["iteration"]
    trainable.epoch = state["epoch"]
    trainable.diverged = state["diverged"]
    _restore_rng(trainable, state)  # last: building things above may have drawn numbers


def _restore_rng(trainable: TorchTrainable, state: dict[str, Any]) -> None:
    """Each process gets its own; one that was not there when the checkpoint was written starts from a seed."""
    rank, others = trainable.context.rank, state.get("ranks", [])
    if rank > len(others):
        seed_all(derive(trainable.context.seed, "training", rank, trainable.iteration))
    else:
        set_rng_state(others[rank - 1] if rank else state["rng"], trainable.device)


def _restore_object(trainable: TorchTrainable, name: str, value: Any, state: dict[str, Any], same: bool) -> None:
    saved = state["objects"].get(name)
    if saved is None:
        raise TrainableError(
            f"the checkpoint holds no {name}, only {', '.join(state['objects']) or 'nothing'}: "
            f"was {type(trainable).__qualname__} changed since it was written?"
        )
    if not same and state["kinds"].get(name) != type(value).__qualname__:
        return  # another optimiser or schedule: its old state means nothing to it
    built = _hyperparameters(value)
    try:
        value.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise TrainableError(
            f"the checkpoint's {name} does not fit the one that this configuration builds: {why}. "
            "Parameters that change the shape of the model cannot change within a trial"
        ) from error
    if not same:
        _keep_hyperparameters(value, built)


def _hyperparameters(value: Any) -> Any:
    """What a configuration decided about an optimiser (per group) or a schedule (its starting rates)."""
    groups = getattr(value, "param_groups", None)
    if isinstance(groups, list):
        return [{key: item for key, item in group.items() if key != "params"} for group in groups]
    rates = getattr(value, "base_lrs", None)
    return list(rates) if isinstance(rates, list) else None


def _keep_hyperparameters(value: Any, built: Any) -> None:
    if built is None:
        return
    if hasattr(value, "base_lrs"):
        value.base_lrs = built
        return
    for group, wanted in zip(value.param_groups, built, strict=True):
        start, rate = group.get("initial_lr"), group["lr"]
        group.update(wanted)
        if start and "initial_lr" in wanted:  # a schedule has brought the rate to a part of where it started
            group["lr"] = wanted["initial_lr"] * rate / start


def _jsonable(value: Any) -> Any:
    """A configuration as plain values; what is not plain becomes its text, since it is only compared."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
