"""Wrong study files and the exact message each gives: the base study below with one thing changed."""

# ruff: noqa: E501 - a message stands on one line
from __future__ import annotations

from pathlib import Path

import pytest

from raytune_suite.errors import StudyError
from raytune_suite.study import Study

BASE = """\
version: 1
trainable: trainables.digits:DigitsCNN
metric: validation/loss
num_trials: 40
max_iterations: 27
space:
  learning_rate: {loguniform: [1e-5, 1e-1]}
  optimizer: {choice: [sgd, adamw]}
  momentum: {uniform: [0.5, 0.99], when: "optimizer == 'sgd'"}
  width: {qrandint: [32, 256, 32]}
search: bayesian
scheduler: {name: asha, grace_period: 1}
stop: {time: 30m}
resources: {cpu: 1}
name: digits
"""

# what is replaced, by what, the message
TABLE = [
    # keys
    ("num_trials: 40", "num_trails: 40", "line 4, num_trails: unknown key. Did you mean num_trials?"),
    ("num_trials: 40", "num_samples: 40", "line 4, num_samples: unknown key. Did you mean num_trials?"),
    ("max_iterations: 27", "max_iterations: 27\nepochs: 3", "line 6, epochs: unknown key. Did you mean max_iterations?"),
    ("{time: 30m}", "{tme: 30m}", "line 13, stop.tme: unknown key. Did you mean time?"),
    ("{cpu: 1}", "{cpus: 1}", "line 14, resources.cpus: unknown key. Did you mean cpu?"),
    ("{time: 30m}", "{trial_plateau: {patence: 5}}", "line 13, stop.trial_plateau.patence: unknown key. Did you mean patience?"),
    ("metric: validation/loss\n", "", "metric: is required. Add metric: validation/loss."),
    ("num_trials: 40\n", "", "num_trials: is required with search: bayesian. Add num_trials: 40; only a grid knows its number."),
    ("search: bayesian", "search: {initial_points: 3}", "line 11, search: needs a name, got {'initial_points': 3}. As in {name: random, ...}."),
    ("name: digits", "name: digits\nname: again", "line 16, name: this key occurs twice. It is on line 15 too."),
    # values
    ("num_trials: 40", 'num_trials: "40"', "line 4, num_trials: must be a whole number, got '40'. Leave the quotes out."),
    ("num_trials: 40", "num_trials: 40.0", "line 4, num_trials: must be a whole number, got 40.0. Write 40."),
    ("num_trials: 40", "num_trials: 0", "line 4, num_trials: must be greater than 0, got 0"),
    ("num_trials: 40", "num_trials: yes", "line 4, num_trials: must be a whole number, got 'yes'"),
    ("max_iterations: 27", "max_iterations:", "line 5, max_iterations: has no value. Give it one, or leave the key out."),
    ("name: digits", "name: digits\nmode: minimize", "line 16, mode: must be min or max, got 'minimize'. Did you mean min?"),
    ("version: 1", "version: 2", "line 1, version: must be 1, got 2"),
    ("name: digits", "name: runs/digits", "line 15, name: must be the name of a folder, got 'runs/digits'. Write runs-digits."),
    ("name: digits", "name: -x", "line 15, name: must not begin with a dash, got '-x'. Write x."),
    ("name: digits", 'name: "a\\nb"', "line 15, name: must be the name of a folder, got 'a\\nb'. As in name: digits."),
    ("name: digits", "name: " + "x" * 201, f"line 15, name: must be 200 bytes long at most, is 201, got '{'x' * 40}'"),
    ("name: digits", "name: digits\nrepeats: 0", "line 16, repeats: must be greater than 0, got 0"),
    ("name: digits", "name: digits\nseed: -1", "line 16, seed: must be at least 0, got -1"),
    ("{time: 30m}", "{time: 30 minutes}", "line 13, stop.time: must be a duration, got '30 minutes'. As in 90s, 30m, 1h30m, 2d, or seconds."),
    ("{time: 30m}", "{time: 0}", "line 13, stop.time: must be longer than nothing, got 0. Leave it out for no limit."),
    ("{time: 30m}", "{target: .nan}", "line 13, stop.target: must be a finite number, got nan"),
    ("{cpu: 1}", "{gpu: 1.5}", "line 14, resources.gpu: must be whole when above 1, got 1.5. Write 2."),
    ("{cpu: 1}", "{gpu_memory: 6}", "line 14, resources.gpu_memory: is a number of bytes, too few for any trial, got 6. Write 6GiB, say."),
    ("{cpu: 1}", "{gpu: -0.5}", "line 14, resources.gpu: must be at least 0, got -0.5"),
    ("{cpu: 1}", "{gpu: .inf}", "line 14, resources.gpu: must be auto or a number, got inf"),
    ("{cpu: 1}", "{cpu: .nan}", "line 14, resources.cpu: must be a finite number, got nan"),
    ("name: digits", "name: digits\nsearch_alg: random", "line 16, search_alg: unknown key. Did you mean search?"),
    ("  width: {qr", "  sgd: {when: \"optimizer == 'sgd'\", nesterov: true}\n  width: {qr", "line 10, space.sgd: `when` belongs to a parameter, not to a section, got \"optimizer == 'sgd'\". Write it on each parameter of the section; a constant cannot be conditional."),
    ("{cpu: 1}", "{gpu: atuo}", "line 14, resources.gpu: must be auto or a number, got 'atuo'. Did you mean auto?"),
    ("{cpu: 1}", "{gpu: 0.5, trials_per_gpu: 2}", "line 14, resources: gpu (0.5) and trials_per_gpu (2) say the same thing twice. Keep one."),
    ("{cpu: 1}", "[1]", "line 14, resources: must be a mapping or module:function, got [1]. As in {cpu: 1, gpu: auto}."),
    ("name: digits", "name: digits\ncheckpoint: {keep: best}", "line 16, checkpoint.keep: must be a list, got 'best'. Write [best]."),
    ("name: digits", "name: digits\ncheckpoint: {keep: [lst]}", "line 16, checkpoint.keep[0]: must be last or best or all, got 'lst'. Did you mean last?"),
    ("name: digits", "name: digits\nretries: {preempted: always}", "line 16, retries.preempted: must be unlimited or a whole number of at least 0, got 'always'"),
    ("name: digits", "name: digits\ncallbacks: [mlflow]", "line 16, callbacks[0]: must have the form module:name, got 'mlflow'. As in trainables.digits:DigitsCNN."),
    ("trainables.digits:DigitsCNN", "trainables.digits.DigitsCNN", "line 2, trainable: must have the form module:name, got 'trainables.digits.DigitsCNN'. Write trainables.digits:DigitsCNN."),
    ("trainables.digits:DigitsCNN", "trainables/digits.py:DigitsCNN", "line 2, trainable: must have the form module:name, got 'trainables/digits.py:DigitsCNN'. Write trainables.digits:DigitsCNN."),
    # the space
    ("loguniform: [1e-5", "logunifrom: [1e-5", "line 7, space.learning_rate: logunifrom is not a type of parameter. Did you mean loguniform? As in {loguniform: [1e-5, 1e-1]}."),
    ("[1e-5, 1e-1]", "[-5, -1]", "line 7, space.learning_rate: loguniform: lower must be greater than 0 on a logarithmic scale, got -5.0. Start above 0; if the bounds are exponents, write the numbers themselves (1e-5, not -5)."),
    ("optimizer == 'sgd'", "optimiser == 'sgd'", "line 9, space.momentum.when: optimiser is not a parameter or constant of the space. Did you mean optimizer?"),
    ("optimizer == 'sgd'", "optimizer == 'sdg'", "line 9, space.momentum.when: optimizer is never 'sdg'. Did you mean 'sgd'?"),
    ("optimizer == 'sgd'", "optimizer = 'sgd'", "line 9, space.momentum.when: \"optimizer = 'sgd'\" is not an expression. Write == to compare."),
    ("name: digits", "name: digits\nconstraint: widht <= 128", "line 16, constraint: widht is not a parameter or constant of the space. Did you mean width?"),
    ("name: digits", "name: digits\nconstraint: width > 256", "line 16, constraint: none of 10000 draws satisfies the constraint 'width > 256': the feasible share is below about 0.0003. Loosen the constraint or narrow the ranges."),
    ("name: digits", "name: digits\nconstraint: width > optimizer", "line 16, constraint: 'width > optimizer' cannot be computed for {'optimizer': 'sgd', 'width': 32}: '>' not supported between instances of 'int' and 'str'"),
    # given points
    ("name: digits", "name: digits\ndefault: {widht: 64}", "line 16, default.widht: is not a parameter of the space. Did you mean width?"),
    ("name: digits", "name: digits\ndefault: {width: 100}", "line 16, default.width: must be a multiple of 32, got 100"),
    ("name: digits", "name: digits\npoints_to_evaluate: [{width: 64}, {learning_rate: 1}]", "line 16, points_to_evaluate[1].learning_rate: must lie between 1e-05 and 0.1, got 1"),
    ("name: digits", "name: digits\ndefault: {optimizer: adamw, momentum: 0.9}", "line 16, default.momentum: exists only when optimizer == 'sgd', got 0.9. Leave it out."),
    ("name: digits", "name: digits\npoints_to_evaluate: {width: 64}", "line 16, points_to_evaluate: must be a list, got {'width': 64}"),
    # the file itself
    (BASE, "", "file: must be a mapping of keys to values"),
    (BASE, "- 1\n", "file: must be a mapping of keys to values, got [1]"),
    ("stop: {time: 30m}", "stop: {time: 30m", "line 14: this is not YAML: expected ',' or '}', but got ':'"),
    ("  width: {qr", "\twidth: {qr", "line 10: this is not YAML: found character '\\t' that cannot start any token. Indent with spaces."),
]  # fmt: skip


