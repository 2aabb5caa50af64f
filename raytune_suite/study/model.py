"""Study: what is to be tuned, frozen and checked whole before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
)

from raytune_suite.errors import Problem, RaytuneError, SpaceExhaustedError, StudyError
from raytune_suite.remote import below, problem, uri_of
from raytune_suite.resolve import find_project, is_reference, resolve
from raytune_suite.space import DeclarationError, Space, written
from raytune_suite.study.file import read_study_file, write_yaml
from raytune_suite.study.problems import from_pydantic, with_lines, without_echoes
from raytune_suite.study.settings import (
    Checkpoint,
    EnvironmentSettings,
    NamedOptions,
    Reference,
    Resources,
    Retries,
    Settings,
    Sources,
    Stop,
    parse_reference,
    parse_resources,
)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        fix = "As in {learning_rate: {loguniform: [1e-5, 1e-1]}}."
        raise DeclarationError("must be a mapping of names to parameters", value, fix)
    return dict(value)


def _constraint(value: Any) -> Any:
    return parse_reference(value) if callable(value) else value


_LONGEST_NAME = 200  # file systems take 255 bytes


LOCAL_STORAGE = "./experiments"


def _storage(value: str) -> str:
    if "://" in value and (wrong := problem(value)) is not None:
        raise DeclarationError(wrong, value, "As in s3://bucket/experiments.")
    return value


def _name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip() or "/" in value or value in (".", "..") or not value.isprintable():
        fix = "As in name: digits."
        if value.strip(" ./") and value.isprintable():
            fix = f"Write {value.strip().replace('/', '-')}."
        raise DeclarationError("must be the name of a folder", value, fix)
    if value.startswith("-"):  # raytune show -x would take it for an option
        raise DeclarationError("must not begin with a dash", value, f"Write {value.lstrip('-') or 'digits'}.")
    if len(value.encode()) > _LONGEST_NAME:
        raise DeclarationError(f"must be {_LONGEST_NAME} bytes long at most, is {len(value.encode())}", value[:40])
    return value


class Study(Settings):
    """A study: the same thing as a study file, made by :meth:`load` or in Python.

    In Python the values of ``space`` may be ``ray.tune`` domains, and code may be given as a class or function
    of an importable module; both are kept in their written form.

    Raises:
        StudyError: everything that is wrong with it.
    """

    model_config = ConfigDict(populate_by_name=True)

    version: Literal[1] = 1
    """Version of the format of this file."""
    trainable: Reference
    """The training code, module:Class, found relative to the project folder."""
    metric: Annotated[str, Field(min_length=1)]
    """What is tuned, one of the numbers the trainable reports; levels are joined by /."""
    mode: Literal["min", "max"] = "min"
    """Whether less or more of the metric is better."""
    num_trials: PositiveInt | None = None
    """How many configurations are tried; may be left out for a grid."""
    max_iterations: PositiveInt
    """Steps of one whole trial."""
    default: dict[str, Any] | None = None
    """The configuration of trial 0, the yardstick; what it leaves out is drawn."""
    points_to_evaluate: list[dict[str, Any]] = Field(default_factory=list)
    """Configurations to try first; what they leave out is drawn."""
    space: Annotated[dict[str, Any], PlainValidator(_mapping), WithJsonSchema({"type": "object"})]
    """The parameters: {type: arguments}, constants, nested sections."""
    constraint: Annotated[str | None, BeforeValidator(_constraint)] = None
    """An expression over parameters, or module:function of a config; true where it may be trained."""
    search: NamedOptions
    """Proposes points: grid, random, bayesian, optuna:tpe, optuna:gp, optuna:cmaes, hyperopt, or module:Class."""
    from_: Sources = Field(default_factory=list, alias="from")
    """Experiments to learn from: names in storage, or paths from the project folder."""
    scheduler: NamedOptions = Field(default_factory=lambda: NamedOptions(name="fifo"))
    """What stops trials against each other: fifo, asha, hyperband, median, pbt, pb2, or module:Class."""
    stop: Stop = Field(default_factory=Stop)
    """What else ends a trial or the study."""
    resources: Annotated[Resources | str, BeforeValidator(parse_resources)] = Field(default_factory=Resources)
    """What one trial needs; or module:function, giving that from a config."""
    max_concurrent: PositiveInt | None = None
    """A ceiling on trials at a time; otherwise as many as fit."""
    repeats: PositiveInt = 1
    """How often each configuration is trained, side by side in one trial, from seeds that all trials share."""
    retries: Retries = Field(default_factory=Retries)
    """How often a trial is started again."""
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    """When checkpoints are written and which are kept."""
    environment: EnvironmentSettings = Field(default_factory=EnvironmentSettings)
    """Whether driver and workers must run the same software."""
    callbacks: list[Reference] = Field(default_factory=list)
    """ray.tune callbacks, module:Class."""
    storage: Annotated[str, Field(min_length=1), AfterValidator(_storage)] = LOCAL_STORAGE
    """The folder of experiments, relative to the project folder; or a URI, as s3://bucket/path, to be copied to."""
    name: Annotated[str, BeforeValidator(_name)]
    """The folder of this experiment inside storage."""
    seed: NonNegativeInt = 0
    """Everything random follows from it."""

    _project: Path = PrivateAttr(default_factory=Path.cwd)

    def __init__(self, **data: Any) -> None:
        data = _written(data)
        problems: list[Problem] = []
        try:
            super().__init__(**data)
        except ValidationError as error:
            problems += from_pydantic(error, Study)
        problems += _content_problems(data)
        if problems:
            raise StudyError(without_echoes(problems))

    @classmethod
    def load(cls, path: Path | str, project: Path | str | None = None) -> Study:
        """Read a study file.

        Args:
            path: the file.
            project: what its paths and modules are relative to; by default the nearest folder above the
                file that has pyproject.toml or .git, else the file's own.

        Raises:
            StudyError: everything that is wrong with it, with line numbers.
        """
        path = Path(path)
        data, lines = read_study_file(path)
        project = find_project(path) if project is None else Path(project)
        try:
            return cls.from_dict(data, project)
        except StudyError as error:
            raise StudyError(with_lines(error.problems, lines), str(path)) from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], project: Path | str | None = None) -> Study:
        """Make a study from what a study file holds.

        Raises:
            StudyError: everything that is wrong with it.
        """
        odd = [key for key in data if not isinstance(key, str)]
        if odd:
            raise StudyError([Problem(str(key), "a key must be a string") for key in odd])
        study = cls(**data)
        return study if project is None else study.with_project(project)

    def with_project(self, project: Path | str) -> Study:
        """Return the same study in another project folder."""
        moved = self.model_copy()
        moved._project = Path(project).resolve()
        moved.__dict__.pop("search_space", None)
        return moved

    @property
    def project(self) -> Path:
        """The folder that modules and relative paths are found in."""
        return self._project

    @property
    def folder(self) -> Path:
        """The experiment folder."""
        local = LOCAL_STORAGE if uri_of(self.storage) else self.storage
        return self._project / Path(local).expanduser() / self.name

    @property
    def remote(self) -> str | None:
        """Where the experiment is copied to while it runs, if its storage is remote."""
        uri = uri_of(self.storage)
        return below(uri, self.name) if uri else None

    @cached_property
    def search_space(self) -> Space:
        """The parsed space with its constraint; ``points`` count under a grid only.

        Raises:
            TrainableError: the constraint names a function that cannot be imported.
        """
        constraint: Any = self.constraint
        if is_reference(constraint):
            constraint = resolve(str(constraint), self._project)
        return _only_for_grid(Space.parse(self.space, constraint), self.search.name)

    @cached_property
    def sha256(self) -> str:
        """The hash of the study's written form."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def dump(self) -> str:
        """Return the study as a study file, defaults included, that loads back equal."""
        data = self.model_dump(by_alias=True)
        return write_yaml(_without_none(data))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Study) and self.dump() == other.dump()

    def __hash__(self) -> int:
        return hash(self.sha256)


def _written(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data instead of live ray.tune domains; what cannot be written down is left for the checks to name."""
    result = dict(data)
    for key in ("space", "default", "points_to_evaluate"):
        try:
            result[key] = written(result[key])
        except (KeyError, DeclarationError):
            continue
    return result


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out fields that are not set; None among the user's own values stays."""
    own = ("space", "default", "points_to_evaluate", "search", "scheduler")
    clean: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and key not in own:
            value = {k: v for k, v in value.items() if v is not None}
        if value is not None and (value != {} or key in own) and (key, value) != ("from", []):
            clean[key] = value
    return clean


