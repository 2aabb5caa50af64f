"""Train many configurations of one trainable at once, where they differ in numbers but not in shapes.

Models, losses, data and optimizers are the trainable's own; a step of all members is one batched computation
(``torch.func.vmap``), which for small models takes hardly longer than a step of one. Members are independent: each has
its own initial weights, order of the data and dropout.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel

from raytune_suite.trainable import Context

Array = npt.NDArray[np.float64]


def train(cls: Any, configs: Sequence[Mapping[str, Any]], seeds: Sequence[int], iterations: int) -> Array:
    """Validation losses, shape (members, iterations), inf where not finite.

    Args:
        cls: a ``TorchTrainable`` whose configurations give models of one shape and batches of one size.
        configs: one a member.
        seeds: of the members.
        iterations: how many.
    """
    context = Context.standalone()
    try:
        host = cls(dict(configs[0]), context)
        fleet = Fleet(host, [Member.of(host, config, seed) for config, seed in zip(configs, seeds, strict=True)])
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no batching rule
            losses = torch.stack([fleet.iteration() for _ in range(iterations)], dim=1)
        host.close()
    finally:
        shutil.rmtree(context.trial_dir.parent)
    found: Array = losses.double().numpy()
    return np.where(np.isfinite(found), found, np.inf)


@dataclass(frozen=True)
class Member:
    """One configuration's own model, optimizer, schedule and order of the data."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    generator: torch.Generator

    @classmethod
    def of(cls, host: Any, config: Mapping[str, Any], seed: int) -> Member:
        """As ``host`` builds them for a configuration."""
        host.config = dict(config)
        torch.manual_seed(seed)
        model = host.build_model()
        optimizer = host.build_optimizer(model)
        return cls(model, optimizer, host.build_schedule(optimizer), torch.Generator().manual_seed(seed))


class Fleet:
    """Members in one stack of parameters."""

    def __init__(self, host: Any, members: Sequence[Member]) -> None:
        self._host = host
        self._skeleton = copy.deepcopy(members[0].model).to("meta")
        self._params, self._buffers = stack_module_state([member.model for member in members])
        self._optimizer = Stacked(members, self._params, host.max_grad_norm)
        self._generators = [member.generator for member in members]
        self._loader, self._held = host.data.train, host.data.validation
        self._arrays = [_tensor(array) for array in self._loader.arrays]

    def iteration(self) -> Tensor:
        """Train as many batches as the loader has, then measure: validation losses, shape (members,)."""
        self._skeleton.train()
        orders = torch.stack([self._order(generator) for generator in self._generators])
        for number in range(len(self._loader)):
            part = orders[:, number * self._loader.batch_size : (number + 1) * self._loader.batch_size]
            inputs, targets = (array[part] for array in self._arrays)
            losses = torch.vmap(self._loss, randomness="different")(self._params, self._buffers, inputs, targets)
            names = list(self._params)
            grads = torch.autograd.grad(losses.sum(), [self._params[name] for name in names])
            self._optimizer.step(dict(zip(names, grads, strict=True)))
        return self._measure()

    def _order(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self._loader.length, generator=generator)[: self._loader.samples]

    def _loss(self, params: Any, buffers: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self._host.loss(functional_call(self._skeleton, (params, buffers), (inputs,)), targets)
        return loss

    @torch.no_grad()
    def _measure(self) -> Tensor:
        self._skeleton.eval()
        total, count = torch.zeros(len(self._generators)), 0
        for inputs, targets in self._held:
            losses = torch.vmap(self._loss, in_dims=(0, 0, None, None))(self._params, self._buffers, inputs, targets)
            total, count = total + losses * len(inputs), count + len(inputs)
        return total / count


class Stacked:
    """The members' optimizers as one: torch's AdamW or SGD with momentum, gradient clipping and schedules."""

    def __init__(self, members: Sequence[Member], params: Mapping[str, Tensor], clip: float | None) -> None:
        self._params, self._steps = params, 0
        self._adam = isinstance(members[0].optimizer, torch.optim.AdamW)
        self._schedules = [member.schedule for member in members]
        self._clip = clip
        groups = [_groups(member) for member in members]
        self._options = {
            name: {
                key: torch.tensor([group[name][key] for group in groups]).reshape(-1, *[1] * (stacked.ndim - 1))
                for key in ("lr", "weight_decay", *(() if self._adam else ("momentum",)))
            }
            for name, stacked in params.items()
        }
        self._betas = {name: group["betas"] for name, group in groups[0].items()} if self._adam else {}
        self._state = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in params.items()}

    @torch.no_grad()
    def step(self, grads: dict[str, Tensor]) -> None:
        """Move all parameters in place."""
        factor = self._factor()
        if self._clip is not None:
            grads = self._clipped(grads, self._clip)
        self._steps += 1
        for name, param in self._params.items():
            options = self._options[name]
            rate = options["lr"] * factor.reshape(-1, *[1] * (param.ndim - 1))
            move = self._adamw if self._adam else self._sgd
            move(name, param, grads[name], rate)

    def _factor(self) -> Tensor:
        """What the schedules make of the rates at this step, shape (members,)."""
        steps = self._steps
        return torch.tensor([1.0 if s is None else float(s.lr_lambdas[0](steps)) for s in self._schedules])

    def _clipped(self, grads: dict[str, Tensor], norm: float) -> dict[str, Tensor]:
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in grads.values()]).sum(0).sqrt()
        scale = (norm / (norms + 1e-6)).clamp(max=1.0)
        return {name: grad * scale.reshape(-1, *[1] * (grad.ndim - 1)) for name, grad in grads.items()}

    def _adamw(self, name: str, param: Tensor, grad: Tensor, rate: Tensor) -> None:
        (mean, square), (first, second) = self._state[name], self._betas[name]
        param.mul_(1.0 - rate * self._options[name]["weight_decay"])
        mean.lerp_(grad, 1.0 - first)
        square.mul_(second).addcmul_(grad, grad, value=1.0 - second)
        root = square.sqrt().div_((1.0 - second**self._steps) ** 0.5).add_(1e-8)
        param.sub_(rate / (1.0 - first**self._steps) * mean / root)

    def _sgd(self, name: str, param: Tensor, grad: Tensor, rate: Tensor) -> None:
        velocity = self._state[name][0]
        velocity.mul_(self._options[name]["momentum"]).add_(grad + self._options[name]["weight_decay"] * param)
        param.sub_(rate * velocity)


def _groups(member: Member) -> dict[str, dict[str, Any]]:
    """The optimizer's group of every parameter, by the parameter's name; rates as they are before any schedule."""
    of = {id(p): group for group in member.optimizer.param_groups for p in group["params"]}
    groups = {name: dict(of[id(p)]) for name, p in member.model.named_parameters()}
    return {name: {**group, "lr": group.get("initial_lr", group["lr"])} for name, group in groups.items()}


def _tensor(array: Any) -> Tensor:
    """In memory, whatever the trainable maps or reads."""
    return array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