def problems_of(text: str, folder: Path) -> list[str]:
    path = folder / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as error:
        Study.load(path)
    assert error.value.source == str(path)
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(("old", "new", "message"), TABLE, ids=[row[2][:60] for row in TABLE])
def test_a_wrong_study_file_gives_its_message(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert BASE.count(old) == 1
    assert problems_of(BASE.replace(old, new), tmp_path) == [message]


def test_the_base_study_is_right(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(BASE)
    assert Study.load(path).num_trials == 40


def test_all_problems_of_a_file_are_listed_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = BASE
    for old, new in [
        ("num_trials: 40", "num_trials: many"),
        ("qrandint", "qrandnt"),
        ("[0.5, 0.99]", "[0.99, 0.5]"),
        ("{cpu: 1}", "{cpu: -1}"),
        ("name: digits", "name: digits\nmod: max"),
    ]:
        text = text.replace(old, new)
    places = [problem.split(":")[0] for problem in problems_of(text, tmp_path)]
    assert places == [
        "line 4, num_trials",
        "line 9, space.momentum",
        "line 10, space.width",
        "line 14, resources.cpu",
        "line 16, mod",
    ]


def test_a_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(BASE)
    with pytest.raises(StudyError) as error:
        Study.load(tmp_path / "digit.yaml")
    assert str(error.value.problems[0]) == f"file: does not exist. Did you mean {tmp_path / 'digits.yaml'}?"


def test_a_folder_in_place_of_a_file_names_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(BASE)
    with pytest.raises(StudyError, match=r"file: is a folder\. It has digits\.yaml\."):
        Study.load(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="must be UTF-8 text"):
        Study.load(tmp_path / "study.yaml")


def test_an_alias_that_contains_itself_is_refused(tmp_path: Path) -> None:
    text = BASE.replace("stop: {time: 30m}", "stop: &a {time: *a}")
    assert problems_of(text, tmp_path) == ["line 13, stop.time: an alias must not contain itself"]
