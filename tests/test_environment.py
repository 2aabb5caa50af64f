from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from raytune_suite import environment

SECRET = "a-value-nobody-may-see"


def test_a_capture_never_imports_torch(tmp_path: Path) -> None:
    probe = (
        "import sys, pathlib; from raytune_suite.environment import capture; facts = capture(pathlib.Path('.'));"
        "print('torch' in sys.modules, 'ray' in sys.modules, bool(facts['torch']['version']))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False", "True"]


def test_a_capture_holds_what_changes_numbers(tmp_path: Path) -> None:
    import torch

    facts = environment.capture(tmp_path)

    assert facts["python"] == sys.version.split()[0]
    assert facts["packages"]["numpy"]
    assert facts["threads"]["torch"] == torch.get_num_threads()
    assert {"matmul_precision", "cudnn_benchmark", "deterministic_algorithms"} <= facts["flags"].keys()
    json.dumps(facts)


def test_installed_packages_are_those_importlib_finds() -> None:
    from importlib.metadata import version

    packages = environment.capture(Path.cwd())["packages"]

    assert {name: packages[name] for name in ("ray", "torch", "typing-extensions")} == {
        name: version(name) for name in ("ray", "torch", "typing-extensions")
    }


def test_no_value_of_a_variable_outside_the_list_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "SOMETHING"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    facts = environment.capture(Path.cwd())

    assert SECRET not in json.dumps(facts)
    assert facts["variables"]["OMP_NUM_THREADS"] == "3"


def test_the_commit_and_whether_files_differ_from_it_are_recorded(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = environment.capture(tmp_path)["project"]
    (tmp_path / "a.py").write_text("2")
    environment._project.cache_clear()

    assert clean == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert environment.capture(tmp_path)["project"]["dirty"] is True


def test_outside_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert environment.capture(tmp_path)["project"] == {"commit": None, "dirty": None}


def test_the_same_process_twice_has_one_fingerprint_and_no_differences(tmp_path: Path) -> None:
    one, two = environment.capture(tmp_path), environment.capture(tmp_path)

    assert environment.fingerprint(one) == environment.fingerprint(two)
    assert environment.compare(one, two) == []


def test_host_and_process_do_not_change_the_fingerprint_but_a_package_does(tmp_path: Path) -> None:
    facts = environment.capture(tmp_path)
    other = {**facts, "packages": {**facts["packages"], "numpy": "1.0"}}

    assert environment.fingerprint({**facts, "host": "b", "pid": 1}) == environment.fingerprint(facts)
    assert environment.fingerprint(other) != environment.fingerprint(facts)


@pytest.mark.parametrize("key", ["host", "pid", "gpus", "driver", "cpus", "threads", "executable"])
def test_what_must_differ_between_machines_is_no_difference(tmp_path: Path, key: str) -> None:
    facts = environment.capture(tmp_path)

    assert environment.compare(facts, {**facts, key: "another"}) == []


def test_a_driver_without_torch_agrees_with_a_worker_that_loaded_it(tmp_path: Path) -> None:
    import torch  # noqa: F401 - loaded, as a worker has it

    worker = environment.capture(tmp_path)
    driver = {key: value for key, value in worker.items() if key not in ("threads", "flags")}
    driver["torch"] = {key: worker["torch"][key] for key in ("version", "built_for")}

    assert environment.compare(driver, worker) == []


def test_threads_that_follow_a_trials_cpus_are_no_difference(tmp_path: Path) -> None:
    facts = environment.capture(tmp_path)

    assert environment.compare(facts, {**facts, "variables": {"OMP_NUM_THREADS": "7"}}) == []


def test_differences_are_named_and_shown_as_one_table(tmp_path: Path) -> None:
    facts = environment.capture(tmp_path)
    worker = {**facts, "python": "3.10.1", "packages": {**facts["packages"], "numpy": "1.0", "extra": "2"}}

    found = environment.compare(facts, worker)

    assert {(d.key, d.worker) for d in found} == {
        ("python", "3.10.1"),
        ("packages.numpy", "1.0"),
        ("packages.extra", "2"),
    }
    lines = environment.table(found).splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["what", "driver", "worker"]
    assert "(absent)" in next(line for line in lines if line.startswith("packages.extra"))


def test_a_flag_that_changes_numbers_is_a_difference(tmp_path: Path) -> None:
    import torch  # noqa: F401

    facts = environment.capture(tmp_path)
    worker = {**facts, "flags": {**facts["flags"], "matmul_precision": "medium"}}

    assert [d.key for d in environment.compare(facts, worker)] == ["flags.matmul_precision"]


def test_a_cuda_build_and_a_cpu_build_of_one_version_differ(tmp_path: Path) -> None:
    facts = environment.capture(tmp_path)
    worker = {**facts, "torch": {**facts["torch"], "built_for": "cuda 9.0"}}

    assert [d.key for d in environment.compare(facts, worker)] == ["torch.built_for"]


@pytest.mark.parametrize("under", [True, False])
def test_a_driver_under_uv_run_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, under: bool) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    if under:
        monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")

    assert environment.capture(tmp_path)["uv_run"] is under


def test_a_second_capture_reads_no_package_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.capture(tmp_path)
    monkeypatch.setattr(Path, "glob", lambda *a: pytest.fail("packages were read again"))

    assert environment.capture(tmp_path)["packages"]
