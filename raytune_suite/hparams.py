"""What the HPARAMS tab of TensorBoard is told: the columns at the start, then one session for each trial.

TensorBoard reads a column's type from the experiment summary and each value from the session that has it. A
column whose values are of several kinds therefore becomes text for every trial, and None is the text "None".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from raytune_suite.states import State

# As in tensorboard.plugins.hparams.metadata, which would bring in boto3 where that is installed: 24 MB in the driver.
PLUGIN = "hparams"
EXPERIMENT_TAG, SESSION_START_TAG, SESSION_END_TAG = (
    f"_hparams_/{name}" for name in ("experiment", "session_start_info", "session_end_info")
)
_NOTHING = tensor_pb2.TensorProto(
    dtype=types_pb2.DT_FLOAT,
    tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=0)]),
)

MAX_CONSTANTS = 8
"""More constants than this would only hide the parameters, so none of them gets a column."""

STATE_CODES = {
    State.PENDING: 0,
    State.RUNNING: 1,
    State.PAUSED: 2,
    State.COMPLETED: 3,
    State.STOPPED: 4,
    State.INFEASIBLE: 5,
    State.FAILED: 6,
    State.OOM: 7,
    State.TIMED_OUT: 8,
    State.INTERRUPTED: 9,
    State.PREEMPTED: 10,
}
"""HParams knows numbers only as metrics: the exact state is a code. Never renumber: old files keep theirs."""

BEST, EPOCHS, RUNG, SECONDS, STATE = (
    "trial/best",
    "trial/epochs",
    "trial/rung",
    "trial/seconds",
    "trial/state",
)

_FLOAT, _BOOL, _STRING = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_BOOL, api_pb2.DATA_TYPE_STRING


@dataclass(frozen=True)
class Column:
    """One hyperparameter: its type in TensorBoard, and the values it can take or the interval it lies in."""

    name: str
    type: int
    values: tuple[Any, ...] = ()
    interval: tuple[float, float] | None = None
    description: str = ""
    differs: bool = True

    def value(self, raw: Any) -> str | bool | float | None:
        """``raw`` as this column shows it; None where it cannot be shown (a NaN among numbers)."""
        raw = plain(raw)
        if self.type == _STRING:
            return text(raw)
        if self.type == _BOOL:
            return raw if isinstance(raw, bool) else None
        return float(raw) if _is_number(raw) and math.isfinite(raw) else None

    def info(self) -> api_pb2.HParamInfo:
        """The column's entry in the experiment summary."""
        made = api_pb2.HParamInfo(name=self.name, type=self.type, description=self.description, differs=self.differs)
        shown = [value for value in map(self.value, self.values) if value is not None]
        if shown:
            made.domain_discrete.extend(shown)
        elif self.interval is not None:
            made.domain_interval.min_value, made.domain_interval.max_value = self.interval
        return made


@dataclass
class Columns:
    """All columns of an experiment, by name; made once, so that a type holds for every trial."""

    by_name: dict[str, Column] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, space: Sequence[Mapping[str, Any]], constants: Mapping[str, Any]) -> Columns:
        """The columns of a space as ``Space.describe`` gives it, and of its constants if they are few."""
        kept = dict(constants) if len(constants) <= MAX_CONSTANTS else {}
        columns = [_parameter(entry) for entry in space]
        columns += [_discrete(name, [value], "constant", differs=False) for name, value in kept.items()]
        return cls({column.name: column for column in columns}, kept)

    def values(self, point: Mapping[str, Any]) -> dict[str, str | bool | float]:
        """A trial's row. Inactive parameters are not in ``point``, so they stay empty."""
        found = {}
        for name, raw in {**self.constants, **point}.items():
            column = self.by_name.get(name) or _discrete(name, [raw])
            value = column.value(raw)
            if value is not None:
                found[name] = value
        return found