def _only_for_grid(space: Space, search: str) -> Space:
    if search == "grid" or all(parameter.points is None for parameter in space.parameters):
        return space
    return replace(space, parameters=tuple(replace(p, points=None) for p in space.parameters))


def _content_problems(data: Mapping[str, Any]) -> list[Problem]:
    """What the models cannot see: the space, points against the space, fields that need each other."""
    problems: list[Problem] = []
    name = _name_of(data.get("search"))
    if data.get("num_trials") is None and isinstance(name, str) and name != "grid":
        fix = "Add num_trials: 40; only a grid knows its number."
        problems.append(Problem("num_trials", f"is required with search: {name}", None, fix))
    if isinstance(data.get("space"), Mapping):
        problems += _space_problems(data)
    return problems + _repeats_problems(data)


def _repeats_problems(data: Mapping[str, Any]) -> list[Problem]:
    """Population based training moves single weights about; a trial of several trainings has no single ones."""
    repeats, scheduler = data.get("repeats"), _name_of(data.get("scheduler"))
    if not isinstance(repeats, int) or repeats < 2 or scheduler not in ("pbt", "pb2"):
        return []
    rule = f"must be 1 with scheduler {scheduler}, whose trials take over each other's weights"
    return [Problem("repeats", rule, repeats, "Write repeats: 1, or another scheduler.")]


