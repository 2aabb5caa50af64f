"""The sections of a study file as frozen models."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from raytune_suite.nearest import nearest
from raytune_suite.resolve import is_reference, reference_to
from raytune_suite.space import DeclarationError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"(\d+(\.\d+)?\s*[smhd]\s*)+"
_SIZE = r"(\d+(\.\d+)?)\s*(?:([kKMGT])(i)?)?B"
_LEAST_MEMORY = 2**20


class Settings(BaseModel):
    """Base of all sections: frozen, unknown keys are errors, no value is converted behind the user's back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def parse_duration(value: Any) -> float:
    """Return seconds from a number of them or a text such as ``90s``, ``30m``, ``1h30m``, ``2d``.

    Raises:
        DeclarationError: it is neither, or not above zero.
    """
    seconds = value
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(_DURATION, text):
            raise DeclarationError("must be a duration", value, "As in 90s, 30m, 1h30m, 2d, or seconds.")
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text)
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise DeclarationError("must be a duration", value, "As in 90s, 30m, 1h30m, 2d, or seconds.")
    if not 0 < seconds < math.inf:
        raise DeclarationError("must be longer than nothing", value, "Leave it out for no limit.")
    return float(seconds)


def parse_size(value: Any) -> int:
    """Return bytes from a number of them or a text such as ``500MB``, ``20GiB``, ``1.5 TB``.

    Raises:
        DeclarationError: it is neither, or less than a byte.
    """
    size = value
    if isinstance(value, str):
        match = re.fullmatch(_SIZE, value.strip())
        if match is None:
            raise DeclarationError("must be a size", value, "As in 500MB, 20GiB, 1.5TB, or bytes.")
        power = "KMGT".find((match[3] or " ").upper()) + 1
        size = float(match[1]) * (1024 if match[4] else 1000) ** power
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not math.isfinite(size):
        raise DeclarationError("must be a size", value, "As in 500MB, 20GiB, 1.5TB, or bytes.")
    if size < 1:
        raise DeclarationError("must be at least a byte", value, "Leave it out for no limit.")
    return int(size)


def parse_memory(value: Any) -> int:
    """Return bytes as :func:`parse_size` does, of memory that a trial is to have.

    Raises:
        DeclarationError: it is no size, or so small that a unit must be missing.
    """
    size = parse_size(value)
    if size < _LEAST_MEMORY:
        raise DeclarationError("is a number of bytes, too few for any trial", value, f"Write {value}GiB, say.")
    return size


def parse_reference(value: Any) -> str:
    """Return ``module:attribute``; a class or function is written down as one.

    Raises:
        DeclarationError: it has another form, or cannot be written down.
    """
    if callable(value):
        try:
            return reference_to(value)
        except ValueError as error:
            raise DeclarationError(str(error)) from None
    if not is_reference(value):
        raise DeclarationError("must have the form module:name", value, _reference_fix(value))
    return str(value)


def _reference_fix(value: Any) -> str:
    if isinstance(value, str):
        dotted = value.removesuffix(".py").replace("/", ".")
        head, _, tail = dotted.rpartition(".")
        if value.endswith(".py") or "/" in value:
            path, _, name = value.partition(":")
            module = path.removesuffix(".py").replace("/", ".").strip(".")
            return f"Write {module}:{name or 'ClassName'}."
        if head and is_reference(f"{head}:{tail}"):
            return f"Write {head}:{tail}."
    return "As in trainables.digits:DigitsCNN."


def parse_sources(value: Any) -> list[str]:
    """Return the experiments to start from, given as one or as a list of them.

    Raises:
        DeclarationError: something else, or one that is named twice.
    """
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(e, str) and e.strip() for e in entries):
        raise DeclarationError("must be an experiment or a list of them", value, "As in experiments/digits-old.")
    if twice := [entry for entry, times in Counter(entries).items() if times > 1]:
        raise DeclarationError("names an experiment twice", twice[0])
    return list(entries)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^{_DURATION}$"},
            ],
            "examples": ["30m", "90s", "1h30m"],
        }
    ),
]
_SIZES: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 1}, {"type": "string", "pattern": f"^{_SIZE}$"}],
    "examples": ["20GiB", "500MB"],
}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZES)]
Memory = Annotated[int, BeforeValidator(parse_memory), WithJsonSchema(_SIZES)]
Reference = Annotated[
    str,
    BeforeValidator(parse_reference),
    WithJsonSchema({"type": "string", "pattern": r"^[\w.]+:[\w.]+$", "examples": ["package.module:Name"]}),
]
Sources = Annotated[
    list[str],
    BeforeValidator(parse_sources),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {"type": "array", "items": {"type": "string", "pattern": r"\S"}, "uniqueItems": True},
            ],
            "examples": ["digits-old", "experiments/digits-old"],
        }
    ),
]


