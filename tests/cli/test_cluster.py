from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_suite import dashboard, environment, jobs
from raytune_suite.cli import main
from raytune_suite.journal import Journal

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "model.py").write_text("class Net: pass")
    file = tmp_path / "a.yaml"
    file.write_text(
        "version: 1\ntrainable: model:Net\nmetric: loss\nnum_trials: 2\nmax_iterations: 3\n"
        "space: {x: {uniform: [0, 1]}}\nsearch: random\nname: a\n"
    )
    return file


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster that takes every job and ends it as ``status`` says."""

    class Client:
        status, submitted = "SUCCEEDED", {}  # type: ignore[var-annotated]

        def submit_job(self, **what: Any) -> None:
            self.submitted = {**what, "files": Path(what["runtime_env"]["working_dir"]).stat().st_size}

        def get_job_info(self, job_id: str) -> Any:
            times = {"start_time": 1000, "end_time": 62000}
            metadata = self.submitted.get("metadata", {"study": "a", "folder": "/shared/a"})
            return SimpleNamespace(
                submission_id=job_id, job_id=None, status=self.status, metadata=metadata, message="", **times,
                driver_exit_code=3,
            )  # fmt: skip

        def list_jobs(self) -> list[Any]:
            return [self.get_job_info("raytune-a-1")]

        def get_job_logs(self, job_id: str) -> str:
            return "a line\n"

        def stop_job(self, job_id: str) -> bool:
            self.status = "STOPPED"
            return True

    made = Client()
    monkeypatch.setattr(dashboard, "connect", lambda address, **options: made)
    return made


def test_env_prints_lines_or_json(capsys: Shown) -> None:
    assert main(["env"]) == 0
    assert "torch.version" in capsys.readouterr().out
    assert main(["env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["python"] == sys.version.split()[0]


def test_env_of_an_experiment_is_compared_with_this_machine(tmp_path: Path, capsys: Shown) -> None:
    facts = environment.capture(Path.cwd())
    with Journal.create(tmp_path / "a") as journal:
        journal.append("environment", id="same", facts=facts)
        journal.append("environment", id="other", facts={**facts, "python": "3.9.1"})

    assert main(["env", str(tmp_path / "a")]) == 0

    shown = capsys.readouterr().out
    assert "the same as here" in shown
    table = [line.split() for line in shown.partition("environment other")[2].splitlines()]
    assert ["what", "recorded", "here"] in table
    assert ["python", "3.9.1", facts["python"]] in table


def test_env_of_an_experiment_without_workers_says_so(tmp_path: Path, capsys: Shown) -> None:
    Journal.create(tmp_path / "a").close()

    assert main(["env", str(tmp_path / "a")]) == 0
    assert "no worker" in capsys.readouterr().out


def test_env_of_no_experiment_is_an_error(tmp_path: Path, capsys: Shown) -> None:
    assert main(["env", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_dry_run_lists_the_files_and_asks_no_cluster(
    study: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "connect", lambda *a, **k: pytest.fail("a cluster was asked"))

    assert main(["submit", str(study), "--dry-run"]) == 0
    assert "model.py" in capsys.readouterr().out


def test_submit_follows_and_gives_the_exit_code_of_the_job(study: Path, client: Any, capsys: Shown) -> None:
    words = ["--storage", "/shared", "--set", "seed=3", "--env", "A=b", "--python", "python3.11"]

    assert main(["submit", str(study), *words]) == 0

    shown = capsys.readouterr().out
    assert "a line\n" in shown
    assert "succeeded; its record is in /shared/a there" in shown
    what = client.submitted
    assert what["entrypoint"] == "exec python3.11 -m raytune_suite run a.yaml --set seed=3 --set storage=/shared"
    assert what["runtime_env"]["env_vars"]["A"] == "b"


def test_submit_without_following_returns_at_once(study: Path, client: Any, capsys: Shown) -> None:
    client.status = "FAILED"

    assert main(["submit", str(study), "--no-follow"]) == 0
    assert "a line" not in capsys.readouterr().out


def test_too_large_an_upload_is_refused_before_a_cluster_is_asked(study: Path, client: Any, capsys: Shown) -> None:
    (study.parent / "data.bin").write_bytes(b"x" * 2**20)

    assert main(["submit", str(study), "--max-upload", "0.5"]) == 2
    assert "data.bin" in capsys.readouterr().err
    assert not client.submitted


def test_a_variable_that_is_not_set_here_is_an_error(study: Path, client: Any, capsys: Shown) -> None:
    assert main(["submit", str(study), "--env", "SURELY_NOT_SET"]) == 2
    assert "SURELY_NOT_SET=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 3), ("STOPPED", 143)])
def test_follow_gives_what_the_status_says(client: Any, status: str, code: int, capsys: Shown) -> None:
    client.status = status

    assert main(["follow", "raytune-a-1"]) == code


def test_leaving_a_followed_job_says_how_to_come_back(
    client: Any, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    def interrupted(*a: Any, **k: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "follow", interrupted)

    assert main(["follow", "raytune-a-1"]) == 130
    assert "raytune stop raytune-a-1" in capsys.readouterr().out


def test_stop_says_what_remains(client: Any, capsys: Shown) -> None:
    client.status = "RUNNING"

    assert main(["stop", "raytune-a-1"]) == 0
    assert capsys.readouterr().out == "raytune-a-1 stopped; its record is in /shared/a there\n"


def test_jobs_are_listed_with_their_experiments(client: Any, capsys: Shown) -> None:
    assert main(["jobs"]) == 0
    shown = capsys.readouterr().out
    assert "SUCCEEDED" in shown
    assert "0:01:01" in shown
    assert "/shared/a" in shown
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["study"] == "a"
