"""Reads TensorBoard's event files back, with TensorBoard's own readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util import tensor_util


def board(folder: Path) -> Path:
    return folder / "tensorboard"


def files(folder: Path, run: str = "") -> list[Path]:
    return sorted((board(folder) / run).glob("*tfevents*.raytune"))


def events(folder: Path, run: str = "") -> Iterator[Any]:
    for path in files(folder, run):
        yield from EventFileLoader(str(path)).Load()


def tags(folder: Path, run: str) -> Counter[str]:
    """How often each tag was written."""
    return Counter(value.tag for event in events(folder, run) for value in event.summary.value)


def runs(folder: Path) -> list[str]:
    return sorted(path.name for path in board(folder).iterdir() if path.is_dir())


def experiment(folder: Path) -> Any:
    return metadata.parse_experiment_plugin_data(_content(folder, "", metadata.EXPERIMENT_TAG))


def session(folder: Path, run: str) -> dict[str, Any]:
    """The hyperparameters of a row, as TensorBoard shows them."""
    start = metadata.parse_session_start_info_plugin_data(_content(folder, run, metadata.SESSION_START_INFO_TAG))
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}


def status(folder: Path, run: str) -> str | None:
    content = _content(folder, run, metadata.SESSION_END_INFO_TAG)
    if content is None:
        return None
    return str(api_pb2.Status.Name(metadata.parse_session_end_info_plugin_data(content).status))


def scalars(folder: Path, run: str, tag: str) -> list[tuple[int, float]]:
    """The points of a curve as a TensorBoard that opens the folder now would show them."""
    accumulator = EventAccumulator(str(board(folder) / run), tensor_size_guidance={"scalars": 0}).Reload()
    if tag not in accumulator.Tags()["tensors"]:
        return []
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(tag)]


def last(folder: Path, run: str, tag: str) -> float:
    return scalars(folder, run, tag)[-1][1]


def texts(folder: Path, run: str, tag: str) -> list[str]:
    return [
        value.tensor.string_val[0].decode()
        for event in events(folder, run)
        for value in event.summary.value
        if value.tag == tag
    ]


def _content(folder: Path, run: str, tag: str) -> Any:
    for event in events(folder, run):
        for value in event.summary.value:
            if value.tag == tag:
                return value.metadata.plugin_data.content
    return None
