from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raytune_suite.errors import StudyError, TrainableError
from raytune_suite.study import Resources, Study, study_schema
from raytune_suite.study.file import read_study_file, write_yaml
from raytune_suite.study.settings import parse_duration

WHOLE = """\
# yaml-language-server: $schema=study.schema.json
version: 1
trainable: trainables.digits:DigitsCNN
metric: validation/loss
mode: min
num_trials: 40
max_iterations: 27
default: {learning_rate: 1e-3, channels: 32, optimizer: adamw}
points_to_evaluate: [{learning_rate: 3e-3}]
space:
  learning_rate: {loguniform: [1e-5, 1e-1]}
  channels: {choice: [16, 32, 64]}
  batch_size: {qrandint: [32, 256, 32]}
  optimizer: {choice: [sgd, adamw]}
  momentum: {uniform: [0.5, 0.99], when: "optimizer == 'sgd'"}
  model:
    depth: {randint: [1, 4]}
    name: cnn
  epochs_per_step: 1
constraint: "channels * batch_size <= 8192"
search: {name: bayesian, initial_points: 10}
scheduler: {name: asha, grace_period: 1, reduction_factor: 3}
stop: {target: 0.02, trial_plateau: {patience: 5}, time: 30m, trial_time: 5m}
resources: {cpu: 1, gpu: auto}
max_concurrent: 8
repeats: 1
retries: {failed: 0, oom: 2, preempted: unlimited}
checkpoint: {every: 1, keep: [last, best]}
environment: {policy: warn}
callbacks: []
storage: ./experiments
name: digits
seed: 0
"""
SMALL: dict[str, Any] = {
    "trainable": "toy:Toy",
    "metric": "loss",
    "num_trials": 3,
    "max_iterations": 2,
    "space": {"x": {"uniform": [0, 1]}},
    "search": "random",
    "name": "toy",
}


def small(**changes: Any) -> Study:
    return Study(**{**SMALL, **changes})


def wrong(**changes: Any) -> list[str]:
    with pytest.raises(StudyError) as error:
        small(**changes)
    return [str(problem) for problem in error.value.problems]


def loaded(text: str, folder: Path) -> Study:
    path = folder / "study.yaml"
    path.write_text(text)
    return Study.load(path)


def always(config: dict[str, Any]) -> bool:
    return True


# --- reading


def test_a_whole_study_is_read(tmp_path: Path) -> None:
    study = loaded(WHOLE, tmp_path)
    assert (study.search.name, study.search.options) == ("bayesian", {"initial_points": 10})
    assert (study.scheduler.name, study.scheduler.options) == ("asha", {"grace_period": 1, "reduction_factor": 3})
    assert (study.stop.time, study.stop.trial_time, study.stop.step_time) == (1800.0, 300.0, None)
    assert study.stop.trial_plateau is not None
    assert (study.stop.trial_plateau.patience, study.stop.trial_plateau.min_delta) == (5, 0)
    assert study.retries.preempted == "unlimited"
    assert study.checkpoint.keep == ["last", "best"]
    assert study.search_space.constants == {"model.name": "cnn", "epochs_per_step": 1}
    assert study.default == {"learning_rate": 0.001, "channels": 32, "optimizer": "adamw"}


def test_what_is_left_out_has_its_default() -> None:
    study = small()
    assert (study.mode, study.scheduler.name, study.seed, study.repeats) == ("min", "fifo", 0, 1)
    assert (study.resources, study.max_concurrent) == (Resources(), None)
    assert (study.retries.failed, study.retries.oom, study.checkpoint.every) == (0, 6, 1)
    assert (study.environment.policy, study.storage, study.callbacks) == ("warn", "./experiments", [])
    assert (Resources().cpu, Resources().gpu) == (1, "auto")


