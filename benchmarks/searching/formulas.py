"""Losses of imagined trainings: what tuning meets (scales, types, branches, noise, plateaus) in closed form.

No optimum is at the centre or the edge of its range, nor, where the range is continuous, on a round number.
"""

from __future__ import annotations

import math

import numpy as np
from searching.task import Point, Task


def _square(x: float) -> float:
    return x**2


def _bowl(x: float, width: float) -> float:
    """A quadratic that flattens far out, as losses do: 0 at 0, 0.5 at ``width``, 1 at infinity."""
    return _square(x / width) / (1 + _square(x / width))


def transformer(p: Point) -> float:
    """Learning rate tied to batch size and warm-up, diverging above a threshold; a few flat directions."""
    rate, batch = math.log10(p["learning_rate"]), math.log2(p["batch_size"])
    ideal = -2.63 + 0.15 * (batch - 5) - 0.35 * (p["schedule"] == "constant")
    fit = _bowl(rate - ideal, 0.7) + 0.8 / (1 + math.exp(-8 * (rate - ideal - 0.9)))
    warm = 0.12 * _bowl(math.log10(p["warmup"]) - 2.36, 0.8)
    size = 0.15 * _bowl(math.log2(p["width"]) - 7.4 - 0.2 * (p["heads"] - 4), 1.6)
    activation = {"relu": 0.05, "gelu": 0.0, "swish": 0.01, "tanh": 0.16}[p["activation"]]
    schedule = {"constant": 0.06, "linear": 0.015, "cosine": 0.0}[p["schedule"]]
    return 0.3 + fit + warm + size + activation + schedule + 0.9 * _square(p["dropout"] - 0.137)


_TRANSFORMER = {
    "learning_rate": {"loguniform": [1e-6, 0.3]},
    "batch_size": {"lograndint": [8, 513]},
    "warmup": {"lograndint": [1, 5001]},
    "width": {"lograndint": [16, 1025]},
    "heads": {"randint": [1, 9]},
    "activation": {"choice": ["relu", "gelu", "swish", "tanh"]},
    "schedule": {"choice": ["constant", "linear", "cosine"]},
    "dropout": {"uniform": [0.0, 0.7]},
}


def branches(p: Point) -> float:
    """Three optimizers with parameters of their own, two levels deep; the broadest branch is not the best."""
    if p["optimizer"] == "sgd":
        loss = 0.25 + 0.8 * _bowl(math.log10(p["sgd.rate"]) + 1.27, 0.8) + 2.0 * _square(p["sgd.momentum"] - 0.87)
        if p["sgd.decay"] == "none":
            return loss + 0.05
        return loss + 0.15 * _bowl(math.log10(p["sgd.factor"]) + 1.6, 0.5) - 0.01
    if p["optimizer"] == "adam":
        rate = math.log10(p["adam.rate"]) + 3.18
        return (
            0.20
            + _bowl(rate, 0.45)
            + 3.0 * _square(p["adam.beta"] - 0.93)
            + 0.1 * _bowl(p["adam.epsilon_power"] + 6, 2)
        )
    history = 0.2 * _bowl(math.log2(p["lbfgs.history"]) - 3.7, 1.2)
    if p["lbfgs.search"] == "fixed":
        return 0.34 + history + 0.6 * _bowl(math.log10(p["lbfgs.step"]) + 0.41, 0.6)
    return 0.29 + history + 0.3 * _bowl(p["lbfgs.curvature"] - 0.71, 0.25)


_BRANCHES = {
    "optimizer": {"choice": ["lbfgs", "sgd", "adam"]},
    "sgd": {
        "rate": {"loguniform": [1e-5, 10.0], "when": "optimizer == 'sgd'"},
        "momentum": {"uniform": [0.0, 1.0], "when": "optimizer == 'sgd'"},
        "decay": {"choice": ["none", "step"], "when": "optimizer == 'sgd'"},
        "factor": {"loguniform": [1e-3, 1.0], "when": "sgd.decay == 'step'"},
    },
    "adam": {
        "rate": {"loguniform": [1e-6, 1.0], "when": "optimizer == 'adam'"},
        "beta": {"uniform": [0.4, 1.0], "when": "optimizer == 'adam'"},
        "epsilon_power": {"randint": [-10, 0], "when": "optimizer == 'adam'"},
    },
    "lbfgs": {
        "history": {"lograndint": [2, 65], "when": "optimizer == 'lbfgs'"},
        "search": {"choice": ["fixed", "wolfe"], "when": "optimizer == 'lbfgs'"},
        "step": {"loguniform": [1e-3, 10.0], "when": "lbfgs.search == 'fixed'"},
        "curvature": {"uniform": [0.05, 0.95], "when": "lbfgs.search == 'wolfe'"},
    },
}


