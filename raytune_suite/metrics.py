"""What a trainable reports: flattened, cleaned of Ray's own keys, and checked at the first report.

A flat metric's name joins the levels of a nested result with ``/``: ``{"validation": {"loss": 1}}`` is
``validation/loss``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import Problem

if TYPE_CHECKING:
    from raytune_suite.study import Study

Metric = float | int | str | bool | None

# Ray adds these to every result at its top level; the journal has its own number, time and host.
AUTOMATIC = frozenset(
    {
        "training_iteration", "time_total_s", "time_this_iter_s", "time_since_restore", "timestamp", "date",
        "iterations_since_restore", "timesteps_since_restore", "pid", "hostname", "node_ip", "trial_id",
        "experiment_id", "experiment_tag", "config", "done", "should_checkpoint", "checkpoint_dir_name",
        "__duplicate__", "__trial_info__", "trial_log_path",
    }
)  # fmt: skip
# Ray adds these as None unless the user reports them.
AUTOMATIC_IF_NONE = frozenset({"timesteps_total", "timesteps_this_iter", "episodes_total", "episodes_this_iter"})
MEASURED = ("time/", "throughput/", "memory/", "gpu/")
"""How the names of metrics begin that are measured on the machine: never the same twice."""
LONGEST_TEXT = 200


def flatten(result: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the user's own metrics of a nested result, flat, as plain Python scalars.

    numpy and torch scalars become Python numbers, enums their values; anything else that is not a scalar is
    shortened text, so that a report can always be written down.
    """
    own = {
        key: value
        for key, value in result.items()
        if key not in AUTOMATIC and not (value is None and key in AUTOMATIC_IF_NONE)
    }
    return {key: _scalar(value) for key, value in _leaves(own, "")}


def _leaves(level: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in level.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}/")
        else:
            yield name, value


def _scalar(value: Any) -> Metric:
    if isinstance(value, Enum):
        return _scalar(value.value)
    if value is None or type(value) in (bool, int, float, str):
        return value  # type: ignore[no-any-return]
    # numpy and torch scalars, without importing either
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", None) is not None and _count(value) == 1:
        return _scalar(item())
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return str(value)[:LONGEST_TEXT]


def _count(value: Any) -> int:
    numel = getattr(value, "numel", None)
    return int(numel() if callable(numel) else value.size)


def std_error(metric: str) -> str:
    """Return the name under which the standard error of a metric's mean over repeats is reported."""
    return f"{metric}/std_error"


def repeat_of(metric: str, repeat: int) -> str:
    """Return the name under which one repeat's value of the study's metric is reported."""
    return f"{metric}/repeat_{repeat}"


def value_of(metrics: Mapping[str, Any], metric: str) -> float | None:
    """Return the tuned metric as a float; None when this report did not measure it."""
    value = metrics.get(metric)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def check_report(study: Study, metrics: Mapping[str, Any]) -> list[Problem]:
    """Check the first report of a study (flat metrics) for the metric that is tuned and stopped by.

    Later reports may lack it (validation every k epochs); a trainable that does not measure it in its first
    report gives it there as None.
    """
    metric = study.metric
    if metric not in metrics:
        rule = f"{metric} is not among the reported metrics: {', '.join(metrics) or 'there are none'}"
        return [Problem("metric", rule, fix=_correction(metric, list(metrics)))]
    value = metrics[metric]
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        fix = "Report a number, or None in a report that did not measure it."
        return [Problem("metric", f"{metric} must be reported as a number", value, fix)]
    return []


def _correction(metric: str, reported: list[str]) -> str:
    near = near_misses(metric, reported)
    question = f"Did you mean {' or '.join(near)}?" if near else ""
    if near and _likeness(metric, near[0]) > 0.85:
        return question  # a slip of the pen
    return f"{question} If it is measured only every few iterations, report it as None in between.".lstrip()


def near_misses(name: str, known: list[str]) -> list[str]:
    """Return up to three of ``known`` that ``name`` may have meant, the nearest first.

    ``/``, ``_``, ``.`` and ``-`` count as the same, and the short and long forms of usual words too.
    """
    folded = _fold(name)
    scores = {other: _likeness(name, other) for other in known}
    near = sorted((other for other in known if scores[other] >= 0.7), key=lambda other: -scores[other])
    exact = [other for other in near if scores[other] == 1.0]
    last = folded.rsplit("_", 1)[-1]
    related = [other for other in known if _fold(other).rsplit("_", 1)[-1] == last]
    return (exact or near or related)[:3]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, _fold(one), _fold(other)).ratio()


_SHORT = {"val": "validation", "valid": "validation", "acc": "accuracy", "err": "error", "tr": "train"}


def _fold(name: str) -> str:
    words = "".join(c if c.isalnum() else "_" for c in name.lower()).split("_")
    return "_".join(_SHORT.get(word, word) for word in words if word)