def experiment(
    columns: Columns, *, name: str, metric: str, mode: str, created: float, rungs: bool
) -> summary_pb2.Summary:
    """The experiment summary, written once, before any trial: every column with its domain, every metric."""
    codes = ", ".join(f"{code} {state.value}" for state, code in STATE_CODES.items())
    metrics = [
        (metric, f"{metric} (last)", f"last value reported; {mode} is wanted"),
        (BEST, f"{metric} (best)", f"best value over all epochs; {mode} is wanted"),
        (STATE, "state", codes),
        (EPOCHS, "epochs", "iterations done"),
        *([(RUNG, "rung", "last rung reached, in iterations; 0 before the first")] if rungs else []),
        (SECONDS, "seconds", "time spent training"),
    ]
    content = api_pb2.Experiment(
        name=name,
        description=f"{metric}, {mode}",
        time_created_secs=created,
        hparam_infos=[column.info() for column in columns.by_name.values()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=shown, description=meaning)
            for tag, shown, meaning in metrics
        ],
    )
    return _summary(EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=content))


def session_start(values: Mapping[str, str | bool | float], started: float) -> summary_pb2.Summary:
    """The row of a trial, shown from the moment it is written.

    The row is called like its run: a name of its own would be averaged with trials of other experiments that
    have the same number, where TensorBoard shows several.
    """
    content = plugin_data_pb2.SessionStartInfo(start_time_secs=started)
    for name, value in values.items():
        kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        setattr(content.hparams[name], f"{kind}_value", value)
    return _summary(SESSION_START_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=content))


def session_end(state: State, ended: float) -> summary_pb2.Summary | None:
    """The end of a row as docs/states.md has it; None for a state that is open or can be resumed."""
    if not state.ended:
        return None
    status = api_pb2.STATUS_SUCCESS if state.succeeded else api_pb2.STATUS_FAILURE
    content = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    return _summary(SESSION_END_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=content))


def text(raw: Any) -> str:
    """A value of any type as a text column shows it."""
    raw = plain(raw)
    return raw if isinstance(raw, str) else str(raw)


def plain(raw: Any) -> Any:
    """Numpy's scalars and arrays as Python's own; tuples as lists, as the journal makes them."""
    if hasattr(raw, "tolist"):
        return raw.tolist()
    return list(raw) if isinstance(raw, tuple) else raw


def _parameter(entry: Mapping[str, Any]) -> Column:
    facts = {**entry, **(entry.get("domain") or {})}
    name, meaning = facts["name"], _meaning(facts)
    if facts.get("values") is not None and facts.get("lower") is None:
        return _discrete(name, facts["values"], meaning)
    bounds = (facts.get("lower"), facts.get("upper"))
    interval = (float(bounds[0]), float(bounds[1])) if None not in bounds else None  # type: ignore[arg-type]
    return Column(name, _FLOAT, interval=interval, description=meaning)


def _discrete(name: str, values: Sequence[Any], meaning: str = "", *, differs: bool = True) -> Column:
    shown = [plain(value) for value in values]
    if all(isinstance(value, bool) for value in shown):
        return Column(name, _BOOL, tuple(dict.fromkeys(shown)), description=meaning, differs=differs)
    if all(_is_number(value) for value in shown):
        return Column(name, _FLOAT, tuple(dict.fromkeys(shown)), description=meaning, differs=differs)
    distinct = tuple(dict.fromkeys(text(value) for value in shown))
    return Column(name, _STRING, distinct, description=meaning, differs=differs)


def _meaning(facts: Mapping[str, Any]) -> str:
    words = [str(facts.get("kind", ""))]
    words += ["log scale"] if facts.get("log") else []
    words += [f"in steps of {facts['q']}"] if facts.get("q") not in (None, 1) else []
    words += [f"only when {facts['when']}"] if facts.get("when") else []
    return ", ".join(word for word in words if word)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _summary(tag: str, content: plugin_data_pb2.HParamsPluginData) -> summary_pb2.Summary:
    data = summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN, content=content.SerializeToString())
    facts = summary_pb2.SummaryMetadata(plugin_data=data)
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=facts, tensor=_NOTHING)])