def ensemble(p: Point) -> float:
    """Boosted trees in quantised steps: underfitting falls, overfitting grows with rounds, leaves and rate."""
    effort: float = p["eta"] * p["rounds"] * math.log2(p["leaves"])
    under = math.exp(-effort / 45)
    freedom = p["leaves"] / (3.0 + p["min_child"]) * (0.4 + p["subsample"]) * (0.5 + p["columns"])
    over = 0.05 * math.log1p(effort / 60) * math.log1p(freedom)
    sampling = 0.5 * _square(p["subsample"] - 0.72) + 0.35 * _square(p["columns"] - 0.43)
    stumps = 0.12 * math.exp(-(p["leaves"] - 2) / 6) + 0.5 * _square(p["eta"])
    return 0.2 + 0.6 * under + over + sampling + stumps


_ENSEMBLE = {
    "eta": {"quniform": [0.02, 0.6, 0.02]},
    "rounds": {"qrandint": [20, 600, 20]},
    "leaves": {"lograndint": [2, 257]},
    "subsample": {"quniform": [0.3, 1.0, 0.05]},
    "columns": {"quniform": [0.1, 1.0, 0.1]},
    "min_child": {"qrandint": [1, 61, 1]},
}


def depth(p: Point) -> float:
    """The number of layers says which widths exist; widths should taper, the rate falls with depth."""
    layers: int = p["layers"]
    widths = [math.log2(p[f"units{i}"]) for i in range(layers)]
    ideal = [6.6 - 0.7 * i for i in range(layers)]
    shape = sum(_bowl(w - t, 1.8) for w, t in zip(widths, ideal, strict=True)) / layers
    capacity = {1: 0.22, 2: 0.09, 3: 0.02, 4: 0.0, 5: 0.05}[layers]
    rate = _bowl(math.log10(p["learning_rate"]) + 2.1 + 0.22 * layers, 0.6)
    return 0.1 + capacity + 0.5 * shape + 0.7 * rate + 0.8 * _square(p["dropout"] - 0.08 * layers)


_DEPTH = {
    "layers": {"randint": [1, 6]},
    "learning_rate": {"loguniform": [1e-5, 0.5]},
    "dropout": {"uniform": [0.0, 0.8]},
    "units0": {"lograndint": [4, 513]},
    **{f"units{i}": {"lograndint": [4, 513], "when": f"layers >= {i + 1}"} for i in range(1, 5)},
}

_LEVELS = (3, 4, 5, 3, 6, 2)
_TABLES = np.random.default_rng(31)
_MAIN = [_TABLES.uniform(0.0, 0.35, count) for count in _LEVELS]
_PAIRS = {
    (i, j): _TABLES.normal(0.0, 0.08, (_LEVELS[i], _LEVELS[j])) for i, j in ((0, 1), (1, 4), (2, 4), (3, 5), (0, 2))
}


def pipeline(p: Point) -> float:
    """Six categoricals that interact in pairs, drawn once from a fixed seed, and two floats one of which follows."""
    at = [int(p[f"stage{i}"][1:]) for i in range(len(_LEVELS))]
    table = sum(float(_MAIN[i][k]) for i, k in enumerate(at))
    table += sum(float(effect[at[i], at[j]]) for (i, j), effect in _PAIRS.items())
    scale = math.log10(p["scale"]) - (-1.7, 0.3, -0.6, 0.9)[at[1]]
    return table + 0.5 * _bowl(scale, 0.8) + 0.8 * _square(p["mix"] - 0.317)


_PIPELINE = {
    **{f"stage{i}": {"choice": [f"s{k}" for k in range(count)]} for i, count in enumerate(_LEVELS)},
    "scale": {"loguniform": [1e-3, 1e2]},
    "mix": {"uniform": [0.0, 1.0]},
}


def plateaus(p: Point) -> float:
    """An error counted on few examples: a smooth loss rounded up to steps of 1/24."""
    rate = math.log10(p["rate"]) + 2.37
    smooth = 0.75 * _bowl(rate, 0.9) + 0.5 * _bowl(p["size"] - 23, 12) + 1.5 * _square(p["mix"] - 0.63)
    smooth += {"a": 0.09, "b": 0.0, "c": 0.17}[p["kind"]] + 0.25 * _bowl(p["shift"] - 0.7 * rate - 1.1, 1.5)
    return math.ceil(24 * smooth) / 24


_PLATEAUS = {
    "rate": {"loguniform": [1e-5, 1.0]},
    "size": {"randint": [2, 65]},
    "mix": {"uniform": [0.0, 1.0]},
    "kind": {"choice": ["a", "b", "c"]},
    "shift": {"uniform": [-4.0, 4.0]},
}

TASKS = (
    Task("transformer, noisy", "formula", _TRANSFORMER, transformer, 0.01),
    Task("branches, conditional", "formula", _BRANCHES, branches),
    Task("ensemble, quantised, noisy", "formula", _ENSEMBLE, ensemble, 0.005),
    Task("depth, conditional", "formula", _DEPTH, depth),
    Task("pipeline, categorical", "formula", _PIPELINE, pipeline),
    Task("plateaus", "formula", _PLATEAUS, plateaus),
)
