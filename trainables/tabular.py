"""An MLP on any table: a CSV or Parquet file named in the study, or one that comes with scikit-learn.

Constants of the study: ``data`` (a path, or ``sklearn:diabetes``, ``sklearn:wine``, ``sklearn:breast_cancer``,
``sklearn:iris``), ``target`` (a column) and ``task`` (``regression``, ``classification`` or ``auto``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import Data, TorchTrainable


class TabularMLP(TorchTrainable):
    """Parameters: learning_rate, width, depth, dropout, weight_decay, batch_size, activation."""

    @classmethod
    def prepare_data(cls, folder: Path, data: str, target: str = "target", task: str = "auto") -> None:
        """Split 60 / 20 / 20, standardise numbers by the training rows, one-hot encode everything else."""
        from sklearn.model_selection import train_test_split

        table = read_table(data)
        if target not in table.columns:
            raise TrainableError(f"{data} has no column {target!r}, it has {', '.join(map(str, table.columns))}")
        table = table.dropna(subset=[target])
        task = task_of(table[target], task)
        names, labels = None, table[target].to_numpy()
        if task == "classification":
            names, labels = np.unique(labels.astype(str), return_inverse=True)
        strata = labels if names is not None else None
        train, rest = train_test_split(np.arange(len(table)), test_size=0.4, random_state=0, stratify=strata)
        strata = None if strata is None else labels[rest]
        validation, test = train_test_split(rest, test_size=0.5, random_state=0, stratify=strata)

        features = encode(table.drop(columns=[target]), train)
        facts: dict[str, Any] = {"task": task, "classes": None if names is None else names.tolist()}
        if names is None:
            labels = labels.astype(np.float32)
            facts["mean"], facts["scale"] = float(labels[train].mean()), float(labels[train].std()) or 1.0
            labels = (labels - facts["mean"]) / facts["scale"]
        (folder / "facts.json").write_text(json.dumps(facts))
        for split, rows in {"train": train, "validation": validation, "test": test}.items():
            np.save(folder / f"{split}_features.npy", features[rows])
            np.save(folder / f"{split}_labels.npy", labels[rows])

    def build_data(self) -> Data:
        """Three loaders over the prepared arrays."""
        self.facts = json.loads((self.prepared / "facts.json").read_text())
        size = self.config.get("batch_size", 32)

        def split(name: str, shuffle: bool = False) -> Any:
            arrays = self.array(f"{name}_features"), self.array(f"{name}_labels")
            return self.loader(*arrays, batch_size=size, shuffle=shuffle)

        return Data(split("train", shuffle=True), split("validation"), split("test"))

    def build_model(self) -> nn.Module:
        """``depth`` hidden layers of ``width`` units."""
        activation = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[self.config.get("activation", "relu")]
        before, width = self.array("train_features").shape[1], self.config.get("width", 64)
        layers: list[nn.Module] = []
        for _ in range(self.config.get("depth", 2)):
            layers += [nn.Linear(before, width), activation(), nn.Dropout(self.config.get("dropout", 0.0))]
            before = width
        return nn.Sequential(*layers, nn.Linear(before, len(self.facts["classes"] or [0])))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW."""
        decay = self.config.get("weight_decay", 0.01)
        return torch.optim.AdamW(model.parameters(), self.config["learning_rate"], weight_decay=decay)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy, or squared error of the standardised target: 1 is what its mean would get."""
        if self.facts["classes"]:
            return functional.cross_entropy(outputs, targets)
        return functional.mse_loss(outputs.squeeze(1), targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """Accuracy, or the mean absolute error in the target's own unit."""
        if self.facts["classes"]:
            return {"accuracy": (outputs.argmax(1) == targets).float().mean()}
        return {"absolute_error": (outputs.squeeze(1) - targets).abs().mean() * self.facts["scale"]}


def read_table(source: str) -> Any:
    """A pandas frame from a ``.csv`` or ``.parquet`` file, or from scikit-learn."""
    import pandas as pd
    from sklearn import datasets

    kind, _, name = source.partition(":")
    if kind == "sklearn":
        load = getattr(datasets, f"load_{name}", None)
        if load is None:
            raise TrainableError(f"scikit-learn has no table {name!r}. Try diabetes, wine, breast_cancer or iris")
        return load(as_frame=True).frame
    if not Path(source).is_file():
        raise TrainableError(f"data: {Path(source).absolute()} is not a file (nor sklearn:NAME)")
    return pd.read_parquet(source) if source.endswith((".parquet", ".pq")) else pd.read_csv(source)


def task_of(target: Any, task: str) -> str:
    """``auto``: classes if the target is text or has at most 20 different whole numbers."""
    if task in ("regression", "classification"):
        return task
    if task != "auto":
        raise TrainableError(f"task: must be regression, classification or auto, got {task!r}")
    if target.dtype.kind not in "if":
        return "classification"
    whole = (target == target.round()).all()
    return "classification" if whole and target.nunique() <= 20 else "regression"


def encode(columns: Any, train: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Features as float32, ``[rows, features]``: scaled by training rows; a missing number is their mean."""
    import pandas as pd

    numbers = columns.select_dtypes("number").astype("float64")
    known = numbers.iloc[train]
    numbers = ((numbers - known.mean()) / known.std(ddof=0).replace(0, 1)).fillna(0)
    texts = columns.drop(columns=numbers.columns).astype(object).fillna("").astype(str)
    levels = {name: sorted(texts[name].iloc[train].unique()) for name in texts}
    parts = [pd.DataFrame({f"{name}={level}": texts[name] == level for level in levels[name]}) for name in texts]
    return np.ascontiguousarray(pd.concat([numbers, *parts], axis=1).to_numpy(np.float32))
