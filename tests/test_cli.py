"""The command line: quick to answer, one message for a mistake, exit codes that mean something."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
import typer.main

from raytune_suite import cli
from raytune_suite.errors import PlanError

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
HEAVY = (
    "ray",
    "torch",
    "bayes_opt",
    "pandas",
    "numpy",
    "plotly",
    "optuna",
    "sklearn",
    "scipy",
    "pydantic",
    "yaml",
)
STUDY = """\
trainable: tiny:Tiny
metric: loss
num_trials: 3
max_iterations: 4
space:
  rate: {loguniform: [1e-3, 1.0]}
  steps: 2
search: random
name: tiny
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text("def train(config):\n    pass\n")
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def commands() -> dict[str, Any]:
    return typer.main.get_command(cli.build()).commands  # type: ignore[attr-defined, no-any-return]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make ``raytune fail`` raise ``error``."""

    def fail(verbose: bool = typer.Option(False, "-v")) -> None:
        raise error

    app = typer.Typer()
    app.callback()(lambda: None)
    app.command("fail")(fail)
    monkeypatch.setattr(cli, "build", lambda: app)


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from raytune_suite.cli import main; code = main(['--help']); "
        f"print(*sorted({{*{HEAVY!r}}} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []
    assert all(name in done.stdout for name in ("init", "check", "schema", "run"))


def test_no_command_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "Usage: raytune" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_explains_itself_and_its_parameters(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"raytune {name}" in capsys.readouterr().out
    command = commands()[name]
    children = getattr(command, "commands", {None: command}).values()
    assert not [p.name for child in children for p in child.params if p.name != "help" and not p.help]


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "raytune_suite", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "raytune 0.1.0\n")