def test_only_a_grid_may_leave_the_number_of_trials_open() -> None:
    assert small(num_trials=None, search="grid", space={"x": {"grid": [1, 2]}}).num_trials is None
    assert wrong(num_trials=None)[0].startswith("num_trials: is required with search: random")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("1h 5m", 3900), (5, 5), (0.5, 0.5)],
)
def test_durations_are_seconds(text: Any, seconds: float) -> None:
    found = parse_duration(text)
    assert found == seconds
    assert type(found) is float


@pytest.mark.parametrize("text", ["", "m", "30", "30 minutes", "-5m", "1h-5m", True, None, float("inf"), -1, 0, "0s"])
def test_other_durations_are_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-5", 1e-5), ("1E5", 1e5), ("-.5", -0.5), ("3.", 3.0), (".inf", float("inf")), ("no", "no"), ("on", "on"),
        ("y", "y"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01"), ("010", 10), ("0o10", 8), ("0x10", 16),
        ("1_000", "1_000"), ("true", True), ("False", False), ("~", None), ("null", None), ("", None), ("+5", 5),
        ("'1e-5'", "1e-5"), ("1.2.3", "1.2.3"), ("e5", "e5"), ("0b1", "0b1"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(scalar: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"key: {scalar}\n")
    data, lines = read_study_file(tmp_path / "a.yaml")
    assert data == {"key": value}
    assert type(data["key"]) is type(value)
    assert lines == {"key": 1}


def test_aliases_and_merge_keys_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_study_file(tmp_path / "a.yaml")[0] == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


# --- writing


def test_a_dumped_study_loads_back_equal(tmp_path: Path) -> None:
    study = loaded(WHOLE, tmp_path)
    again = loaded(study.dump(), tmp_path)
    assert again == study
    assert again.dump() == study.dump()
    assert again.sha256 == study.sha256


@pytest.mark.parametrize(
    "changes",
    [
        {
            "space": {
                "x": {"choice": ["no", "1e-5", "null", None, True, 1, 1.0, "", "a: b", [1, [2]]]},
                "c": {},
                "d": None,
            }
        },
        {"resources": "toy:needs", "constraint": "toy:fits"},
        {"resources": {"trials_per_gpu": 3, "custom": {"tpu": 1.0}, "accelerator_type": "A100"}},
        {"search": {"name": "toy:Searcher", "nested": {"a": [1, None]}, "empty": {}}},
        {"default": {}, "points_to_evaluate": [{}, {"x": 1}]},
        {"stop": {"study_plateau": {"patience": 3, "min_delta": 1e-7}, "step_time": "90s"}},
        {"checkpoint": {"every": 0, "keep": []}, "retries": {"preempted": 4}, "metric": "übung/loss"},
        {"space": {"x": {"uniform": [1e-300, 1e300]}, "long": "word " * 60}},
    ],
)
def test_every_kind_of_content_survives_a_dump(changes: dict[str, Any], tmp_path: Path) -> None:
    study = small(**changes)
    again = loaded(study.dump(), tmp_path)
    assert again == study
    assert repr(again.model_dump()) == repr(study.model_dump())


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), plain_values, max_size=4))
@settings(max_examples=150, deadline=None)
def test_yaml_that_is_written_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip.yaml"
    path.write_text(write_yaml(data), encoding="utf-8")
    assert repr(read_study_file(path)[0]) == repr(data)


def test_a_dump_is_read_alike_by_yaml_1_1_where_it_matters() -> None:
    text = small(space={"x": {"choice": ["no", "1e-5", "on", "0o7"]}}).dump()
    assert yaml.safe_load(text)["space"] == {"x": {"choice": ["no", "1e-5", "on", "0o7"]}}


def test_numbers_and_booleans_that_are_equal_do_not_make_studies_equal() -> None:
    assert small(space={"x": {"choice": [1]}}) != small(space={"x": {"choice": [True]}})
    assert len({small(), small(), small(seed=1)}) == 2


# --- a study made in Python


def test_a_study_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        small().seed = 1


