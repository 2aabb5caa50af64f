"""Jobs on a real head: Ray with its dashboard on the loopback address and token authentication on."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("aiohttp_cors", reason="ray[default] is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.slow]

MODEL = """
import time
from pathlib import Path

class Net:
    def __init__(self, config, context):
        self.config, self.steps = config, 0

    def step(self):
        time.sleep(self.config.get("pause", 0))
        if self.config.get("broken"):
            raise ValueError("broken on purpose")
        self.steps += 1
        return {"loss": (self.config["x"] - 0.3) ** 2 + 1 / self.steps}

    def save(self, folder):
        Path(folder).mkdir(parents=True)

    def load(self, folder):
        pass

    def reset(self, config, context):
        self.config, self.steps = config, 0
        return True

    def close(self):
        pass

    def evaluate_test(self):
        return None
"""


@dataclass(frozen=True)
class Head:
    """A running head: its dashboard, its token, and the environment that commands need to reach it."""

    url: str
    token: str
    environ: dict[str, str]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """``ray start --block`` in a process group of its own, which is ended with it."""
    folder = Path(tempfile.mkdtemp(prefix="rh-", dir="/tmp"))  # Ray's sockets need a short path
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    main, dashboard, client = free_ports(3)
    programs = Path(sys.executable).parent
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    command = [str(programs / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--port={main}", f"--ray-client-server-port={client}", "--object-store-memory=200000000"]
    command += ["--dashboard-agent-listen-port=0", f"--temp-dir={folder / 'r'}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(dashboard, process, folder / "log")
        yield Head(f"http://127.0.0.1:{dashboard}", token, environ)
    finally:
        end(process)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail(f"the head did not start:\n{log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the group this fixture started: politely, then for good."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            return
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(1)


@pytest.fixture
def study(tmp_path: Path) -> Any:
    """A function that writes a project with a tiny study, whose results go to ``tmp_path/results``."""

    def write(**constants: Any) -> Path:
        project = tmp_path / "project"
        (project / "studies").mkdir(parents=True)
        (project / "pyproject.toml").write_text("")
        (project / "model.py").write_text(MODEL)
        fields = {
            "version": 1,
            "trainable": "model:Net",
            "metric": "loss",
            "num_trials": 2,
            "max_iterations": 3,
            "space": {"x": {"uniform": [0.0, 1.0]}, **constants},
            "search": "random",
            "name": "tiny",
        }
        file = project / "studies/tiny.yaml"
        file.write_text(yaml.safe_dump(fields))
        return file

    return write


def raytune(head: Head, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raytune_suite", *words]
    if words[0] != "env":
        command += ["--address", head.url]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env={**head.environ, **environ}
    )


def submitted(done: subprocess.CompletedProcess[str]) -> str:
    line = next(line for line in done.stdout.splitlines() if " submitted; " in line)
    return line.split()[0]


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def holders(folder: Path, token: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def test_a_study_runs_on_the_cluster_and_its_record_is_where_it_was_asked_for(
    head: Head, study: Any, tmp_path: Path
) -> None:
    done = raytune(head, "submit", str(study()), "--storage", str(tmp_path / "results"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 files" in done.stdout
    assert "succeeded; its record is in" in done.stdout
    kinds = [event["event"] for event in events(tmp_path / "results/tiny")]
    assert kinds.count("end") == 2
    assert kinds[-1] == "close"
    assert not holders(tmp_path / "results", head.token), "the token got into the record"
    assert head.token not in done.stdout + done.stderr

    listed = json.loads(raytune(head, "jobs", "--json").stdout)
    assert (listed[0]["id"], listed[0]["status"], listed[0]["study"]) == (submitted(done), "SUCCEEDED", "tiny")


def test_a_study_that_fails_gives_the_drivers_exit_code_also_later(head: Head, study: Any, tmp_path: Path) -> None:
    done = raytune(head, "submit", str(study(broken=True)), "--storage", str(tmp_path / "results"))

    assert done.returncode == 1
    assert "broken on purpose" in done.stdout
    again = raytune(head, "follow", submitted(done))
    assert again.returncode == 1
    assert "broken on purpose" in again.stdout


def test_a_stopped_study_ends_by_itself_and_closes_its_journal(head: Head, study: Any, tmp_path: Path) -> None:
    words = ("--storage", str(tmp_path / "results"), "--no-follow", "--set", "max_iterations=1000")
    job = submitted(raytune(head, "submit", str(study(pause=0.2)), *words))
    journal = tmp_path / "results/tiny/journal.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (journal.is_file() and '"report"' in journal.read_text()):
        time.sleep(0.2)

    stopped = raytune(head, "stop", job)

    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "stopped; its record is in" in stopped.stdout
    last = events(tmp_path / "results/tiny")[-1]
    assert (last["event"], last["state"]) == ("close", "interrupted")
    assert raytune(head, "follow", job).returncode == 143


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RAY_AUTH_TOKEN": "wrong"}, "refuses the token"),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE keeps it from being sent"),
        ({"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_MODE": "disabled", "HOME": "/nonexistent"}, "none was found"),
    ],
)
def test_without_the_right_token_nothing_is_told(head: Head, environ: dict[str, str], message: str) -> None:
    done = raytune(head, "jobs", **environ)

    assert done.returncode == 2
    assert message in done.stderr
    assert head.token not in done.stdout + done.stderr


def test_a_job_that_does_not_exist_is_named(head: Head) -> None:
    done = raytune(head, "follow", "raytune-nothing-1")

    assert done.returncode == 2
    assert "raytune-nothing-1" in done.stderr
