from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from raytune_suite import upload
from raytune_suite.errors import JobError


def a_project(folder: Path, **files: str) -> Path:
    """A project folder with a study, a module, and any further files (``__`` is a slash)."""
    contents = {
        "studies/a.yaml": "version: 1",
        "model.py": "x = 1",
        **{k.replace("__", "/"): v for k, v in files.items()},
    }
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(manifest: upload.Manifest) -> list[str]:
    return [name for name, _ in manifest.files]


LEFT_HERE = [
    ".git/config",
    ".venv/bin/python",
    "experiments/a/journal.jsonl",
    "pkg/__pycache__/a.pyc",
    "pkg/b.pyc",
    "a.egg-info/PKG-INFO",
    ".env",
    "secrets/server.pem",
    "deep/.env.local",
    "auth_token",
    ".pytest_cache/x",
    "node_modules/y",
]


@pytest.mark.parametrize("name", LEFT_HERE)
@pytest.mark.parametrize("git", [True, False], ids=["git", "no git"])
def test_caches_results_and_secrets_stay_here(tmp_path: Path, name: str, git: bool) -> None:
    project = a_project(tmp_path, **{name: "x"})
    if git and not name.startswith(".git/"):
        subprocess.run(["git", "init", "-q", str(project)], check=True)

    assert names(upload.collect(project, project / "studies/a.yaml")) == ["model.py", "studies/a.yaml"]


def test_what_git_ignores_stays_here_and_what_is_new_goes(tmp_path: Path) -> None:
    project = a_project(tmp_path, **{".gitignore": "*.csv\n", "data.csv": "1", "new.py": "2"})
    subprocess.run(["git", "init", "-q", str(project)], check=True)

    found = names(upload.collect(project, project / "studies/a.yaml"))

    assert "new.py" in found
    assert "data.csv" not in found


def test_the_study_itself_always_goes(tmp_path: Path) -> None:
    project = a_project(tmp_path, **{".gitignore": "studies\n"})
    subprocess.run(["git", "init", "-q", str(project)], check=True)

    assert "studies/a.yaml" in names(upload.collect(project, project / "studies/a.yaml"))


@pytest.mark.parametrize("pattern", ["big", "big/", "*.bin", "big/*"])
def test_more_can_be_left_here(tmp_path: Path, pattern: str) -> None:
    project = (
        a_project(tmp_path, big__a__x="1") if not pattern.endswith("bin") else a_project(tmp_path, **{"a.bin": "1"})
    )

    assert names(upload.collect(project, project / "studies/a.yaml", [pattern])) == ["model.py", "studies/a.yaml"]


def test_a_study_outside_its_project_is_refused(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    (tmp_path / "b.yaml").write_text("")

    with pytest.raises(JobError, match="lies outside its project"):
        upload.collect(project, tmp_path / "b.yaml")


def test_the_manifest_tells_the_total_and_the_ten_largest(tmp_path: Path) -> None:
    project = a_project(tmp_path, **{f"f{i:02}": "x" * 100 * i for i in range(12)})
    manifest = upload.collect(project, project / "studies/a.yaml")

    lines = manifest.lines()

    assert lines[0].startswith("14 files, 6.5 KiB")
    assert [line.split()[-1] for line in lines[1:]] == [f"f{i:02}" for i in range(11, 1, -1)]


def test_too_much_is_refused_with_the_largest_files_and_the_way_out(tmp_path: Path) -> None:
    project = a_project(tmp_path, big="x" * 2000)
    manifest = upload.collect(project, project / "studies/a.yaml")

    upload.check_size(manifest, 3000)
    with pytest.raises(JobError, match=r"(?s)more than 1.0 KiB.*big.*--exclude.*--max-upload"):
        upload.check_size(manifest, 1024)


def test_a_trainable_that_would_stay_here_is_noticed_before_anything_is_sent(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    manifest = upload.collect(project, project / "studies/a.yaml", ["model.py"])

    with pytest.raises(JobError, match=r"model.py, which model:Net names, is excluded"):
        upload.check_module(manifest, "model:Net")
    upload.check_module(manifest, "torchvision.models:resnet18")


def test_equal_content_gives_an_equal_archive_whatever_its_times(tmp_path: Path) -> None:
    one, two = a_project(tmp_path / "1"), a_project(tmp_path / "2")
    (two / "model.py").touch()
    archives = [
        upload.pack(upload.collect(p, p / "studies/a.yaml"), tmp_path / f"{p.name}.zip").read_bytes()
        for p in (one, two)
    ]

    assert archives[0] == archives[1]


def test_what_is_packed_is_what_is_listed_and_programs_stay_programs(tmp_path: Path) -> None:
    project = a_project(tmp_path, run="#!/bin/sh", **{"pyproject.toml": ""})
    (project / "run").chmod(0o755)
    manifest = upload.collect(project, project / "studies/a.yaml")

    with zipfile.ZipFile(upload.pack(manifest, tmp_path / "a.zip")) as archive:
        assert archive.namelist() == names(manifest)
        assert archive.getinfo("run").external_attr >> 16 & 0o100


def test_a_project_known_only_by_its_repository_is_marked_in_the_archive(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    manifest = upload.collect(project, project / "studies/a.yaml")

    with zipfile.ZipFile(upload.pack(manifest, tmp_path / "a.zip")) as archive:
        assert archive.read("pyproject.toml") == b""
