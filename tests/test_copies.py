"""The copy of an experiment in remote storage between sessions: completed by hand, or by the next driver."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_mirror import Running

from raytune_suite import lease
from raytune_suite.checkpoints import TrialCheckpoints
from raytune_suite.cli import main
from raytune_suite.copies import catch_up, fetch, remote_of, sync
from raytune_suite.errors import ExperimentError
from raytune_suite.journal import Journal, read
from raytune_suite.remote import Remote
from raytune_suite.study import Study

pytestmark = pytest.mark.usefixtures("quick_lease")

STUDY = {
    "name": "toy",
    "trainable": "m:M",
    "metric": "loss",
    "max_iterations": 2,
    "num_trials": 2,
    "space": {"x": {"uniform": [0, 1]}},
    "search": "random",
}


def ended(folder: Path, uri: str) -> Path:
    """An experiment of two trials, only the first of which is in its remote storage."""
    (running := Running(folder, uri)).trial(0)
    assert running.close() is None
    study = Study.from_dict({**STUDY, "storage": uri.removesuffix("/toy")}, project=folder)
    (folder / "study.yaml").write_text(study.dump())
    (later := Running.__new__(Running)).folder = folder
    later.journal = Journal.open(folder)
    later.trial(1)
    later.journal.close()
    return folder


def test_what_remote_storage_lacks_is_sent(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ended(tmp_path / "here", uri)
    assert main(["sync", str(folder)]) == 0
    assert f"{uri} has all of {folder}" in capsys.readouterr().out
    there = fetch(uri, tmp_path / "there")
    assert list(read(there)) == list(read(folder))
    assert TrialCheckpoints(there / "checkpoints" / "00001").latest() is not None
    assert lease.FILE not in Remote(uri).names()
    before = Remote(uri).names()
    assert sync(folder) == uri
    assert Remote(uri).names() == before


def test_confirmations_are_sent_and_come_back(tmp_path: Path, uri: str) -> None:
    folder = ended(tmp_path / "here", uri)
    inner = folder / "confirmed-1"
    with Journal.create(inner) as journal:
        journal.append("experiment", version=1, name="confirmed-1")
    (folder / "confirmed-1.json").write_text(json.dumps({"request": {}, "verdict": {"best": 3}}))
    sync(folder)
    there = fetch(uri, tmp_path / "there")
    assert json.loads((there / "confirmed-1.json").read_text())["verdict"] == {"best": 3}
    assert list(read(there / "confirmed-1")) == list(read(inner))
    (there / "confirmed-1.json").write_text(json.dumps({"request": {}}))
    fetch(uri, there)  # the verdict is what is new
    assert "verdict" in (there / "confirmed-1.json").read_text()


def test_a_folder_another_machine_has_gone_on_from_catches_up_first(tmp_path: Path, uri: str) -> None:
    folder = ended(tmp_path / "here", uri)
    sync(folder)
    shutil.copytree(folder, tmp_path / "elsewhere")
    (other := Running(tmp_path / "elsewhere", uri)).trial(2)
    assert other.close() is None
    said: list[str] = []
    catch_up(uri, folder, said.append)
    assert list(read(folder)) == list(read(tmp_path / "elsewhere"))
    assert said == [f"fetching {uri} into {folder}"]


def test_a_copy_that_went_another_way_is_not_overwritten(tmp_path: Path, uri: str) -> None:
    folder = ended(tmp_path / "here", uri)
    (other := Running(fetch(uri, tmp_path / "elsewhere"), uri)).trial(5)
    other.close()
    before = {name: Remote(uri).get(name) for name in Remote(uri).names("journal")}
    with pytest.raises(ExperimentError, match="went different ways"):
        sync(folder)
    assert {name: Remote(uri).get(name) for name in Remote(uri).names("journal")} == before


def test_what_cannot_be_sent_is_named(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ended(tmp_path / "here", uri)

    def refuse(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Remote, "put_file", refuse)
    with pytest.raises(ExperimentError, match=r"checkpoints of trial.* 1 \(not yours\).*raytune sync"):
        sync(folder)


def test_a_study_with_local_storage_has_nowhere_to_send_it(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(Study.from_dict(STUDY, project=tmp_path).dump())
    assert remote_of(tmp_path) is None
    with pytest.raises(ExperimentError, match="is a local folder"):
        sync(tmp_path)
    with pytest.raises(ExperimentError, match=r"no study\.yaml"):
        sync(tmp_path / "nothing")