def test_ray_domains_are_kept_in_their_written_form() -> None:
    from ray import tune

    live = {"lr": tune.loguniform(1e-5, 1e-1), "m": {"n": tune.randint(1, 5)}, "w": tune.choice(["a", "b"])}
    study = small(space=live)
    assert study.space == {
        "lr": {"loguniform": [1e-5, 1e-1]},
        "m": {"n": {"randint": [1, 5]}},
        "w": {"choice": ["a", "b"]},
    }
    assert study == small(space=study.space)


def test_a_ray_function_is_refused_where_it_stands() -> None:
    from ray import tune

    (only,) = wrong(space={"x": {"uniform": [0, 1]}, "m": {"y": tune.sample_from(lambda config: 1)}})
    assert only.startswith("space.m.y: a ray.tune Function")
    assert "cannot be written down, so the study could not be resumed" in only


def test_code_is_kept_by_its_name() -> None:
    study = small(trainable=Path, constraint=always, resources=always)
    assert study.trainable == "pathlib:Path"
    assert study.constraint == study.resources == f"{__name__}:always"


def test_code_without_a_name_is_refused() -> None:
    (lambda_,) = wrong(constraint=lambda config: True)
    assert lambda_ == (
        "constraint: a lambda cannot be written down, so the study could not be resumed. "
        "Define it at the top level of a module and give 'module:name'."
    )

    class Local:
        pass

    (local,) = wrong(trainable=Local)
    assert local.startswith("trainable: something defined inside a function cannot be written down")


def test_numpy_values_become_pythons() -> None:
    study = small(space={"x": {"choice": list(np.arange(3))}, "c": np.float64(0.5)}, default={"x": np.int64(1)})
    assert study.space == {"x": {"choice": [0, 1, 2]}, "c": 0.5}
    assert [type(v) for v in study.space["x"]["choice"]] == [int] * 3
    assert type(study.default["x"]) is int if study.default else False


def test_the_callers_data_is_left_alone_and_not_shared() -> None:
    data = copy.deepcopy(SMALL)
    study = Study(**data)
    data["space"]["x"]["uniform"][0] = 9
    assert study.space == SMALL["space"]


def test_copies_and_pickles_are_equal() -> None:
    study = small().with_project("/somewhere")
    for twin in (copy.deepcopy(study), pickle.loads(pickle.dumps(study))):  # noqa: S301
        assert twin == study
        assert twin.project == study.project


def test_keys_that_are_not_strings_are_refused() -> None:
    with pytest.raises(StudyError, match="3: a key must be a string"):
        Study.from_dict({**SMALL, 3: 1})  # type: ignore[dict-item]


# --- the project folder


def test_the_project_is_the_nearest_folder_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    inner = tmp_path / "studies" / "deep"
    inner.mkdir(parents=True)
    study = loaded(WHOLE, inner)
    assert study.project == tmp_path
    assert study.folder == tmp_path / "experiments" / "digits"


def test_without_a_mark_the_project_is_the_files_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(WHOLE)
    assert Study.load("study.yaml").project == tmp_path
    assert Study.load("study.yaml", project="/else").project == Path("/else")


def test_in_python_the_project_is_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert small().project == tmp_path
    assert small().with_project("/else").folder == Path("/else/experiments/toy")
    assert small(storage="/data").folder == Path("/data/toy")


def test_the_hash_depends_on_the_content_only(tmp_path: Path) -> None:
    study = loaded(WHOLE, tmp_path)
    assert study.sha256 == study.with_project("/else").sha256
    assert study.sha256 != loaded(WHOLE.replace("seed: 0", "seed: 1"), tmp_path).sha256


# --- the space of a study


def test_points_count_under_a_grid_only() -> None:
    space = {"x": {"uniform": [0, 1], "points": 5}}
    assert small(space=space, search="grid", num_trials=None).search_space.size() == 5
    assert small(space=space).search_space.size() is None