def test_a_mistake_of_the_user_is_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, PlanError("asked for 2 GPU, the largest node has [1]"))
    assert cli.main(["fail"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "asked for 2 GPU, the largest node has [1]\n"
    assert shown.out == ""


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["fail"]) == 130


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.ENOSPC, "Make room"), (errno.EROFS, "can be written to"), (errno.EACCES, "the right")],
)
def test_what_the_machine_refuses_is_no_mistake_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, way_out: str
) -> None:
    failing(monkeypatch, OSError(number, "refused", "somewhere/file"))
    assert cli.main(["fail"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("somewhere/file: refused. ")
    assert way_out in said


def test_other_errors_of_the_machine_are_ours_to_explain(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, OSError(errno.EBADF, "bad file descriptor"))
    assert cli.main(["fail"]) == 70


def test_a_sigterm_while_ray_starts_is_exit_code_143(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, SystemExit(15))
    assert cli.main(["fail"]) == 143
    failing(monkeypatch, SystemExit(3))
    with pytest.raises(SystemExit):
        cli.main(["fail"])


def test_a_mistake_of_ours_is_short_and_verbose_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    assert cli.main(["fail"]) == 70
    said = capsys.readouterr().err
    assert said.startswith("Internal error: ZeroDivisionError: division by zero")
    assert "-v" in said
    assert "Traceback" not in said
    assert cli.main(["fail", "-v"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["check"], "STUDY"),
        (["run", "x.yaml", "--num-trails", "3"], "--num-trials"),
        (["run", "x.yaml", "--seed", "two"], "valid integer"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "--help" in shown


def test_the_schema_beside_the_studies_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["properties"]["trainable"]
    assert (ROOT / "studies" / "study.schema.json").read_text() == printed


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_a_shipped_study_passes_its_check_and_names_the_schema(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=study.schema.json\n")
    assert cli.main(["check", str(path), "--no-step"]) == 0


def test_init_writes_a_study_that_passes_its_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert cli.main(["init", str(folder)]) == 0
    assert f"raytune check {folder / 'study.yaml'}" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"study.yaml", "trainable.py", "study.schema.json"}
    assert cli.main(["check", str(folder / "study.yaml")]) == 0


def test_init_inside_a_project_names_the_trainable_from_the_projects_folder(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    assert cli.main(["init", str(tmp_path / "tuning" / "first")]) == 0
    assert "trainable: tuning.first.trainable:" in (tmp_path / "tuning" / "first" / "study.yaml").read_text()


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text("mine")
    assert cli.main(["init", str(tmp_path)]) == 2
    assert "study.yaml" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_check_lists_everything_that_is_wrong_and_starts_no_trial(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_text(
        STUDY.replace("search: random", "search: {name: random, sampeling: sobol}")
        + "scheduler: {name: asha, grace_perod: 2}\ncallbacks: [nowhere:Callback]\nresources: {cpu: 9999}\n"
    )
    assert cli.main(["check", str(study)]) == 2
    shown = capsys.readouterr()
    for word in ("sampling", "grace_period", "nowhere", "9999", "tiny:Tiny"):
        assert word in shown.out
    assert "5 problems" in shown.err
    assert not (study.parent / "experiments").exists()


def test_check_prints_the_plan(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(study), "--no-step", "--set", "trainable=tiny:train"]) == 0
    shown = capsys.readouterr().out
    assert "1 parameter, 1 constant" in shown
    assert "slots" in shown


def test_check_ends_with_the_command_that_runs_what_was_checked(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", str(study), "--no-step", "--set", "trainable=tiny:train", "--set", "name=my study"]
    assert cli.main(words) == 0
    ready = f"Ready: raytune run {study} --set trainable=tiny:train --set 'name=my study'"
    assert capsys.readouterr().out.endswith(f"{ready}\n")
    taken = study.parent / "experiments" / "my study"
    taken.mkdir(parents=True)
    (taken / "journal.jsonl").touch()
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "is taken" in shown
    assert shown.endswith(f"{ready} --name 'my study-2'\n")


def test_check_refuses_a_storage_that_is_no_folder(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study.parent / "experiments").write_text("a file")
    assert cli.main(["check", str(study), "--no-step"]) == 2
    assert "is no folder. Give another folder as storage." in capsys.readouterr().out


def test_nothing_between_colons_becomes_a_picture(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = SimpleNamespace(ok=True, metrics={"loss": 1.0}, setup_seconds=1.0, step_seconds=1.0)
    monkeypatch.setattr("raytune_suite.preflight.try_step", lambda _: report)
    assert cli.main(["check", str(study), "--set", "trainable=tiny:x"]) == 0
    assert "tiny:x: 1.0 s" in capsys.readouterr().out  # :x: is a cross to rich
    failing(monkeypatch, PlanError("tiny:x: cannot be found"))
    assert cli.main(["fail"]) == 2
    assert capsys.readouterr().err == "tiny:x: cannot be found\n"


def test_check_takes_a_metric_that_is_not_measured_in_the_first_step(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = SimpleNamespace(ok=True, metrics={"loss": None}, setup_seconds=1.0, step_seconds=1.0)
    monkeypatch.setattr("raytune_suite.preflight.try_step", lambda _: report)
    assert cli.main(["check", str(study)]) == 0
    assert "loss = -" in capsys.readouterr().out


def test_run_hands_over_the_study_with_its_changes(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fake(study: Any, **options: Any) -> SimpleNamespace:
        seen.update(study=study, **options)
        return SimpleNamespace(exit_code=1)

    monkeypatch.setattr("raytune_suite.runner.run", fake)
    words = ["--name", "other", "--num-trials", "7", "--seed", "5", "--max-concurrent", "2", "-v"]
    changes = ["--set", "space.rate={uniform: [0, 1]}", "--set", "stop.time=5m", "--set", "space.steps=1e1"]
    assert cli.main(["run", str(study), *words, *changes]) == 1
    got = seen["study"]
    assert (got.name, got.num_trials, got.seed, got.max_concurrent) == ("other", 7, 5, 2)
    assert got.stop.time == 300
    assert got.search_space.constants == {"steps": 10.0}
    assert got.search_space.parameters[0].domain.log is False
    assert got.project == study.parent.resolve()
    assert (seen["address"], seen["verbosity"]) == (None, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "KEY=VALUE"),
        ("sead=1", "seed"),
        ("seed=[", "seed"),
        ("seed.x=1", "seed"),
        ("max_iterations=0", "max_iterations"),
    ],
)
def test_a_wrong_change_says_what_is_wrong(
    study: Path, change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(study), "--set", change]) == 2
    assert said in capsys.readouterr().err


def test_a_crash_of_ours_says_where_its_traceback_is(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(study: Any, **_: Any) -> None:
        study.folder.mkdir(parents=True)
        (study.folder / "driver.log").write_text("Traceback")
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("raytune_suite.runner.run", fake)
    assert cli.main(["run", str(study)]) == 70
    said = capsys.readouterr().err
    assert str(study.parent / "experiments" / "tiny" / "driver.log") in said
    assert "-v" not in said
