from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.curves.brief import BriefCNN, BriefMLP, BriefTransformer
from benchmarks.curves.train import Member, train
from raytune_suite.trainable import Context, TorchTrainable

MLP = {"data": "sklearn:digits", "target": "target", "task": "auto", "width": 8, "depth": 1, "batch_size": 64}
TRANSFORMER = {"width": 8, "depth": 1, "heads": 2, "batch_size": 32, "weight_decay": 0.1}
CASES: list[tuple[type[TorchTrainable], list[dict[str, Any]]]] = [
    (BriefMLP, [MLP | {"learning_rate": 0.01, "weight_decay": 1.0}, MLP | {"learning_rate": 0.1, "weight_decay": 0.0}]),
    (
        BriefCNN,
        [
            {"channels": 2, "batch_size": 64, "optimizer": "sgd", "learning_rate": rate, "momentum": momentum}
            for rate, momentum in [(0.1, 0.5), (0.02, 0.9)]
        ],
    ),
    (BriefTransformer, [TRANSFORMER | {"learning_rate": rate, "warmup": 3} for rate in (0.01, 1.0)]),
]


def alone(cls: type[TorchTrainable], config: dict[str, Any], seed: int, iterations: int) -> list[float]:
    """The same training with torch's own optimizer, schedule and clipping."""
    host = cls(config, Context.standalone())
    member = Member.of(host, config, seed)
    loader: Any = host.data.train
    losses = []
    for _ in range(iterations):
        order = torch.randperm(loader.length, generator=member.generator)[: loader.samples]
        for part in order.split(loader.batch_size):
            inputs, targets = (torch.tensor(array[part.numpy()]) for array in map(np.asarray, loader.arrays))
            member.optimizer.zero_grad()
            host.loss(member.model(inputs), targets).backward()
            if host.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(member.model.parameters(), host.max_grad_norm)
            member.optimizer.step()
            if member.schedule is not None:
                member.schedule.step()
        with torch.no_grad():
            ((inputs, targets),) = host.data.validation
            losses.append(float(host.loss(member.model(inputs), targets)))
    host.close()
    return losses


@pytest.mark.parametrize(("cls", "configs"), CASES)
def test_a_stack_trains_each_member_as_if_alone(cls: type[TorchTrainable], configs: list[dict[str, Any]]) -> None:
    together = train(cls, configs, [5, 6], 2)
    assert together.shape == (2, 2)
    for config, seed, losses in zip(configs, [5, 6], together, strict=True):
        assert losses == pytest.approx(alone(cls, config, seed, 2), rel=2e-3)
    assert together[0, 1] < together[0, 0]


def test_what_diverges_is_infinite() -> None:
    wild = MLP | {"learning_rate": 1e30, "weight_decay": 0.0}
    tame = MLP | {"learning_rate": 0.01, "weight_decay": 0.0}
    losses = train(BriefMLP, [wild, tame], [0, 1], 3)
    assert np.isinf(losses[0, -1])
    assert np.isfinite(losses[1]).all()