def _name_of(value: Any) -> Any:
    """The name of what is chosen by name, in any of its forms."""
    return value.get("name") if isinstance(value, Mapping) else getattr(value, "name", value)


def _space_problems(data: Mapping[str, Any]) -> list[Problem]:
    constraint = data.get("constraint")
    expression = constraint if isinstance(constraint, str) and not is_reference(constraint) else None
    try:
        space = Space.parse(data["space"], expression)
    except StudyError as error:
        return list(error.problems)
    problems = [] if space.parameters else [_nothing_to_tune(data["space"])]
    points: list[tuple[str, Any]] = [("default", data.get("default"))]
    given = data.get("points_to_evaluate")
    points += [(f"points_to_evaluate[{i}]", p) for i, p in enumerate(given if isinstance(given, list) else [])]
    for where, point in points:
        if isinstance(point, Mapping):
            problems += _point_problems(space, where, point)
    try:
        space.sample(np.random.default_rng(0))
    except SpaceExhaustedError as error:
        problems.append(Problem("constraint", str(error)))
    except RaytuneError as error:
        problems += getattr(error, "problems", [Problem("constraint", str(error))])
    return problems


def _nothing_to_tune(raw: Mapping[str, Any]) -> Problem:
    fix = "Give at least one parameter a range, as in {uniform: [0, 1]}."
    return Problem("space", "has nothing to tune", dict(raw), fix)


def _point_problems(space: Space, where: str, point: Mapping[str, Any]) -> list[Problem]:
    try:
        space.complete(point, np.random.default_rng(0))
    except StudyError as error:
        return [replace(p, where=f"{where}.{p.where}".rstrip(".")) for p in error.problems]
    return []
