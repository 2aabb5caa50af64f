"""What a trainable is told about the trial it trains."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """One trial as its training code sees it.

    ``trial_dir`` is for the trial's own files and is kept; ``data_dir`` is this node's cache of prepared data,
    shared by all trials; ``tensorboard_dir`` is where the trial's events go. ``cpus`` and ``gpu`` are what the
    trial was given (``gpu`` below 1 is a share of one), ``metric`` and ``mode`` what the study optimises. ``split``:
    into how many pieces each batch is to be cut, so that the trial fits into memory. ``rank``: which of the trial's
    processes this is, where it has several.
    """

    trial_id: str
    number: int
    seed: int
    trial_dir: Path
    data_dir: Path
    tensorboard_dir: Path
    cpus: float = 1
    gpu: float = 0
    max_iterations: int = 1
    metric: str = ""
    mode: str = "min"
    split: int = 1
    rank: int = 0

    @classmethod
    def standalone(
        cls,
        folder: Path | str | None = None,
        *,
        seed: int = 0,
        cpus: float = 1,
        gpu: float = 0,
        max_iterations: int = 1,
        metric: str = "",
        mode: str = "min",
        split: int = 1,
    ) -> Context:
        """A context outside any study, to try a trainable in a notebook or a test.

        Everything goes below ``folder``, by default a new temporary folder; prepared data then goes
        where studies keep it, so that it is made once.
        """
        root = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="raytune-"))
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        shared = Path(os.environ.get("RAYTUNE_DATA_DIR") or caches / "raytune_suite")
        return cls(
            trial_id="00000",
            number=0,
            seed=seed,
            trial_dir=root / "trial",
            data_dir=root / "data" if folder is not None else shared,
            tensorboard_dir=root / "tensorboard",
            cpus=cpus,
            gpu=gpu,
            max_iterations=max_iterations,
            metric=metric,
            mode=mode,
            split=split,
        )