def test_a_constraint_may_be_a_function_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "rules_of_mine.py").write_text("def fits(config):\n    return config['x'] < 0.25\n")
    study = Study.from_dict({**SMALL, "constraint": "rules_of_mine:fits"}, tmp_path)
    rng = np.random.default_rng(0)
    assert all(study.search_space.sample(rng)["x"] < 0.25 for _ in range(20))


def test_a_constraint_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    study = Study.from_dict({**SMALL, "constraint": "gone_module:fits"}, tmp_path)
    with pytest.raises(TrainableError, match="gone_module:fits: there is no module gone_module"):
        _ = study.search_space


def test_a_moved_study_finds_its_constraint_in_the_new_place(tmp_path: Path) -> None:
    for name, bound in (("one", 0.5), ("two", 0.25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules_that_move.py").write_text(f"def fits(config):\n    return config['x'] < {bound}\n")
    study = Study.from_dict({**SMALL, "constraint": "rules_that_move:fits"}, tmp_path / "one")
    assert study.search_space.feasible({"x": 0.4})
    assert not study.with_project(tmp_path / "two").search_space.feasible({"x": 0.4})


def test_a_space_without_parameters_has_nothing_to_tune() -> None:
    assert wrong(space={"x": 1})[0].startswith("space: has nothing to tune")
    assert wrong(space=[1])[0].startswith("space: must be a mapping of names to parameters")


# --- the schema


def validate(text: str) -> None:
    data = yaml.safe_load(text.replace("1e-", "1.0e-").replace("3e-", "3.0e-"))
    jsonschema.validate(data, study_schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_is_a_schema_and_accepts_the_whole_study() -> None:
    jsonschema.Draft202012Validator.check_schema(study_schema())
    validate(WHOLE)


def test_the_schema_accepts_what_a_study_dumps() -> None:
    for changes in ({}, {"resources": "toy:needs"}, {"resources": {"trials_per_gpu": 2}}, {"constraint": "toy:fits"}):
        validate(small(**changes).dump())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_trials: 40", "num_trails: 40"),
        ("metric: validation/loss\n", ""),
        ("mode: min", "mode: minimum"),
        ("num_trials: 40", "num_trials: forty"),
        ("{cpu: 1, gpu: auto}", "{cpus: 1}"),
        ("gpu: auto", "gpu: many"),
        ("patience: 5", "patence: 5"),
        ("time: 30m", "time: 30 minutes"),
        ("loguniform", "logunifrom"),
        ("choice: [16", "chioce: [16"),
        ("when:", "wen:"),
        ("uniform: [0.5, 0.99]", "uniform: [0.5]"),
        ("uniform: [0.5, 0.99]", "uniform: 0.5"),
        ("search: {name: bayesian,", "search: {nam: bayesian,"),
        ("trainables.digits:DigitsCNN", "trainables.digits.DigitsCNN"),
        ("keep: [last, best]", "keep: [lst]"),
        ("policy: warn", "policy: shout"),
        ("version: 1", "version: 2"),
    ],
)
def test_the_schema_rejects_what_a_study_rejects(old: str, new: str, tmp_path: Path) -> None:
    text = WHOLE.replace(old, new, 1)
    assert text != WHOLE
    with pytest.raises(jsonschema.ValidationError):
        validate(text)
    with pytest.raises(StudyError):
        loaded(text, tmp_path)


def test_every_field_has_a_description_for_editors() -> None:
    schema = study_schema()
    assert not [name for name, field in schema["properties"].items() if not field.get("description")]


# --- weight


def test_a_study_is_read_without_heavy_imports(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(WHOLE)
    code = (
        "import sys; from raytune_suite.study import Study, study_schema; study_schema()\n"
        f"s = Study.load({str(tmp_path / 'study.yaml')!r}); s.search_space.size(); s.dump()\n"
        "heavy = {'ray', 'torch', 'pandas', 'scipy', 'sklearn', 'bayes_opt', 'optuna', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
