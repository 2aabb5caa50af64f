"""Whatever a study file or a journal holds, the answer is an error of ours that says where, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from raytune_suite.analysis import load
from raytune_suite.errors import JournalError, StudyError
from raytune_suite.journal import Journal, read
from raytune_suite.study import Study

# The same examples every time: a change is not to fail for what it did not touch. Look for more with more of them.
FEW = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GOOD: dict[str, Any] = {
    "name": "toy",
    "trainable": "toys:Model",
    "metric": "loss",
    "num_trials": 4,
    "max_iterations": 3,
    "space": {"x": {"uniform": [0, 1]}, "n": {"randint": [1, 9]}, "kind": {"choice": ["a", "b"]}},
    "search": "random",
    "scheduler": {"name": "asha", "reduction_factor": 3},
    "stop": {"time": "30m", "target": 0.1},
    "resources": {"cpu": 1, "gpu": 0},
    "checkpoint": {"every": 1, "quota": "1GiB"},
    "storage": "./experiments",
}
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.sampled_from(["1e-5", "no", "auto"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inner, max_size=4)
    ),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [(key,) for key in GOOD]
    + [("space", "x"), ("space", "x", "uniform"), ("space", "n", "randint"), ("space", "kind", "choice")]
    + [("scheduler", "reduction_factor"), ("stop", "time"), ("checkpoint", "quota"), ("resources", "cpu")]
    + [("default",), ("points_to_evaluate",), ("constraint",), ("from",), ("retries",), ("repeats",), ("unknown",)]
)


def refused_or_read(path: Path) -> None:
    """A file is a study, or an error that names the file and at least one place."""
    found: StudyError | None = None
    try:
        Study.load(path, path.parent)
    except StudyError as error:
        found = error
    if found is not None:
        assert str(path) in str(found)
        assert found.problems
        assert all(problem.rule for problem in found.problems)


@FEW
@given(where=PATHS, value=VALUES)
@example(where=("name",), value="\x00")
@example(where=("default",), value={"a]": 1})
@example(where=("stop",), value={"a.[": {"]": 1}})
@example(where=("space",), value={1: {"uniform": [0, 1]}})
def test_any_value_in_any_place_of_a_study_is_taken_or_refused(
    where: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    data = json.loads(json.dumps(GOOD))
    place = data
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="replace")
    refused_or_read(path)


@FEW
@given(content=st.binary(max_size=300))
@example(content=b"a: &a [*a]")
@example(content=b"{" * 200)
@example(content=b"\xff\xfe")
@example(content=b"? [a]: b\n: c")
@example(content=b"!!python/object:os.system {}")
def test_any_bytes_are_a_study_or_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    refused_or_read(path)


@FEW
@given(cut=st.integers(0, 400), junk=st.text(max_size=20))
def test_a_study_file_that_is_cut_off_or_scribbled_on_is_taken_or_refused(cut: int, junk: str, tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD)
    cut = min(cut, len(text))
    path = tmp_path / "study.yaml"
    path.write_text(text[:cut] + junk + text[cut + 3 :], encoding="utf-8", errors="replace")
    refused_or_read(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small journal with every kind of event that has a trial."""
    folder = tmp_path_factory.mktemp("whole")
    with Journal.create(folder, clock=lambda: 1.0) as made:
        made.append("experiment", version=1, name="toy", metric="loss", mode="min", num_trials=2, max_iterations=3)
        made.append("session", pid=1, num_trials=2)
        for number in range(2):
            made.append("trial", number=number, trial_id=f"{number:05d}", config={"x": 0.5}, point={"x": 0.5})
            made.append("start", number=number, attempt=0)
            made.append("checkpoint", number=number, iteration=1, path=f"checkpoints/{number:05d}/000001")
            made.append("report", number=number, iteration=1, metrics={"loss": float("nan")}, elapsed=1.0)
            made.append("decision", number=number, iteration=1, action="stop", by="asha", reason={}, text="")
            made.append("end", number=number, state="stopped", by="asha", value=0.5, iteration=1)
        made.append("close", state="finished", exit_code=0)
    return (folder / "journal.jsonl").read_bytes()


def told_or_read(path: Path) -> None:
    """A journal is read to its end, or the error names the file and the line."""
    said = ""
    try:
        load(path.parent)
    except JournalError as error:
        said = str(error)
    assert not said or ("journal.jsonl" in said and ("line" in said or "version" in said))


@FEW
@given(at=st.integers(0, 1500), junk=st.binary(max_size=8), skip=st.integers(0, 8))
def test_any_damage_to_a_journal_is_read_over_or_named(
    at: int, junk: bytes, skip: int, written: bytes, tmp_path: Path
) -> None:
    at = min(at, len(written))
    path = tmp_path / "journal.jsonl"
    path.write_bytes(written[:at] + junk + written[at + skip :])
    told_or_read(path)


@FEW
@given(line=st.integers(0, 14), key=st.text(max_size=10), value=VALUES)
def test_any_value_in_any_event_is_read_over_or_named(
    line: int, key: str, value: Any, written: bytes, tmp_path: Path
) -> None:
    lines = written.splitlines()
    event = json.loads(lines[line])
    known = sorted(event)
    name = known[len(key) % len(known)] if key else "number"
    event[name] = value
    lines[line] = json.dumps(event, default=str).encode()
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    told_or_read(path)


@FEW
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_journal_or_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    told_or_read(path)


def test_a_journal_cut_off_anywhere_gives_its_whole_lines(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for size in range(len(written) + 1):
        path.write_bytes(written[:size])
        assert len(list(read(tmp_path))) == written[:size].count(b"\n")
