"""The commands that read results, run as the command line runs them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import made_up
import pytest
import yaml

from raytune_suite import viewer
from raytune_suite.cli import main
from raytune_suite.errors import ExperimentError
from raytune_suite.tensorboard import write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one experiment of ten trials, as seen from inside it."""
    made_up.tell(tmp_path / "experiments" / "made-up")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command prints (on stderr if it fails)."""
    assert main(words) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def data(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(run(capsys, *words, "--json"))


def test_list_shows_each_experiment_on_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.tell(project / "experiments" / "deep" / "second", 5)
    text = run(capsys, "list")
    assert sum("finished" in line for line in text.splitlines()) == 2
    assert "10/10" in text


def test_list_with_a_filter_shows_the_trials_it_holds_for(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "list", "state == 'completed' and config.learning_rate < 0.01")
    assert [trial["number"] for trial in found] == [0, 2]
    assert "2 trials" in run(capsys, "list", "state == 'completed' and config.learning_rate < 0.01")
    assert "no trial" in run(capsys, "list", "number > 100")


def test_list_filters_over_all_experiments_and_names_them(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.tell(project / "experiments" / "second", 5)
    found = data(capsys, "list", "state == 'failed'", "--storage", "experiments")
    assert len(found) == 3
    assert "experiment" in run(capsys, "list", "state == 'failed'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "statee == 'failed'"], "Did you mean state"),
        (["list", "state =="], "The filter 'state ==' cannot be read"),
        (["list", "__import__('os')"], "cannot be read"),
        (["list", "--storage", "nowhere"], "There is no folder nowhere"),
        (["show", "nothing"], "There is no experiment nothing"),
        (["show", "made-up", "77"], "has no trial '77'. Its trials: 0 to 9"),
        (["export", "made-up", "table.xls"], "must end in .csv or .parquet"),
        (["export", "made-up", "nowhere/table.csv"], "there is no folder nowhere"),
        (["report", "made-up", "-o", "nowhere/report.html"], "nowhere/report.html: No such file or directory. Make"),
        (["best", "made-up", "--json", "--yaml"], "exclude each other"),
        (["env", "nothing"], "nothing is not an experiment"),
        (["tensorboard", "nowhere"], "nowhere is no experiment"),
        (["tensorboard", "made-up", "--port", "99999"], "A port must be from 1 to 65535, got 99999"),
    ],
)
def test_a_mistake_is_one_clear_message(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in run(capsys, *words, code=2)


def test_a_damaged_experiment_is_named_and_does_not_hide_the_others(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = project / "experiments" / "damaged"
    damaged.mkdir()
    first = (project / "experiments" / "made-up" / "journal.jsonl").read_text().splitlines()[0]
    (damaged / "journal.jsonl").write_text(f"{first}\nnonsense\n{{}}\n")
    for words in (["list"], ["list", "number >= 0"]):
        assert main(words) == 2
        shown = capsys.readouterr()
        assert "made-up" in shown.out or "completed" in shown.out
        assert "Not listed: experiments/damaged/journal.jsonl, line 2 is broken" in shown.err
    assert viewer.logdir(project / "experiments") == project / "experiments"
    assert "Not shown: " in capsys.readouterr().err
    assert "TensorBoard on" in viewer.links(project / "experiments", 6006)[0]
    with pytest.raises(ExperimentError, match="line 2 is broken"):
        viewer.logdir(damaged)


def test_env_takes_the_name_of_an_experiment(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no worker of made-up" in run(capsys, "env", "made-up")


def test_an_empty_storage_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No experiment lies in" in run(capsys, "list", "--storage", str(tmp_path), code=2)


def test_show_lists_the_trials_and_groups_the_errors(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "made-up")
    assert "10 of 10: 6 completed, 2 stopped, 2 failed" in text
    assert "2x ValueError: no such layer (trial 3, 8)" in text
    assert len(data(capsys, "show", "made-up")["trials"]) == 10


def test_show_says_how_a_crashed_experiment_goes_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.tell(project / "experiments" / "made up", 5)
    journal = project / "experiments" / "made up" / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    assert "go on       raytune resume 'experiments/made up'\n" in run(capsys, "show", "made up")
    assert "go on" not in run(capsys, "show", "made-up")


def test_show_explains_why_a_trial_was_stopped(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "made-up", "1")
    for part in ("stopped by asha", "iteration 3: stop by asha. 0.9 is worse than the cutoff 0.5 of rung 3",
                 "rung 3, score 0.9, cutoff 0.5, compared 4", "learning_rate: 0.0062468642", "█▄▁"):  # fmt: skip
        assert part in text
    story = data(capsys, "show", "made-up", "00001")
    assert story["decisions"][0]["reason"] == {"rung": 3, "score": 0.9, "cutoff": 0.5, "compared": 4}
    assert [report["iteration"] for report in story["reports"]] == [1, 2, 3]


def test_show_explains_why_a_trial_was_proposed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = made_up.Story(tmp_path / "made-up")
    note = {"why": "explore", "predicted": 0.5, "low": 0.4, "high": 0.6, "observations": 4, "pending": 1, "failed": 0}
    story.trial(0, "design")
    story.journal.append("trial", number=1, trial_id="00001", config={}, point={}, origin="model", note=note)
    story.start(1)
    story.curve(1, [0.45] * 9)
    story.end(1, value=0.45, best=0.45, iteration=9)
    story.close()
    text = " ".join(run(capsys, "show", str(story.folder), "1").split())
    assert "proposed by the model to explore: it expected 0.5 (0.4 to 0.6) from 4 trials with a value" in text
    assert "it came to 0.45 (0.05 lower, inside the range)" in text
    assert "one of the even cover at the start" in run(capsys, "show", str(story.folder), "0")
    raw = data(capsys, "show", str(story.folder), "1")
    assert raw["note"] == note
    assert raw["prediction"] == {"predicted": 0.5, "low": 0.4, "high": 0.6, "actual": 0.45, "inside": True}
    assert data(capsys, "show", str(story.folder), "0")["prediction"] is None


def test_show_gives_the_traceback_of_a_failed_trial(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "experiments/made-up", "3")
    assert "ValueError: no such layer" in text
    assert 'File "model.py", line 3' in text


def test_best_prints_what_can_be_copied(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "best", "made-up")
    facts = data(capsys, "best", "made-up")
    assert f"trial {facts['number']} of made-up" in text
    assert "the best is" in text
    assert yaml.safe_load(run(capsys, "best", "made-up", "--yaml")) == facts
    assert facts["config"]["model"]["channels"] in (16, 32, 64)


@pytest.mark.parametrize("rule", ["best", "last", "final"])
def test_best_names_its_rule(project: Path, capsys: pytest.CaptureFixture[str], rule: str) -> None:
    assert data(capsys, "best", "made-up", "--rule", rule)["rule"] == rule


def test_json_is_strict_also_with_nan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = made_up.Story(tmp_path / "made-up")
    story.whole(0, [0.5, float("nan")])
    story.close()
    story_data = json.loads(
        run(capsys, "show", str(story.folder), "0", "--json"), parse_constant=lambda name: pytest.fail(name)
    )
    assert story_data["reports"][1]["validation/loss"] is None


def test_export_writes_trials_or_history(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "export", "made-up", "trials.csv")
    run(capsys, "export", "made-up", "history.csv", "--history")
    with Path("trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == [str(number) for number in range(10)]
    with Path("history.csv").open() as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"validation/loss", "training/loss"}


def test_help_of_these_commands_needs_nothing_heavy() -> None:
    code = (
        "import sys; from raytune_suite.cli import main; main(['show', '--help']);"
        "print(sorted({'ray', 'torch', 'pandas', 'tensorboard', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_viewer_makes_missing_files_and_shows_one_or_all_experiments(project: Path) -> None:
    storage = project / "experiments"
    assert viewer.logdir(storage / "made-up") == storage / "made-up" / "tensorboard"
    made_up.tell(storage / "second", 3)
    assert viewer.logdir(storage) == storage
    assert len(list(storage.glob("*/tensorboard/*tfevents*"))) == 2


def test_the_viewer_leaves_files_that_are_there(project: Path) -> None:
    folder = project / "experiments" / "made-up"
    write(folder)
    before = sorted(folder.rglob("*tfevents*"))
    viewer.logdir(folder)
    assert sorted(folder.rglob("*tfevents*")) == before


def test_the_viewer_serves_this_machine_only_and_follows_every_file(tmp_path: Path) -> None:
    command = viewer.command(tmp_path, 1234)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--reload_multifile=true" in command


def test_the_viewer_leads_to_the_metric_and_to_the_table(project: Path) -> None:
    page, curves, table = viewer.links(project / "experiments", 1234)
    assert "http://127.0.0.1:1234/ " in page
    assert "%22tag%22%3A%22validation%2Floss%22" in curves
    assert table.endswith("#hparams")


def test_a_port_that_is_asked_for_and_taken_is_refused() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ExperimentError, match=f"Port {port} is in use"):
            viewer.free_port(port)


@pytest.mark.slow
def test_tensorboard_prints_its_address_and_serves_there(project: Path) -> None:
    port = viewer.free_port(None)
    process = subprocess.Popen(
        [sys.executable, "-m", "raytune_suite", "tensorboard", "made-up", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        assert "made-up" in environment(port)
    finally:
        process.terminate()
        process.wait(30)


def environment(port: int) -> str:
    """What a TensorBoard says of its data, once it answers."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/environment", timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail("TensorBoard does not answer")
