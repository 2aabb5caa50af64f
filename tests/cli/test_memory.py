"""``raytune memory``: what it prints, and what it says to a wrong command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytune_suite.cli import WRONG, main

STUDY = """
trainable: rehearsed:Square
metric: validation/loss
num_trials: 3
max_iterations: 2
space: {width: {choice: [8, 2048]}}
search: random
name: squares
"""
TESTS = Path(__file__).parents[1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "rehearsed.py").write_text((TESTS / "rehearsed.py").read_text())
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def test_a_study_is_surveyed_and_packed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", str(file), "--configurations", "12", "--gpus", "2", "--gpu-memory", "8GiB"]) == 0

    shown = capsys.readouterr().out
    assert "squares: GPU memory of 12 configurations, forecast without a GPU" in shown
    assert "width  100%" in shown
    assert "on 2 x GPU of 8 GiB:" in shown
    assert "with one a GPU it would be 2" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpu-memory", "24"], "--gpu-memory must be a size, got '24'"),
        (["--gpu-memory", "lots"], "--gpu-memory must be a size, got 'lots'"),
        (["--gpus", "4"], "--gpus needs --gpu-memory where no GPU is"),
        (["--gpus", "0"], "--gpus"),
        (["--from", "nowhere"], "nowhere"),
        (["--set", "num_trials=0"], "num_trials"),
    ],
)
def test_a_wrong_command_line_is_told_what_is_wrong(
    file: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert main(["memory", str(file), *options]) == WRONG
    assert said in capsys.readouterr().err