class NamedOptions(Settings):
    """Something chosen by name, with its options: ``asha`` or ``{name: asha, grace_period: 2}``."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, Mapping):
            raise DeclarationError("must be a name or {name: ..., options}", value)
        if "name" not in value:
            raise DeclarationError("needs a name", dict(value), "As in {name: random, ...}.")
        for key in value:
            if not isinstance(key, str):
                raise DeclarationError("the keys of a mapping must be strings", key)
        return {"name": value["name"], "options": {k: v for k, v in value.items() if k != "name"}}

    @model_serializer
    def _flat(self) -> Any:
        return {"name": self.name, **self.options} if self.options else self.name

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        by_name = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        return {"title": cls.__name__, "anyOf": [{"type": "string"}, by_name]}


class Plateau(Settings):
    """No improvement for a while."""

    patience: PositiveInt
    """Iterations of a trial, or trials of a study, without an improvement."""
    min_delta: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """An improvement must be larger than this."""


class Stop(Settings):
    """What ends a trial or the study; whichever comes first."""

    target: FiniteFloat | None = None
    """End the study when the metric is this good."""
    trial_plateau: Plateau | None = None
    """End a trial whose metric has stopped improving."""
    study_plateau: Plateau | None = None
    """End the study when no trial has improved on the best one."""
    time: Duration | None = None
    """Wall-clock budget of the study, over all its resumes."""
    trial_time: Duration | None = None
    """Wall-clock budget of one trial."""
    step_time: Duration | None = None
    """How long one step may take before it counts as hung."""
    first_failures: NonNegativeInt = 5
    """End the study when so many trials have failed and none has worked; 0: never."""


def _gpu(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        near = isinstance(value, str) and nearest(value, ["auto"])
        raise DeclarationError("must be auto or a number", value, "Did you mean auto?" if near else "")
    if value < 0:
        raise DeclarationError("must be at least 0", value)
    if value > 1 and not float(value).is_integer():
        raise DeclarationError("must be whole when above 1", value, f"Write {math.ceil(value)}.")
    return value


class Resources(Settings):
    """What one trial needs."""

    cpu: Annotated[FiniteFloat, Field(ge=0)] = 1.0
    """CPUs; also how many threads torch uses."""
    gpu: Annotated[float | Literal["auto"], BeforeValidator(_gpu)] = "auto"
    """GPUs, whole or a fraction; auto: the share that a forecast of the trial's memory asks for, none without GPUs."""
    trials_per_gpu: PositiveInt | Literal["auto"] | None = None
    """How many trials share a GPU, instead of a fraction; auto: as many as get most done, measured on the first."""
    gpu_memory: Memory | None = None
    """GPU memory that a trial's training allocates, instead of a fraction; its CUDA context comes on top."""
    max_waste: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.25
    """The part of a GPU that equal shares may leave idle; a study that leaves more is refused."""
    memory: Memory | None = None
    """Main memory, as in 4GiB: no more trials at a time than a machine has room for."""
    custom: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Ray's custom resources."""
    accelerator_type: str | None = None
    """The kind of GPU, as Ray calls it (A100, H100, ...)."""

    @model_validator(mode="after")
    def _one_way(self) -> Resources:
        said = {
            f"gpu ({self.gpu})": self.gpu != "auto",
            f"trials_per_gpu ({self.trials_per_gpu})": self.trials_per_gpu is not None,
            "gpu_memory": self.gpu_memory is not None,
        }
        if len(given := [words for words, is_said in said.items() if is_said]) > 1:
            raise DeclarationError(f"{' and '.join(given)} say the same thing twice", None, "Keep one.")
        return self


def parse_resources(value: Any) -> Any:
    """Return :class:`Resources` from a mapping, or the reference to a function of the config."""
    if isinstance(value, Resources):
        return value
    if isinstance(value, Mapping):
        return Resources.model_validate(dict(value))
    if isinstance(value, str) or callable(value):
        return parse_reference(value)
    raise DeclarationError("must be a mapping or module:function", value, "As in {cpu: 1, gpu: auto}.")


def _unlimited(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value != "unlimited" and not (whole and value >= 0):
        raise DeclarationError("must be unlimited or a whole number of at least 0", value)
    return value


class Retries(Settings):
    """How often a trial is started again, by how it ended."""

    failed: NonNegativeInt = 0
    """After an error in the training code."""
    oom: NonNegativeInt = 6
    """After running out of memory, each time with more of it, or in smaller pieces."""
    preempted: Annotated[NonNegativeInt | Literal["unlimited"], BeforeValidator(lambda v: _unlimited(v))] = "unlimited"
    """After its node went away."""


class Checkpoint(Settings):
    """How often checkpoints are written, and which of them stay."""

    every: NonNegativeInt = 1
    """Iterations between checkpoints; 0: none."""
    keep: list[Literal["last", "best", "all"]] = ["last", "best"]
    """Which checkpoints of a trial stay on disk."""
    quota: Size | None = None
    """What all checkpoints of the study may take together; those of the worst ended trials go first."""


class EnvironmentSettings(Settings):
    """What happens when driver and workers run different software."""

    policy: Literal["ignore", "warn", "strict"] = "warn"
    """ignore, warn (show the differences once) or strict (refuse)."""
