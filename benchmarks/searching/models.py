"""Real models trained on scikit-learn's data sets inside the task, some 5 to 30 ms each.

Losses are cross-validated or held-out and smooth enough to tell configurations apart (squared error,
logistic loss, Brier score rather than counts of errors). The same configuration always gives the same loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any

import numpy as np
import numpy.typing as npt
from searching.task import Point, Task
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

Array = npt.NDArray[np.float64]
Split = tuple[Array, Array, Array, Array]

_LOADERS = {"digits": load_digits, "breast_cancer": load_breast_cancer, "diabetes": load_diabetes}


@cache
def data(name: str, rows: int) -> tuple[Array, Array]:
    """The first ``rows`` of a data set in a fixed random order; inputs standardised, (rows, features)."""
    inputs, targets = _LOADERS[name](return_X_y=True)
    order = np.random.default_rng(5).permutation(len(targets))[:rows]
    return StandardScaler().fit_transform(inputs[order]), np.asarray(targets[order], dtype=np.float64)


def folds(name: str, rows: int, count: int, used: int | None = None) -> Iterator[Split]:
    """Yield train and test inputs and targets of the first ``used`` of ``count`` folds."""
    inputs, targets = data(name, rows)
    fold = np.arange(rows) % count
    for k in range(used or count):
        train = fold != k
        yield inputs[train], targets[train], inputs[~train], targets[~train]


def brier(probabilities: Array, targets: Array) -> float:
    """Mean squared distance of (rows, 10) probabilities from the one-hot truth."""
    truth = np.eye(probabilities.shape[1])[targets.astype(int)]
    return float(((np.nan_to_num(probabilities, nan=0.1) - truth) ** 2).sum(1).mean())


def tree(p: Point) -> float:
    """A decision tree on digits: held-out Brier score."""
    model = DecisionTreeClassifier(random_state=0, **p)
    scores = [brier(model.fit(x, y).predict_proba(u), v) for x, y, u, v in folds("digits", 700, 2)]
    return float(np.mean(scores))


_TREE = {
    "criterion": {"choice": ["gini", "entropy"]},
    "splitter": {"choice": ["best", "random"]},
    "max_depth": {"randint": [1, 21]},
    "min_samples_leaf": {"lograndint": [1, 65]},
    "min_samples_split": {"lograndint": [2, 129]},
    "max_features": {"uniform": [0.02, 1.0]},
    "ccp_alpha": {"loguniform": [1e-5, 0.1]},
}


def svc(p: Point) -> float:
    """A support vector machine on breast cancer: logistic loss of the margins, three folds."""
    options: dict[str, Any] = {key.rpartition(".")[2]: value for key, value in p.items()}
    losses = []
    for x, y, u, v in folds("breast_cancer", 300, 3):
        margin = SVC(max_iter=3000, **options).fit(x, y).decision_function(u)
        losses.append(np.logaddexp(0.0, -2 * margin * (2 * v - 1)).mean())
    return float(np.log10(np.mean(losses)))


_SVC = {
    "kernel": {"choice": ["linear", "rbf", "poly", "sigmoid"]},
    "C": {"loguniform": [1e-3, 1e4]},
    "gamma": {"loguniform": [1e-5, 10.0], "when": "kernel != 'linear'"},
    "poly": {
        "degree": {"randint": [2, 6], "when": "kernel == 'poly'"},
        "coef0": {"uniform": [0.0, 3.0], "when": "kernel == 'poly'"},
    },
    "shrinking": {"choice": [True, False]},
}


def ridge(p: Point) -> float:
    """Kernel ridge regression on diabetes: relative squared error, three folds."""
    options: dict[str, Any] = {key.rpartition(".")[2]: value for key, value in p.items()}
    losses = []
    for x, y, u, v in folds("diabetes", 300, 3):
        predicted = KernelRidge(**options).fit(x, y - y.mean()).predict(u) + y.mean()
        losses.append(((predicted - v) ** 2).mean() / v.var())
    return float(np.log10(np.mean(losses)))


_RIDGE = {
    "kernel": {"choice": ["rbf", "laplacian", "poly", "sigmoid"]},
    "alpha": {"loguniform": [1e-5, 1e3]},
    "gamma": {"loguniform": [1e-5, 10.0]},
    "poly": {"degree": {"randint": [2, 6], "when": "kernel == 'poly'"}},
    "coef0": {"uniform": [0.0, 4.0], "when": "kernel in ['poly', 'sigmoid']"},
}


def boosting(p: Point) -> float:
    """Gradient boosting on diabetes: relative squared error, one of two halves held out, then the other."""
    losses = []
    for x, y, u, v in folds("diabetes", 442, 2):
        model = HistGradientBoostingRegressor(early_stopping=False, random_state=0, max_bins=64, **p)
        losses.append(((model.fit(x, y).predict(u) - v) ** 2).mean() / v.var())
    return float(np.mean(losses))


_BOOSTING = {
    "learning_rate": {"loguniform": [1e-3, 1.0]},
    "max_iter": {"lograndint": [2, 41]},
    "max_leaf_nodes": {"lograndint": [2, 33]},
    "min_samples_leaf": {"randint": [2, 61]},
    "l2_regularization": {"loguniform": [1e-4, 1e3]},
    "max_features": {"quniform": [0.1, 1.0, 0.1]},
    "loss": {"choice": ["squared_error", "absolute_error", "gamma"]},
}


def sgd(p: Point) -> float:
    """Linear classifiers trained by stochastic gradients on digits: held-out Brier score."""
    options: dict[str, Any] = {key.rpartition(".")[2]: value for key, value in p.items()}
    (x, y, u, v), *_ = folds("digits", 700, 3, used=1)
    model = SGDClassifier(tol=None, random_state=0, **options).fit(x, y)
    return brier(model.predict_proba(u), v)


_SGD = {
    "loss": {"choice": ["log_loss", "modified_huber"]},
    "max_iter": {"randint": [1, 11]},
    "alpha": {"loguniform": [1e-7, 1.0]},
    "penalty": {"choice": ["l2", "l1", "elasticnet"]},
    "elastic": {"l1_ratio": {"uniform": [0.0, 1.0], "when": "penalty == 'elasticnet'"}},
    "learning_rate": {"choice": ["optimal", "constant", "invscaling"]},
    "eta0": {"loguniform": [1e-6, 10.0], "when": "learning_rate in ['constant', 'invscaling']"},
    "scaling": {"power_t": {"uniform": [0.05, 1.0], "when": "learning_rate == 'invscaling'"}},
    "average": {"choice": [True, False]},
}


def quietly(loss: Callable[[Point], float]) -> Callable[[Point], float]:
    """The loss without the warnings of models that do not converge: they are what a search meets."""

    @wraps(loss)
    def quiet(point: Point) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loss(point)

    return quiet


TASKS = (
    Task("tree on digits", "model", _TREE, quietly(tree)),
    Task("svc on breast cancer", "model", _SVC, quietly(svc)),
    Task("kernel ridge on diabetes", "model", _RIDGE, quietly(ridge)),
    Task("boosting on diabetes", "model", _BOOSTING, quietly(boosting)),
    Task("sgd on digits", "model", _SGD, quietly(sgd)),
)
